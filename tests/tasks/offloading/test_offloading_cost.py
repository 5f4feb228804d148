"""Delays, energies and interference of offloading by hand and by loops, and what is refused."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.offloading.cost import (
    Cost,
    Decision,
    Devices,
    Slot,
    Tasks,
    check_decision,
    cost,
    latency_value,
    received_w,
    uplink_rate,
)
from metagnn.tasks.offloading.scenario import Computing, Radio

# A bandwidth and a noise that are easy to reckon with.
BANDWIDTH_HZ, NOISE_W = 10e6, 1e-13


def _slot(gain: Tensor, cell: list[int], deadline_s: float = 1.35) -> Slot:
    """Tasks of 250 KB at 750 cycles/bit, and the paper's processors."""
    batch, num_channels, num_users, num_cells = gain.shape

    def full(value: float, count: int) -> Tensor:
        return torch.full((batch, count), value, dtype=gain.dtype)

    tasks = Tasks(full(2e6, num_users), full(1.5e9, num_users), full(deadline_s, num_users))
    devices = Devices(
        full(1e9, num_users), full(1e-9, num_users), full(50e9, num_cells), full(1e-11, num_cells)
    )
    silence = gain.new_zeros(batch, num_channels, num_cells)
    held = torch.full((batch, num_users), -1)
    return Slot(gain, torch.tensor(cell), tasks, devices, silence, held)


def _alone(ratio: float, share: float = 0.1, power_w: float = 0.1) -> tuple[Slot, Decision]:
    """One user at SNR 3 for 0.1 W: 2 bit/s/Hz, so 20 Mbit/s."""
    slot = _slot(torch.full((1, 1, 1, 1), 3e-12, dtype=torch.float64), [0])
    first = torch.zeros(1, 1, dtype=torch.long)

    def only(value: float) -> Tensor:
        return torch.full((1, 1), value, dtype=torch.float64)

    return slot, Decision(only(ratio), first, only(power_w), only(share))


def _local(slot: Slot) -> Decision:
    nothing = torch.zeros_like(slot.tasks.size_bit)
    return Decision(nothing, slot.held, nothing, nothing)


CELL = [2, 0, 1, 0, 2, 2, 0]


def _random() -> tuple[Slot, Decision]:
    """Three networks of 3 cells and 7 users on 4 channels; everything differs."""
    source = generator(0, "slot")

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        draw = torch.rand(shape, generator=source, dtype=torch.float64)
        return low + (high - low) * draw

    gain = 10.0 ** uniform(3, 4, 7, 3, low=-13.0, high=-10.0)
    slot = _slot(gain, CELL)
    cycles = uniform(3, 7, low=1e9, high=2e9)
    slot = replace(
        slot,
        tasks=Tasks(uniform(3, 7, low=1e6, high=2e6), cycles, uniform(3, 7, low=0.5, high=1.5)),
        devices=Devices(
            uniform(3, 7, low=0.5e9, high=2e9),
            uniform(3, 7, low=0.5e-9, high=2e-9),
            uniform(3, 3, low=20e9, high=80e9),
            uniform(3, 3, low=0.5e-11, high=2e-11),
        ),
        interference_w=uniform(3, 4, 3, low=1e-14, high=1e-12),
    )
    # Users of cell 0 are 1, 3 and 6, of cell 1 only 2, of cell 2 0, 4 and 5.
    channel = torch.tensor(
        [[0, 3, 0, 0, 3, 1, -1], [2, 2, 2, 1, -1, -1, 0], [3, 1, -1, 3, 2, 0, 0]]
    )
    offloads = channel >= 0
    ratio, share = uniform(3, 7, low=0.2, high=1.0), uniform(3, 7, low=0.1, high=0.3)
    power = 10.0 ** uniform(3, 7, low=-3.0, high=-0.8)
    return slot, Decision(ratio * offloads, channel, power * offloads, share * offloads)


