"""Scores of offloading: means by loops, the same networks for all, bounds, trained policies."""

from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.offloading_action import as_decision, joint_action
from metagnn.offloading_agents import AgentShape, OffloadingAgents
from metagnn.offloading_place import Place
from metagnn.offloading_score import OffloadingScore, score_offloading, summary, trained_policy
from metagnn.tasks.offloading.baselines import BASELINES, Policy
from metagnn.tasks.offloading.bound import relaxation
from metagnn.tasks.offloading.cost import (
    Cost,
    Decision,
    Slot,
    check_decision,
    cost,
    latency_value,
    received_w,
)
from metagnn.tasks.offloading.environment import observe
from metagnn.tasks.offloading.scenario import Radio

PLACE = Place(num_cells=2, users_per_cell=3, radio=Radio(num_channels=4), revenue=0.75)
NUM_STEPS, NUM_NETWORKS = 2, 3
FIELDS = [field.name for field in fields(OffloadingScore)]

Diary = list[tuple[Slot, Decision]]


def _recorded(name: str) -> tuple[Policy, Diary]:
    """A baseline, and what it saw and decided."""
    diary: Diary = []

    def decide(slot: Slot, radio: Radio, source: torch.Generator) -> Decision:
        diary.append((slot, BASELINES[name](slot, radio, source)))
        return diary[-1][1]

    return decide, diary


def _scored(
    *names: str,
    split: str = "test",
    seed: int = 0,
    with_bound: bool = False,
    num_steps: int = NUM_STEPS,
) -> tuple[dict[str, OffloadingScore], dict[str, Diary]]:
    recorded = {name: _recorded(name) for name in names}
    policies = {name: policy for name, (policy, _) in recorded.items()}
    environment = PLACE.environment(num_steps)
    found = score_offloading(policies, environment, NUM_NETWORKS, seed, split, with_bound)
    return found, {name: diary for name, (_, diary) in recorded.items()}


def _cost(slot: Slot, decision: Decision) -> Cost:
    radio = PLACE.environment(1).radio
    return cost(slot, decision, radio.bandwidth_hz, radio.noise_w, PLACE.patience)


def test_scores_of_local_computing_by_hand() -> None:
    found, diaries = _scored("local computing")
    score, slots = found["local computing"], [slot for slot, _ in diaries["local computing"]]
    assert len(slots) == NUM_STEPS + 1
    for network in range(NUM_NETWORKS):
        # A joule per gigacycle at a gigahertz; deadlines of nine tenths of that time are missed by
        # a tenth. The first slot does not count.
        gigacycles = [
            cycles / 1e9 for slot in slots[1:] for cycles in slot.tasks.cycles[network].tolist()
        ]
        assert len(gigacycles) == 2 * 6
        mean = sum(gigacycles) / len(gigacycles)
        assert float(score.energy_j[network]) == pytest.approx(mean, rel=1e-6)
        assert float(score.local_j[network]) == pytest.approx(mean, rel=1e-6)
        assert float(score.reward[network]) == pytest.approx(-1.1 * mean, rel=1e-5)
    for name in ("met", "transmission_j", "edge_j"):
        assert getattr(score, name).tolist() == [0.0] * NUM_NETWORKS


@pytest.mark.parametrize("name", ["full offloading", "random", "heuristic"])
def test_scores_are_means_over_users_and_slots(name: str) -> None:
    found, diaries = _scored(name)
    columns: dict[str, list[Tensor]] = {}
    for slot, decision in diaries[name][1:]:
        of_users = _cost(slot, decision)
        value = latency_value(of_users, slot.tasks.deadline_s, 0.75) - of_users.energy_j
        for column, values in (*vars(of_users).items(), ("reward", value)):
            columns.setdefault(column, []).append(values.double())
    columns["energy_j"] = [
        sum(parts, torch.zeros(()))
        for parts in zip(
            *(columns[part] for part in ("local_j", "transmission_j", "edge_j")), strict=True
        )
    ]
    for column in FIELDS[:6]:
        score = getattr(found[name], column)
        for network in range(NUM_NETWORKS):
            values = [v for one in columns[column] for v in one[network].tolist()]
            mean = sum(values) / (6 * NUM_STEPS)
            assert float(score[network]) == pytest.approx(mean, rel=1e-5, abs=1e-9)
    assert len(set(found[name].energy_j.tolist())) == NUM_NETWORKS


def test_networks_tasks_and_channels_are_the_same_for_all_policies() -> None:
    _, diaries = _scored("random", "full offloading", "local computing")
    first = diaries["random"]
    assert not torch.equal(first[1][0].gain, first[2][0].gain)
    for name in ("full offloading", "local computing"):
        for (slot, decision), (other, of_other) in zip(first, diaries[name], strict=True):
            assert torch.equal(slot.gain, other.gain)
            assert torch.equal(slot.tasks.size_bit, other.tasks.size_bit)
            assert torch.equal(slot.tasks.cycles, other.tasks.cycles)
            assert torch.equal(slot.devices.server_hz, other.devices.server_hz)
            assert not torch.equal(decision.power_w, of_other.power_w)


def test_each_policy_measures_its_own_interference() -> None:
    names = ("random", "full offloading", "local computing")
    _, diaries = _scored(*names)
    for name in names:
        diary = diaries[name]
        assert not bool(diary[0][0].interference_w.any())
        assert bool((diary[0][0].held == -1).all())
        for (slot, decision), (after, _) in pairwise(diary):
            assert torch.equal(after.interference_w, received_w(slot, decision))
            assert torch.equal(after.held, decision.channel)
    heard = [diaries[name][1][0].interference_w for name in names]
    assert bool(heard[0].any())
    assert not torch.equal(heard[0], heard[1])
    assert not bool(heard[2].any())


