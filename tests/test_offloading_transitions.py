"""What a replay keeps of offloading comes back as it was."""

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.models.offloading import Wishes
from metagnn.offloading_action import joint_action
from metagnn.offloading_agents import interference_edges
from metagnn.offloading_place import Place
from metagnn.offloading_transitions import as_entry, as_transitions, entries
from metagnn.tasks.offloading.scenario import Radio

# Two cells of three users, and two channels: one user of each cell computes locally.
PLACE = Place(num_cells=2, users_per_cell=3, radio=Radio(num_channels=2))


def _randn(name: str, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, name))


@pytest.mark.parametrize("looks_ahead", [False, True])
def test_a_transition_comes_back_as_it_was(looks_ahead: bool) -> None:
    environment = PLACE.environment(2)
    before = environment.reset(4, generator(1, "networks"))
    after = PLACE.environment(2).reset(4, generator(2, "networks"))
    cell = environment.cells.cell
    said = (_randn("ratio", 4, 6), _randn("score", 4, 6, 2), _randn("level", 4, 6, 2))
    action = joint_action(Wishes(*said, _randn("need", 4, 6)), cell, 2)
    parts, gain = _randn("parts", 4, 6, 4), environment.large_scale_gain
    kept = as_entry(gain, before, action, parts, after if looks_ahead else None)
    shapes = {name: tuple(value.shape[1:]) for name, value in kept.items()}
    assert shapes == entries(6, 2, 2, looks_ahead)

    found = as_transitions(kept, cell, environment.radio)
    assert found.reward.equal(parts)
    for name in ("place", "ratio", "share"):
        assert getattr(found.action, name).equal(getattr(action, name))
    on_it = action.place > 0.5
    assert on_it.sum((1, 2)).tolist() == [4] * 4
    assert found.action.level[on_it].equal(action.level[on_it])
    assert not action.level[on_it].equal(action.level[~on_it][: on_it.sum()])
    assert found.observation.graph.node.equal(before.node)
    torch.testing.assert_close(found.observation.graph.edge_weight, before.edge_weight)
    assert found.observation.edges.equal(interference_edges(gain, cell, environment.radio))
    assert (found.next_observation is not None) == looks_ahead
    if found.next_observation is not None:
        assert found.next_observation.graph.node.equal(after.node)
        assert not after.node.equal(before.node)