def _heard_by_hand(slot: Slot, decision: Decision) -> list[list[list[float]]]:
    """Interference ``[B, K, M]`` by loops over sites, channels and users."""
    batch, num_channels, num_users, num_cells = slot.gain.shape
    heard = [[[0.0] * num_cells for _ in range(num_channels)] for _ in range(batch)]
    for network in range(batch):
        for site in range(num_cells):
            for user in range(num_users):
                channel = int(decision.channel[network, user])
                if channel >= 0 and int(slot.cell[user]) != site:
                    gain = float(slot.gain[network, channel, user, site])
                    heard[network][channel][site] += gain * float(decision.power_w[network, user])
    return heard


def _cost_by_hand(slot: Slot, decision: Decision, network: int, user: int) -> list[float]:
    """Delays [s] local and edge, energies [J] local, of transmission and edge (Eq. 1 to 10)."""
    tasks, devices, site = slot.tasks, slot.devices, int(slot.cell[user])
    ratio, channel = float(decision.ratio[network, user]), int(decision.channel[network, user])
    cycles = float(tasks.cycles[network, user])
    kept = (1.0 - ratio) * cycles
    local_s = kept / float(devices.user_hz[network, user])
    local_j = kept * float(devices.user_j_per_cycle[network, user])
    if channel < 0:
        return [local_s, 0.0, local_j, 0.0, 0.0]
    heard_w = _heard_by_hand(slot, decision)[network][channel][site]
    power_w = float(decision.power_w[network, user])
    sinr = power_w * float(slot.gain[network, channel, user, site]) / (NOISE_W + heard_w)
    sent_s = ratio * float(tasks.size_bit[network, user]) / (BANDWIDTH_HZ * math.log2(1.0 + sinr))
    speed_hz = float(decision.share[network, user]) * float(devices.server_hz[network, site])
    edge_j = ratio * cycles * float(devices.server_j_per_cycle[network, site])
    return [local_s, sent_s + ratio * cycles / speed_hz, local_j, power_w * sent_s, edge_j]


def _values(found: Cost) -> list[float]:
    terms = (found.local_s, found.edge_s, found.local_j, found.transmission_j, found.edge_j)
    return [float(term) for term in terms]


def test_local_computing_in_the_papers_numbers() -> None:
    slot, _ = _alone(0.0)
    found = cost(slot, _local(slot), BANDWIDTH_HZ, NOISE_W)
    assert _values(found) == pytest.approx([1.5, 0.0, 1.5, 0.0, 0.0])
    assert not bool(found.met)
    assert (float(found.latency_s), float(found.energy_j)) == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize(
    ("ratio", "wanted", "met"),
    [
        # 0.1 s of transmission at 0.1 W; 1.5e9 cycles on a tenth of 50e9 cycle/s last 0.3 s.
        (1.0, [0.0, 0.1 + 0.3, 0.0, 0.01, 0.015], True),
        (0.5, [0.75, 0.2, 0.75, 0.005, 0.0075], True),
        (0.02, [1.47, 0.008, 1.47, 0.0002, 0.0003], False),
    ],
)
def test_offloading_in_the_papers_numbers(ratio: float, wanted: list[float], met: bool) -> None:
    found = cost(*_alone(ratio), BANDWIDTH_HZ, NOISE_W)
    assert _values(found) == pytest.approx(wanted)
    assert bool(found.met) is met
    assert float(found.latency_s) == pytest.approx(max(wanted[:2]))
    assert float(found.energy_j) == pytest.approx(sum(wanted[2:]))


def test_a_slow_server_misses_the_deadline() -> None:
    # 1.5e9 cycles on a fiftieth of the server last 1.5 s.
    found = cost(*_alone(1.0, share=0.02), BANDWIDTH_HZ, NOISE_W)
    assert float(found.latency_s) == pytest.approx(1.6)
    assert not bool(found.met)


