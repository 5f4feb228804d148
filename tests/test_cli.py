"""The command line: each bad input ends in a named error and exit code 2, nothing half-written."""

import csv
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from metagnn.checkpoint import read_checkpoint
from metagnn.cli import main
from metagnn.configs import config_path, packaged_names

rng = np.random.default_rng(0)


def _gain(num_samples: int = 12, num_links: int = 3) -> np.ndarray:
    gain = 1e-11 * rng.exponential(size=(num_samples, num_links, num_links))
    index = np.arange(num_links)
    gain[:, index, index] *= 1e3
    return gain


def _npz(path: Path, gain: object, **arrays: object) -> str:
    np.savez(path, gain=np.asarray(gain), **{k: np.asarray(v) for k, v in arrays.items()})
    return str(path)


def _error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_help_is_fast_and_lists_the_commands() -> None:
    began = time.monotonic()
    words = [sys.executable, "-m", "metagnn", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 2.0
    assert "compare" in done.stdout
    assert "adapt" in done.stdout


def test_fast_commands_import_neither_lightning_nor_pyg() -> None:
    code = (
        "import sys; import metagnn.commands.compare, metagnn.commands.adapt, metagnn.comparison;"
        "import metagnn.adaptation, metagnn.meta_parameters;"
        "bad = {'lightning', 'torch_geometric', 'matplotlib', 'learn2learn'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_adapt_writes_powers_and_report(tmp_path: Path) -> None:
    train, test = _npz(tmp_path / "a.npz", _gain(40)), _npz(tmp_path / "b.npz", _gain(7))
    out = tmp_path / "out"
    main(["adapt", train, "--test", test, "--steps", "2", "--out", str(out), "--json"])
    with np.load(out / "power.npz", allow_pickle=False) as arrays:
        power_w = arrays["power_w"]
    assert power_w.shape == (7, 3)
    assert (power_w >= 0).all()
    assert (power_w <= 0.01).all()
    report = json.loads((out / "report.json").read_text())
    assert report["steps"] == 2
    assert len(report["rate"]) == 3


def test_adapt_refines_where_wanted(tmp_path: Path) -> None:
    train, test = _npz(tmp_path / "a.npz", _gain(40)), _npz(tmp_path / "b.npz", _gain(7))
    reports, powers = [], []
    for words in ([], ["--refine"]):
        out = tmp_path / f"out{len(words)}"
        out.mkdir()
        (out / "gap.json").write_text("{}")  # of an earlier adaptation
        main(["adapt", train, "--test", test, "--steps", "1", "--out", str(out), "--json", *words])
        assert not (out / "gap.json").exists()
        reports.append(json.loads((out / "report.json").read_text()))
        powers.append(np.load(out / "power.npz")["power_w"])
    assert [report["refined"] for report in reports] == [False, True]
    assert reports[0]["multiplier"] != reports[1]["multiplier"]
    assert np.isfinite(reports[1]["rate"]).all()
    assert powers[1].dtype == powers[0].dtype
    assert not np.allclose(powers[0], powers[1])


@pytest.mark.parametrize(("num_links", "by_default"), [(20, True), (21, False)])
def test_compare_refines_few_links_by_default(
    num_links: int, by_default: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gain = np.random.default_rng(0).uniform(1e-12, 1e-9, (2, num_links, num_links))
    main(["compare", _npz(tmp_path / "a.npz", gain), "--json"])
    policies = json.loads(capsys.readouterr().out)["policies"]
    assert ("metagnn_refined" in policies) == by_default
    assert {"metagnn", "metagnn_unadapted", "itlinq", "wmmse"} <= set(policies)


def test_adapted_powers_do_not_depend_on_the_future(tmp_path: Path) -> None:
    gain = _gain(7)
    train = _npz(tmp_path / "a.npz", _gain(40))
    changed = gain.copy()
    changed[4:] *= 0.5
    powers = []
    for number, samples in enumerate((gain, changed)):
        test = _npz(tmp_path / f"t{number}.npz", samples)
        out = tmp_path / f"out{number}"
        main(["adapt", train, "--test", test, "--steps", "1", "--out", str(out), "--json"])
        powers.append(np.load(out / "power.npz")["power_w"])
    assert np.array_equal(powers[0][:4], powers[1][:4])
    assert not np.array_equal(powers[0][4:], powers[1][4:])


def test_one_link_and_disconnected_links_work(tmp_path: Path) -> None:
    one = _npz(tmp_path / "one.npz", np.full((9, 1, 1), 1e-9))
    diagonal = _npz(tmp_path / "diagonal.npz", np.eye(3) * np.full((9, 1, 1), 1e-9))
    for name, path in (("one", one), ("diagonal", diagonal)):
        out = tmp_path / name
        main(["adapt", path, "--test", path, "--steps", "2", "--out", str(out), "--json"])
        rates = json.loads((out / "report.json").read_text())["rate"]
        assert np.isfinite(rates).all()


BAD = {
    "nan": (lambda g: np.where(g > g.max() * 0.99, np.nan, g), "finite"),
    "inf": (lambda g: np.where(g > g.max() * 0.99, np.inf, g), "finite"),
    "negative": (lambda g: np.where(g > g.max() * 0.99, -g, g), ">= 0"),
    "decibels": (lambda g: 10 * np.log10(g), "dB"),
    "complex": (lambda g: g.astype(complex), "real"),
    "not square": (lambda g: g[:, :, :2], "square"),
    "empty": (lambda g: g[:0], "at least one"),
    "no samples axis": (lambda g: g[0], r"[S, K, K]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_gains_are_named(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, rule = BAD[case]
    good, bad = _npz(tmp_path / "a.npz", _gain()), _npz(tmp_path / "b.npz", change(_gain()))
    out = tmp_path / "out"
    for words in ((bad, "--test", good), (good, "--test", bad)):
        error = _error(capsys, "adapt", *words, "--out", str(out))
        assert "gain" in error
        assert rule in error
        assert not out.exists()
    assert rule in _error(capsys, "compare", bad)


def test_different_numbers_of_links_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three, two = _npz(tmp_path / "a.npz", _gain()), _npz(tmp_path / "b.npz", _gain(12, 2))
    error = _error(capsys, "adapt", three, "--test", two, "--out", str(tmp_path / "out"))
    assert "3 links" in error
    assert "got 2" in error


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--steps", "-1"], "`steps` must be an integer >= 0, got -1"),
        (["--device", "gpu"], "`--device` must be one of this machine, got 'gpu'"),
        (["--device", "cuda:99"], "`--device` must be one of this machine, got 'cuda:99'"),
        (["--noise_dbm", "nan"], "`noise_dbm` must lie in [-200, 100], got nan"),
        (["--power_max_dbm", "inf"], "`power_max_dbm` must lie in [-200, 100], got inf"),
        (["--checkpoint", "nowhere"], "`checkpoint` must be a file or one of"),
        (["--seed", "-3"], "`seed` must be an integer >= 0, got -3"),
    ],
)
def test_bad_options_are_named(
    words: list[str], rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = _npz(tmp_path / "a.npz", _gain()), tmp_path / "out"
    assert rule in _error(capsys, "adapt", path, "--test", path, "--out", str(out), *words)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["truncated", "flipped", "foreign", "malicious"])
def test_bad_checkpoints_are_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from metagnn.pretrained import pretrained_path

    content = bytearray(pretrained_path("power_control").read_bytes())
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "flipped":
        content[-100] ^= 4
    elif kind == "foreign":
        content = bytearray(b"PK\x03\x04 something else")
    else:
        content = bytearray(b"cposix\nsystem\n(S'touch planted'\ntR.")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content)
    path = _npz(tmp_path / "a.npz", _gain())
    out = str(tmp_path / "out")
    error = _error(capsys, "adapt", path, "--test", path, "--out", out, "--checkpoint", str(bad))
    assert "`checkpoint` must" in error
    assert not Path(out).exists()
    assert not Path("planted").exists()


def test_bad_csv_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = "cml_id,sublink_id,site_0_lat,site_0_lon,site_1_lat,site_1_lon,frequency\n"
    cases = {
        "": "empty",
        header.replace(",frequency", "") + "1,a,40.7,-74,40.71,-74\n": "frequency",
        header + "1,a,99,-74,40.71,-74,5500\n": "site_0_lat",
        header
        + "1,a,40.7,-74,40.71,-74,5500\n1,a,40.7,-74,40.72,-74,5500\n": "must name each link once",
    }
    for text, named in cases.items():
        path = tmp_path / "links.csv"
        path.write_text(text)
        assert named in _error(capsys, "adapt", str(path), "--out", str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_compare_scores_every_policy_on_the_given_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gain = _gain(20)
    path, out = _npz(tmp_path / "a.npz", gain), tmp_path / "out"
    names = "metagnn,itlinq,wmmse,full_power,random,exact"
    main(["compare", path, "--policies", names, "--out", str(out), "--json"])
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((out / "comparison.json").read_text())
    assert printed == stored
    assert list(printed["policies"]) == names.split(",")
    # Full power by hand: all links at 0.01 W, noise -104 dBm.
    received = gain * 0.01
    direct = np.diagonal(received, axis1=1, axis2=2)
    sinr = direct / (received.sum(1) - direct + 10 ** (-13.4))
    rates = np.log2(1 + sinr).mean(0)
    assert printed["policies"]["full_power"]["mean_rate"] == pytest.approx(rates.mean(), rel=1e-4)
    assert printed["policies"]["full_power"]["min_rate"] == pytest.approx(rates.min(), rel=1e-4)
    assert printed["policies"]["full_power"]["mean_rate_ci95"] is None
    best = printed["policies"]["exact"]["mean_rate"]
    assert all(values["mean_rate"] <= best + 1e-4 for values in printed["policies"].values())
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "rates.csv").read_text().startswith("policy,network,link,rate_bit_s_hz\n")
    assert printed["gain"] == path
    assert "torch" in printed["versions"]
    (network,) = json.loads((out / "networks.json").read_text())["networks"]
    assert list(network["policies"]) == names.split(",")
    main(["report", str(out)])
    assert (out / "report.html").is_file()


def test_compare_refuses_unknown_policies_and_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _npz(tmp_path / "a.npz", _gain(6, 5))
    assert "`policies` must be among" in _error(capsys, "compare", path, "--policies", "best")
    error = _error(capsys, "compare", path, "--policies", "exact")
    assert "leave out 'exact' above 4 links (`--gap` bounds what it would find), got 5" in error
    assert "must be given" in _error(capsys, "compare")
    assert "`config` must be a path or one of" in _error(capsys, "compare", "--config", "nothing")


def test_compare_brackets_the_optimum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    past, scored = (_npz(tmp_path / f"{name}.npz", _gain(32)) for name in "ab")
    words = ["compare", scored, "--adapt-to", past, "--steps", "1", "--gap"]
    main([*words, "--policies", "metagnn", "--json"])
    document = json.loads(capsys.readouterr().out)
    (row,) = document["gap"]
    assert (row["network"], row["num_links"], row["bound"]) == (0, 3, "exact")
    assert row["primal"] <= row["best_known"] <= row["dual"]
    assert row["dual"] <= 1.01 * row["best_known"]
    assert 0.0 <= row["undecided"] <= row["dual"] - row["primal"]
    assert len(row["mu"]) == len(row["minimum_rate"]) == 3
    # One of the same samples, with the refined multipliers of those before.
    spread = row["distribution"]
    assert spread["low"] < row["primal"] < row["dual"] < spread["high"]
    assert spread["confidence"] == 0.95
    out = tmp_path / "out"
    main([*words, "--policies", "metagnn,itlinq", "--out", str(out)])
    text = capsys.readouterr().out
    assert f"{100 * (row['dual'] / row['primal'] - 1):.2f}" in text
    assert "comparison.png, gap.json" in text
    (both,) = json.loads((out / "gap.json").read_text())["networks"]
    stand = both.pop("values")
    assert row.pop("values") == {"metagnn": row["primal"]}
    assert both == {**row, "best_known": max(row["best_known"], stand["itlinq"])}
    gaps = {name: 100 * (row["dual"] / value - 1) for name, value in stand.items()}
    said = ", ".join(f"{name} {gap:.2f}" for name, gap in gaps.items())
    assert f"Median gap [%]: {said}" in text
    assert f"{spread['low']:.2f} to {spread['high']:.2f}" in text
    assert list(stand) == ["metagnn", "itlinq"]
    main(["report", str(out)])
    # Gaps of what was compared before are not those of what is compared now.
    main([*words[:-1], "--policies", "metagnn,itlinq", "--out", str(out)])
    assert not (out / "gap.json").exists()
    capsys.readouterr()
    error = _error(capsys, *words, "--policies", "itlinq")
    assert "`policies` must hold 'metagnn' for its gap, got ['itlinq']" in error
    error = _error(capsys, *words, "--num-neighbours", "2")
    assert "`gain` must be dense for the gap" in error
    assert document["boxes"] == 2000
    six = ["compare", _npz(tmp_path / "six.npz", _gain(4, 6)), "--policies", "metagnn", "--json"]
    undecided = []
    for boxes in ("1", "500"):
        main([*six, "--gap", "--boxes", boxes])
        quick = json.loads(capsys.readouterr().out)
        assert quick["boxes"] == int(boxes)
        undecided.append(quick["gap"][0]["undecided"])
    assert undecided[0] > 2.0 * undecided[1]
    assert "boxes" not in json.loads((out / "comparison.json").read_text())
    error = _error(capsys, *words[:-1], "--boxes", "10")
    assert "`--boxes` must be left out without --gap, got 10" in error
    error = _error(capsys, *words, "--boxes", "0")
    assert "`--boxes` must be an integer >= 1, got 0" in error
    error = _error(capsys, "compare", "--config", "offloading", "--boxes", "10")
    assert "`--boxes` must be left out with this configuration" in error
    error = _error(capsys, "compare", "--config", "offloading", "--gap")
    assert "`--gap` must be left out with this configuration" in error


def test_options_without_effect_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _npz(tmp_path / "a.npz", _gain(6))
    assert "`--networks` must be left out" in _error(capsys, "compare", path, "--networks", "3")
    assert "`--steps` must be left out" in _error(capsys, "compare", path, "--steps", "3")
    words = ["adapt", path, "--test", path, "--out", "out", "--seed", "3"]
    assert "`--seed` must be left out" in _error(capsys, *words)
    words = ["compare", "--config", "power_control", "--noise_dbm", "-90"]
    assert "`--noise_dbm` must be left out" in _error(capsys, *words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("modle: {}\n", "`config` must have sections among"),
        ("data: {num_samples: -3}\n", "`data.num_samples` must be an integer >= 1, got -3"),
        ("data: {tasks_per_batch: .nan}\n", "`data.tasks_per_batch` must be an integer >= 1"),
        ("data: {links: [4]}\n", "`data` must have keys among"),
    ],
)
def test_compare_checks_all_of_a_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(content if "data" in content else content + "data: {num_links: [2]}\n")
    assert message in _error(capsys, "compare", "--config", str(path), "--networks", "1")


def test_missing_files_are_named_by_their_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, missing, out = _npz(tmp_path / "a.npz", _gain()), str(tmp_path / "no.npz"), tmp_path / "o"
    adapt = ["adapt", "--out", str(out)]
    for named, words in {
        "GAIN": [*adapt, missing, "--test", path],
        "--test": [*adapt, path, "--test", missing],
        "--adapt-to": ["compare", path, "--adapt-to", missing],
    }.items():
        assert f"`{named}` must name an existing file, got" in _error(capsys, *words)
    assert not out.exists()


def test_levels_beyond_single_precision_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _npz(tmp_path / "a.npz", 1e25 * _gain())
    words = [path, "--power_max_dbm", "100", "--noise_dbm", "-200"]
    message = "`gain` must be <= "
    assert message in _error(capsys, "compare", *words)
    assert message in _error(capsys, "adapt", *words, "--test", path, "--out", str(tmp_path / "o"))


@pytest.mark.parametrize("command", ["fit", "validate"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_bad_checkpoint_leaves_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    exists: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    if exists:
        Path("bad.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(SystemExit) as stop:
        main([command, "--config", "power_control_quick", "--ckpt_path=bad.ckpt"])
    assert stop.value.code == 2
    assert "must" in capsys.readouterr().err
    assert [path for path in Path("runs").rglob("*") if path.is_file()] == []


def test_predict_writes_powers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--data.num_links=[2]", "--data.test_num_links=[2]", "--data.num_samples=16"]
    small += ["--data.num_adaptation_samples=16", "--data.num_test_samples=5"]
    small += ["--data.tasks_per_batch=1", "--data.num_test_networks=2"]
    config = ["--config", "power_control_quick"]
    main(["fit", *config, *small, "--trainer.max_epochs=1", "--trainer.limit_val_batches=0"])
    checkpoint = tmp_path / "runs/power_control_quick/version_0/checkpoints/last.ckpt"
    main(["predict", *config, *small, f"--ckpt_path={checkpoint}"])
    folder = tmp_path / "runs/power_control_quick/version_1/predictions"
    for number in range(2):
        power_w = np.load(folder / f"power_{number}.npz")["power_w"]
        assert power_w.shape == (5, 2)
        assert ((power_w >= 0) & (power_w <= 0.01 * (1 + 1e-6))).all()


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert "`COMMAND` must be one of" in _error(capsys, "train")


FAST = ["--trainer.fast_dev_run=1", "--trainer.limit_val_batches=0"]


@pytest.mark.parametrize("name", [n for n in packaged_names() if n != "channel_assignment"])
def test_every_packaged_config_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if name.startswith("channel_assignment"):
        small = ["--model.init_args.cell.num_copies=4"]
        small += ["--model.init_args.scheme=frl"] if "_adapt" in name else []
    elif name.startswith("spectrum_allocation"):
        small = ["--model.init_args.num_networks=4", "--model.init_args.place.num_steps=2"]
    elif name.startswith("offloading"):
        settings = "--model.init_args.maddpg"
        small = [
            f"{settings}.{key}=4" for key in ("num_steps", "warm_up", "capacity", "num_copies")
        ]
    else:
        small = ["--data.num_links=[2]", "--data.tasks_per_batch=1", "--data.num_samples=16"]
        if name not in ("from_scratch", "mismatch"):
            small.append("--model.init_args.inner.num_epochs=1")
    main(["fit", "--config", name, *FAST, *small])


def test_a_run_records_its_versions_and_becomes_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--data.num_links=[2]", "--data.tasks_per_batch=1", "--data.num_samples=16"]
    small += ["--trainer.max_epochs=2", "--trainer.limit_val_batches=0"]
    main(["fit", "--config", "power_control_quick", *small])
    folder = Path("runs/power_control_quick/version_0")
    versions = json.loads((folder / "versions.json").read_text())
    assert {"metagnn", "python", "torch", "lightning"} <= set(versions)
    capsys.readouterr()
    main(["report", str(folder)])
    assert capsys.readouterr().out.startswith(f"Page: {folder}/report.html")
    page = (folder / "report.html").read_text()
    assert f"metagnn {versions['metagnn']}, python {versions['python']}" in page
    assert '"name":"lagrangian","unit":"bit/s/Hz","along":"epoch","x":[0.0,1.0]' in page


def test_users_adapt_what_the_base_station_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.max_epochs=2", "--model.init_args.num_validation_cells=2"]
    quick += ["--trainer.check_val_every_n_epoch=2", "--model.init_args.cell.num_copies=4"]
    adapt = ["fit", "--config", "channel_assignment_adapt", *quick]
    error = _error(capsys, *adapt)
    assert "`start_from` must" in error
    assert "runs/channel_assignment_meta" in error
    assert not Path("runs").exists()
    main(["fit", "--config", "channel_assignment_meta", *quick])
    main([*adapt, "--model.init_args.average_every=2", "--model.init_args.cell.scenario=indoor"])
    run = Path("runs/channel_assignment_adapt/version_0")
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "validation_share_6" in rows[0]
    assert any(row["federated_bytes"] for row in rows)
    logged = ("reward", "entropy", "approximate_kl", "clip_fraction", "explained_variance")
    for name in ("channel_assignment_meta", "channel_assignment_adapt"):
        with Path(f"runs/{name}/version_0/metrics.csv").open(newline="") as file:
            trained = [row for row in csv.DictReader(file) if row["reward"]]
        assert len(trained) == 2
        for column in logged:
            assert all(math.isfinite(float(row[column])) for row in trained), column
        assert all(float(row["entropy"]) > 0.0 for row in trained)
        assert all(0.0 <= float(row["clip_fraction"]) <= 1.0 for row in trained)
    words = ["compare", "--config", "channel_assignment", "--networks", "2", "--json"]
    capsys.readouterr()
    main([*words, "--runs", "runs", "--out", "out"])
    document = json.loads(capsys.readouterr().out)
    assert json.loads(Path("out/comparison.json").read_text()) == document
    indoor = document["scenarios"]["indoor"]
    assert set(indoor) == {"mfrl", "meta", "optimum", "greedy", "selfish", "random"}
    assert indoor["optimum"]["share_of_optimum"] == pytest.approx(1.0)
    assert indoor["greedy"]["share_of_optimum"] > indoor["mfrl"]["share_of_optimum"]
    assert "mfrl" not in document["scenarios"]["urban_macro"]
    other = ["--model.init_args.shape.hidden_channels=[16]"]
    assert "`start_from` must have a network with hidden_channels = [16]" in _error(
        capsys, *adapt, *other
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("num_users=[0]", "`num_users` must"),
        ("num_users=[2,11]", "`num_users` must"),
        ("cell.scenario=moon", "`scenario` must"),
    ],
)
def test_bad_cells_leave_nothing_behind(
    option: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", "channel_assignment_meta", f"--model.init_args.{option}"]
    assert message in _error(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_floor_of_the_snr_is_met_by_somebody_or_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Indoors the highest floor that is in reach is 116 dB; few meet 60 dB, nobody 110."""
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.max_epochs=1", "--model.init_args.num_validation_cells=2"]
    quick += ["--model.init_args.cell.num_copies=4", "--model.init_args.cell.scenario=indoor"]
    words = ["fit", "--config", "channel_assignment_meta", *quick]
    floor = "--model.init_args.cell.snr_min_db"
    for value in ("117", "300"):
        error = _error(capsys, *words, f"{floor}={value}")
        assert "`snr_min_db` must be at most 116." in error
        assert f"with probability 1e-06, got {value}" in error
    # In reach, but of no use to the few users of these cells.
    error = _error(capsys, *words, f"{floor}=110")
    assert "`snr_min_db` must be met by a user at some time" in error
    assert "nan" in _error(capsys, *words, f"{floor}=.nan")
    assert list(tmp_path.iterdir()) == []
    main([*words, f"{floor}=40"])
    last = read_checkpoint(Path("runs/channel_assignment_meta/version_0/checkpoints/last.ckpt"))
    assert last["run"]["cell"]["snr_min_db"] == 40.0


def test_options_that_a_comparison_of_schemes_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "--config", "channel_assignment"]
    assert "`--steps` must be left out" in _error(capsys, *words, "--steps", "3")
    assert "`--runs` must be a folder" in _error(capsys, *words, "--runs", str(tmp_path / "none"))
    assert "`runs` must hold a last.ckpt" in _error(capsys, *words, "--runs", str(tmp_path))
    assert "`--num-links` must be one" in _error(capsys, *words, "--num-links", "3", "4")
    assert "`--bf16` must be left out" in _error(capsys, *words, "--bf16")
    error = _error(capsys, *words, "--num-links", "11")
    assert "`num_users` must be at most the 10 subchannels, got 11" in error
    error = _error(capsys, "compare", "--config", "power_control_quick", "--runs", "x")
    assert "`--runs` must be left out" in error
    text = config_path("channel_assignment").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("line_of_sight: false", "line_of_sight: 1"))
    error = _error(capsys, "compare", "--config", str(wrong))
    assert "`compare.line_of_sight` must be true or false, got 1" in error
    given = "[indoor, urban_macro, rural_macro]"
    for value in ("7", "[]", "indoor", "[indoor, [x]]", "[indoor, 3]", "[moon]", "{indoor: 1}"):
        wrong.write_text(text.replace(given, value))
        error = _error(capsys, "compare", "--config", str(wrong))
        assert "`compare.scenarios` must be a list of some of ['indoor', 'urban_micro'," in error
        assert f"got {yaml.safe_load(value)!r}" in error
    wrong.write_text(text.replace("snr_min_db: 5.0", "snr_min_db: high"))
    error = _error(capsys, "compare", "--config", str(wrong))
    assert "`compare.snr_min_db` must be a number, got 'high'" in error
    wrong.write_text(text.replace("snr_min_db: 5.0", "snr_min_db: 300"))
    error = _error(capsys, "compare", "--config", str(wrong))
    assert "`snr_min_db` must be at most" in error
    error = _error(capsys, "predict", "--config", "channel_assignment_meta")
    assert "`subcommand` must be fit, validate or test with this configuration" in error
    error = _error(capsys, "fit", "--config", "channel_assignment")
    assert "compare" in error


def test_sites_learn_to_offload_and_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ["--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2"]
    quick += ["--model.init_args.num_validation_networks=2", "--model.init_args.average_every=2"]
    quick += [f"--model.init_args.maddpg.{name}=4" for name in ("warm_up", "num_copies")]
    quick += ["--model.init_args.maddpg.num_steps=2"]
    for algorithm in ("maddpg", "federated"):
        words = ["fit", "--config", "offloading", f"--model.init_args.algorithm={algorithm}"]
        main([*words, *quick])
    with Path("runs/offloading/version_0/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logged = {"reward", "met", "energy_mj", "critic_error", "value", "signalling_bytes"}
    assert logged | {"site_reward_5", "validation_met", "validation_energy_mj"} <= set(rows[0])
    short = Path("short.yaml")
    short.write_text(config_path("offloading").read_text().replace("num_steps: 20", "num_steps: 2"))
    words = ["compare", "--config", str(short), "--networks", "1", "--runs", "runs"]
    Path("city").mkdir()
    for name, rows in (("sites", ["48.00,8.00", "48.00,8.01"]), ("users", ["48.001,8.0"] * 3)):
        Path(f"city/{name}.csv").write_text("\n".join(["latitude,longitude", *rows, ""]))
    for network, cells, drawn in (
        ("3x2", "3 cells, 6 users", "1 networks of"),
        ("city", "city: 2 cells, 3 users", "1 copies of the network of"),
        ("melbourne", "125 cells, 816 users", "1 copies of the network of"),
    ):
        capsys.readouterr()
        main([*words, "--network", network])
        text = capsys.readouterr().out
        assert cells in text
        assert drawn in text
        assert "P(maddpg > federated) in deadlines met" in text
    main([*words, "--network", "3x2", "--json", "--out", "out"])
    document = json.loads(capsys.readouterr().out)
    assert json.loads(Path("out/comparison.json").read_text()) == document
    policies = document["policies"]
    assert set(policies) == {
        "maddpg",
        "federated",
        "coordinated",
        "heuristic",
        "full offloading",
        "local computing",
        "random",
    }
    assert policies["local computing"]["met"] == 0.0
    assert policies["coordinated"]["energy_over_bound"] >= 1.0
    sent = document["signalling_per_episode"]
    assert set(sent) == {"maddpg", "federated"}
    assert sent["federated"]["bytes"] > 0.0
    assert set(sent["federated"]) == {"bytes", "bytes_ci95"}
    assert "`--network` must be melbourne, CELLSxUSERS such as 12x10, or a folder" in _error(
        capsys, *words, "--network", "x"
    )
    # A folder does not stand in the way of a size.
    Path("0x3").mkdir()
    assert "`num_cells` must be" in _error(capsys, *words, "--network", "0x3")
    assert "`--network` must be" in _error(capsys, *words, "--network", "")
    assert "`--num-links` must be left out" in _error(capsys, *words, "--num-links", "3")
    assert "`--bf16` must be left out" in _error(capsys, *words, "--bf16")
    assert "`--runs` must be a folder" in _error(capsys, *words[:-1], "none")
    error = _error(capsys, "compare", "--config", "power_control_quick", "--network", "3x2")
    assert "`--network` must be left out" in error
    error = _error(capsys, "compare", "--config", "channel_assignment", "--network", "3x2")
    assert "`--network` must be left out" in error


def test_configs_cannot_name_foreign_classes_or_unknown_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("planted.py").write_text("open('ran', 'w')\n")
    text = config_path("power_control_quick").read_text()
    Path("foreign.yaml").write_text(text.replace("metagnn.meta_training.MetaGNN", "planted.Model"))
    assert "planted.Model" in _error(capsys, "fit", "--config", "foreign.yaml")
    assert not os.path.exists("ran")
    Path("sub.yaml").write_text("class_path: planted.Model\n")
    for evil in ("planted.Model", "'{class_path: planted.Model}'", "sub.yaml", "événement.Model"):
        Path("evil.yaml").write_text(f"trainer:\n  callbacks: {evil}\n")
        error = _error(capsys, "fit", "--config", "evil.yaml")
        assert "`config` must" in error
        value = evil.strip("'")
        error = _error(capsys, "fit", "--config", "power_control_quick", "--model", value)
        assert "`config` must" in error
    assert not os.path.exists("ran")
    Path("unknown.yaml").write_text(text.replace("tasks_per_batch", "tasks_per_batsh"))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "unknown.yaml"])
    assert stop.value.code == 2
    assert "tasks_per_batsh" in capsys.readouterr().err
    assert "power: 3.0e-3" in text
    Path("nan.yaml").write_text(text.replace("power: 3.0e-3", "power: .nan"))
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "nan.yaml"])
    assert stop.value.code == 2
    assert "nan" in capsys.readouterr().err
