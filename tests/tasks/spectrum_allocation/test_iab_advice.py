"""What nodes reckon from what they are told, by plain loops."""

from dataclasses import replace

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.tasks.spectrum_allocation.advice import told, told_worth
from metagnn.tasks.spectrum_allocation.environment import Action, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.search import (
    Contest,
    contest,
    coordinate_search,
    differential_backlog_bit,
    levels_of_choices,
)
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, State

RADIO = Radio()


def _state(batch: int = 6) -> State:
    environment = SpectrumAllocation(ScenarioFamily(num_users=5), RADIO, 20)
    environment.reset(batch, generator(0))
    for number in range(12):
        level = torch.randint(5, environment.state.level.shape, generator=generator(1, number))
        environment.step(Action(level))
    return environment.state


def _contest(state: State, band: int = 1) -> Contest:
    scheduler = Scheduler(state, RADIO)
    link, weight = scheduler.offer_on(band), differential_backlog_bit(state)
    return contest(state, RADIO, band, link, scheduler.left_bit, weight)


def test_worths_are_of_one_choice_while_the_others_do_what_is_best() -> None:
    given = _contest(told(_state(), RADIO))
    best = coordinate_search(levels_of_choices(4), 3)(given)
    found, choices = told_worth(given), levels_of_choices(4)
    wanted = torch.zeros_like(found).double()
    for node in range(found.shape[1]):
        for number, roles in enumerate(choices):
            level = best.clone()
            level[:, 2 * node : 2 * node + 2] = roles
            wanted[:, node, number] = given.value(level.unsqueeze(1)).squeeze(1)
    largest = wanted.amax((1, 2), keepdim=True)
    assert bool((largest > 0).all())
    torch.testing.assert_close(found.double(), wanted / largest, atol=1e-6, rtol=1e-6)
    assert found.amax((1, 2)).tolist() == pytest.approx([1.0] * 6)


def test_nothing_waits_and_nothing_is_worth_anything() -> None:
    given = _contest(told(_state(), RADIO))
    nothing = replace(given, left_bit=torch.zeros_like(given.left_bit))
    assert not bool(told_worth(nothing).any())


def test_incumbents_and_fading_between_links_are_not_told() -> None:
    state = _state()
    known = told(state, RADIO)
    loud = replace(state, incumbent_w=state.incumbent_w + 1e-9)
    sender = state.networks.transmitter[:, None, None].expand(-1, 5, -1, -1)
    own = torch.zeros_like(state.gain, dtype=torch.bool).scatter(2, sender, True)
    faded = replace(state, gain=torch.where(own, state.gain, 2.0 * state.gain))
    for other in (loud, faded):
        again = told(other, RADIO)
        assert torch.equal(again.gain, known.gain)
        assert torch.equal(again.incumbent_w, known.incumbent_w)
    assert torch.equal(known.incumbent_w, state.heard.outside_w)
    assert float(state.heard.outside_w.max()) > 10.0 * RADIO.noise_w
    assert torch.equal(known.gain[own], state.gain[own])
    whole = state.mean_gain.unsqueeze(1).expand_as(state.gain)
    assert torch.equal(known.gain[~own], whole[~own])