def test_interference_and_rate_of_two_cells_by_hand() -> None:
    # Gains from user (row) to site: user 0 is heard at site 1 with 6, user 1 at site 0 with 1.
    gain = torch.tensor([[9.0, 6.0], [1.0, 24.5]], dtype=torch.float64).view(1, 1, 2, 2)
    slot = _slot(gain, [0, 1])
    ones = torch.ones(1, 2, dtype=torch.float64)
    power = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    decision = Decision(ones, torch.zeros(1, 2, dtype=torch.long), power, ones)
    assert received_w(slot, decision).tolist() == [[[2.0, 6.0]]]
    # SINR 9 / (1 + 2) = 3 and 2 * 24.5 / (1 + 6) = 7, so 2 and 3 bit/s/Hz of 2 MHz.
    found = cost(slot, decision, 2e6, 1.0)
    assert found.transmission_j[0].tolist() == pytest.approx([1.0 * 0.5, 2.0 / 3.0])
    assert found.edge_s[0].tolist() == pytest.approx([0.5 + 0.03, 1.0 / 3.0 + 0.03])


def test_no_interference_within_a_cell_or_from_other_channels() -> None:
    gain = torch.ones(1, 2, 3, 2)
    ones = torch.ones(1, 3)
    together = Decision(ones, torch.tensor([[1, 1, 0]]), ones, ones)
    heard = received_w(_slot(gain, [0, 0, 1]), together)
    # Channel 0: user 2 at site 0; channel 1: users 0 and 1 at site 1.
    assert heard.tolist() == [[[1.0, 0.0], [0.0, 2.0]]]
    # Who has no channel is not heard.
    without = replace(together, channel=torch.tensor([[1, -1, -1]]))
    assert received_w(_slot(gain, [0, 0, 1]), without).tolist() == [[[0.0, 0.0], [0.0, 1.0]]]


def test_interference_is_that_of_loops() -> None:
    slot, decision = _random()
    wanted = torch.tensor(_heard_by_hand(slot, decision), dtype=torch.float64)
    assert int((wanted > 0).sum()) > 15
    torch.testing.assert_close(received_w(slot, decision), wanted, rtol=1e-12, atol=0)


def test_costs_are_those_of_loops() -> None:
    slot, decision = _random()
    found = cost(slot, decision, BANDWIDTH_HZ, NOISE_W)
    rows = [[_cost_by_hand(slot, decision, n, user) for user in range(7)] for n in range(3)]
    wanted = torch.tensor(rows, dtype=torch.float64)
    terms = (found.local_s, found.edge_s, found.local_j, found.transmission_j, found.edge_j)
    torch.testing.assert_close(torch.stack(terms, dim=-1), wanted, rtol=1e-9, atol=0)
    met = wanted[..., :2].amax(-1) <= slot.tasks.deadline_s
    assert 0 < int(met.sum()) < met.numel()
    assert torch.equal(found.met, met)


def test_what_belongs_to_a_users_own_site() -> None:
    slot, _ = _random()
    for network in range(3):
        for user, site in enumerate(CELL):
            assert torch.equal(slot.own_gain[network, user], slot.gain[network, :, user, site])
            heard = slot.interference_w[network, :, site]
            assert torch.equal(slot.interference_at_own[network, user], heard)
            assert slot.server_hz[network, user] == slot.devices.server_hz[network, site]
            energy = slot.devices.server_j_per_cycle[network, site]
            assert slot.server_j_per_cycle[network, user] == energy


def test_the_rate_is_shannons() -> None:
    one = torch.tensor(1.0)
    assert float(uplink_rate(2 * one, 14 * one, 3 * one, 10e6, 1.0)) == pytest.approx(30e6)
    assert float(uplink_rate(0 * one, one, one, 10e6, 1.0)) == 0.0
    # At SINR 1e-9 the logarithm is linear, also in single precision.
    assert float(uplink_rate(1e-9 * one, one, 0 * one, 1.0, 1.0)) == pytest.approx(
        1e-9 / math.log(2)
    )


