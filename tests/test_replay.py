"""A ring of bounded size: who leaves, what is drawn, what is refused, what a checkpoint holds."""

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.replay import Replay


def _filled(number: int, capacity: int = 5) -> Replay:
    replay = Replay(capacity, {"a": (2,), "b": ()})
    for first in range(0, number, 2):
        value = torch.arange(first, min(first + 2, number)).float()
        replay.add({"a": torch.stack([value, -value], dim=-1), "b": 10 * value})
    return replay


def test_the_oldest_leave_first() -> None:
    replay = _filled(7)
    assert len(replay) == 5
    assert sorted(replay.get_buffer("b").tolist()) == [20.0, 30.0, 40.0, 50.0, 60.0]
    assert len(_filled(3)) == 3


def test_only_what_was_added_is_drawn_and_entries_stay_together() -> None:
    drawn = _filled(3).sample(500, generator(0))
    assert set(drawn["b"].tolist()) == {0.0, 10.0, 20.0}
    torch.testing.assert_close(drawn["a"][:, 0], drawn["b"] / 10)
    torch.testing.assert_close(drawn["a"][:, 1], -drawn["b"] / 10)


def test_draws_are_uniform_and_a_function_of_the_generator() -> None:
    replay = _filled(5)
    drawn = replay.sample(20_000, generator(1))["b"]
    shares = [(drawn == 10.0 * value).double().mean().item() for value in range(5)]
    assert shares == pytest.approx([0.2] * 5, abs=0.015)
    assert replay.sample(20_000, generator(1))["b"].equal(drawn)


def test_a_state_dict_holds_all_of_it() -> None:
    replay, other = _filled(7), Replay(5, {"a": (2,), "b": ()})
    other.load_state_dict(replay.state_dict())
    added = {"a": torch.ones(2, 2), "b": torch.ones(2)}
    for one in (replay, other):
        one.add(added)
    assert len(other) == 5
    assert other.sample(50, generator(2))["b"].equal(replay.sample(50, generator(2))["b"])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_never_enter(wrong: float) -> None:
    replay = _filled(2)
    with pytest.raises(ValueError, match=rf"`transitions\['b'\]` must be finite, got {wrong}"):
        replay.add({"a": torch.ones(2, 2), "b": torch.tensor([1.0, wrong])})
    assert len(replay) == 2
    assert replay.get_buffer("a")[2:].abs().sum() == 0


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="`capacity` must be an integer >= 1, got 0"):
        Replay(0, {"a": ()})
    with pytest.raises(ValueError, match=r"`capacity` must need at most 79 bytes \(8 per"):
        Replay(10, {"a": (2,)}, most_bytes=79)
    replay = Replay(2, {"a": ()})
    with pytest.raises(ValueError, match="`replay` must hold a transition, got 0"):
        replay.sample(1, generator(0))
    with pytest.raises(ValueError, match="`transitions` must be at most 2 transitions, got 3"):
        replay.add({"a": torch.zeros(3)})
    message = r"`transitions` must have \('a',\), got \('b',\)"
    with pytest.raises(ValueError, match=message):
        replay.add({"b": torch.zeros(1)})
