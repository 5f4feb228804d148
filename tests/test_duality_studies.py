"""The studies of duality gaps: what their tables say of their files, and checks that can fail."""

import math
from dataclasses import replace
from pathlib import Path

import duality_study
import duality_violations
import pytest
import refinement_choices
import refinement_study
from study_runs import Row

from metagnn.meta_parameters import load_meta_parameters
from metagnn.tasks.power_control.weighted_bound import WeightedBound, weighted_bound


def _row(network: int, dual: float = 12.0, **values: float) -> Row:
    numbers = dict.fromkeys(duality_study.HEADER, 10.0) | {"network": network, "num_samples": 128}
    numbers["max_boxes"] = 4000
    numbers |= {"best_known": 11.0, "ergodic_low": 8.0, "ergodic_high": 14.0, "sum_rate": 20.0}
    row = {name: str(value) for name, value in (numbers | values).items()}
    return row | {"dual": str(dual), "bound": "exact" if network == 0 else "branch_and_bound"}


def test_the_table_counts_networks_without_a_value_and_above_the_bound() -> None:
    rows = [_row(0), _row(1), _row(2, metagnn=-1.0), _row(3, itlinq=12.1), _row(4, wmmse=-2.0)]
    lines = duality_study.lines_of({4: rows})
    header = next(line for line in lines if line.startswith("| K | networks"))
    cells = next(line for line in lines if line.startswith("| 4 | 5"))
    found = dict(zip(header.strip("| ").split(" | "), cells.strip("| ").split(" | "), strict=True))
    assert found["(D - P) / P, MetaGNN [%]"].startswith("20.00 [20.00, ")
    assert found["(D - P) / P, MetaGNN [%]"].endswith("inf]")
    assert found["(D - B) / B [%]"] == "9.09 [9.09, 9.09]"
    assert found["distribution [%]"] == "75.00 [75.00, 75.00]"
    assert (found["exact"], found["above D"], found["P <= 0"]) == ("1", "1", "1")
    assert math.isinf(duality_study.relative(rows[2], "metagnn"))
    # Most without a value: there is no gap.
    lines = duality_study.lines_of({4: [_row(n, metagnn=-1.0) for n in range(3)]})
    assert any("| inf [inf, inf] |" in line for line in lines)


def test_rows_are_kept_and_those_of_other_samples_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duality_study, "RESULTS", tmp_path)
    measured = []

    def network_row(_: object, num_links: int, index: int, samples: int) -> tuple[object, ...]:
        measured.append(index)
        return tuple(_row(index, num_samples=samples).values())

    monkeypatch.setattr(duality_study, "network_row", network_row)
    parameters = load_meta_parameters("power_control")
    duality_study.measure(parameters, 4, 2, 3, 128)
    duality_study.measure(parameters, 4, 4, 2, 128)
    assert measured == [3, 4, 2, 5]
    rows = duality_study.read(tmp_path / "duality_4.csv")
    assert [row["network"] for row in rows] == ["3", "4", "2", "5"]
    with pytest.raises(ValueError, match=r"`duality_4.csv` must hold 64 samples .* got '128'"):
        duality_study.measure(parameters, 4, 1, 0, 64)
    monkeypatch.setitem(duality_study.EFFORT, 4, (1e-4, 8000))
    with pytest.raises(ValueError, match="must hold bounds of 8000 boxes, got '4000'"):
        duality_study.measure(parameters, 4, 1, 0, 128)


def test_a_network_is_bracketed_on_half_of_its_samples() -> None:
    parameters = load_meta_parameters("power_control")
    quick = replace(parameters, adaptation=replace(parameters.adaptation, num_epochs=0))
    values = duality_study.network_row(quick, 2, 0, 16)
    row = dict(zip(duality_study.HEADER, map(str, values), strict=True))
    assert not duality_study.is_above(row)
    assert float(row["metagnn"]) <= float(row["best_known"]) <= float(row["dual"])
    assert float(row["ergodic_low"]) < float(row["ergodic_high"])
    with pytest.raises(ValueError, match=r"`samples` must lie in \[2, 256\], got 300"):
        duality_study.network_row(quick, 2, 0, 300)


