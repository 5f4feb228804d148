"""Coordinate search against the plain loop, and against all powers of a grid."""

import itertools
import math

import pytest
import torch
from test_wmmse import NOISE_W, POWER_MAX_W, paper_like_gain
from torch import Tensor

from metagnn.graphs.neighbours import strongest
from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.coordinate_search import LEVELS, coordinate_search
from metagnn.tasks.power_control.wmmse import wmmse


def value_of(gain: Tensor, power_w: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum rates [bit/s/Hz]."""
    return (weight * rate(gain, power_w, NOISE_W)).sum(-1)


def plain_search(
    gain: list[list[float]], power_w: list[float], weight: list[float], sweeps: int
) -> list[float]:
    """One sample, link by link and level by level."""

    def worth(powers: list[float]) -> float:
        total = 0.0
        for k, own in enumerate(powers):
            heard = sum(gain[i][k] * p for i, p in enumerate(powers) if i != k)
            total += weight[k] * math.log2(1 + gain[k][k] * own / (NOISE_W + heard))
        return total

    powers = list(power_w)
    for _ in range(sweeps):
        before = list(powers)
        for link in range(len(powers)):
            best = worth(powers)
            for level in LEVELS:
                tried = list(powers)
                tried[link] = level * POWER_MAX_W
                if worth(tried) > best * (1 + 1e-12):
                    best, chosen = worth(tried), tried
                    powers = chosen
        if powers == before:
            break
    return powers


@pytest.mark.parametrize("sweeps", [1, 2, 20])
def test_it_is_the_plain_loop(sweeps: int) -> None:
    gain = paper_like_gain((12,), 4, 3)
    draws = torch.Generator().manual_seed(5)
    weight = torch.rand(12, 4, generator=draws, dtype=torch.float64) + 0.1
    start = torch.rand(12, 4, generator=draws, dtype=torch.float64) * POWER_MAX_W
    found = coordinate_search(gain, POWER_MAX_W, NOISE_W, weight, start, sweeps)
    wanted = [
        plain_search(g, p, w, sweeps)
        for g, p, w in zip(gain.tolist(), start.tolist(), weight.tolist(), strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_no_link_can_do_better_alone_and_the_sum_never_falls() -> None:
    gain, weight = paper_like_gain((40,), 6, 1), torch.linspace(0.2, 2, 6, dtype=torch.float64)
    start = wmmse(gain, POWER_MAX_W, NOISE_W, weight)
    before = value_of(gain, start, weight)
    values = []
    for sweeps in (1, 2, 20):
        found = coordinate_search(gain, POWER_MAX_W, NOISE_W, weight, start, sweeps)
        values.append(value_of(gain, found, weight))
        assert bool((values[-1] >= before * (1 - 1e-12)).all())
        before = values[-1]
    assert float(values[-1].mean()) > 1.001 * float(value_of(gain, start, weight).mean())
    for link, level in itertools.product(range(6), LEVELS):
        alone = found.clone()
        alone[:, link] = level * POWER_MAX_W
        assert bool((value_of(gain, alone, weight) <= values[-1] * (1 + 1e-9)).all())


def test_it_finds_the_best_of_the_grid_of_two_links() -> None:
    """With two links a valley is crossed by one turn from silence or full power."""
    gain, weight = paper_like_gain((30,), 2, 8), torch.tensor([1.0, 0.5], dtype=torch.float64)
    ends = [
        coordinate_search(gain, POWER_MAX_W, NOISE_W, weight, torch.tensor(start).double())
        for start in itertools.product((0.0, POWER_MAX_W), repeat=2)
    ]
    found = torch.stack([value_of(gain, end, weight) for end in ends]).amax(0)
    grid = [
        value_of(gain, POWER_MAX_W * torch.tensor(shares).double().expand(30, 2), weight)
        for shares in itertools.product(LEVELS, repeat=2)
    ]
    torch.testing.assert_close(found, torch.stack(grid).amax(0))


def test_it_switches_a_link_off_that_wmmse_keeps() -> None:
    """Two equal links that drown each other: WMMSE keeps both alike, one alone is better."""
    gain = torch.full((2, 2), 1e-8, dtype=torch.float64)
    kept = wmmse(gain, POWER_MAX_W, NOISE_W)
    assert float(kept[0]) == pytest.approx(float(kept[1]))
    found = coordinate_search(gain, POWER_MAX_W, NOISE_W, initial_power_w=kept)
    assert sorted(found.tolist()) == [0.0, POWER_MAX_W]


def test_it_is_not_in_bfloat16_where_networks_are() -> None:
    gain = paper_like_gain((200,), 8, 4).float()
    wanted = coordinate_search(gain, POWER_MAX_W, NOISE_W)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(coordinate_search(gain, POWER_MAX_W, NOISE_W), wanted)


def test_errors_name_the_argument() -> None:
    gain = paper_like_gain((3,), 4, 0)
    with pytest.raises(ValueError, match=r"`initial_power_w` must lie in \[0, 0.01\]"):
        coordinate_search(gain, POWER_MAX_W, NOISE_W, initial_power_w=torch.ones(4))
    with pytest.raises(ValueError, match="`max_sweeps` must be"):
        coordinate_search(gain, POWER_MAX_W, NOISE_W, max_sweeps=0)
    with pytest.raises(ValueError, match="`weight` must"):
        coordinate_search(gain, POWER_MAX_W, NOISE_W, torch.ones(3))
    lists = strongest(gain[0], 2)
    with pytest.raises(ValueError, match="`gain` must be dense"):
        coordinate_search(lists, POWER_MAX_W, NOISE_W)
