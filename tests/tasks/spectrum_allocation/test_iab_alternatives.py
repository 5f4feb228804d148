"""What other choices would have been worth, against trying them."""

from itertools import product

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.tasks.spectrum_allocation.band_reward import band_reward, prices
from metagnn.tasks.spectrum_allocation.environment import Action, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.search import levels_of_choices
from metagnn.tasks.spectrum_allocation.transmission import transmit

RADIO = Radio(num_bands=3, power_levels_dbm=(5.0, 23.0))


def _environment(slots: int, num_nodes: int = 3) -> tuple[SpectrumAllocation, Action]:
    """After some slots of random levels, and what the nodes are about to do."""
    family = ScenarioFamily(num_nodes=num_nodes, num_users=5)
    environment = SpectrumAllocation(family, RADIO, num_steps=30)
    environment.reset(6, generator(3))
    source = generator(4)

    def action() -> Action:
        level = torch.randint(3, tuple(environment.state.level.shape), generator=source)
        return Action(level)

    for _ in range(slots):
        environment.step(action())
    return environment, action()


def test_levels_of_choices_by_hand() -> None:
    assert levels_of_choices(RADIO.num_levels).tolist() == [[0, 0], [1, 0], [2, 0], [0, 1], [0, 2]]


@pytest.mark.parametrize("num_nodes", [2, 3])
def test_alternatives_are_the_rewards_of_bands_when_they_are_tried(num_nodes: int) -> None:
    environment, action = _environment(25, num_nodes)
    state = environment.state
    price = prices(state, RADIO, environment.failure_weight, environment.success_weight)
    assert float(price.success.max()) > 0.0
    found = environment.alternatives(action)
    assert found.shape == (6, num_nodes, 3, 5)
    assert float(found.std(-1).max()) > 0.05
    for node, band in product(range(num_nodes), range(3)):
        for number, (access, backhaul) in enumerate(levels_of_choices(RADIO.num_levels).tolist()):
            level = action.level.clone()
            level[:, node, 0, band], level[:, node, 1, band] = access, backhaul
            reward = band_reward(state, transmit(state, RADIO, level), price)
            torch.testing.assert_close(found[:, node, band, number], reward[:, band])


def test_asking_changes_nothing_and_what_cannot_be_done_is_refused() -> None:
    (asked, action), (silent, _) = _environment(5), _environment(5)
    asked.alternatives(action)
    first, second = asked.step(action), silent.step(action)
    assert torch.equal(first.reward, second.reward)
    assert torch.equal(first.observation.node, second.observation.node)
    with pytest.raises(ValueError, match=r"`level` must be in \[0, 2\], got 5"):
        asked.alternatives(Action(action.level + 3 * (action.level == 2)))
