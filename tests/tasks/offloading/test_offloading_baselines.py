"""The least energy against a grid, the bound against exhaustive search, and the baselines."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import permutations, product

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells, drop_small_cells
from metagnn.tasks.offloading.baselines import BASELINES, MARGIN_DB, heuristic
from metagnn.tasks.offloading.bound import Bound, relaxation
from metagnn.tasks.offloading.construction import construct
from metagnn.tasks.offloading.cost import (
    Cost,
    Decision,
    Devices,
    Slot,
    Tasks,
    check_decision,
    cost,
)
from metagnn.tasks.offloading.environment import Offloading
from metagnn.tasks.offloading.least_energy import least_energy
from metagnn.tasks.offloading.scenario import Computing, Radio

RADIO = Radio()
NAMES = (
    "size_bit",
    "cycles",
    "deadline_s",
    "user_hz",
    "user_j_per_cycle",
    "server_hz",
    "server_j_per_cycle",
    "noise_to_gain_w",
)


def _first_slot(cells: SmallCells, radio: Radio = RADIO, seed: int = 0) -> Slot:
    environment = Offloading(lambda batch, source: cells, radio)
    environment.reset(len(cells.site_m), generator(seed, "slot"))
    return environment.slot


def _dropped(batch: int, num_cells: int, users_per_cell: int, seed: int = 0) -> SmallCells:
    return drop_small_cells(batch, generator(seed, "cells"), num_cells, users_per_cell)


def _separated(batch: int) -> SmallCells:
    """Two cells of three users, 5 km apart."""
    site_m = torch.tensor([[0.0, 0.0], [5000.0, 0.0]])
    from_site_m = torch.tensor([[50.0, 0.0], [0.0, 90.0], [-120.0, 0.0]])
    user_m = (site_m.unsqueeze(1) + from_site_m).flatten(0, 1)
    cell = torch.tensor([0, 0, 0, 1, 1, 1])
    return SmallCells(site_m.expand(batch, -1, -1), user_m.expand(batch, -1, -1), cell)


def _cost(slot: Slot, decision: Decision, radio: Radio = RADIO) -> Cost:
    check_decision(decision, slot, radio.power_min_w, radio.power_max_w)
    return cost(slot, decision, radio.bandwidth_hz, radio.noise_w)


def _per_cell(value: Tensor, slot: Slot) -> Tensor:
    """Sums over the users of each cell ``[B, M]``."""
    total = value.new_zeros(len(value), slot.gain.shape[-1])
    return total.index_add(1, slot.cell, value)


# --- the least energy of one user -----------------------------------------------------------------


def _cases(count: int) -> dict[str, Tensor]:
    """From easy to hopeless, with servers and users of all energies."""
    source = generator(0, "cases")

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=source, dtype=torch.float64)

    size_bit = uniform(1.6e6, 2.4e6)
    cycles = size_bit * uniform(500.0, 1000.0)
    user_hz = uniform(0.8e9, 1.2e9)
    return {
        "size_bit": size_bit,
        "cycles": cycles,
        "deadline_s": uniform(0.3, 1.2) * cycles / user_hz,
        "user_hz": user_hz,
        "user_j_per_cycle": 10.0 ** uniform(-11.0, -9.0),
        "server_hz": 10.0 ** uniform(8.7, 10.7),
        "server_j_per_cycle": 10.0 ** uniform(-11.5, -10.0),
        "noise_to_gain_w": 10.0 ** uniform(-8.0, 1.0),
    }


def _latency_and_energy(
    case: dict[str, float], ratio: float, power_w: float
) -> tuple[float, float]:
    """By the paper's equations 3 to 10."""
    kept, sent = (1.0 - ratio) * case["cycles"], ratio * case["cycles"]
    energy_j = kept * case["user_j_per_cycle"] + sent * case["server_j_per_cycle"]
    local_s = kept / case["user_hz"]
    if ratio == 0.0:
        return local_s, energy_j
    rate = RADIO.bandwidth_hz * math.log2(1.0 + power_w / case["noise_to_gain_w"])
    transmission_s = ratio * case["size_bit"] / rate
    latency_s = max(local_s, transmission_s + sent / case["server_hz"])
    return latency_s, energy_j + power_w * transmission_s


