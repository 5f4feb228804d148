"""What the tables of the studies say of rows with a known answer."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "notebooks"))

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