@pytest.mark.parametrize(
    ("ratio", "deadline_s", "wanted"),
    [
        # Given up after two deadlines; 1.5e9 cycles at 1e9 cycle/s follow.
        (1.0, 1.35, [2.7 + 1.5, 2.7, 1.5, 2.7e-4, 0.0]),
        # Half of them had been computed during the transmission.
        (0.5, 1.35, [2.7 + 0.75, 2.7, 1.5, 2.7e-4, 0.0]),
        # They still last 0.55 s when the transmission is given up.
        (0.5, 0.1, [0.75 + 0.75, 0.2, 1.5, 2e-5, 0.0]),
    ],
)
def test_what_is_given_up_is_computed_locally_afterwards(
    ratio: float, deadline_s: float, wanted: list[float]
) -> None:
    # At 0.1 mW the SNR is 0.003: 46 s.
    slot, decision = _alone(ratio, power_w=1e-4)
    deadlines = torch.full_like(slot.tasks.deadline_s, deadline_s)
    slot = replace(slot, tasks=replace(slot.tasks, deadline_s=deadlines))
    found = cost(slot, decision, BANDWIDTH_HZ, NOISE_W, patience=2.0)
    assert _values(found) == pytest.approx(wanted)
    assert not bool(found.met)
    # Local computing from the start takes less of both.
    local = cost(slot, _local(slot), BANDWIDTH_HZ, NOISE_W, patience=2.0)
    assert float(found.energy_j) > float(local.energy_j)
    assert float(found.latency_s) >= float(local.latency_s)


def test_infinite_patience_is_the_papers() -> None:
    slot, decision = _alone(1.0, power_w=1e-4)
    endless = cost(slot, decision, BANDWIDTH_HZ, NOISE_W)
    wanted_s = 2e6 / (10e6 * math.log2(1.003))
    assert _values(endless) == pytest.approx([0.0, wanted_s + 0.3, 0.0, 1e-4 * wanted_s, 0.015])


def test_who_is_patient_enough_pays_what_the_paper_says() -> None:
    # A transmission of 0.1 s and a deadline of 0.08 s: missed, but not given up.
    slot, decision = _alone(1.0)
    deadlines = torch.full_like(slot.tasks.deadline_s, 0.08)
    slot = replace(slot, tasks=replace(slot.tasks, deadline_s=deadlines))
    given_up, late = (cost(slot, decision, BANDWIDTH_HZ, NOISE_W, p) for p in (1.24, 1.26))
    assert _values(late) == pytest.approx([0.0, 0.4, 0.0, 0.01, 0.015])
    assert _values(given_up) == pytest.approx([0.0992 + 1.5, 0.0992, 1.5, 0.00992, 0.0])
    assert not bool(late.met)
    assert not bool(given_up.met)


def test_a_share_too_small_to_matter_that_is_given_up_misses_its_deadline() -> None:
    slot, decision = _alone(1e-6, power_w=1e-12)
    deadlines = torch.full_like(slot.tasks.deadline_s, 1.6)
    slot = replace(slot, tasks=replace(slot.tasks, deadline_s=deadlines))
    found = cost(slot, decision, BANDWIDTH_HZ, NOISE_W, patience=1.0)
    assert float(found.latency_s) == pytest.approx(1.6 + 1.5e-6, rel=1e-9)
    assert not bool(found.met)


def test_the_value_of_a_latency_is_the_papers_equation_13() -> None:
    slot = _slot(torch.ones(1, 1, 5, 1, dtype=torch.float64), [0] * 5)
    # Seconds are cycles over 1e9; a deadline met up to rounding is met.
    seconds = torch.tensor([[1.0, 1.35, 1.35 * (1 + 5e-6), 1.35 * (1 + 2e-5), 3.0]])
    slot = replace(slot, tasks=replace(slot.tasks, cycles=1e9 * seconds.double()))
    found = cost(slot, _local(slot), BANDWIDTH_HZ, NOISE_W)
    assert found.met.tolist() == [[True, True, True, False, False]]
    value = latency_value(found, slot.tasks.deadline_s, 7.0)
    assert value[0].tolist() == pytest.approx([7.0, 7.0, 7.0, -2.7e-5, -1.65], abs=1e-6)