def _best_on_a_grid(case: dict[str, float]) -> float:
    """Least energy of ratios and powers on a grid that meet the deadline; infinite if none do."""
    ratio = torch.linspace(0.0, 1.0, 501, dtype=torch.float64).unsqueeze(-1)
    ends = math.log10(RADIO.power_min_w), math.log10(RADIO.power_max_w)
    power_w = torch.logspace(*ends, 531, dtype=torch.float64)
    rate = RADIO.bandwidth_hz * torch.log2(1.0 + power_w / case["noise_to_gain_w"])
    sent_s = ratio * case["size_bit"] / rate
    edge_s = sent_s + ratio * case["cycles"] / case["server_hz"]
    local_s = (1.0 - ratio) * case["cycles"] / case["user_hz"]
    computing_j = case["cycles"] * (
        (1.0 - ratio) * case["user_j_per_cycle"] + ratio * case["server_j_per_cycle"]
    )
    met = torch.maximum(edge_s, local_s) <= case["deadline_s"]
    energy_j = computing_j + power_w * sent_s
    return float(energy_j.masked_fill(~met, math.inf).min())


def test_no_ratio_and_power_on_a_grid_take_less_energy() -> None:
    cases = _cases(150)
    answers = torch.stack(least_energy(**cases, radio=RADIO), dim=-1)
    compared = 0
    regimes = dict.fromkeys(("local", "whole", "interior", "largest", "smallest", "no"), 0)
    for index in range(150):
        case = {name: float(cases[name][index]) for name in NAMES}
        energy_j, ratio, power_w, possible = answers[index].tolist()
        grid_j = _best_on_a_grid(case)
        latency_s, wanted_j = _latency_and_energy(case, ratio, power_w)
        assert energy_j == pytest.approx(wanted_j, rel=1e-9)
        if not possible:
            assert grid_j == math.inf
            assert latency_s > case["deadline_s"]
            regimes["no"] += 1
            continue
        assert 0.0 <= ratio <= 1.0
        assert latency_s <= case["deadline_s"] * (1.0 + 1e-9)
        assert energy_j <= grid_j * (1.0 + 1e-9)
        compared += grid_j < math.inf
        if ratio == 0.0:
            assert power_w == 0.0
            regimes["local"] += 1
            continue
        assert RADIO.power_min_w <= power_w <= RADIO.power_max_w
        least = max(0.0, 1.0 - case["deadline_s"] * case["user_hz"] / case["cycles"])
        at_an_end = min(ratio - least, 1.0 - ratio) < 1e-3
        regimes["whole"] += ratio == 1.0
        regimes["largest"] += power_w > 0.999 * RADIO.power_max_w
        regimes["smallest"] += power_w == RADIO.power_min_w
        between = 1.01 * RADIO.power_min_w < power_w < 0.99 * RADIO.power_max_w
        regimes["interior"] += between and not at_an_end
    assert min(regimes.values()) >= 3, regimes
    assert compared > 100


def _one_case(**changed: float) -> dict[str, Tensor]:
    """A task of 250 KB and a tenth of the paper's server."""
    case = {
        "size_bit": 2e6,
        "cycles": 1.5e9,
        "deadline_s": 1.35,
        "user_hz": 1e9,
        "user_j_per_cycle": 1e-9,
        "server_hz": 5e9,
        "server_j_per_cycle": 1e-11,
        "noise_to_gain_w": 1e-2,
        **changed,
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in case.items()}


SLOW_W = 1e-2 * (2.0 ** (0.2 / 1.05) - 1.0)
FULL_W = 10**-0.7
FULL_S = 0.2 / math.log2(1.0 + FULL_W / 1e-2)


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        # 0.3 s of computing leave 1.05 s for 2 Mbit on 10 MHz.
        ({}, (0.015 + 1.05 * SLOW_W, 1.0, SLOW_W, True)),
        # 1 uW gives SNR 1023: 10 bit/s/Hz send the task in 20 ms.
        ({"noise_to_gain_w": 1e-6 / 1023}, (0.015 + 2e-8, 1.0, 1e-6, True)),
        # In time by itself, with less energy than the server.
        ({"deadline_s": 1.6, "user_j_per_cycle": 9e-12}, (0.0135, 0.0, 0.0, True)),
        # Even 0.3 s of computing are too long; offloading costs less than 1.5 J, or more.
        ({"deadline_s": 0.2}, (0.015 + FULL_W * FULL_S, 1.0, FULL_W, False)),
        ({"deadline_s": 0.2, "user_j_per_cycle": 1e-11}, (0.015, 0.0, 0.0, False)),
        ({"noise_to_gain_w": 100.0}, (1.5, 0.0, 0.0, False)),
    ],
)
def test_the_least_energy_by_hand(
    changed: dict[str, float], wanted: tuple[float, float, float, bool]
) -> None:
    found = least_energy(**_one_case(**changed), radio=RADIO)
    assert [float(value) for value in found[:3]] == pytest.approx(wanted[:3], rel=1e-5)
    assert bool(found[3]) is wanted[3]


