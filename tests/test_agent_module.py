"""Facts of runs: what of two of them differs."""

from typing import Any

import pytest

from metagnn.agent_module import differing


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (1, 2, (1, 2)),
        ([1, 2], [1], ([1, 2], [1])),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, ({"b": 2}, {"b": 3})),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ({"a": {"c": 2}}, {"a": {"c": 3}})),
        ({"a": 1}, {}, ({"a": 1}, {"a": None})),
        ({}, {"a": 0}, ({"a": None}, {"a": 0})),
        (None, {"a": 1}, (None, {"a": 1})),
        ({"a": 1}, None, ({"a": 1}, None)),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, ({}, {})),
    ],
)
def test_only_what_differs_is_named(one: Any, other: Any, wanted: tuple[Any, Any]) -> None:
    assert differing(one, other) == wanted
    first, second = differing(one, other)
    assert (first == second) == (one == other)
