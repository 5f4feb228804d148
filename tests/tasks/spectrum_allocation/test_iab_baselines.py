"""Baselines: exhaustive search against nested loops, bounds, who is on where, and their ranks."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from test_iab_transmission import pair, state_of
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.baselines import BASELINES, _conflicts
from metagnn.tasks.spectrum_allocation.environment import Action, Outcome, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.exhaustive import (
    MAX_COMBINATIONS,
    exhaustive_search,
    num_combinations,
)
from metagnn.tasks.spectrum_allocation.listening import Heard
from metagnn.tasks.spectrum_allocation.metrics import episode_metrics
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.search import (
    Contest,
    contest,
    coordinate_search,
    differential_backlog_bit,
    levels_of_choices,
)
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, State, transmit

FAMILY = ScenarioFamily(num_users=4, load_mbit_s=(8.0, 12.0), failure_share=0.0)


def _decide(name: str, environment: SpectrumAllocation) -> Action:
    source = generator(2, environment.state.slot)
    return BASELINES[name](environment.state, environment.radio, source)


def _after(slots: int, batch: int = 8, radio: Radio = Radio()) -> SpectrumAllocation:  # noqa: B008
    environment = SpectrumAllocation(FAMILY, radio)
    environment.reset(batch, generator(1))
    for _ in range(slots):
        environment.step(_decide("orthogonal", environment))
    return environment


def _worth_by_hand(state: State, copy: int) -> list[float]:
    """What a bit on each link is worth."""
    networks, found = state.networks, []
    for link in range(networks.num_links):
        sender, receiver = int(networks.transmitter[copy, link]), int(networks.receiver[link])
        worth = 0.0
        for user in range(networks.num_users):
            if bool(networks.users_behind[copy, link, user]):
                here = float(state.queue_bit[copy, sender, user])
                there = float(state.queue_bit[copy, receiver, user]) if receiver >= 0 else 0.0
                worth += here * (here - there)
        found.append(max(worth / max(float(state.link_queue_bit[copy, link]), 1.0), 0.0))
    return found


def test_exhaustive_search_is_that_of_nested_loops() -> None:
    radio = Radio(num_bands=1, power_levels_dbm=(5.0, 23.0))
    state = _after(12, 8, radio).state
    # At full power incumbents leave nothing of the only band.
    state = replace(state, incumbent_w=1e-5 * state.incumbent_w)
    # Gains in one direction are others than in the other.
    assert not torch.equal(state.gain[:, 0, 1, 1], state.gain[:, 0, 2, 0])
    worth = [_worth_by_hand(state, copy) for copy in range(8)]

    def drift(level: Tensor) -> list[float]:
        """Of each copy, by the bits that the air really lets through."""
        could_bit = transmit(state, radio, level).capacity_bit[..., 0]
        moved = torch.minimum(could_bit, state.link_queue_bit)
        rows = zip(worth, moved.tolist(), strict=True)
        return [sum(a * b for a, b in zip(*row, strict=True)) for row in rows]

    best = [0.0] * 8
    for levels in product(range(3), repeat=6):
        level = torch.tensor(levels).view(1, 3, 2, 1).expand(8, -1, -1, -1)
        best = [max(pair) for pair in zip(best, drift(level), strict=True)]
    on = (state.incumbent_w > 0).any(1)[:, 0].tolist()
    assert {sends for sends, most in zip(on, best, strict=True) if most > 0} == {False, True}
    given = BASELINES["exhaustive"](state, radio, generator(0)).level
    assert drift(given) == pytest.approx(best, rel=1e-6)


def test_coordinate_search_never_beats_exhaustive_search() -> None:
    radio = Radio()
    lower, higher = 0, 0
    for slots in (5, 20):
        state = _after(slots, 40).state
        weight = differential_backlog_bit(state)
        scheduler = Scheduler(state, radio)
        for band in range(radio.num_bands):
            link = scheduler.offer_on(band)
            given = contest(state, radio, band, link, scheduler.left_bit, weight)
            best = exhaustive_search(given)
            near = coordinate_search(torch.arange(5).unsqueeze(-1), 3)(given)
            values = [given.value(level.unsqueeze(1)).squeeze(1) for level in (best, near)]
            assert bool((values[0] >= values[1] * (1 - 1e-9)).all())
            lower += int((values[1] < values[0] * (1 - 1e-6)).sum())
            higher += int((values[1] >= 0.95 * values[0]).sum())
            scheduler.take(band, link, radio.power_w(best))
    # It is near, and not the same.
    assert 0 < lower < 200
    assert higher > 300


@pytest.mark.parametrize(("together", "sweeps"), [(1, 3), (2, 3), (2, 1)])
def test_coordinate_search_is_that_of_plain_loops(together: int, sweeps: int) -> None:
    """Without an end before the last sweep; of agents, and of nodes with both of their roles."""
    radio, state = Radio(), _after(12, 20).state
    choices = torch.arange(5).unsqueeze(-1) if together == 1 else levels_of_choices(4)
    scheduler = Scheduler(state, radio)
    changed_late = 0
    for band in range(2):
        link = scheduler.offer_on(band)
        weight = differential_backlog_bit(state)
        given = contest(state, radio, band, link, scheduler.left_bit, weight)
        found = coordinate_search(choices, sweeps)(given)
        chosen = torch.zeros_like(found)
        for sweep in range(sweeps):
            before = chosen.clone()
            for first in range(0, 6, together):
                best = torch.full((20,), -1.0, dtype=torch.float64)
                kept = chosen.clone()
                for choice in choices:
                    tried = chosen.clone()
                    tried[:, first : first + together] = choice
                    value = given.value(tried.unsqueeze(1)).squeeze(1).double()
                    better = value > best
                    best = torch.where(better, value, best)
                    kept = torch.where(better.unsqueeze(-1), tried, kept)
                chosen = kept
            changed_late += int(sweep > 0 and not torch.equal(before, chosen))
        assert torch.equal(found, chosen)
        assert bool((given.value(found.unsqueeze(1)) <= given.value(_best(given))).all())
        scheduler.take(band, link, radio.power_w(found))
    assert changed_late > 0 or sweeps == 1


def _best(given: Contest) -> Tensor:
    return exhaustive_search(given).unsqueeze(1)


def test_a_contest_is_heard_by_the_receivers_of_its_links() -> None:
    state, radio = _after(10).state, Radio()
    scheduler, noisy = Scheduler(state, radio), 0
    for band in range(5):
        link = scheduler.offer_on(band)
        given = contest(state, radio, band, link, scheduler.left_bit, scheduler.left_bit)
        for copy, agent in product(range(8), range(6)):
            served = int(link[copy, agent])
            if served >= 0:
                wanted = radio.noise_w + float(state.incumbent_w[copy, served, band])
                assert float(given.noise_w[copy, agent]) == pytest.approx(wanted)
                noisy += wanted > 2 * radio.noise_w
    assert noisy > 10


def _told(state: State) -> State:
    """What `reported max weight` takes for the truth."""
    known = state.mean_gain.unsqueeze(1).repeat(1, 5, 1, 1)
    for copy, link in product(range(len(known)), range(state.networks.num_links)):
        sender = int(state.networks.transmitter[copy, link])
        known[copy, :, sender, link] = state.gain[copy, :, sender, link]
    return replace(state, gain=known, incumbent_w=state.heard.outside_w)


def _level(name: str, state: State) -> Tensor:
    return BASELINES[name](state, Radio(), generator(0)).level


def test_reports_tell_neither_of_incumbents_nor_of_fading_between_links() -> None:
    state = _after(10, 20).state
    found = _level("reported max weight", state)
    assert torch.equal(found, _level("max weight", _told(state)))
    assert not torch.equal(found, _level("max weight", state))
    loud = replace(state, incumbent_w=1e3 * (1e-12 + state.incumbent_w))
    assert torch.equal(found, _level("reported max weight", loud))
    assert not torch.equal(_level("max weight", state), _level("max weight", loud))
    # It does know where fading is bad for a link itself.
    faded = replace(state, gain=state.gain.flip(1))
    assert not torch.equal(found, _level("reported max weight", faded))


def test_where_much_was_reported_nothing_is_sent() -> None:
    state = _after(10, 20).state
    level_w = torch.zeros_like(state.reported_w)
    level_w[..., :3] = 1.0
    free_slots = torch.zeros(20, 5, dtype=torch.long)
    free_slots[:, 2] = 1
    level = _level("reported max weight", replace(state, heard=Heard(level_w, free_slots)))
    assert int(level[..., :2].max()) == 0
    # On the third band the incumbent was silent, on the others none was ever heard.
    for band in (2, 3, 4):
        assert int(level[..., band].max()) == 4


@pytest.mark.parametrize("disturbed", [0, 1])
def test_of_two_that_disturb_each_other_sends_the_one_with_less_reported(disturbed: int) -> None:
    # Donor and node 1 with a user each; what node 1 sends drowns the donor's.
    radio = Radio(num_bands=1, efficiency_max=99.0)
    gain = torch.tensor([[[[1e-9, 1e-9, 1e-13], [0.0, 1e-9, 1.1e-9]]]])
    queue = torch.tensor([[[1e7, 0.0], [0.0, 1e7]]])
    level_w = torch.zeros(1, 3, 1)
    level_w[0, 1 + disturbed] = 1e3 * radio.noise_w
    heard = Heard(level_w, torch.zeros(1, 1, dtype=torch.long))
    state = state_of(pair(), gain, queue, radio, heard=heard)
    level = BASELINES["reported max weight"](state, radio, generator(0)).level
    sends = [0, 0]
    sends[1 - disturbed] = 4
    assert level[0, :, 0, 0].tolist() == sends


@pytest.mark.parametrize(("spoilt", "joins"), [(0, True), (1, False)])
def test_who_was_served_little_joins_although_it_disturbs(spoilt: int, joins: bool) -> None:
    # As above. The donor is on first; with node 1 on, it does not get through.
    radio = Radio(num_bands=1, efficiency_max=99.0)
    gain = torch.tensor([[[[1e-9, 1e-9, 1e-13], [0.0, 1e-9, 1.1e-9]]]])
    queue = torch.tensor([[[1e7, 0.0], [0.0, 1e7]]])
    average_bit = torch.tensor([[5.0, 5.0, 5.0]], dtype=torch.float64)
    average_bit[0, 1 + spoilt] = 20.0
    state = state_of(pair(), gain, queue, radio, average_bit=average_bit)
    level = BASELINES["proportional fair"](state, radio, generator(0)).level
    assert level[0, :, 0, 0].tolist() == [4, 4 * joins]
    # What is below a hundredth of the mean load counts as that.
    loads = torch.full((1, 2), 2e3)
    state = state_of(pair(), gain, queue, radio, average_bit=average_bit, load_bit=loads)
    level = BASELINES["proportional fair"](state, radio, generator(0)).level
    assert level[0, :, 0, 0].tolist() == [4, 0]


def test_too_many_combinations_are_refused() -> None:
    radio = Radio(power_levels_dbm=tuple(float(level) for level in range(20)))
    environment = _after(8, radio=radio)
    rule = r"`num_nodes` must leave at most 20000 combinations .*, got '21\*\*\d'"
    with pytest.raises(ValueError, match=rule):
        _decide("exhaustive", environment)
    networks = environment.state.networks
    assert num_combinations(networks, radio) > MAX_COMBINATIONS
    # Of three nodes at most five have links: each for users, and two for nodes.
    assert num_combinations(networks, Radio()) in (5**4, 5**5)


@pytest.mark.parametrize("name", BASELINES)
def test_actions_are_allowed_and_their_own(name: str) -> None:
    environment = _after(10)
    level = _decide(name, environment).level
    assert torch.equal(level, _decide(name, environment).level)
    assert 0 <= int(level.min()) <= int(level.max()) <= 4
    assert int(level.max()) > 0
    environment.step(Action(level))
    # Before anything has come, too.
    environment.reset_episode(generator(3))
    environment.step(_decide(name, environment))


def test_full_reuse_has_all_nodes_on_in_the_role_for_which_more_waits() -> None:
    environment = _after(10)
    state, level = environment.state, _decide("full reuse", environment).level
    for copy in range(8):
        waits = [0.0] * 6
        for link in range(6):
            agent = int(environment.link_agent[copy, link])
            waits[agent] += float(state.link_queue_bit[copy, link])
        for node in range(3):
            role = int(waits[2 * node + 1] > waits[2 * node])
            assert level[copy, node, role].tolist() == [4] * 5
            assert level[copy, node, 1 - role].tolist() == [0] * 5


@pytest.mark.parametrize("name", ["orthogonal", "greedy colouring"])
def test_bands_go_round(name: str) -> None:
    environment = _after(0)
    mask = environment.agent_mask
    served = torch.zeros_like(mask)
    for _ in range(6):
        on = _decide(name, environment).level > 0
        assert not bool((on & ~mask.unsqueeze(-1)).any())
        sending = on.flatten(1, 2).sum(1)
        assert bool((sending >= 1).all())
        if name == "orthogonal":
            assert bool((sending == 1).all())
        else:
            # Who conflicts does not share a band.
            both = torch.einsum("ban,bcn->bac", *([on.flatten(1, 2).float()] * 2)) > 0
            assert not bool((both & _conflicts(environment.state, environment.radio)).any())
        served |= on.any(-1)
        environment.step(_decide(name, environment))
    assert torch.equal(served, mask)


def test_conflicts_by_hand() -> None:
    state = _after(3, 20).state
    found = _conflicts(state, Radio())
    networks = state.networks
    shared = 0
    for copy in range(20):
        links = [
            [k for k in range(6) if int(networks.agent[copy, k]) == agent] for agent in range(6)
        ]

        def disturbs(one: int, other: int, copy: int = copy, links: list = links) -> bool:  # type: ignore[type-arg]
            above = []
            for k in links[other]:
                if int(networks.receiver[k]) == one // 2:
                    return True
                own = state.mean_gain[copy, other // 2, k]
                above.append(float(10 * torch.log10(own / state.mean_gain[copy, one // 2, k])))
            return sum(above) / len(above) < 15.0

        for one, other in product(range(6), repeat=2):
            wanted = one != other and bool(links[one]) and bool(links[other])
            if wanted and one // 2 != other // 2:
                wanted = disturbs(one, other) or disturbs(other, one)
                shared += not wanted
            assert bool(found[copy, one, other]) == wanted
    assert shared > 0


def _episode(name: str) -> tuple[SpectrumAllocation, list[Step[Outcome]]]:
    family = ScenarioFamily(failure_share=0.0)
    environment = SpectrumAllocation(family, num_steps=30)
    environment.reset(12, generator(5))
    return environment, [environment.step(_decide(name, environment)) for _ in range(30)]


def test_knowing_more_is_worth_more() -> None:
    got = {}
    for name in ("max weight", "orthogonal", "full reuse", "random"):
        environment, steps = _episode(name)
        got[name] = float(episode_metrics(steps, environment.radio.slot_s).reward.mean())
    assert got["max weight"] > got["orthogonal"] + 0.1
    assert got["orthogonal"] > got["full reuse"] + 0.05
    assert got["full reuse"] > got["random"]


def test_differential_backlog_by_hand() -> None:
    state = _after(10, 2).state
    networks = state.networks
    # User 0 of a relay: 30 wait at the donor and 10 there; with 20 and 40 of user 1.
    relay = int(networks.parent[0].tolist().index(0))
    parent = torch.tensor([[-1, 0]])
    small = type(networks)(
        parent, torch.tensor([[1, 1]]), networks.node_m[:1, :2], networks.user_m[:1, :2]
    )
    assert relay in (1, 2)
    queue = torch.tensor([[[30.0, 20.0], [10.0, 40.0]]], dtype=torch.float64)
    waiting = torch.tensor([[50.0, 10.0, 40.0]], dtype=torch.float64)
    given = replace(state, networks=small, queue_bit=queue, link_queue_bit=waiting)
    # 30 / 50 of 20 and 20 / 50 of -20; delivered bits wait nowhere.
    assert differential_backlog_bit(given).tolist() == [pytest.approx([4.0, 10.0, 40.0])]