def test_the_largest_power_binds_where_local_computing_is_dear() -> None:
    # SNR 0.1 at full power: 1.375 Mbit/s; all that fits into the deadline is offloaded.
    case = _one_case(noise_to_gain_w=10 * FULL_W, user_j_per_cycle=1e-6)
    _, ratio, power_w, possible = least_energy(**case, radio=RADIO)
    whole_s = 2e6 / (10e6 * math.log2(1.1)) + 0.3
    assert float(ratio) == pytest.approx(1.35 / whole_s)
    assert float(power_w) == pytest.approx(FULL_W)
    assert bool(possible)


def test_shapes_broadcast_and_single_precision_stays() -> None:
    cases = {name: value.float() for name, value in _cases(6).items()}
    table = {name: value.unsqueeze(-1) for name, value in cases.items()}
    table["noise_to_gain_w"] = cases["noise_to_gain_w"].expand(6, -1)
    found = least_energy(**table, radio=RADIO)
    assert [value.dtype for value in found] == [torch.float32] * 3 + [torch.bool]
    for user, channel in product(range(0, 6, 2), (5,)):
        one = {name: value[user] for name, value in cases.items()}
        one["noise_to_gain_w"] = cases["noise_to_gain_w"][channel]
        for whole, single in zip(found, least_energy(**one, radio=RADIO), strict=True):
            torch.testing.assert_close(whole[user, channel], single)


# --- the bound ------------------------------------------------------------------------------------


def _hard_slot(cell: list[int], num_channels: int, deadline_share: float, seed: int) -> Slot:
    """Twenty networks of two cells, whose SNRs at full power reach from -30 to 20 dB."""
    batch, num_users, source = 20, len(cell), generator(seed, "hard")

    def uniform(*shape: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=source)

    decades = uniform(num_channels, num_users, 2, low=-3.0, high=2.0)
    gain = 10.0**decades * RADIO.noise_w / RADIO.power_max_w
    size_bit = uniform(num_users, low=1.6e6, high=2.4e6)
    cycles = size_bit * uniform(num_users, low=500.0, high=1000.0)
    user_hz = uniform(num_users, low=0.9e9, high=1.1e9)
    devices = Devices(
        user_hz,
        10.0 ** uniform(num_users, low=-11.0, high=-9.0),
        10.0 ** uniform(2, low=9.0, high=10.5),
        10.0 ** uniform(2, low=-11.5, high=-10.5),
    )
    tasks = Tasks(size_bit, cycles, deadline_share * cycles / 1e9)
    silence, held = torch.zeros(batch, num_channels, 2), torch.full((batch, num_users), -1)
    return Slot(gain, torch.tensor(cell), tasks, devices, silence, held)


Option = tuple[bool, float]


def _options(slot: Slot) -> list[list[list[Option]]]:
    """Whether the deadline is met and the least energy, for all channels and then without one."""
    tasks, devices, cell = slot.tasks, slot.devices, slot.cell.tolist()
    own_gain = torch.stack([slot.gain[:, :, user, site] for user, site in enumerate(cell)], dim=1)
    cases = {
        "size_bit": tasks.size_bit,
        "cycles": tasks.cycles,
        "deadline_s": tasks.deadline_s,
        "user_hz": devices.user_hz,
        "user_j_per_cycle": devices.user_j_per_cycle,
        "server_hz": devices.server_hz[:, cell],
        "server_j_per_cycle": devices.server_j_per_cycle[:, cell],
    }
    table = {name: value.unsqueeze(-1) for name, value in cases.items()}
    table["noise_to_gain_w"] = RADIO.noise_w / own_gain
    energy_j, _, _, possible = least_energy(**table, radio=RADIO)
    found: list[list[list[Option]]] = []
    for network in range(len(own_gain)):
        found.append([])
        for user in range(len(cell)):
            case = {name: float(value[network, user]) for name, value in cases.items()}
            local_j = case["cycles"] * case["user_j_per_cycle"]
            options: list[Option] = []
            for channel in range(own_gain.shape[-1]):
                met, least_j = bool(possible[network, user, channel]), local_j
                if met:
                    least_j = float(energy_j[network, user, channel])
                else:
                    # At all: nothing is offloaded, or everything at the smallest power.
                    case["noise_to_gain_w"] = float(
                        table["noise_to_gain_w"][network, user, channel]
                    )
                    slow_j = _latency_and_energy(case, 1.0, RADIO.power_min_w)[1]
                    least_j = min(local_j, slow_j)
                options.append((met, least_j))
            local_met = case["cycles"] / case["user_hz"] <= case["deadline_s"]
            found[-1].append([*options, (local_met, local_j)])
    return found


