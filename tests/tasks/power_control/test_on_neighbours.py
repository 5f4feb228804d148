"""Baselines on neighbour lists against the same on dense gains."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.neighbours import NeighbourGain, above, strongest
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.fplinq import fplinq
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.wmmse import wmmse, wmmse_iterates

POWER_MAX_W, NOISE_W = 2.0, 0.01


def _kept(num_links: int, num_neighbours: int, num_samples: int = 8) -> NeighbourGain:
    source = generator(0, "on neighbours", num_links)
    shape = (num_links, num_links)
    gain = 10.0 ** (4.0 * torch.rand(shape, generator=source, dtype=torch.float64) - 4.0)
    gain = gain + torch.eye(num_links, dtype=torch.float64)
    kept = strongest(gain, num_neighbours)

    def fade(value: Tensor) -> Tensor:
        fading = torch.rand((num_samples, *value.shape), generator=source, dtype=value.dtype)
        return value * fading

    none = torch.zeros(num_links, dtype=gain.dtype)
    return replace(kept, direct=fade(kept.direct), crossed=fade(kept.crossed), neglected=none)


@pytest.mark.parametrize(("num_links", "num_neighbours"), [(2, 1), (7, 3), (7, 6), (20, 4)])
def test_wmmse_and_fplinq_equal_those_on_dense_gains(num_links: int, num_neighbours: int) -> None:
    kept = _kept(num_links, num_neighbours)
    weight = torch.rand(8, num_links, generator=generator(1), dtype=torch.float64)
    for policy in (wmmse, fplinq):
        found = policy(kept, POWER_MAX_W, NOISE_W, weight)
        wanted = policy(kept.dense(), POWER_MAX_W, NOISE_W, weight)
        torch.testing.assert_close(found, wanted)


def test_wmmse_counts_and_prices_what_the_lists_leave_out() -> None:
    kept = _kept(7, 3)
    left_out = torch.linspace(0.1, 0.7, 7, dtype=torch.float64)
    kept = replace(kept, neglected=left_out)
    # Every other link, itself included, is heard at the mean power: so much more gain of all.
    spread = kept.dense() + left_out / 7
    value = torch.rand((8, 7), generator=generator(3), dtype=torch.float64)
    crossed = spread - torch.diag_embed(kept.direct)
    torch.testing.assert_close(kept.received(value), (value.unsqueeze(-2) @ crossed).squeeze(-2))
    torch.testing.assert_close(kept.caused(value), (crossed @ value.unsqueeze(-1)).squeeze(-1))
    sums = torch.stack(
        [
            rate(kept, power_w, NOISE_W).sum(-1)
            for power_w in wmmse_iterates(kept, POWER_MAX_W, NOISE_W)
        ]
    )
    assert (sums.diff(dim=0) >= -1e-9).all()
    assert (sums[-1] > sums[0]).all()


@pytest.mark.parametrize("policy", [wmmse, fplinq, itlinq])
def test_rates_on_lists_are_those_of_all_gains(policy: Callable[..., Tensor]) -> None:
    family = ChannelFamily(area_m=700.0)
    configuration = family.configuration(100, 0, "validation", 0)
    gain = configuration.sample(20, generator(0, "rates on lists"))
    large = configuration.large_scale_gain
    assert isinstance(gain, Tensor)
    assert isinstance(large, Tensor)
    lists = strongest(large, 12).samples(gain)
    levels = family.power_max_w, family.noise_w
    power_w = policy(lists, *levels)
    found = rate(lists, power_w, family.noise_w).mean()
    wanted = rate(gain, power_w, family.noise_w).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=0.01)
    uncounted = replace(lists, neglected=torch.zeros(100))
    assert rate(uncounted, power_w, family.noise_w).mean() > 1.05 * wanted


@pytest.mark.parametrize("with_priority", [True, False])
@pytest.mark.parametrize(("num_links", "num_neighbours"), [(2, 1), (7, 3), (7, 6), (30, 5)])
@pytest.mark.parametrize("margin", [0.1, 1.0, 10**2.5])
def test_itlinq_in_rounds_equals_itlinq_in_turn(
    num_links: int, num_neighbours: int, with_priority: bool, margin: float
) -> None:
    kept = _kept(num_links, num_neighbours, 20)
    priority = None
    if with_priority:  # with ties
        numbers = torch.randint(4, (20, num_links), generator=generator(2))
        priority = numbers.double()
    found = itlinq(kept, POWER_MAX_W, NOISE_W, priority, margin)
    wanted = itlinq(kept.dense(), POWER_MAX_W, NOISE_W, priority, margin)
    assert torch.equal(found, wanted)
    if margin == 1.0 and num_links > 2:
        assert 0 < (found > 0).double().mean() < 1


def test_itlinq_keeps_the_type_and_the_largest_power() -> None:
    kept = _kept(7, 3)
    single = replace(
        kept,
        direct=kept.direct.float(),
        crossed=kept.crossed.float(),
        neglected=kept.neglected.float(),
    )
    for gain in (kept, single):
        found = itlinq(gain, 0.1, NOISE_W)
        assert found.dtype == gain.dtype
        assert torch.equal(found, itlinq(gain.dense(), 0.1, NOISE_W))
        wmmse(gain, 0.1, NOISE_W, initial_power_w=found)


@pytest.mark.parametrize("num_links", [1, 4])
def test_isolated_links_use_full_power(num_links: int) -> None:
    gain = torch.eye(num_links).double()
    kept = above(gain, 1e9, POWER_MAX_W, NOISE_W)
    assert kept.neighbours.num_pairs == 0
    samples = replace(kept, direct=kept.direct.expand(3, -1), crossed=kept.crossed.expand(3, 0))
    full = torch.full((3, num_links), POWER_MAX_W).double()
    for policy in (itlinq, fplinq):
        torch.testing.assert_close(policy(samples, POWER_MAX_W, NOISE_W), full)
    start = wmmse(samples, POWER_MAX_W, NOISE_W, initial_power_w=full)
    torch.testing.assert_close(start, full)


def test_bad_gains_are_refused() -> None:
    kept = _kept(4, 2)
    with pytest.raises(ValueError, match=r"`gain` must be finite and >= 0 everywhere, got -1.0"):
        wmmse(replace(kept, crossed=-torch.ones_like(kept.crossed)), POWER_MAX_W, NOISE_W)
    with pytest.raises(ValueError, match=r"`gain` must be finite and >= 0 everywhere, got nan"):
        itlinq(replace(kept, direct=kept.direct * float("nan")), POWER_MAX_W, NOISE_W)
    with pytest.raises(ValueError, match=r"`gain` must be dense, without neighbour lists"):
        exact(kept, POWER_MAX_W, NOISE_W)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-0.5, float("inf"), float("-inf")])
def test_what_is_left_out_must_be_a_gain_or_unknown(value: float) -> None:
    lists = strongest(torch.ones(4, 4), 2)
    bad = replace(lists, neglected=torch.full((4,), value))
    message = rf"`gain.neglected` must be finite and >= 0 everywhere, got {value}"
    with pytest.raises(ValueError, match=message):
        wmmse(bad, 1.0, 1.0)
    wmmse(replace(lists, neglected=torch.full((4,), float("nan"))), 1.0, 1.0)
    samples = lists.samples(torch.ones(2, 4, 4))
    second = torch.stack([torch.zeros(4), torch.full((4,), value)])
    with pytest.raises(ValueError, match=message):
        wmmse(replace(samples, neglected=second), 1.0, 1.0)
