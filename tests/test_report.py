"""What a page shows is what the files say; files that are not whole are named."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import adaptation_folder, comparison_folder, training_folder

from metagnn import report
from metagnn.cli import main
from metagnn.duality import Interval
from metagnn.ergodic_interval import ErgodicInterval
from metagnn.gap_file import write_gaps
from metagnn.report import collect


def _edit(path: Path, change: Callable[[Any], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_comparison_is_collected(tmp_path: Path) -> None:
    found = collect(comparison_folder(tmp_path, (3, 2)))
    facts = dict(found.facts)
    assert facts["configuration"] == "power_control"
    assert facts["seed"] == "3"
    assert facts["networks"] == "2 of 2 to 3 links"
    assert facts["versions"] == "metagnn 1.2.3"
    assert found.metrics["itlinq"]["mean_rate"] == (3.0, 2.7, pytest.approx(3.3))
    stored = json.loads((tmp_path / "networks.json").read_text())["networks"][1]
    network = found.networks[1]
    assert (network.number, network.num_links, network.layout) == (1, 2, "map")
    assert network.receiver == [(40.0, 10.0), (160.0, 10.0)]
    learned, baseline = network.policies["metagnn"], network.policies["itlinq"]
    assert learned.power_w == stored["policies"]["metagnn"]["power_w"]
    assert learned.slack == stored["policies"]["metagnn"]["slack"]
    assert learned.multiplier == stored["policies"]["metagnn"]["multiplier"]
    assert learned.lagrangian == [3.0, 3.1, 3.15]
    assert (baseline.slack, baseline.multiplier, baseline.minimum_rate) == (None, None, None)
    rows = [row.split(",") for row in (tmp_path / "rates.csv").read_text().splitlines()[1:]]
    assert baseline.rate == [float(r) for p, n, _, r in rows if (p, n) == ("itlinq", "1")]
    assert found.rates["metagnn"] == [float(rate) for p, _, _, rate in rows if p == "metagnn"]


def test_gains_without_positions_stand_on_a_circle(tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path)
    ends = {"transmitter_m": None, "receiver_m": None}
    _edit(folder / "networks.json", lambda document: document["networks"][0].update(ends))
    (network,) = collect(folder).networks
    assert network.layout == "circle"
    assert network.transmitter is not None
    assert np.hypot(*np.transpose(network.transmitter)) == pytest.approx(1.0, abs=1e-3)


def test_an_older_comparison_has_no_map(tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path)
    (folder / "networks.json").unlink()
    found = collect(folder)
    assert [network.layout for network in found.networks] == ["none"]
    assert found.networks[0].policies["metagnn"].power_w is None
    assert any("networks.json" in note for note in found.notes)


def test_no_more_links_are_drawn_than_a_page_bears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "MAX_LINKS", 5)
    found = collect(comparison_folder(tmp_path, (3, 2, 3)))
    assert [network.number for network in found.networks] == [0, 1]
    assert len(found.rates["metagnn"]) == 8
    assert any("2 of 3 networks are drawn" in note for note in found.notes)


def test_a_training_run_is_collected(tmp_path: Path) -> None:
    found = collect(training_folder(tmp_path / "NAME" / "version_0"))
    assert found.title == "Training run NAME/version_0"
    facts = dict(found.facts)
    assert (facts["seed"], facts["epochs"]) == ("7", "4")
    assert facts["versions"] == "metagnn 1.2.3, python 3.11.7"
    assert found.config is not None
    assert "max_epochs: 4" in found.config
    curves = {curve.name: curve for curve in found.curves}
    assert list(curves) == ["lagrangian", "mean_rate", "validation_mean_rate_20"]
    assert curves["lagrangian"].x == [0.0, 1.0, 2.0, 3.0]
    assert curves["lagrangian"].mean == [1.0, 1.1, 1.2, 1.3]
    assert (curves["validation_mean_rate_20"].x, curves["validation_mean_rate_20"].mean) == (
        [1.0],
        [3.25],
    )
    assert {curve.unit for curve in found.curves} == {"bit/s/Hz"}


def test_long_curves_become_means_with_a_band(tmp_path: Path) -> None:
    folder = training_folder(tmp_path)
    values = [*range(999), float("nan")]
    rows = [f"{epoch},{value}" for epoch, value in enumerate(values)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,loss", *rows]))
    (curve,) = collect(folder).curves
    assert curve.per_point == 3
    assert len(curve.x) == 334
    assert (curve.x[0], curve.mean[0], curve.low[0], curve.high[0]) == (1.0, 1.0, 0.0, 2.0)
    assert (curve.mean[-1], curve.not_finite) == (None, 1)
    assert curve.unit == "as logged"


def test_an_adaptation_is_collected(tmp_path: Path) -> None:
    gain = 1e-11 * np.random.default_rng(0).exponential(size=(12, 3, 3))
    gain[:, range(3), range(3)] *= 1e3
    np.savez(tmp_path / "gain.npz", gain=gain)
    path, out = str(tmp_path / "gain.npz"), tmp_path / "out"
    main(["adapt", path, "--test", path, "--steps", "2", "--out", str(out), "--json"])
    found = collect(out)
    stored = json.loads((out / "report.json").read_text())
    with np.load(out / "power.npz", allow_pickle=False) as arrays:
        power_w = arrays["power_w"].mean(0)
    (network,) = found.networks
    policy = network.policies["metagnn"]
    assert network.layout == "circle"
    assert policy.power_w == pytest.approx(power_w.tolist(), rel=1e-5)
    assert (policy.rate, policy.slack) == (stored["rate"], stored["slack"])
    assert policy.multiplier == stored["multiplier"]
    assert len(policy.lagrangian or ()) == 2
    large_scale = gain.mean(0)
    assert network.direct_gain == pytest.approx(np.diagonal(large_scale).tolist(), rel=1e-4)
    assert network.interferers is not None
    strongest = {k: max({0, 1, 2} - {k}, key=lambda i: large_scale[i, k]) for k in range(3)}
    assert {k: pairs[0][0] for k, pairs in enumerate(network.interferers)} == strongest


def test_gaps_come_from_intervals(tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path)
    rate = torch.ones(3)
    intervals = {0: Interval(2.5, 2.75, 3.0, "exact", rate, rate, rate, 3.0, 2.9)}
    rule = r"`values\['wmmse'\]` must have a finite value of each network, got \[0\]"
    for values in ({1: 2.0}, {0: float("inf")}, {0: float("nan")}):
        with pytest.raises(ValueError, match=rule):
            write_gaps(folder, intervals, "metagnn", {"wmmse": values})
    write_gaps(folder, intervals, "metagnn")
    assert collect(folder).gaps[0].values == {}
    assert collect(folder).gaps[0].distribution is None
    ergodic = {0: ErgodicInterval(2.0, 2.5, 3.0, 3.5, 0.9)}
    write_gaps(folder, intervals, "metagnn", {"wmmse": {0: 2.0}}, ergodic)
    (gap,) = collect(folder).gaps
    expected = {"network": 0, "num_links": 3, "policy": "metagnn", "primal": 2.5}
    expected |= {"best_known": 2.75, "dual": 3.0, "bound": "exact", "values": {"wmmse": 2.0}}
    expected |= {"undecided": pytest.approx(0.1), "distribution": (2.0, 3.5, 0.9)}
    assert asdict(gap) == expected
    (row,) = json.loads((folder / "gap.json").read_text())["networks"]
    assert row["mu"] == row["minimum_rate"] == [1.0, 1.0, 1.0]
    _edit(folder / "gap.json", lambda d: d["networks"][0].update(undecided=-1.0))
    with pytest.raises(ValueError, match=r"must hold a number >= 0 in networks.undecided, got -1"):
        collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"][0].pop("undecided"))
    _edit(folder / "gap.json", lambda d: d["networks"][0]["distribution"].update(low=None))
    rule = r"must hold numbers as \('low', 'high', 'confidence'\), in order"
    with pytest.raises(ValueError, match=rule):
        collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"][0]["distribution"].update(low=9.0))
    with pytest.raises(ValueError, match=rule):
        collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"][0].pop("distribution"))
    (gap,) = collect(folder).gaps
    assert (gap.undecided, gap.distribution) == (None, None)
    _edit(folder / "gap.json", lambda d: d["networks"][0].update(values={"wmmse": "much"}))
    with pytest.raises(ValueError, match=r"must hold numbers by policy in networks.values"):
        collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"][0].update(values={"wmmse": 3.1}))
    with pytest.raises(ValueError, match=r"must hold no value above dual in networks.values"):
        collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"][0].pop("values"))
    assert collect(folder).gaps[0].values == {}
    _edit(folder / "gap.json", lambda d: d["networks"].append(d["networks"][0]))
    with pytest.raises(ValueError, match=r"must hold each network once, got \[0\]"):
        collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"].pop())
    for wrong, match in ((0.7, "must hold whole numbers"), (10**400, "must hold numbers as")):
        _edit(folder / "gap.json", lambda d, to=wrong: d["networks"][0].update(network=to))
        with pytest.raises(ValueError, match=match):
            collect(folder)
    _edit(folder / "gap.json", lambda d: d["networks"][0].update(network=0))
    _edit(folder / "gap.json", lambda document: document["networks"][0].update(num_links=4))
    with pytest.raises(ValueError, match=r"gap.json. must hold networks of this page"):
        collect(folder)
    (folder / "gap.json").unlink()
    # Those of the study are of other networks.
    (folder / "duality_3.csv").write_text(
        "num_links,network,metagnn,best_known,dual,bound\n3,7,-1.5,2.0,2.25,branch_and_bound\n"
    )
    assert collect(folder).gaps == []


def test_gaps_of_another_network_are_no_part_of_an_adaptation(tmp_path: Path) -> None:
    folder = adaptation_folder(tmp_path)
    num_links = len(json.loads((folder / "report.json").read_text())["rate"])
    for number, size, fits in ((0, num_links, True), (1, num_links, False), (0, 40, False)):
        rate = torch.ones(size)
        write_gaps(
            folder,
            {number: Interval(2.5, 2.7, 3.0, "exact", rate, rate, rate, 3.0, 2.9)},
            "metagnn",
        )
        if fits:
            assert len(collect(folder).gaps) == 1
            continue
        with pytest.raises(ValueError, match=r"gap.json. must hold networks of this page"):
            collect(folder)


def _spoil(path: Path, content: str | None) -> None:
    """Write other content, or take the file away."""
    if content is None:
        path.unlink()
    else:
        path.write_text(content)


def _is_named(path: Path, message: str) -> None:
    """Require that the error about a folder names the file and says so."""
    with pytest.raises(ValueError, match="must") as error:
        collect(path.parent)
    assert message in str(error.value)
    assert f"`{path}` must" in str(error.value)


def _drop(key: str, *path: Any) -> Callable[[Any], object]:
    def change(document: Any) -> None:
        for step in path:
            document = document[step]
        del document[key]

    return change


_OF_METAGNN = ("networks", 0, "policies", "metagnn")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("comparison.json", _drop("policies"), "must hold `policies`"),
        ("comparison.json", _drop("min_rate", "policies", "itlinq"), "`policies.itlinq.min_rate`"),
        ("comparison.json", _drop("itlinq", "policies"), "hold the policies of comparison.json"),
        ("networks.json", _drop("noise_w"), "must hold `noise_w`"),
        ("networks.json", _drop("multiplier", *_OF_METAGNN), "policies.metagnn.multiplier`"),
        ("networks.json", _drop("power_w", *_OF_METAGNN), "policies.metagnn.power_w`"),
        ("networks.json", lambda d: d["networks"].clear(), "the 1 networks of rates.csv, got 0"),
        (
            "networks.json",
            lambda d: d["networks"][0]["policies"]["metagnn"]["slack"].pop(),
            "must hold 3 numbers in networks[0].policies.metagnn.slack, got 2",
        ),
        (
            "networks.json",
            lambda d: d["networks"][0]["direct_gain"].__setitem__(1, "<b>"),
            "finite numbers in networks[0].direct_gain",
        ),
        (
            "networks.json",
            lambda d: d["networks"][0]["interferers"].__setitem__(0, [[99, 1.0]]),
            "pairs of link and gain",
        ),
        ("networks.json", lambda d: d["networks"][0]["transmitter_m"].pop(), "hold 3 positions"),
    ],
)
def test_what_is_missing_in_json_is_named(
    file: str, change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    folder = comparison_folder(tmp_path)
    _edit(folder / file, change)
    with pytest.raises(ValueError, match="must") as error:
        collect(folder)
    assert message in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("comparison.json", "", "must not be empty"),
        ("comparison.json", '{"policies": {"metagnn": {"mean', "must be whole JSON"),
        ("comparison.json", "[1]", "must hold a JSON object, got list"),
        ("comparison.json", '{"policies": [1]}', "must hold an object of policies"),
        ("comparison.json", '{"policies": NaN}', "must be whole JSON, got the number NaN"),
        ("networks.json", "{", "must be whole JSON"),
        ("rates.csv", None, "must exist, got no such file"),
        ("rates.csv", "policy,network,link,rate_bit_s_hz\n", "must have rows below its header"),
        ("rates.csv", "policy,rate\na,1\n", "must have the columns"),
        ("rates.csv", "policy,network,link,rate_bit_s_hz\nmetagnn,0,0\n", "got 3 in line 2"),
        ("rates.csv", "policy,network,link,rate_bit_s_hz\nmetagnn,0,1,2\n", "from 0 in order"),
        ("rates.csv", "policy,network,link,rate_bit_s_hz\nmetagnn,0,0,nan\n", "finite rates"),
        ("gap.json", '{"policy": "metagnn", "networks": [{}]}', "must hold `networks.network`"),
    ],
)
def test_files_that_are_not_whole_are_named(
    file: str,
    content: str | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = comparison_folder(tmp_path)
    _spoil(folder / file, content)
    before = sorted(folder.iterdir())
    with pytest.raises(SystemExit) as stop:
        main(["report", str(folder)])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert f"`{folder / file}` must" in printed
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.csv", None, "must exist"),
        ("metrics.csv", "", "must not be empty"),
        ("metrics.csv", "epoch,loss\n", "must have rows"),
        ("metrics.csv", "epoch,loss\n0,1,2\n", "must have 2 fields in each row"),
        ("metrics.csv", "epoch,loss\n0,high\n", "got 'high' in line 2, column loss"),
        ("metrics.csv", "epoch,epoch\n0,1\n", "must name each column once"),
        ("metrics.csv", "time,loss\n0,1\n", "must have a column epoch or step"),
        ("metrics.csv", "epoch,loss\n,1\n", "a finite number in each row of epoch"),
        ("metrics.csv", "epoch,step\n0,1\n", "must hold at least one metric"),
        ("config.yaml", None, "must exist"),
        ("config.yaml", "a: [", "must be whole YAML"),
        ("config.yaml", "text\n", "must hold a YAML mapping"),
    ],
)
def test_incomplete_training_runs_are_named(
    file: str, content: str | None, message: str, tmp_path: Path
) -> None:
    folder = training_folder(tmp_path)
    _spoil(folder / file, content)
    _is_named(folder / file, message)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("power.npz", None, "must exist, got no such file"),
        ("power.npz", "PK", "must be an intact .npz with `power_w`"),
        ("report.json", "", "must not be empty"),
        ("report.json", '{"rate": [1.5, 2', "must be whole JSON"),
    ],
)
def test_adaptations_that_are_not_whole_are_named(
    file: str, content: str | None, message: str, tmp_path: Path
) -> None:
    folder = adaptation_folder(tmp_path)
    collect(folder)
    _spoil(folder / file, content)
    _is_named(folder / file, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("rate"), "must hold `rate`"),
        (lambda d: d["rate"].clear(), "must hold at least one link in rate, got none"),
        (lambda d: d["rate"].pop(), "must hold power_w of 2 links, got (2, 3)"),
        (_drop("noise_w"), "must hold `noise_w`"),
        (_drop("jain"), "must hold `jain`"),
        (lambda d: d.update(jain="high"), "must hold numbers as metrics"),
        (lambda d: d["slack"].pop(), "must hold 3 numbers in .slack, got 2"),
        (lambda d: d["links"]["receiver_m"].pop(), "must hold 3 positions in links, got 2"),
        (lambda d: d.update(refined="no"), "must hold true or false as refined, got no"),
    ],
)
def test_what_is_missing_in_an_adaptation_is_named(
    change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    folder = adaptation_folder(tmp_path)
    _edit(folder / "report.json", change)
    with pytest.raises(ValueError, match="must") as error:
        collect(folder)
    assert message in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(("refined", "name"), [(False, "metagnn"), (True, "metagnn_refined")])
def test_an_adaptation_is_shown_as_what_it_is(refined: bool, name: str, tmp_path: Path) -> None:
    folder = adaptation_folder(tmp_path, refined=refined)
    found = collect(folder)
    assert list(found.metrics) == list(found.rates) == list(found.networks[0].policies) == [name]
    if not refined:  # which older versions did not say
        _edit(folder / "report.json", _drop("refined"))
        assert list(collect(folder).metrics) == [name]


def test_other_folders_are_refused_and_runs_inside_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a folder, got none of that name"):
        collect(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"comparison\.json, rates\.csv.*got one with nothing"):
        collect(tmp_path)
    inside = training_folder(tmp_path / "version_0")
    with pytest.raises(ValueError, match="runs inside") as error:
        collect(tmp_path)
    assert str(inside) in str(error.value)


def test_a_comparison_of_other_tasks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text('{"num_cells": 2, "num_seeds": {}}')
    with pytest.raises(ValueError, match="must be of a comparison of power control"):
        collect(tmp_path)