def _assignments(num_users: int, num_channels: int) -> Iterator[tuple[int, ...]]:
    for choice in product(range(-1, num_channels), repeat=num_users):
        taken = [channel for channel in choice if channel >= 0]
        if len(set(taken)) == len(taken):
            yield choice


@pytest.mark.parametrize(
    ("cell", "num_channels", "deadline_share"),
    [
        ([0, 0], 3, 0.4),
        ([0, 0, 0], 2, 0.8),
        ([0, 0, 0], 2, 0.98),
        ([1, 0, 1, 1], 2, 0.6),
    ],
)
def test_the_bound_is_that_of_exhaustive_search(
    cell: list[int], num_channels: int, deadline_share: float
) -> None:
    slot = _hard_slot(cell, num_channels, deadline_share, seed=len(cell))
    found = relaxation(slot, RADIO)
    energy_j, allowed = _per_cell(found.energy_j, slot), _per_cell(found.allowed.float(), slot)
    refused = 0
    for network, of_users in enumerate(_options(slot)):
        for site in set(cell):
            users = [user for user, own in enumerate(cell) if own == site]
            options = [of_users[user] for user in users]
            results = []
            for choice in _assignments(len(users), num_channels):
                chosen = [own[channel] for own, channel in zip(options, choice, strict=True)]
                results.append((-sum(met for met, _ in chosen), sum(j for _, j in chosen)))
            missed, best_j = min(results)
            assert int(allowed[network, site]) == -missed
            assert float(energy_j[network, site]) == pytest.approx(best_j, rel=1e-5)
            refused += len(users) + missed
    assert 0 < refused < 20 * len(cell)


def _check_bound(bound: Bound, slot: Slot, found: Cost) -> int:
    """In how many cells all deadlines are met, which take at least the energy of the bound."""
    met, allowed = (_per_cell(value.float(), slot) for value in (found.met, bound.allowed))
    assert bool((met <= allowed).all())
    all_met = met == _per_cell(torch.ones_like(found.energy_j), slot)
    least_j = _per_cell(bound.energy_j, slot)[all_met]
    assert bool((_per_cell(found.energy_j, slot)[all_met] >= least_j * (1 - 1e-5)).all())
    return int(all_met.sum())


def test_no_decision_is_better_than_the_bound() -> None:
    radio = Radio(num_channels=3)
    slot = _first_slot(_dropped(50, 2, 2), radio)
    bound = relaxation(slot, radio)
    for name in ("coordinated", "heuristic", "full offloading", "random"):
        decision = BASELINES[name](slot, radio, generator(0))
        assert _check_bound(bound, slot, _cost(slot, decision, radio)) > 0, name


def test_no_random_search_is_better_than_the_bound() -> None:
    radio, copies, source = Radio(num_channels=3), 2000, generator(1, "search")
    one = _first_slot(_dropped(1, 2, 2, seed=4), radio, seed=1)

    def repeated(value: Tensor) -> Tensor:
        return value.expand(copies, *value.shape[1:])

    tasks, devices = one.tasks, one.devices
    slot = Slot(
        repeated(one.gain),
        one.cell,
        Tasks(*(repeated(getattr(tasks, field.name)) for field in fields(tasks))),
        Devices(*(repeated(getattr(devices, field.name)) for field in fields(devices))),
        repeated(one.interference_w),
        repeated(one.held),
    )
    power_dbm = -30.0 + 53.0 * torch.rand(copies, 4, 1, generator=source)
    decision = construct(
        0.9 + 0.1 * torch.rand(copies, 4, generator=source),
        torch.randn(copies, 4, 3, generator=source),
        10.0 ** ((power_dbm - 30.0) / 10.0),
        torch.randn(copies, 4, generator=source),
        slot.cell,
        2,
    )
    bound = relaxation(one, radio)
    assert bool(bound.allowed.all())
    bound = Bound(repeated(bound.energy_j), repeated(bound.allowed))
    assert _check_bound(bound, slot, _cost(slot, decision, radio)) > 500


