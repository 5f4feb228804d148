"""Metrics of an episode by hand."""

from typing import Any

import pytest
import torch

from metagnn.graphs.interference import DenseGraph
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.environment import Outcome
from metagnn.tasks.spectrum_allocation.metrics import episode_metrics, jain_index


def _step(reward: float, **changed: Any) -> Step[Outcome]:
    """One copy, two users, three links."""
    nothing = torch.zeros(1, 2, dtype=torch.float64)
    values: dict[str, Any] = {
        "delivered_bit": nothing,
        "dropped_bit": nothing,
        "offered_bit": nothing,
        "moved_bit": torch.zeros(1, 3),
        "sinr": torch.zeros(1, 3, 1),
        "failed": torch.zeros(1, 3),
        "starved": torch.zeros(1, 3, dtype=torch.bool),
        "band_reward": torch.zeros(1, 1),
        "latency_violation": torch.zeros(1, 2, dtype=torch.bool),
        "age": torch.zeros(1, 2, dtype=torch.long),
    }
    graph = DenseGraph(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 3))
    no = torch.zeros(1, dtype=torch.bool)
    return Step(graph, torch.full((1, 2), reward), no, no, Outcome(**{**values, **changed}))


def _bits(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_metrics_by_hand() -> None:
    steps = [
        _step(
            1.0,
            offered_bit=_bits(4e4, 8e4),
            failed=torch.tensor([[0.25, 0.0, 0.5]]),
            starved=torch.tensor([[True, False, False]]),
        ),
        _step(
            0.5,
            offered_bit=_bits(0.0, 0.0),
            delivered_bit=_bits(4e4, 4e4),
            dropped_bit=_bits(0.0, 3e4),
            latency_violation=torch.tensor([[False, True]]),
        ),
    ]
    found = episode_metrics(steps, 0.01)
    assert float(found.throughput_mbit_s) == pytest.approx(8e4 / 0.02 / 1e6)
    assert float(found.failed) == pytest.approx(0.75 / 6)
    assert float(found.starved) == pytest.approx(1 / 6)
    # A link that is starved is so wholly.
    assert float(found.sinr_violation) == pytest.approx(1.5 / 6)
    assert float(found.latency_violation) == pytest.approx(1 / 4)
    # Shares 1 and 1/2.
    assert float(found.jain) == pytest.approx(1.5**2 / (2 * 1.25))
    assert float(found.dropped) == pytest.approx(3 / 12)
    assert float(found.reward) == pytest.approx(0.75)


def test_nothing_delivered_is_not_fair() -> None:
    found = episode_metrics([_step(0.0, offered_bit=_bits(1.0, 1.0))], 0.01)
    assert float(found.jain) == 0.0
    silent = episode_metrics([_step(0.0)], 0.01)
    assert float(silent.jain) == float(silent.dropped) == 0.0


def test_users_for_whom_nothing_came_do_not_count() -> None:
    value, counts = torch.tensor([[0.5, 0.5, 9.0]]), torch.tensor([[True, True, False]])
    assert float(jain_index(value, counts)) == pytest.approx(1.0)
    assert float(jain_index(value, torch.tensor([[True] * 3]))) < 0.5


def test_episodes_that_are_refused() -> None:
    with pytest.raises(ValueError, match="`steps` must hold a step, got 0"):
        episode_metrics([], 0.01)
    with pytest.raises(ValueError, match=r"`slot_s` must be finite and > 0, got 0.0"):
        episode_metrics([_step(0.0)], 0.0)
