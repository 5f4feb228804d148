"""Violations and rewards of bands, by plain loops over links and bands."""

import math
from dataclasses import replace

import pytest
import torch
from test_iab_baselines import _worth_by_hand

from metagnn.graphs.randomness import generator
from metagnn.tasks.spectrum_allocation.environment import Action, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, transmit

FAMILY = ScenarioFamily(num_users=5)


def _random(environment: SpectrumAllocation) -> Action:
    source = generator(3, environment.state.slot)
    return Action(torch.randint(5, environment.state.level.shape, generator=source))


def test_a_link_is_starved_after_the_limit_and_a_dead_end_stops_its_clock() -> None:
    family = replace(FAMILY, failure_share=1.0, failure_slots=(3, 6))
    environment = SpectrumAllocation(family, replace(Radio(), starvation_limit=4), num_steps=60)
    environment.reset(10, generator(1))
    environment.scenarios.failure.fill_(0.1)
    waited = [[0] * 7 for _ in range(10)]
    stopped = [[False] * 7 for _ in range(10)]
    starved, went_on = 0, 0
    for _ in range(60):
        before, action = environment.state, _random(environment)
        # Levels are seldom on, so that some wait.
        action = Action(action.level * (action.level == 4))
        outcome = environment.step(action).info
        for copy in range(10):
            for link in range(7):
                sender = int(before.networks.transmitter[copy, link])
                works = bool(before.alive[copy, sender])
                works &= link >= 2 or bool(before.alive[copy, link + 1])
                served = bool((outcome.sinr[copy, link] >= environment.radio.sinr_min).any())
                if float(before.link_queue_bit[copy, link]) == 0.0 or served:
                    waited[copy][link], stopped[copy][link] = 0, False
                elif works:
                    waited[copy][link] += 1
                else:
                    stopped[copy][link] |= waited[copy][link] > 0
                wanted = works and waited[copy][link] > 4
                assert bool(outcome.starved[copy, link]) == wanted
                starved += wanted
                went_on += wanted and stopped[copy][link]
                violation = 1.0 if wanted else float(outcome.failed[copy, link])
                assert float(outcome.sinr_violation[copy, link]) == violation
    assert starved > 50
    assert went_on > 5


def test_failed_is_the_share_of_what_was_sent() -> None:
    environment = SpectrumAllocation(FAMILY)
    environment.reset(6, generator(1))
    shares = set()
    for _ in range(20):
        before, action = environment.state, _random(environment)
        sent = transmit(before, environment.radio, action.level)
        outcome = environment.step(action).info
        for copy in range(6):
            for link in range(7):
                used = [b for b in range(5) if float(sent.power_w[copy, link, b]) > 0]
                sinr = outcome.sinr[copy, link].tolist()
                below = sum(sinr[band] < environment.radio.sinr_min for band in used)
                wanted = below / max(1, len(used))
                assert float(outcome.failed[copy, link]) == pytest.approx(wanted)
                shares.add((len(used), below))
    assert {(0, 0), (1, 1), (1, 0), (2, 1)} <= shares


def test_the_reward_of_a_band_by_hand() -> None:
    environment = SpectrumAllocation(FAMILY, failure_weight=0.3, success_weight=0.7)
    environment.reset(6, generator(1))
    radio = environment.radio
    shared_out, failed, waits = 0, 0, 0
    for _ in range(25):
        before, action = environment.state, _random(environment)
        sent = transmit(before, radio, action.level)
        outcome = environment.step(action).info
        for copy in range(6):
            worth = _worth_by_hand(before, copy)
            left = before.link_queue_bit[copy].tolist()
            load_bit = 0.01 * float(environment.scenarios.load_bit_s[copy].sum())
            largest = max(1.0, max(worth))
            served: set[int] = set()
            for band in range(5):
                gained, below = 0.0, 0
                for link in range(7):
                    sinr = float(outcome.sinr[copy, link, band])
                    if sinr >= radio.sinr_min:
                        # Earlier bands have taken what they carried.
                        could = math.floor(0.01 * 4e6 * min(7.4063, math.log2(1.0 + sinr)))
                        moved = min(left[link], could)
                        shared_out += 0 < left[link] < float(before.link_queue_bit[copy, link])
                        left[link] -= moved
                        gained += worth[link] / largest * moved
                        if link not in served:
                            waited = min(1.0, int(before.unserved[copy, link]) / 20)
                            gained += 0.7 / 7 * waited * load_bit
                            waits += waited > 0
                        served.add(link)
                    below += float(sent.power_w[copy, link, band]) > 0 and sinr < radio.sinr_min
                wanted = gained / load_bit - 0.3 * below / 7
                found = float(outcome.band_reward[copy, band])
                assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5)
                failed += below
    assert shared_out > 10
    assert failed > 20
    assert waits > 20


def test_offers_are_what_agents_would_serve_if_no_band_took_anything() -> None:
    environment = SpectrumAllocation(FAMILY)
    environment.reset(6, generator(1))
    found = set()
    for _ in range(15):
        state, offer = environment.state, environment.scheduler().offer()
        assert offer.shape == (6, 6, 5)
        weight = Scheduler(state, environment.radio).wish()
        for copy in range(6):
            for agent in range(6):
                links = [k for k in range(7) if int(environment.link_agent[copy, k]) == agent]
                for band in range(5):
                    wish = [float(weight[copy, link, band]) for link in links]
                    best = links[wish.index(max(wish))] if wish and max(wish) > 0 else -1
                    assert int(offer[copy, agent, band]) == best
                    found.add(best)
        environment.step(_random(environment))
    assert found == {-1, 0, 1, 2, 3, 4, 5, 6}