def test_nothing_that_is_given_up_beats_the_bound() -> None:
    radio = Radio(num_channels=3, power_min_dbm=-90.0)
    slot = _first_slot(_dropped(50, 2, 2), radio)
    # Nobody can meet such deadlines, so what is met is no reason to need more energy.
    slot = replace(slot, tasks=replace(slot.tasks, deadline_s=1e-4 * slot.tasks.deadline_s))
    bound = relaxation(slot, radio)
    assert not bool(bound.allowed.any())
    ratio = torch.rand(50, 4, generator=generator(2)).clamp(min=1e-3)
    scores = torch.randn(50, 4, 3, generator=generator(3))
    weakest_w = torch.full((50, 4, 1), radio.power_min_w)
    decision = construct(ratio, scores, weakest_w, torch.zeros(50, 4), slot.cell, 2)
    found = cost(slot, decision, radio.bandwidth_hz, radio.noise_w, patience=1.5)
    assert not bool((found.edge_j > 0.0).any())
    assert bool((_per_cell(found.energy_j, slot) >= _per_cell(bound.energy_j, slot)).all())


@pytest.mark.parametrize("share", [1e-6, 1e-30])
@pytest.mark.parametrize("name", list(BASELINES))
def test_a_deadline_that_nobody_can_meet(name: str, share: float) -> None:
    cells, computing = _dropped(2, 2, 2), Computing(deadline_share=share)
    environment = Offloading(lambda batch, source: cells, RADIO, computing)
    environment.reset(2, generator(0))
    slot = environment.slot
    bound = relaxation(slot, RADIO)
    step = environment.step(BASELINES[name](slot, RADIO, generator(1)))
    found = step.info.cost
    assert not bool(bound.allowed.any())
    assert not bool(found.met.any())
    assert bool((found.latency_s > slot.tasks.deadline_s).all())
    numbers = (*vars(found).values(), bound.energy_j, step.reward, step.observation.node)
    assert all(bool(value.isfinite().all()) for value in numbers)


# --- the baselines --------------------------------------------------------------------------------


def _unordered() -> SmallCells:
    """Cells of 3, 0, 1 and 4 users in no order."""
    cells = _dropped(2, 4, 2)
    return replace(cells, cell=torch.tensor([3, 0, 3, 0, 2, 3, 0, 3]))


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_obey_all_constraints(name: str) -> None:
    for cells, num_channels in (
        (_dropped(1, 6, 10), 16),
        (_dropped(3, 2, 5), 3),
        (_unordered(), 3),
    ):
        radio = Radio(num_channels=num_channels)
        slot = _first_slot(cells, radio)
        decision = BASELINES[name](slot, radio, generator(0))
        found = _cost(slot, decision, radio)
        assert bool(found.energy_j.isfinite().all())
        _check_bound(relaxation(slot, radio), slot, found)
        counts = torch.bincount(cells.cell, minlength=cells.num_cells)
        offloading = _per_cell(decision.offloads.float(), slot)
        most = counts.clamp(max=num_channels).float().expand(len(slot.gain), -1)
        assert bool((offloading <= most).all())
        if name in ("full offloading", "random"):
            assert torch.equal(offloading, most)
        # Where nobody turned a channel down, who waits takes no share from the others.
        busy = (offloading == most) & (most > 0)
        shares = _per_cell(decision.share, slot)[busy]
        torch.testing.assert_close(shares, torch.ones_like(shares))


@pytest.mark.parametrize("name", list(BASELINES))
def test_equal_generators_give_equal_decisions(name: str) -> None:
    slot = _first_slot(_dropped(2, 2, 4))
    one, same, other = (BASELINES[name](slot, RADIO, generator(seed)) for seed in (0, 0, 1))
    for field in fields(one):
        assert torch.equal(getattr(one, field.name), getattr(same, field.name))
    differs = not torch.equal(one.channel, other.channel)
    assert differs is (name in ("full offloading", "random"))