def test_splits_and_seeds_share_no_network() -> None:
    drawn = [
        _scored("local computing", split=split, seed=seed)
        for split, seed in (("test", 0), ("test", 0), ("validation", 0), ("test", 1))
    ]
    gains = [diaries["local computing"][0][0].gain for _, diaries in drawn]
    energies = [found["local computing"].energy_j for found, _ in drawn]
    for values in (gains, energies):
        assert torch.equal(values[0], values[1])
        # No network of one is among those of another.
        for one, other in ((0, 2), (0, 3), (2, 3)):
            for network in values[one]:
                assert not any(torch.equal(network, another) for another in values[other])


def test_numbers_do_not_depend_on_the_other_policies() -> None:
    alone, _ = _scored("random", with_bound=True)
    before, _ = _scored("random", "full offloading", with_bound=True)
    after, _ = _scored("full offloading", "local computing", "random", with_bound=True)
    assert list(after) == ["full offloading", "local computing", "random"]
    for name in FIELDS:
        wanted = getattr(alone["random"], name)
        assert torch.equal(getattr(before["random"], name), wanted)
        assert torch.equal(getattr(after["random"], name), wanted)
    assert torch.equal(before["full offloading"].energy_j, after["full offloading"].energy_j)
    assert not torch.equal(before["full offloading"].energy_j, before["random"].energy_j)


def test_random_policies_of_two_names_draw_other_actions() -> None:
    policies = dict.fromkeys(("one", "other"), BASELINES["random"])
    found = score_offloading(policies, PLACE.environment(1), 2, 0, "test", False)
    assert not torch.equal(found["one"].energy_j, found["other"].energy_j)


def test_bounds_are_means_of_the_relaxation() -> None:
    found, diaries = _scored("local computing", "random", with_bound=True)
    radio = PLACE.environment(1).radio
    bounds = [relaxation(slot, radio) for slot, _ in diaries["local computing"][1:]]
    for score in found.values():
        for network in range(NUM_NETWORKS):
            allowed = [v for bound in bounds for v in bound.allowed[network].tolist()]
            energy_j = [v for bound in bounds for v in bound.energy_j[network].tolist()]
            assert float(score.allowed[network]) == pytest.approx(sum(allowed) / 12)
            assert float(score.bound_j[network]) == pytest.approx(sum(energy_j) / 12, rel=1e-6)


def test_no_policy_beats_the_relaxation() -> None:
    found, _ = _scored(*BASELINES, with_bound=True, num_steps=1)
    for score in found.values():
        assert bool((score.met <= score.allowed).all())
        torch.testing.assert_close(
            score.energy_j, score.local_j + score.transmission_j + score.edge_j
        )
    # One that meets all allowed deadlines takes at least the bound's energy, and not much more.
    best = found["coordinated"]
    assert torch.equal(best.met, best.allowed)
    assert bool((best.bound_j > 0.0).all())
    assert bool((best.bound_j <= best.energy_j).all())
    assert bool((best.energy_j < 2.0 * best.bound_j).all())
    assert bool((best.energy_j < 0.1 * found["local computing"].energy_j).all())


def test_without_a_bound_everything_is_allowed() -> None:
    found, _ = _scored("local computing", "random")
    for score in found.values():
        assert score.allowed.tolist() == [1.0] * NUM_NETWORKS
        assert score.bound_j.tolist() == [0.0] * NUM_NETWORKS


def test_summaries_are_means_over_networks() -> None:
    score = OffloadingScore(*(torch.tensor([1.0, 2.0]) * n for n in range(8)))
    assert summary(score) == {name: 1.5 * number for number, name in enumerate(FIELDS)}


def _agents() -> OffloadingAgents:
    cells = PLACE.cells()
    shape = AgentShape(hidden_channels=(6,), critic_channels=(4,), num_claims=2)
    radio = PLACE.environment(1).radio
    return OffloadingAgents(shape, cells.cell, cells.num_cells, radio, False, 0)


def test_a_trained_policy_decides_what_its_agents_wish() -> None:
    agents, environment = _agents(), PLACE.environment(1)
    environment.reset(4, generator(0))
    slot, radio = environment.slot, environment.radio
    found = trained_policy(agents)(slot, radio, generator(1))
    check_decision(found, slot, radio.power_min_w, radio.power_max_w)
    wishes = agents.wishes(observe(slot, radio))
    assert wishes.score.requires_grad
    wanted = as_decision(joint_action(wishes, slot.cell, 2), radio)
    # It does not explore: another source changes nothing.
    again = trained_policy(agents)(slot, radio, generator(2))
    for field in fields(Decision):
        value = getattr(found, field.name)
        assert not value.requires_grad
        assert torch.equal(value, getattr(again, field.name))
        torch.testing.assert_close(value, getattr(wanted, field.name))


def test_a_trained_policy_follows_the_agents_parameters() -> None:
    agents = _agents()
    policies = {"own": trained_policy(agents)}
    before = score_offloading(policies, PLACE.environment(1), 2, 0, "validation", False)["own"]
    with torch.no_grad():
        for parameter in agents.actors.parameters():
            parameter.add_(0.5)
    after = score_offloading(policies, PLACE.environment(1), 2, 0, "validation", False)["own"]
    assert not torch.equal(before.energy_j, after.energy_j)
    assert not torch.equal(before.reward, after.reward)