@pytest.mark.parametrize("num_links", [2, 8])
def test_a_bound_that_is_too_low_is_a_violation(
    num_links: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = load_meta_parameters("power_control")
    monkeypatch.setattr(duality_violations, "NUM_SAMPLES", 4)
    monkeypatch.setattr(duality_violations, "MAX_BOXES", 200)

    def row() -> Row:
        values = duality_violations.network_row(parameters, num_links, 0)
        return dict(zip(duality_violations.HEADER, map(str, values), strict=True))

    sound = row()
    assert not duality_violations.is_violated(sound)
    assert float(sound["least_margin"]) >= 0.0

    def lowered(*arguments: object) -> WeightedBound:
        found = weighted_bound(*arguments)  # type: ignore[arg-type]
        return replace(found, proven=0.7 * found.value)

    monkeypatch.setattr(duality_violations, "weighted_bound", lowered)
    wrong = row()
    assert int(wrong["below"]) == 4
    assert duality_violations.is_violated(wrong)
    (of_size, of_all) = duality_violations.lines_of([sound, wrong])[2:]
    assert of_size.startswith(f"| {num_links} | 2 | 8 | 1 | -")
    assert of_all.startswith("| all | 2 | 8 | 1 | -")
    above = {**sound, "best_policy": str(1.001 * float(sound["dual"]) + 0.001)}
    assert duality_violations.is_violated(above)


def test_refined_policies_are_set_beside_the_bound_of_the_study() -> None:
    parameters = load_meta_parameters("power_control")
    quick = replace(parameters, adaptation=replace(parameters.adaptation, num_epochs=0))
    before = dict(
        zip(duality_study.HEADER, map(str, duality_study.network_row(quick, 2, 0, 64)), strict=True)
    )
    values = refinement_study.network_row(quick, 2, before)
    row = dict(zip(refinement_study.HEADER, map(str, values), strict=True))
    assert float(row["metagnn"]) == pytest.approx(float(before["metagnn"]), rel=1e-6)
    assert float(row["metagnn"]) < float(row["refined"]) <= float(row["dual"])
    low = before | {"dual": before["metagnn"]}
    with pytest.raises(ValueError, match="`values` must lie below the bound"):
        refinement_study.network_row(quick, 2, low)
    other = before | {"metagnn": str(float(before["metagnn"]) * 1.01)}
    with pytest.raises(ValueError, match=r"`metagnn` must be .* as in duality_2.csv, network 0"):
        refinement_study.network_row(quick, 2, other)


def test_the_table_of_refinement_says_what_its_files_say() -> None:
    def row(network: int, *values: float) -> Row:
        cells = (4, network, *values, 12.0, 0.5)
        return dict(zip(refinement_study.HEADER, map(str, cells), strict=True))

    rows = [
        row(0, 8.0, 10.0, 11.0, 9.0),
        row(1, 8.0, 10.0, 11.0, 11.5),
        row(2, 8.0, 9.6, -1.0, 6.0),
    ]
    lines = refinement_study.lines_of({4: rows})
    first, second = (line for line in lines if line.startswith("| 4 | 3 |"))
    cells = [cell.split(" [")[0] for cell in first.strip("| ").split(" | ")]
    assert cells == ["4", "3", "50.00", "20.00", "9.09", "33.33", "1"]
    assert second == "| 4 | 3 | 2 | 2 | 1 | 0.50 (0.50 to 0.50) |"
    # As many of each size from eight on, those of lowest number.
    sizes, together = duality_study.pooled({4: rows, 8: rows[::-1], 12: rows[:2]})
    assert sizes == "8 + 12"
    assert [row["network"] for row in together] == ["0", "1", "0", "1"]
    lines = refinement_study.lines_of({4: rows, 8: rows, 12: rows[:1]})
    (line,) = (line for line in lines if line.startswith("| 8 + 12 | 2 |"))
    assert line.endswith("| 0 |")
    assert duality_study.pooled({4: rows}) == ("", [])


def test_numbers_of_single_links_are_compared_on_the_same_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refinement_choices, "PATH", tmp_path / "choices.csv")
    monkeypatch.setattr(refinement_choices, "SIZES", (3,))
    monkeypatch.setattr(refinement_choices, "NUM_SCORED", 8)
    parameters = load_meta_parameters("power_control")
    quick = replace(parameters, adaptation=replace(parameters.adaptation, num_epochs=0))
    refinement_choices.measure(quick, 1)
    rows = refinement_choices.read(tmp_path / "choices.csv")
    assert [row["num_alone"] for row in rows] == ["0", "2", "3"]
    refinement_choices.measure(quick, 1)
    assert len(refinement_choices.read(tmp_path / "choices.csv")) == 3
    for row, value in zip(rows, ("5.0", "5.25", "4.5"), strict=True):
        row.update(primal=value, multiplier_seconds="2.0", power_ms="3.0")
    assert [line.split(" | ", 2)[2] for line in refinement_choices.lines_of(rows)[-3:]] == [
        "0 |  | 2.00 | 3.0 |",
        "2 | 0.250 | 2.00 | 3.0 |",
        "3 | -0.500 | 2.00 | 3.0 |",
    ]
