"""Commands on large networks: neighbour lists by themselves, and lists as input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import metagnn.graphs.channel
import metagnn.graphs.neighbours
from metagnn.cli import main
from metagnn.commands.options import read_scenario
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.neighbours import NeighbourGain
from metagnn.graphs.randomness import generator
from metagnn.graphs.samples import load_samples

NUM_LINKS = 4
SOURCE, TARGET = np.array([(i, k) for k in range(NUM_LINKS) for i in range(NUM_LINKS) if i != k]).T


def _gain(num_samples: int, seed: int = 0) -> np.ndarray:
    gain = 1e-11 * np.random.default_rng(seed).exponential(size=(num_samples, 4, 4))
    gain[:, range(4), range(4)] *= 1e3
    return gain


def _lists(gain: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "source": SOURCE,
        "target": TARGET,
        "direct_gain": gain[:, range(4), range(4)],
        "crossed_gain": gain[:, SOURCE, TARGET],
    }


def _save(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (metagnn.graphs.neighbours, metagnn.graphs.channel):
        monkeypatch.setattr(module, "DENSE_LINKS", 3)
        monkeypatch.setattr(module, "NUM_NEIGHBOURS", 2)


def test_lists_of_all_pairs_give_what_dense_samples_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past, scored = _gain(40), _gain(9, seed=1)
    found = []
    for kind in ("dense", "lists"):
        files = [
            _save(tmp_path / f"{kind}{i}.npz", **({"gain": g} if kind == "dense" else _lists(g)))
            for i, g in enumerate((past, scored))
        ]
        out = tmp_path / kind
        main(["adapt", files[0], "--test", files[1], "--steps", "2", "--out", str(out), "--json"])
        found.append((np.load(out / "power.npz")["power_w"], json.loads(capsys.readouterr().out)))
        main(["compare", files[1], "--adapt-to", files[0], "--steps", "2", "--json"])
        found.append(json.loads(capsys.readouterr().out)["policies"])
    (power, report), policies, (power_on_lists, report_on_lists), policies_on_lists = found
    np.testing.assert_allclose(power_on_lists, power, rtol=1e-3, atol=1e-7)
    assert report_on_lists["rate"] == pytest.approx(report["rate"], rel=1e-3)
    assert report_on_lists["neglected_inr"] is None
    assert "neglected_inr" not in report
    # Refinement takes all gains.
    assert set(policies) - {"metagnn_refined"} == set(policies_on_lists)
    for name, values in ((n, v) for n, v in policies.items() if n in policies_on_lists):
        assert policies_on_lists[name]["mean_rate"] == pytest.approx(values["mean_rate"], rel=1e-3)


def test_refinement_is_refused_on_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = _save(tmp_path / "a.npz", **_lists(_gain(9)))
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        main(["adapt", lists, "--test", lists, "--refine", "--out", str(out)])
    assert "`--refine` must have gains without neighbour lists" in capsys.readouterr().err
    assert not out.exists()
    with pytest.raises(SystemExit):
        main(["compare", lists, "--policies", "metagnn_refined"])
    assert "`gain` must be dense for 'metagnn_refined'" in capsys.readouterr().err


def test_what_lists_leave_out_is_unknown_unless_they_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = _lists(_gain(9))
    main(["compare", _save(tmp_path / "a.npz", **lists)])
    assert "the interference of other links is unknown" in capsys.readouterr().out
    lists["neglected_gain"] = np.array([0.0, 2e-13, 1e-13, 0.0])
    main(["compare", _save(tmp_path / "b.npz", **lists)])
    # 2e-13 * 10 mW over -104 dBm
    inr = 2e-13 * 0.01 / 10 ** (-104 / 10 - 3)
    assert f"on average at most {inr:.3g} times the noise" in capsys.readouterr().out


def test_what_the_first_file_leaves_out_counts_in_the_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past, scored = _lists(_gain(12)), _lists(_gain(9, seed=1))
    left_out = {"neglected_gain": np.full(4, 2e-11)}
    first = _save(tmp_path / "past.npz", **past, **left_out)
    means = []
    for number, given in enumerate(({}, left_out)):
        second = _save(tmp_path / f"{number}.npz", **scored, **given)
        main(["compare", second, "--adapt-to", first, "--policies", "full_power", "--json"])
        means.append(json.loads(capsys.readouterr().out)["policies"]["full_power"]["mean_rate"])
    main(["compare", second, "--policies", "full_power", "--json"])
    means.append(json.loads(capsys.readouterr().out)["policies"]["full_power"]["mean_rate"])
    assert means[0] == means[1] == means[2]
    other = _save(tmp_path / "other.npz", **scored, neglected_gain=np.full(4, 3e-11))
    with pytest.raises(ValueError, match="`neglected_gain` must be that of the network's other"):
        load_samples(other, of=load_samples(first).large_scale_gain)
    # Samples do as well as large-scale gains, be they as many or not.
    assert load_samples(second, of=load_samples(first).gain).num_samples == 9
    dense = _save(tmp_path / "dense.npz", gain=_gain(5))
    assert load_samples(dense, of=load_samples(first).gain).num_samples == 5
    endless = _save(tmp_path / "endless.npz", **scored, neglected_gain=np.full(4, 1e38))
    with pytest.raises(SystemExit):
        main(["compare", endless, "--json"])
    assert "`gain` must be <= " in capsys.readouterr().err


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.usefixtures("small_is_large")
def test_lists_of_scored_samples_know_the_first_only(tmp_path: Path, lists: bool) -> None:
    gain = _gain(9)
    changed = gain.copy()
    changed[1:, :, ::-1] *= 7.0
    found = []
    for number, samples in enumerate((gain, changed)):
        arrays = _lists(samples) if lists else {"gain": samples}
        path = _save(tmp_path / f"{number}.npz", **arrays)
        known = read_scenario(path, None, 0, None).large_scale_gain
        assert isinstance(known, NeighbourGain)
        found.append((known.neighbours.source, known.direct, known.crossed))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("small_is_large")
def test_large_dense_samples_are_put_on_the_lists_of_the_first_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past, scored = _gain(40), _gain(9, seed=1)
    files = [_save(tmp_path / f"{i}.npz", gain=g) for i, g in enumerate((past, scored))]
    kept = load_samples(files[0])
    assert isinstance(kept.large_scale_gain, NeighbourGain)
    assert kept.large_scale_gain.neighbours.num_pairs == 2 * NUM_LINKS
    on_them = load_samples(files[1], of=kept.large_scale_gain).gain
    assert isinstance(on_them, NeighbourGain)
    pairs = kept.large_scale_gain.neighbours
    assert torch.equal(on_them.neighbours.source, pairs.source)
    wanted = scored[:, pairs.source.numpy(), pairs.target.numpy()]
    np.testing.assert_allclose(on_them.crossed.numpy(), wanted, rtol=1e-6)
    main(["compare", files[1], "--adapt-to", files[0], "--steps", "1"])
    printed = capsys.readouterr().out
    left_out = past.mean(0).copy()
    left_out[range(4), range(4)] = np.inf
    # One of three interferers is left out at each receiver: the weakest.
    share = left_out.min(0).max() * 0.01 / 10 ** (-104 / 10 - 3)
    assert f"on average at most {share:.3g} times the noise" in printed


def test_the_number_of_neighbours_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    past, scored = (_save(tmp_path / f"{n}.npz", gain=_gain(12, seed=n)) for n in (0, 1))
    lists = _save(tmp_path / "lists.npz", **_lists(_gain(12)))
    shared = ["--policies", "itlinq,wmmse", "--json"]
    words = ["compare", scored, "--adapt-to", past, "--num-neighbours"]
    found = []
    for count in (1, 3):
        main([*words, str(count), *shared])
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["neglected_inr"] > 0.0 == found[1]["neglected_inr"]
    main(["compare", scored, "--adapt-to", past, *shared])
    # All three interferers on lists: what dense gains give.
    dense = json.loads(capsys.readouterr().out)["policies"]
    for policy, values in dense.items():
        mean = values["mean_rate"]
        assert found[1]["policies"][policy]["mean_rate"] == pytest.approx(mean, rel=1e-5)
        assert found[0]["policies"][policy]["mean_rate"] != mean
    out = ["--test", scored, "--out", str(tmp_path / "out"), "--steps", "0", "--json"]
    main(["adapt", past, *out, "--num-neighbours", "1"])
    assert json.loads(capsys.readouterr().out)["neglected_inr"] > 0.0
    for given, message in (
        ([past, *out, "--num-neighbours", "4"], "`num_neighbours` must be <= 3, the number"),
        ([past, *out, "--num-neighbours", "0"], "`num_neighbours` must be an integer >= 1, got 0"),
        ([lists, *out, "--num-neighbours", "2"], "`num_neighbours` must be left out with gains"),
    ):
        with pytest.raises(SystemExit) as failed:
            main(["adapt", *given])
        assert failed.value.code == 2
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("small_is_large")
def test_drawn_networks_and_tables_of_links_are_put_on_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("metagnn.commands.options.LISTS_NUM_SAMPLES", (6, 3))
    links = Path(metagnn.graphs.channel.__file__).parent / "data/openmesh_nyc/links_5ghz.csv"
    main(["compare", str(links), "--steps", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["neglected_inr"] > 0
    words = ["compare", "--config", "power_control_quick", "--networks", "1"]
    main([*words, "--num-links", "6", "--steps", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["neglected_inr"] > 0
    monkeypatch.chdir(tmp_path)
    words = ["predict", "--config", "power_control_quick", "--data.test_num_links=[6]"]
    words += ["--data.num_test_networks=1", "--data.num_adaptation_samples=8"]
    words += ["--data.num_test_samples=5", "--trainer.enable_progress_bar=false"]
    main(words)
    (file,) = tmp_path.rglob("power_0.npz")
    with np.load(file) as arrays:
        assert arrays["power_w"].shape == (5, 6)
        assert arrays["neglected_inr"].shape == (6,)
        assert (arrays["neglected_inr"] > 0).all()


def test_large_drops_are_functions_of_their_arguments() -> None:
    family = ChannelFamily(area_m=3000.0, direct_antenna_gain_db=10.0, doppler_hz=5.0)
    first, again = (family.configuration(300, 0, "test", 1) for _ in range(2))
    other = family.configuration(300, 0, "validation", 1)
    gain = first.large_scale_gain
    assert isinstance(gain, NeighbourGain)
    assert isinstance(again.large_scale_gain, NeighbourGain)
    assert isinstance(other.large_scale_gain, NeighbourGain)
    assert torch.equal(gain.crossed, again.large_scale_gain.crossed)
    assert not torch.equal(gain.direct, other.large_scale_gain.direct)
    plain = ChannelFamily(area_m=3000.0).configuration(300, 0, "test", 1).large_scale_gain
    assert isinstance(plain, NeighbourGain)
    torch.testing.assert_close(gain.direct, 10.0 * plain.direct)
    torch.testing.assert_close(gain.crossed, plain.crossed)
    samples = first.sample(400, generator(0, "fading"))
    assert isinstance(samples, NeighbourGain)
    assert samples.shape == (400, 300, 300)
    share = samples.crossed.mean(0) / gain.crossed
    assert float(share.mean()) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": SOURCE.astype(float)}, "`source` must hold whole numbers, got 'float64'"),
        ({"source": SOURCE[::-1], "target": TARGET[::-1]}, "`target` must be in ascending order"),
        ({"source": SOURCE + 1}, "`source` must hold links from 0 to 3, got"),
        ({"source": TARGET}, "`source` must differ from target"),
        ({"direct_gain": -_gain(5)[:, 0]}, "`direct_gain` must be >= 0 everywhere"),
        ({"direct_gain": 0 * _gain(5)[:, 0]}, "`direct_gain` must be > 0 everywhere, got 0.0"),
        ({"crossed_gain": np.full((5, 12), np.nan)}, "`crossed_gain` must be finite everywhere"),
        ({"crossed_gain": np.ones((5, 11))}, r"`crossed` must have the shape \(5, 12\)"),
        ({"crossed_gain": np.ones(12)}, r"`crossed_gain` must have the shape \[S, E\]"),
        ({"neglected_gain": np.full(4, -1.0)}, "`neglected_gain` must be >= 0 everywhere"),
        ({"large_scale_direct_gain": np.ones(4)}, "`large_scale_crossed_gain` must stand beside"),
        (
            {"large_scale_direct_gain": np.ones((5, 4)), "large_scale_crossed_gain": np.ones(12)},
            r"`large_scale_direct_gain` must have the shape \(4,\), got \(5, 4\)",
        ),
        (
            {"neglected_gain": np.ones(3)},
            r"`neglected_gain` must have the shape \(4,\), got \(3,\)",
        ),
    ],
)
def test_broken_lists_are_named(
    tmp_path: Path, change: dict[str, np.ndarray], message: str
) -> None:
    path = _save(tmp_path / "lists.npz", **{**_lists(_gain(5)), **change})
    with pytest.raises(ValueError, match=rf"^lists\.npz: {message}"):
        load_samples(path)


def test_lists_and_their_absence_are_not_mixed(tmp_path: Path) -> None:
    lists = _lists(_gain(5))
    whole = _save(tmp_path / "whole.npz", **lists)
    dense = load_samples(_save(tmp_path / "dense.npz", gain=_gain(5)))
    with pytest.raises(ValueError, match=r"whole\.npz: `source` must be left out beside dense"):
        load_samples(whole, of=dense.gain)
    fewer = {name: value[..., 1:] for name, value in lists.items() if name != "direct_gain"}
    path = _save(tmp_path / "fewer.npz", direct_gain=lists["direct_gain"], **fewer)
    with pytest.raises(ValueError, match=r"`source` must name the pairs of the network's other"):
        load_samples(path, of=load_samples(whole).gain)
    without = {name: value for name, value in lists.items() if name != "target"}
    with pytest.raises(ValueError, match="`target` must stand beside the other lists, got"):
        load_samples(_save(tmp_path / "without.npz", **without))