def _valid() -> tuple[Slot, dict[str, Tensor]]:
    """Two networks of 2 cells on 3 channels, decisions at the ends of what is allowed."""
    slot = _slot(torch.ones(2, 3, 4, 2), [1, 0, 1, 0])
    # In network 0 users 0 and 1 share a channel over cells, and user 3 has the last channel of
    # cell 0 while user 2 of cell 1 computes locally.
    return slot, {
        "ratio": torch.tensor([[1.0, 0.5, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]]),
        "channel": torch.tensor([[0, 0, -1, 2], [0, 1, 2, 2]]),
        "power_w": torch.tensor([[0.2, 1e-6, 0.0, 0.2], [0.1, 0.1, 0.1, 0.1]]),
        "share": torch.tensor([[1.0, 0.5, 0.0, 0.5], [0.9, 0.3, 0.1, 0.7]]),
    }


def test_decisions_at_the_ends_of_what_is_allowed() -> None:
    slot, values = _valid()
    check_decision(Decision(**values), slot, 1e-6, 0.2)
    check_decision(_local(slot), slot, 1e-6, 0.2)
    # A power that meets a limit up to rounding meets it.
    check_decision(Decision(**values), slot, 1e-6, 0.2 / (1 + 5e-6))


ENDS = r"be > 0 for users with a channel and 0 for those without, got "


@pytest.mark.parametrize(
    ("name", "network", "user", "value", "message"),
    [
        ("ratio", 0, 1, 1.01, r"`ratio` must lie in \[0, 1\], got \(0.0, 1.00999"),
        ("ratio", 1, 1, -0.5, r"`ratio` must lie in \[0, 1\], got \(-0.5, 1.0\)"),
        ("ratio", 0, 0, math.nan, r"`ratio` must lie in \[0, 1\], got \(nan, nan\)"),
        ("channel", 0, 0, 3, r"`channel` must lie in \[-1, 2\], got \(-1, 3\)"),
        ("channel", 0, 0, -2, r"`channel` must lie in \[-1, 2\], got \(-2, 2\)"),
        ("power_w", 1, 0, 0.2001, r"`power_w` must lie in \[0, 0.2\d*\], got"),
        ("power_w", 1, 0, -1e-6, r"`power_w` must lie in \[0, 0.2\d*\], got \(-9.99\d*e-07"),
        ("power_w", 1, 0, math.nan, r"`power_w` must lie in .* got \(nan, nan\)"),
        ("power_w", 1, 0, math.inf, r"`power_w` must lie in .*, inf\)"),
        ("share", 0, 0, 1.1, r"`share` must lie in \[0, 1\], got \(0.0, 1.1"),
        ("share", 0, 0, -0.1, r"`share` must lie in \[0, 1\], got \(-0.1"),
        ("share", 0, 0, math.nan, r"`share` must lie in \[0, 1\], got \(nan, nan\)"),
        ("ratio", 0, 1, 0.0, rf"`ratio` must {ENDS}\[0.0\]"),
        ("power_w", 0, 1, 0.0, rf"`power_w` must {ENDS}\[0.0\]"),
        ("share", 0, 1, 0.0, rf"`share` must {ENDS}\[0.0\]"),
        ("ratio", 0, 2, 0.5, rf"`ratio` must {ENDS}\[0.5\]"),
        ("power_w", 0, 2, 0.125, rf"`power_w` must {ENDS}\[0.125\]"),
        ("share", 0, 2, 0.5, rf"`share` must {ENDS}\[0.5\]"),
        ("channel", 1, 0, 2, "`channel` must be given to at most one user of a cell, got 2"),
        ("channel", 0, 3, 0, "`channel` must be given to at most one user of a cell, got 2"),
        ("share", 1, 0, 0.91, "`share` must sum to at most 1 in every cell, got 1.0"),
        ("share", 0, 3, 0.6, "`share` must sum to at most 1 in every cell, got 1.1"),
    ],
)
def test_decisions_that_are_refused(
    name: str, network: int, user: int, value: float, message: str
) -> None:
    slot, values = _valid()
    values[name][network, user] = value
    with pytest.raises(ValueError, match=message):
        check_decision(Decision(**values), slot, 1e-6, 0.2)


