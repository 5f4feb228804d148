"""A slot on the air by hand: SINR, half duplex, own role, direction of gains, the schedulers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.randomness import generator
from metagnn.tasks.spectrum_allocation.listening import Heard
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.transmission import Scheduler, State, receive, transmit

# One band, levels of 10 and 100 mW, noise of 1 nW, and 1000 bits per slot and bit/s/Hz.
RADIO = Radio(
    num_bands=1,
    bandwidth_hz=1e5,
    power_levels_dbm=(10.0, 20.0),
    noise_density_dbm_hz=-110.0,
    noise_figure_db=0.0,
)
NOISE_W = 1e-9


def state_of(
    networks: IabNetworks, gain: Tensor, queue_bit: Tensor, radio: Radio = RADIO, **changed: Any
) -> State:
    """A state with these gains ``[B, N, M, L]`` and queues ``[B, M, U]``, and no past."""
    batch, num_links = networks.transmitter.shape
    queue_bit = queue_bit.double()
    link_queue = torch.einsum(
        "bmu,blmu->bl",
        queue_bit,
        (networks.next_link.unsqueeze(1) == torch.arange(num_links).view(1, -1, 1, 1)).double(),
    )
    silent = torch.zeros(batch, num_links, radio.num_bands)
    base = State(
        networks=networks,
        gain=gain,
        mean_gain=gain.mean(1),
        queue_bit=queue_bit,
        link_queue_bit=link_queue,
        age=torch.zeros_like(networks.next_link),
        alive=torch.ones(batch, networks.num_nodes, dtype=torch.bool),
        load_bit=torch.ones(batch, networks.num_users),
        unserved=torch.zeros_like(networks.transmitter),
        incumbent_w=silent,
        reported_w=silent,
        explained_w=silent,
        level=torch.zeros(batch, networks.num_nodes, 2, radio.num_bands, dtype=torch.long),
        sent=silent > 0,
        served=silent > 0,
        heard=Heard(silent, silent[:, 0].long()),
        moved_bit=torch.zeros_like(link_queue),
        average_bit=torch.zeros_like(link_queue),
        slot=0,
    )
    return replace(base, **changed)


def pair() -> IabNetworks:
    """Donor 0 feeds node 1; user 0 is the donor's, user 1 node 1's."""
    return IabNetworks(
        torch.tensor([[-1, 0]]),
        torch.tensor([[0, 1]]),
        torch.zeros(1, 2, 2),
        torch.zeros(1, 2, 2),
    )


# From donor and node 1 (rows) to node 1, user 0 and user 1; a node does not receive itself.
GAIN = torch.tensor([[[[1e-5, 1e-6, 2e-8], [0.0, 3e-8, 4e-6]]]])
QUEUE = torch.tensor([[[1e6, 2e6], [0.0, 1e6]]])


def _level(donor: tuple[int, int], relay: tuple[int, int]) -> Tensor:
    return torch.tensor([[donor, relay]]).unsqueeze(-1)


def _sinr(level: Tensor, **changed: Any) -> list[float]:
    return transmit(state_of(pair(), GAIN, QUEUE, **changed), RADIO, level).sinr[0, :, 0].tolist()


def test_noise_and_bits_are_what_the_tests_think() -> None:
    assert pytest.approx(NOISE_W) == RADIO.noise_w
    assert RADIO.power_w(torch.tensor([0, 1, 2])).tolist() == pytest.approx([0.0, 0.01, 0.1])
    assert RADIO.bit(torch.tensor([0.0, 1.0, 3.0, 7.0])).tolist() == [0, 1000, 2000, 3000]


def test_alone_there_is_noise_only() -> None:
    assert _sinr(_level((2, 0), (0, 0))) == pytest.approx([0.0, 0.1 * 1e-6 / NOISE_W, 0.0])
    assert _sinr(_level((0, 1), (0, 0))) == pytest.approx([0.01 * 1e-5 / NOISE_W, 0.0, 0.0])
    assert _sinr(_level((0, 0), (2, 0))) == pytest.approx([0.0, 0.0, 0.1 * 4e-6 / NOISE_W])


def test_two_nodes_disturb_each_other_in_the_direction_of_the_gains() -> None:
    user_0 = 0.1 * 1e-6 / (NOISE_W + 0.01 * 3e-8)
    user_1 = 0.01 * 4e-6 / (NOISE_W + 0.1 * 2e-8)
    assert _sinr(_level((2, 0), (1, 0))) == pytest.approx([0.0, user_0, user_1])


def test_the_other_role_of_a_node_disturbs() -> None:
    node_1 = 0.01 * 1e-5 / (NOISE_W + 0.1 * 1e-5)
    user_0 = 0.1 * 1e-6 / (NOISE_W + 0.01 * 1e-6)
    sent = transmit(state_of(pair(), GAIN, QUEUE), RADIO, _level((2, 1), (0, 0)))
    assert sent.sinr[0, :, 0].tolist() == pytest.approx([node_1, user_0, 0.0])
    # 0.0999 and 9.09: one is below 5 dB, and carries nothing.
    assert sent.served[0, :, 0].tolist() == [False, True, False]
    assert sent.failed[0, :, 0].tolist() == [True, False, False]
    assert sent.capacity_bit[0, :, 0].tolist() == [0, math.floor(1000 * math.log2(1 + user_0)), 0]


def test_a_node_that_sends_on_a_band_cannot_receive_there() -> None:
    sent = transmit(state_of(pair(), GAIN, QUEUE), RADIO, _level((0, 2), (1, 0)))
    assert sent.sinr[0, 0, 0] == 0.0
    assert not bool(sent.served[0, 0])
    assert sent.failed[0, :, 0].tolist() == [True, False, False]
    assert sent.deaf[0, :, 0].tolist() == [True, False, False]
    # What it could not receive disturbs its user all the same.
    user_1 = 0.01 * 4e-6 / (NOISE_W + 0.1 * 2e-8)
    assert float(sent.sinr[0, 2, 0]) == pytest.approx(user_1)
    # On another band it can.
    radio = replace(RADIO, num_bands=2)
    state = state_of(pair(), GAIN.repeat(1, 2, 1, 1), QUEUE, radio)
    level = torch.zeros(1, 2, 2, 2, dtype=torch.long)
    level[0, 0, 1, 0], level[0, 1, 0, 1] = 2, 1
    sent = transmit(state, radio, level)
    assert sent.served[0].tolist() == [[True, False], [False, False], [False, True]]


def test_interference_leaves_out_the_own_agent() -> None:
    sent = transmit(state_of(pair(), GAIN, QUEUE), RADIO, _level((2, 1), (1, 0)))
    wanted = [0.1 * 1e-5, 0.01 * 1e-6 + 0.01 * 3e-8, 0.11 * 2e-8]
    assert sent.interference_w[0, :, 0].tolist() == pytest.approx(wanted)


def test_incumbents_disturb_by_their_power_at_the_receiver() -> None:
    heard_w = torch.tensor([[[2e-9], [3e-7], [0.0]]])
    sent = transmit(
        state_of(pair(), GAIN, QUEUE, incumbent_w=heard_w), RADIO, _level((2, 0), (1, 0))
    )
    user_0 = 0.1 * 1e-6 / (NOISE_W + 0.01 * 3e-8 + 3e-7)
    user_1 = 0.01 * 4e-6 / (NOISE_W + 0.1 * 2e-8)
    assert sent.sinr[0, :, 0].tolist() == pytest.approx([0.0, user_0, user_1])
    # 0.33 and 13.3; to node 1 nothing was sent.
    assert sent.failed[0, :, 0].tolist() == [False, True, False]
    heard = [2e-9 + 0.1 * 1e-5, 0.01 * 3e-8 + 3e-7, 0.1 * 2e-8]
    assert sent.interference_w[0, :, 0].tolist() == pytest.approx(heard)


def test_who_has_nothing_to_send_is_silent() -> None:
    empty = QUEUE.clone()
    empty[0, 0, 0] = 0.0
    sent = transmit(state_of(pair(), GAIN, empty), RADIO, _level((2, 0), (1, 0)))
    assert sent.power_w[0, :, 0].tolist() == pytest.approx([0.0, 0.0, 0.01])
    assert float(sent.sinr[0, 2, 0]) == pytest.approx(0.01 * 4e-6 / NOISE_W)


def test_links_of_a_dead_node_are_dead_in_both_directions() -> None:
    dead = torch.tensor([[True, False]])
    assert _sinr(_level((0, 2), (2, 0)), alive=dead) == [0.0, 0.0, 0.0]
    # The donor serves its user, undisturbed.
    user_0 = 0.1 * 1e-6 / NOISE_W
    assert _sinr(_level((2, 0), (2, 0)), alive=dead) == pytest.approx([0.0, user_0, 0.0])


def _donor_of(num_users: int) -> IabNetworks:
    return IabNetworks(
        torch.tensor([[-1]]),
        torch.zeros(1, num_users, dtype=torch.long),
        torch.zeros(1, 1, 2),
        torch.zeros(1, num_users, 2),
    )


def test_schedulers_serve_the_largest_product_of_queue_and_rate() -> None:
    # SNRs at 100 mW: 3.3, 7 and 15, so 2.1, 3 and 4 bit/s/Hz.
    gain = torch.tensor([[[[3.3e-8, 7e-8, 15e-8]]]])

    def served(queue: list[float], **changed: Any) -> int:
        state = state_of(_donor_of(3), gain, torch.tensor([[queue]]), **changed)
        return int(Scheduler(state, RADIO).offer_on(0)[0, 0])

    assert served([6e3, 4e3, 3e3]) == 0
    assert served([5.5e3, 4.1e3, 3e3]) == 1
    assert served([5.5e3, 3.9e3, 3e3]) == 2
    assert served([0.0, 0.0, 0.0]) == -1
    # 5 dB are 3.16: below the floor nothing is received, however much waits.
    gain[..., 0] = 3.1e-8
    assert served([1e6, 3.9e3, 3e3]) == 2
    assert served([1e6, 0.0, 0.0]) == -1
    # Neither what user 2 hears now nor what it reported changes that.
    heard_w = torch.tensor([[[0.0], [0.0], [14.0 * NOISE_W]]])
    assert served([5.5e3, 3.9e3, 3e3], incumbent_w=heard_w, reported_w=heard_w) == 2


def test_a_band_takes_what_it_would_send_without_interference() -> None:
    radio = replace(RADIO, num_bands=3)
    gain = torch.tensor([[[[7e-8, 7e-8]]]]).repeat(1, 3, 1, 1)
    state = state_of(_donor_of(2), gain, torch.tensor([[[4e3, 2e3]]]), radio)
    scheduler = Scheduler(state, radio)
    power_w = torch.tensor([[0.1, 0.0]])
    seen = []
    for band in range(3):
        link = scheduler.offer_on(band)
        scheduler.take(band, link, power_w)
        seen.append((int(link[0, 0]), scheduler.left_bit[0].tolist()))
    assert seen == [(0, [1000, 2000]), (1, [1000, 0]), (0, [0, 0])]
    assert int(scheduler.offer_on(2)[0, 0]) == -1
    # At a tenth of the power the SNR is 0.7.
    scheduler = Scheduler(replace(state, incumbent_w=torch.ones(1, 2, 3)), radio)
    scheduler.take(0, scheduler.offer_on(0), torch.tensor([[0.01, 0.0]]))
    assert scheduler.left_bit[0].tolist() == [4000 - math.floor(1000 * math.log2(1.7)), 2000]
    # A band that is off takes nothing.
    scheduler = Scheduler(state, radio)
    scheduler.take(0, scheduler.offer_on(0), torch.zeros(1, 2))
    assert scheduler.left_bit[0].tolist() == [4000, 2000]


def test_reception_is_that_of_a_plain_loop() -> None:
    source = generator(2)
    radio = replace(RADIO, num_bands=2)
    networks = IabNetworks(
        torch.tensor([[-1, 0, 1], [-1, 2, 0]]),
        torch.tensor([[0, 1, 2, 2], [1, 1, 0, 2]]),
        torch.zeros(2, 3, 2),
        torch.zeros(2, 4, 2),
    )
    gain = 1e-8 * 10.0 ** (4.0 * torch.rand((2, 2, 3, 6), generator=source))
    power_w = 0.1 * torch.rand((2, 6, 2), generator=source)
    power_w *= torch.rand((2, 6, 2), generator=source) < 0.4
    incumbent_w = 1e-9 * torch.rand((2, 6, 2), generator=source)
    incumbent_w *= torch.rand((2, 6, 2), generator=source) < 0.3
    queue_bit = torch.ones(2, 3, 4) * networks.on_path
    state = state_of(networks, gain, queue_bit, radio, incumbent_w=incumbent_w)
    found = receive(state, radio, power_w)
    served = 0
    for copy, link, band in torch.cartesian_prod(*map(torch.arange, (2, 6, 2))).tolist():
        sender, agent = networks.transmitter[copy].tolist(), networks.agent[copy].tolist()
        heard_w, sends = float(incumbent_w[copy, link, band]), False
        for other in range(6):
            sent_w = float(power_w[copy, other, band])
            if agent[other] != agent[link]:
                heard_w += sent_w * float(gain[copy, band, sender[other], link])
            sends |= sent_w > 0 and sender[other] == link + 1 and link < 2
        signal_w = float(power_w[copy, link, band] * gain[copy, band, sender[link], link])
        sinr = 0.0 if sends else signal_w / (NOISE_W + heard_w)
        assert float(found.sinr[copy, link, band]) == pytest.approx(sinr, rel=1e-4)
        assert bool(found.served[copy, link, band]) == (sinr >= 10**0.5)
        assert float(found.interference_w[copy, link, band]) == pytest.approx(heard_w, rel=1e-4)
        below = float(power_w[copy, link, band]) > 0 and sinr < 10**0.5
        assert bool(found.failed[copy, link, band]) == below
        assert bool(found.deaf[copy, link, band]) == sends
        efficiency = min(7.4063, math.log2(1 + sinr)) if sinr >= 10**0.5 else 0.0
        carried_bit = math.floor(1000 * efficiency)
        assert float(found.capacity_bit[copy, link, band]) == pytest.approx(carried_bit, abs=1)
        served += sinr >= 10**0.5
    assert served > 2


def test_extreme_gains_stay_finite() -> None:
    for factor in (1e-25, 1e25):
        sent = transmit(state_of(pair(), factor * GAIN, QUEUE), RADIO, _level((2, 2), (2, 2)))
        for value in (sent.sinr, sent.capacity_bit, sent.interference_w):
            assert bool(value.isfinite().all())


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"num_bands": 0}, "`num_bands` must be an integer >= 1, got 0"),
        ({"power_levels_dbm": ()}, r"`power_levels_dbm` must hold a level, got \(\)"),
        ({"power_levels_dbm": (3.0, 3.0)}, r"`power_levels_dbm` must rise, got \(3.0, 3.0\)"),
        ({"power_levels_dbm": (math.nan,)}, "`power_levels_dbm` must be finite, got nan"),
        ({"bandwidth_hz": 0.0}, "`bandwidth_hz` must be finite and > 0, got 0.0"),
        ({"slot_s": -1.0}, "`slot_s` must be finite and > 0, got -1.0"),
        ({"latency_limit": 0}, "`latency_limit` must be an integer >= 1, got 0"),
        ({"starvation_limit": 0}, "`starvation_limit` must be an integer >= 1, got 0"),
        ({"coherence": 1.0}, r"`coherence` must be in \[0, 1\), got 1.0"),
        ({"noise_figure_db": -1.0}, "`noise_figure_db` must be finite and >= 0, got -1.0"),
        ({"sinr_min_db": math.inf}, "`sinr_min_db` must be finite, got inf"),
    ],
)
def test_radios_that_are_refused(changed: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Radio(**changed)


def test_the_radio_of_the_paper() -> None:
    radio = Radio()
    assert (radio.num_bands, radio.num_levels) == (5, 4)
    steps = [
        b - a for a, b in zip(radio.power_levels_dbm, radio.power_levels_dbm[1:], strict=False)
    ]
    assert steps == pytest.approx([23 / 3] * 3)
    assert radio.power_max_w == pytest.approx(0.19953, rel=1e-4)
    assert 10 * math.log10(radio.noise_w) + 30 == pytest.approx(-174 + 7 + 66.0206, abs=1e-3)
