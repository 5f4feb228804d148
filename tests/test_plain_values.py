from dataclasses import asdict, dataclass
from typing import Any, Literal

import pytest

from metagnn.offloading_place import Place
from metagnn.plain_values import from_plain, plain
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.offloading.scenario import Computing, Radio
from metagnn.tasks.spectrum_allocation.radio import Radio as BandRadio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["1", "2"] = "1"


@dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    ends: tuple[float, float] = (0.0, 1.0)
    widths: tuple[int, ...] = (3,)
    name: str = ""


@pytest.mark.parametrize(
    "value",
    [
        Outer(Inner(2.0, "2"), (1.0, 2.0), (4, 5, 6), "1e3"),
        Place(users_per_cell=(1, 2, 3), num_cells=3, radio=Radio(num_channels=4)),
        Place("fixed", computing=Computing(user_hz=(1e9, 2e9))),
        SpectrumPlace(ScenarioFamily(network="nycmesh"), BandRadio(num_bands=3)),
    ],
)
def test_dataclasses_come_back(value: Any) -> None:
    assert from_plain(type(value), plain(asdict(value)), "value") == value


def test_plain_values_hold_lists() -> None:
    assert plain({"a": (1, {"b": (2.0,)})}) == {"a": [1, {"b": [2.0]}]}


def test_what_is_not_given_is_as_by_default() -> None:
    assert from_plain(Outer, {"inner": {"kind": "2"}}, "outer") == Outer(Inner(kind="2"))


def test_numbers_in_words_are_numbers_where_these_are_wanted() -> None:
    values = {"inner": {"rate": "1e-3", "kind": "2"}, "ends": ["1e9", 2], "name": "1e3"}
    assert from_plain(Outer, values, "outer") == Outer(Inner(1e-3, "2"), (1e9, 2), (3,), "1e3")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"outer": 1}, "`it` must have keys among .*, got 'outer'"),
        ({"inner": {"speed": 1}}, r"`it.inner` must have keys among .*, got 'speed'"),
        ({"inner": {"rate": "fast"}}, "`it.inner.rate` must be a number, got 'fast'"),
        ({"ends": [0.0, "end"]}, "`it.ends` must be a number, got 'end'"),
    ],
)
def test_values_that_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_plain(Outer, values, "it")