@pytest.mark.parametrize("name", ["ratio", "channel", "power_w", "share"])
def test_shapes_that_are_refused(name: str) -> None:
    slot, values = _valid()
    for wrong, shape in ((values[name][:1], (1, 4)), (values[name][:, :3], (2, 3))):
        message = rf"`{name}` must have the shape \(2, 4\), got \({shape[0]}, {shape[1]}\)"
        with pytest.raises(ValueError, match=message):
            check_decision(Decision(**{**values, name: wrong}), slot, 1e-6, 0.2)


def test_channels_that_are_not_integers_are_refused() -> None:
    slot, values = _valid()
    values["channel"] = values["channel"].float()
    with pytest.raises(ValueError, match=r"`channel` must hold integers .* got 'torch.float32'"):
        check_decision(Decision(**values), slot, 1e-6, 0.2)


def test_the_papers_radio() -> None:
    radio = Radio()
    assert (radio.num_channels, radio.bandwidth_hz) == (16, 10e6)
    assert radio.power_max_w == pytest.approx(0.199526, rel=1e-5)
    assert radio.power_min_w == pytest.approx(1e-6)
    # -174 dBm/Hz over 70 dBHz are -104 dBm.
    assert radio.noise_w == pytest.approx(10**-13.4, rel=1e-9)


def test_the_papers_tasks_and_devices() -> None:
    source = generator(0)
    devices = Computing().devices(2, 5, 3, source)
    assert torch.equal(devices.user_hz, torch.full((2, 5), 1e9))
    assert torch.equal(devices.user_j_per_cycle, torch.full((2, 5), 1e-9))
    assert torch.equal(devices.server_hz, torch.full((2, 3), 50e9))
    assert torch.equal(devices.server_j_per_cycle, torch.full((2, 3), 1e-11))
    tasks = Computing().tasks(torch.full((200, 50), 1e9), source)
    per_bit = tasks.cycles / tasks.size_bit
    for draws, low, high in ((tasks.size_bit, 1.6e6, 2.4e6), (per_bit, 500.0, 1000.0)):
        assert low * (1 - 1e-6) <= float(draws.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(draws.max()) <= high * (1 + 1e-6)
        assert float(draws.mean()) == pytest.approx((low + high) / 2, rel=0.01)
    correlation = torch.corrcoef(torch.stack([tasks.size_bit.flatten(), per_bit.flatten()]))
    assert abs(float(correlation[0, 1])) < 0.05
    torch.testing.assert_close(tasks.deadline_s, 0.9 * tasks.cycles / 1e9)


def test_a_task_of_250_kilobytes() -> None:
    computing = Computing(
        size_bit=(2e6, 2e6), cycles_per_bit=(750.0, 750.0), deadline_share=0.8, user_hz=(1e9, 4e9)
    )
    found = computing.tasks(torch.tensor([[1e9, 3e9]]), generator(0))
    assert found.size_bit.tolist() == [[2e6, 2e6]]
    assert found.cycles.tolist() == [[1.5e9, 1.5e9]]
    assert found.deadline_s[0].tolist() == pytest.approx([1.2, 0.4])


def test_processors_may_differ() -> None:
    computing = Computing(
        user_hz=(1e9, 2e9),
        user_j_per_cycle=(3e-9, 4e-9),
        server_hz=(5e9, 6e9),
        server_j_per_cycle=(7e-11, 8e-11),
    )
    one, same = (computing.devices(50, 4, 2, generator(3)) for _ in range(2))
    assert one.user_hz.shape == one.user_j_per_cycle.shape == (50, 4)
    assert one.server_hz.shape == one.server_j_per_cycle.shape == (50, 2)
    for name, low, unit in (
        ("user_hz", 1, 1e9),
        ("user_j_per_cycle", 3, 1e-9),
        ("server_hz", 5, 1e9),
        ("server_j_per_cycle", 7, 1e-11),
    ):
        values = getattr(one, name) / unit
        assert low <= float(values.min()) < low + 0.1, name
        assert low + 0.9 < float(values.max()) <= low + 1, name
        assert torch.equal(getattr(one, name), getattr(same, name))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_channels": 0}, "`num_channels` must be an integer >= 1, got 0"),
        ({"num_channels": 1.5}, "`num_channels` must be an integer >= 1, got 1.5"),
        ({"bandwidth_hz": 0.0}, "`bandwidth_hz` must be finite and > 0, got 0.0"),
        ({"bandwidth_hz": math.nan}, "`bandwidth_hz` must be finite and > 0, got nan"),
        ({"power_max_dbm": math.inf}, "`power_max_dbm` must be finite, got inf"),
        ({"power_min_dbm": -math.inf}, "`power_min_dbm` must be finite, got -inf"),
        ({"noise_density_dbm_hz": math.nan}, "`noise_density_dbm_hz` must be finite, got nan"),
        ({"power_min_dbm": 30.0}, "`power_min_dbm` must be < power_max_dbm = 23.0, got 30.0"),
        ({"power_max_dbm": -30.0}, "`power_min_dbm` must be < power_max_dbm = -30.0, got -30.0"),
    ],
)
def test_radios_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Radio(**changed)