def test_local_computing_offloads_nothing() -> None:
    slot = _first_slot(_dropped(2, 2, 3))
    decision = BASELINES["local computing"](slot, RADIO, generator(0))
    assert not bool(decision.offloads.any())
    found = _cost(slot, decision)
    torch.testing.assert_close(found.energy_j, 1e-9 * slot.tasks.cycles)
    # The deadline is nine tenths of what it takes.
    assert not bool(found.met.any())


def test_full_offloading_uses_full_power_equal_shares_and_random_channels() -> None:
    radio = Radio(num_channels=4)
    slot = _first_slot(_dropped(1000, 2, 3), radio)
    decision = BASELINES["full offloading"](slot, radio, generator(0))
    assert torch.equal(decision.ratio, torch.ones(1000, 6))
    torch.testing.assert_close(decision.power_w, torch.full((1000, 6), radio.power_max_w))
    torch.testing.assert_close(decision.share, torch.full((1000, 6), 1 / 3))
    for user in range(6):
        frequency = torch.bincount(decision.channel[:, user], minlength=4) / 1000
        # Five standard errors.
        assert frequency.tolist() == pytest.approx([0.25] * 4, abs=0.07)
    # Two users and one channel: who comes last waits, each as often.
    radio = Radio(num_channels=1)
    decision = BASELINES["full offloading"](
        _first_slot(_dropped(1000, 1, 2), radio), radio, generator(0)
    )
    offloads = decision.offloads.float()
    assert torch.equal(offloads.sum(-1), torch.ones(1000))
    assert float(offloads[:, 0].mean()) == pytest.approx(0.5, abs=0.08)
    torch.testing.assert_close(decision.share, offloads)


def test_random_decisions_have_their_laws() -> None:
    slot = _first_slot(_dropped(2000, 2, 3))
    decision = BASELINES["random"](slot, RADIO, generator(0))
    power_dbm = 30.0 + 10.0 * decision.power_w.log10()
    # Uniform on [0, 1], on [-30, 23] dBm and on the channels.
    laws = ((decision.ratio, 0.0, 1.0), (power_dbm, -30.0, 23.0), (decision.channel, -0.5, 15.5))
    for draws, low, high in laws:
        values = draws.double()
        assert low <= float(values.min())
        assert float(values.max()) <= high + 1e-4
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.015 * (high - low))
        assert float(values.std()) == pytest.approx((high - low) / 12**0.5, rel=0.03)
    torch.testing.assert_close(_per_cell(decision.share, slot), torch.ones(2000, 2))
    assert float(decision.share.std()) > 0.1


def _heuristic_by_hand(
    slot: Slot, radio: Radio, network: int, users: range, margin: float
) -> list[tuple[int, float, float]]:
    """Channel, share and power of all users of a cell, who offload everything."""
    site, tasks = int(slot.cell[users[0]]), slot.tasks
    size, cycles, deadline_s = (
        value[network, users].tolist() for value in (tasks.size_bit, tasks.cycles, tasks.deadline_s)
    )
    ratio_w = [
        [
            (radio.noise_w + float(slot.interference_w[network, channel, site]))
            / float(slot.gain[network, channel, user, site])
            for channel in range(radio.num_channels)
        ]
        for user in users
    ]
    count = range(len(users))
    choices = permutations(range(radio.num_channels), len(users))
    best = min(choices, key=lambda choice: sum(ratio_w[u][choice[u]] * size[u] for u in count))
    found = []
    for u in count:
        share = (cycles[u] / deadline_s[u]) / sum(cycles[v] / deadline_s[v] for v in count)
        left_s = deadline_s[u] - cycles[u] / (share * 50e9)
        power_w = margin * ratio_w[u][best[u]] * (2.0 ** (size[u] / (10e6 * left_s)) - 1.0)
        found.append((best[u], share, min(max(power_w, radio.power_min_w), radio.power_max_w)))
    return found


