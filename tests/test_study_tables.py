"""What the tables of the studies say of rows with a known answer."""

import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from metagnn.meta_parameters import load_meta_parameters

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))

import gap_sources
from offloading_table import (
    TRAINED_HERE,
    against_retrained,
    at_equal_guarantee,
    collapses,
    heuristic_energy_j,
)

CURVE = [
    {"margin_db": margin, "met": met, "energy_j": energy}
    for margin, met, energy in (
        ("0", "0.90", "0.05"),
        ("6", "0.95", "0.03"),
        ("10", "0.98", "0.04"),
        ("14", "0.96", "0.08"),
    )
]


def _rows(policy: str, met: list[float], energy_j: list[float]) -> list[dict[str, str]]:
    pairs = zip(met, energy_j, strict=True)
    return [
        {"policy": policy, "seed": str(s), "met": str(m), "energy_j": str(e), "reward": str(m)}
        for s, (m, e) in enumerate(pairs)
    ]


def test_the_heuristic_with_the_least_energy_of_a_guarantee_counts() -> None:
    assert heuristic_energy_j(CURVE, 0.95) == pytest.approx(0.03)
    assert heuristic_energy_j(CURVE, 0.97) == pytest.approx(0.03 + 0.01 * 2 / 3)
    assert heuristic_energy_j(CURVE, 0.925) == pytest.approx(0.04)
    assert heuristic_energy_j(CURVE, 0.981) is None
    assert heuristic_energy_j(CURVE, 0.89) is None


def test_energies_are_compared_at_equal_guarantee_and_the_rest_counted() -> None:
    rows = _rows("maddpg", [0.95, 0.98, 0.99], [0.015, 0.08, 0.02])
    ratio, beyond = at_equal_guarantee(rows, CURVE)
    assert "1.250" in ratio  # the mean of 0.015 / 0.03 and 0.08 / 0.04
    assert beyond.endswith(": 1")


def test_policies_from_elsewhere_are_compared_seed_by_seed() -> None:
    rows = _rows("maddpg", [0.9, 0.8], [0.02, 0.03])
    rows += _rows(f"maddpg{TRAINED_HERE}", [0.45, 0.4], [0.04, 0.06])
    met, energy, _ = against_retrained(rows)
    assert "2.000" in met
    assert "0.500" in energy
    assert against_retrained(_rows("maddpg", [0.9], [0.02])) == []


def test_a_run_that_ends_below_its_best_validation_has_collapsed() -> None:
    curves = [
        {"run": "6x10-maddpg", "seed": seed, "logged": "validation_met", "value": value}
        for seed, values in (("2", ("0.5", "0.97", "0.96")), ("3", ("0.5", "0.97", "0.90")))
        for value in values
    ]
    text = "\n".join(collapses(curves))
    assert "Of 2 runs 1 fell" in text
    assert "| 6x10-maddpg | -0.010 | -0.070 |" in text


def test_variants_of_the_gap_differ_in_what_they_name() -> None:
    shipped = load_meta_parameters("power_control")
    usual = gap_sources.setting(shipped, gap_sources.Variant({}, {}))
    names = {
        "width of the hidden layers": {"hidden_channels", "config_hidden_channels"},
        "hidden layers of the power network": {"num_layers"},
        "networks": {"num_networks"},
        "samples": {"num_samples"},
        "f_min threshold [bit/s/Hz]": {"minimum_rate_threshold"},
        "alpha": {"alpha"},
        "links": {"num_links"},
    }
    assert set(names) == set(gap_sources.SOURCES)
    for source, variants in gap_sources.SOURCES.items():
        found = [gap_sources.setting(shipped, one) for one in variants.values()]
        assert len(set(found)) == len(found), source
        # Each source holds the usual setting, to which the others are to be compared.
        assert usual in found, source
        for one in found:
            ours = {**asdict(one.shape), **asdict(one.problem), **asdict(one)}
            theirs = {**asdict(usual.shape), **asdict(usual.problem), **asdict(usual)}
            differ = {name for name in ours if ours[name] != theirs[name]}
            assert differ - {"shape", "problem"} <= names[source], source


def test_equal_settings_of_the_gap_are_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = load_meta_parameters("power_control")
    usual = gap_sources.Variant({}, {})
    other = gap_sources.Variant({}, {}, num_links=2)
    measured = []

    def values(one: gap_sources.Setting, *_: object) -> tuple[str, ...]:
        measured.append(one.num_links)
        return ("1.0", "1.5", "2.0", "10.0") if one.num_links == 4 else ("3.0", "3.5", "4.0", "5.0")

    monkeypatch.setattr(gap_sources, "PATH", tmp_path / "gap.csv")
    monkeypatch.setattr(gap_sources, "values", values)
    sources = {"samples": {"2048": usual}, "links": {"4": usual, "2": other}}
    monkeypatch.setattr(gap_sources, "SOURCES", sources)
    gap_sources.measure(shipped, 2, 1)
    assert measured == [4, 2, 4, 2]
    gap_sources.measure(shipped, 3, 1)
    assert measured == [4, 2, 4, 2, 4, 2]
    lines = gap_sources.table()[-3:]
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| samples", "2048", "3"],
        ["| links", "4", "3"],
        ["| links", "2", "3"],
    ]
    # (2 - 1) / 10 and (2 - 1.5) / 10; (4 - 3) / 5 and (4 - 3.5) / 5, in percent.
    assert [line.split(" | ")[3].split()[0] for line in lines] == ["10.00", "10.00", "20.00"]
    assert [line.split(" | ")[4].split()[0] for line in lines] == ["5.00", "5.00", "10.00"]


def test_a_policy_of_the_gap_is_scored_on_samples_that_it_did_not_learn_from() -> None:
    shipped = load_meta_parameters("power_control")
    variant = gap_sources.Variant({"hidden_channels": 4}, {}, num_links=2, num_samples=64)
    one = gap_sources.setting(shipped, variant)
    primal, best_known, dual, sum_rate = map(
        float, gap_sources.values(one, shipped.adaptation, 0, 1)
    )
    assert primal <= best_known <= dual
    assert sum_rate > 0.0