RANGES = [
    "size_bit",
    "cycles_per_bit",
    "user_hz",
    "server_hz",
    "user_j_per_cycle",
    "server_j_per_cycle",
]


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((0.0, 1.0), "be finite and > 0, got 0.0"),
        ((-1e-9, 1e-9), "be finite and > 0, got -1e-09"),
        ((math.nan, 1.0), "be finite and > 0, got nan"),
        ((2.0, 1.0), r"be a range \(smallest, largest\), got \(2.0, 1.0\)"),
        ((1.0, math.inf), r"be a range \(smallest, largest\), got \(1.0, inf\)"),
        (1.0, r"be a range \(smallest, largest\), got 1.0"),
        ((1.0,), r"be a range \(smallest, largest\), got \(1.0,\)"),
        ((1.0, 2.0, 3.0), r"be a range \(smallest, largest\), got \(1.0, 2.0, 3.0\)"),
        ((1.0, math.nan), r"be a range \(smallest, largest\), got \(1.0, nan\)"),
    ],
)
def test_ranges_that_are_refused(name: str, limits: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must {message}"):
        Computing(**{name: limits})


@pytest.mark.parametrize("share", [0.0, -0.9, math.nan, math.inf])
def test_shares_that_make_no_deadline_are_refused(share: float) -> None:
    message = rf"`deadline_share` must be finite and > 0, got {share}"
    with pytest.raises(ValueError, match=message):
        Computing(deadline_share=share)


@pytest.mark.parametrize("name", ["size_bit", "cycles", "deadline_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_tasks_that_are_refused(name: str, value: float) -> None:
    numbers = {key: torch.ones(2, 3) for key in ("size_bit", "cycles", "deadline_s")}
    Tasks(**numbers)
    numbers[name][1, 2] = value
    with pytest.raises(ValueError, match=f"`{name}` must be finite and > 0, got {value}"):
        Tasks(**numbers)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        *((name, v, "> 0") for name in ("user_hz", "server_hz") for v in (0.0, -1.0, math.nan)),
        *(
            (name, v, ">= 0")
            for name in ("user_j_per_cycle", "server_j_per_cycle")
            for v in (-1.0, math.nan, math.inf)
        ),
    ],
)
def test_processors_that_are_refused(name: str, value: float, rule: str) -> None:
    numbers = {field.name: torch.ones(2, 3) for field in fields(Devices)}
    numbers |= {"user_j_per_cycle": torch.zeros(2, 3), "server_j_per_cycle": torch.zeros(2, 3)}
    Devices(**numbers)
    numbers[name][1, 2] = value
    with pytest.raises(ValueError, match=f"`{name}` must be finite and {rule}, got {value}"):
        Devices(**numbers)
