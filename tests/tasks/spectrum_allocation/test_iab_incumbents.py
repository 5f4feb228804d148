"""Incumbents: how often and how long they send, who hears them, and that nobody is told."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.spectrum_allocation.baselines import BASELINES
from metagnn.tasks.spectrum_allocation.environment import Action, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.listening import Heard, listen
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.transmission import transmit

FAMILY = ScenarioFamily(num_users=5, incumbent_share=1.0, failure_share=0.0)


def _begin(batch: int, family: ScenarioFamily = FAMILY, num_steps: int = 60) -> SpectrumAllocation:
    environment = SpectrumAllocation(family, num_steps=num_steps)
    environment.reset(batch, generator(1))
    return environment


def _random(environment: SpectrumAllocation) -> Tensor:
    shape = environment.state.level.shape
    return torch.randint(5, shape, generator=generator(2, environment.state.slot))


def _on(environment: SpectrumAllocation) -> Tensor:
    return (environment.state.incumbent_w > 0).any(1)


def test_incumbents_send_their_share_of_the_slots_and_are_forgotten_in_time() -> None:
    """Covariances of the state fall by 1 - 1 / 5 from slot to slot, whatever the duty."""
    often = replace(FAMILY, incumbent_duty=(0.3, 1.0), incumbent_slots=5.0)
    environment = _begin(600, often, num_steps=30)
    duty, seen = environment.scenarios.incumbent_duty, []
    for _ in range(30):
        seen.append(_on(environment))
        environment.step(Action(torch.zeros_like(environment.state.level)))
    on = torch.stack(seen).double()
    # From the first slot on.
    for part in (on[0], on[-1], on.mean(0)):
        assert float(part.mean()) == pytest.approx(float(duty.mean()), abs=0.03)
        rare = duty < 0.5
        assert float(part[rare].mean()) == pytest.approx(float(duty[rare].mean()), abs=0.04)
    away = on - duty
    variance = float((duty * (1.0 - duty)).mean())
    for slots in (1, 5, 20):
        kept = float((away[slots:] * away[:-slots]).mean()) / variance
        assert kept == pytest.approx(0.8**slots, abs=0.05)


def test_incumbents_that_always_or_never_send() -> None:
    always = _begin(4, replace(FAMILY, incumbent_duty=(1.0, 1.0)))
    never = _begin(4, replace(FAMILY, incumbent_share=0.0))
    for _ in range(20):
        assert bool(_on(always).all())
        assert float(never.state.incumbent_w.max()) == 0.0
        for environment in (always, never):
            environment.step(Action(torch.zeros_like(environment.state.level)))


def test_all_receivers_hear_an_incumbent_on_its_band_alone() -> None:
    environment = _begin(6)
    scenarios = environment.scenarios
    path_db = scenarios.gain_db(scenarios.networks.user_m, scenarios.shadowing)
    on = _on(environment)
    assert 0 < int(on.sum()) < 30
    for copy in range(6):
        for link in range(7):
            antenna_db = 8.0 if link < 2 else 0.0
            for band in range(5):
                heard_dbm = 46.0 + float(path_db[copy, 3 + band, link]) + antenna_db
                wanted_w = 10 ** (heard_dbm / 10 - 3) if bool(on[copy, band]) else 0.0
                found_w = float(environment.state.incumbent_w[copy, link, band])
                assert found_w == pytest.approx(wanted_w, rel=1e-3)


def test_nobody_is_told_but_who_was_sent_to() -> None:
    """Silent incumbents and loud ones look alike until a transmission is reported."""
    loud, quiet = _begin(8), _begin(8, replace(FAMILY, incumbent_dbm=-300.0))
    for slot in range(12):
        one, other = (environment.observation() for environment in (loud, quiet))
        assert torch.equal(one.edge_weight, other.edge_weight)
        if slot == 11:
            break
        assert torch.equal(one.node, other.node)
        assert torch.equal(loud.scheduler().offer(), quiet.scheduler().offer())
        level = _random(loud) if slot == 10 else torch.zeros_like(loud.state.level)
        for environment in (loud, quiet):
            environment.step(Action(level))
    # What was carried shows in the queues; all else only where something was sent.
    told = (one.node[..., :6] != other.node[..., :6]).any(-1)
    assert not bool((told & ~loud.state.sent).any())
    assert 0 < int(told.sum()) <= int(loud.state.sent.sum()) < 0.5 * told.numel()
    # How loud it is knows who heard it.
    louder = one.node[..., 12] != other.node[..., 12]
    assert int(louder.sum()) > 0
    assert not bool((louder & ~(loud.state.reported_w > 0)).any())


def test_reports_are_what_receivers_that_listened_were_sent() -> None:
    environment = _begin(8)
    kinds = set()
    for _ in range(25):
        before, level = environment.state, _random(environment)
        sent = transmit(before, environment.radio, level)
        environment.step(Action(level))
        after = environment.state
        for copy, link, band in torch.cartesian_prod(*map(torch.arange, (8, 7, 5))).tolist():
            at = (copy, link, band)
            used, deaf = float(sent.power_w[at]) > 0, bool(sent.deaf[at])
            # A receiver that sends does not listen, and reports nothing.
            wanted_w = float(sent.interference_w[at]) if used and not deaf else 0.0
            assert float(after.reported_w[at]) == pytest.approx(wanted_w, rel=1e-5, abs=0.0)
            received = used and float(sent.sinr[at]) >= environment.radio.sinr_min
            assert (bool(after.sent[at]), bool(after.served[at])) == (used, received)
            kinds.add((used, deaf, received))
    assert len(kinds) == 5


@pytest.mark.parametrize("failing", [False, True])
def test_nodes_know_of_incumbents_what_plain_loops_make_of_the_reports(failing: bool) -> None:
    """Of nodes that failed nobody reports, and what they would have sent explains nothing."""
    often = replace(FAMILY, failure_share=1.0, failure_max=0.2, failure_slots=(3, 6))
    environment = _begin(8, often if failing else FAMILY)
    noise_w = environment.radio.noise_w
    level_w, free_slots = torch.zeros(8, 7, 5), torch.zeros(8, 5, dtype=torch.long)
    happened = dict.fromkeys(("sends", "silent", "again"), 0)
    dead = 0
    for _ in range(60):
        before, level = environment.state, _random(environment)
        sent = transmit(before, environment.radio, level)
        environment.step(Action(level))
        for copy, band in torch.cartesian_prod(torch.arange(8), torch.arange(5)).tolist():
            heard, silent = False, False
            for link in range(7):
                at = (copy, link, band)
                agents = before.networks.agent[copy]
                node, receiver = int(agents[link]) // 2, link + 1 if link < 2 else 0
                if not bool(before.alive[copy, node] and before.alive[copy, receiver]):
                    assert float(sent.power_w[at]) == 0.0
                    assert float(environment.state.reported_w[at]) == 0.0
                    dead += int(level.view(8, 6, 5)[copy, int(agents[link]), band] > 0)
                if not float(sent.power_w[at]) > 0 or bool(sent.deaf[at]):
                    continue
                explained_w = sum(
                    float(sent.power_w[copy, other, band])
                    * float(before.mean_gain[copy, int(agents[other]) // 2, link])
                    for other in range(7)
                    if int(agents[other]) != int(agents[link])
                )
                told_w = float(environment.state.explained_w[at])
                assert told_w == pytest.approx(explained_w, rel=1e-4, abs=0.0)
                reported_w, known_w = float(sent.interference_w[at]), float(level_w[at])
                left_w = reported_w - explained_w
                if left_w > 5.0 * max(explained_w, noise_w):
                    level_w[at] = 0.5 * (known_w + left_w) if known_w > 0 else left_w
                    heard = True
                    happened["again"] += int(known_w > 0)
                elif reported_w < 0.3 * known_w:
                    silent = True
                    level_w[at] = 0.5 * known_w
            left = max(int(free_slots[copy, band]) - 1, 0)
            free_slots[copy, band] = 0 if heard else 16 if silent else left
            happened["sends"] += int(heard)
            happened["silent"] += int(silent and not heard)
        found = environment.state.heard
        # Watts are far below any absolute tolerance.
        torch.testing.assert_close(found.level_w, level_w, rtol=1e-3, atol=0.0)
        assert torch.equal(found.free_slots, free_slots)
        free = (free_slots > 0).unsqueeze(1)
        assert torch.equal(found.outside_w, torch.where(free, 0.0, found.level_w))
    assert min(happened.values()) > 20
    assert (dead > 100) == failing


def test_a_band_is_free_for_a_while_after_silence_and_closed_at_once() -> None:
    """Of two links on one band the first knows an incumbent of 1e-9 W."""
    known = Heard(torch.tensor([[[1e-9], [0.0]]]), torch.zeros(1, 1, dtype=torch.long))
    nobody, first = torch.zeros(1, 2, 1, dtype=torch.bool), torch.tensor([[[True], [False]]])
    nothing_w = torch.zeros(1, 2, 1)
    after = listen(known, first, nothing_w + 2e-13, nothing_w, 1e-13)
    assert after.level_w.flatten().tolist() == pytest.approx([5e-10, 0.0])
    for left in range(16, 0, -1):
        assert int(after.free_slots) == left
        assert not bool(after.outside_w.any())
        after = listen(after, nobody, nothing_w, nothing_w, 1e-13)
    assert int(after.free_slots) == 0
    assert after.outside_w.flatten().tolist() == pytest.approx([5e-10, 0.0])
    # The second hears it: the band is closed, and each knows how loud it was for itself.
    free = replace(after, free_slots=torch.tensor([[7]]))
    closed = listen(free, ~first, nothing_w + 1e-9, nothing_w + 1e-11, 1e-13)
    assert int(closed.free_slots) == 0
    assert closed.outside_w.flatten().tolist() == pytest.approx([5e-10, 9.9e-10])
    # What nodes explain is no incumbent's.
    same = listen(free, ~first, nothing_w + 5e-10, nothing_w + 1e-10, 1e-13)
    assert torch.equal(same.level_w, free.level_w)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_few_incumbents_are_missed_and_few_are_imagined(share: float) -> None:
    family = replace(ScenarioFamily(), incumbent_share=share, incumbent_duty=(1.0, 1.0))
    environment = SpectrumAllocation(family, Radio())
    environment.reset(16, generator(0))
    reported, known = 0, 0
    for _ in range(50):
        state = environment.state
        environment.step(BASELINES["reported max weight"](state, Radio(), generator(0)))
        after = environment.state
        reports = after.reported_w > 0
        # Where one is heard well above what nodes sent.
        if share > 0:
            reports &= state.incumbent_w > 10.0 * after.explained_w.clamp(min=Radio().noise_w)
        reported += int(reports.sum())
        known += int((reports & (after.heard.outside_w > 0)).sum())
    assert reported > 100
    if share > 0:
        assert known > 0.99 * reported
    else:
        assert known < 0.03 * reported