@pytest.mark.parametrize(("margin_db", "margin"), [(None, 10 ** (MARGIN_DB / 10)), (0.0, 1.0)])
def test_the_heuristic_by_hand(margin_db: float | None, margin: float) -> None:
    radio = Radio(num_channels=4)
    slot = _first_slot(_dropped(4, 2, 3, seed=1), radio)
    # A few times the noise, and others on all channels of both sites.
    heard_w = 10.0 * radio.noise_w * torch.rand(4, 4, 2, generator=generator(0, "heard"))
    user_hz = 1e9 * (1.0 + torch.arange(6)) / 6.0
    size_bit = 1e6 * torch.tensor([1.0, 6.0, 2.0, 8.0, 1.0, 3.0]).expand(4, -1)
    deadline_s = 0.9 * slot.tasks.cycles / user_hz
    tasks = replace(slot.tasks, size_bit=size_bit, deadline_s=deadline_s)
    devices = replace(slot.devices, user_hz=user_hz.expand(4, -1))
    slot = replace(slot, interference_w=heard_w, tasks=tasks, devices=devices)
    if margin_db is None:
        decision = BASELINES["heuristic"](slot, radio, generator(0))
    else:
        decision = heuristic(slot, radio, generator(0), margin_db, hold_db=0.0)
    assert torch.equal(decision.ratio, torch.ones(4, 6))
    for network, site in product(range(4), range(2)):
        users = range(3 * site, 3 * site + 3)
        wanted = _heuristic_by_hand(slot, radio, network, users, margin)
        for user, (channel, share, power_w) in zip(users, wanted, strict=True):
            assert int(decision.channel[network, user]) == channel
            assert float(decision.share[network, user]) == pytest.approx(share, rel=1e-4)
            assert float(decision.power_w[network, user]) == pytest.approx(power_w, rel=1e-3)


def test_the_heuristic_leaves_a_channel_for_one_that_is_so_much_cheaper_only() -> None:
    radio = Radio(num_channels=2)
    slot = _first_slot(_dropped(1, 1, 1, seed=1), radio)
    even = replace(slot, gain=slot.gain.mean(1, keepdim=True).expand_as(slot.gain))
    for excess_db, kept in ((9.9, True), (10.1, False)):
        # The held channel is noisier by so much.
        heard_w = torch.tensor([[radio.noise_w * (10 ** (excess_db / 10) - 1.0), 0.0]])
        held = replace(even, interference_w=heard_w.unsqueeze(-1), held=torch.tensor([[0]]))
        decision = heuristic(held, radio, generator(0), hold_db=10.0)
        assert int(decision.channel) == (0 if kept else 1)
        # Held or not, the power is that of what was measured.
        alone = heuristic(held, radio, generator(0), hold_db=1000.0 if kept else 0.0)
        assert torch.equal(decision.power_w, alone.power_w)


def test_coordination_meets_all_deadlines_with_less_energy() -> None:
    radio = Radio(num_channels=3)
    slot = _first_slot(_separated(10), radio)
    found, blind = (
        _cost(slot, BASELINES[name](slot, radio, generator(0)), radio)
        for name in ("coordinated", "heuristic")
    )
    assert bool(found.met.all())
    assert bool(blind.met.all())
    assert bool((found.energy_j.sum(-1) < blind.energy_j.sum(-1)).all())
    # All that it takes over the bound is what servers that are shared cost in time.
    bound_j = relaxation(slot, radio).energy_j.sum(-1)
    ratio = found.energy_j.sum(-1) / bound_j
    assert 1.0 - 1e-5 <= float(ratio.min()) <= float(ratio.max()) < 1.01


def test_coordination_knows_the_interference_of_its_own_slot() -> None:
    # Cells that overlap, with many users.
    slot = _first_slot(drop_small_cells(3, generator(2, "dense"), 4, 12, area_m=(600.0, 400.0)))
    decision = BASELINES["coordinated"](slot, RADIO, generator(0))
    found = _cost(slot, decision)
    blind = _cost(slot, BASELINES["heuristic"](slot, RADIO, generator(0)))
    assert bool(found.met.all())
    assert float(blind.met.float().mean()) < 0.95
    # Powers are what interference asks for, no less and no more.
    bound_by_power = decision.power_w < 1.01 * RADIO.power_min_w
    inner = decision.offloads & ~bound_by_power & (decision.power_w < 0.99 * RADIO.power_max_w)
    assert int(inner.sum()) > 100
    lateness = (found.edge_s / slot.tasks.deadline_s)[inner] - 1.0
    assert float(lateness.abs().max()) < 1e-5
