from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.tasks.power_control.sinr_boxes import (
    Boxes,
    WeightedProblem,
    chord_bound,
    softplus,
    split_point,
    tightened,
)


def _problem(num_samples: int, num_links: int, generator: torch.Generator) -> WeightedProblem:
    shape = (num_samples, num_links, num_links)
    crossed = 10 ** (5 * torch.rand(shape, generator=generator, dtype=torch.float64) - 2)
    crossed -= torch.diag_embed(torch.diagonal(crossed, dim1=-2, dim2=-1))
    each = (num_samples, 1, num_links)
    log_snr = 12 * torch.rand(each, generator=generator, dtype=torch.float64) - 2
    weight = 10 ** (2 * torch.rand(each, generator=generator, dtype=torch.float64))
    return WeightedProblem(log_snr, crossed, weight)


def _around(
    problem: WeightedProblem, point: Tensor, generator: torch.Generator
) -> tuple[Boxes, Tensor]:
    """Boxes of random width, cut in SINR too, which hold the points given."""
    sinr = problem.log_sinr(point)
    below, above, lower, upper = (
        4 * torch.rand(point.shape, generator=generator, dtype=torch.float64) ** 2 for _ in range(4)
    )
    high = (point + above).clamp(max=0.0)
    boxes = Boxes(point - below, high, sinr - lower, sinr + upper, high)
    return boxes, sinr


def test_tightening_and_bounds_never_lose_a_point_of_the_box() -> None:
    generator = torch.Generator().manual_seed(0)
    problem = _problem(60, 4, generator)
    point = -6 * torch.rand(60, 20, 4, generator=generator, dtype=torch.float64)
    point -= point.amax(-1, keepdim=True)  # an optimum has a link at the largest power
    boxes, sinr = _around(problem, point, generator)
    tighter, holds = tightened(problem, boxes)
    assert holds.all()
    assert (tighter.power_low <= point + 1e-12).all()
    assert (tighter.power_high >= point - 1e-12).all()
    assert (tighter.sinr_low <= sinr + 1e-12).all()
    assert (tighter.sinr_high >= sinr - 1e-12).all()
    assert (tighter.sinr_high - tighter.sinr_low < boxes.sinr_high - boxes.sinr_low).any()
    for each in (boxes, tighter):
        bound, evaluated, _ = chord_bound(problem, each)
        value = problem.value(point)
        assert (bound >= value).all()
        assert (bound >= problem.value(evaluated.power) * (1 - 1e-12)).any()
    # Narrow boxes have narrow bounds.
    narrow, _ = tightened(
        problem, Boxes(point - 1e-3, point.clamp(max=0.0), sinr - 1e-3, sinr + 1e-3, point)
    )
    assert (chord_bound(problem, narrow)[0] <= problem.value(point) * 1.01 + 0.1).all()


def test_the_link_to_split_is_known_by_the_greatest_excess_of_its_chord() -> None:
    generator = torch.Generator().manual_seed(1)
    problem = _problem(8, 3, generator)
    problem = replace(problem, weight=torch.tensor([[[1.0, 2.0, 0.5]]]).double().expand(8, 1, 3))
    point = -6 * torch.rand(8, 5, 3, generator=generator, dtype=torch.float64)
    boxes, _ = _around(problem, point, generator)
    _, _, excess = chord_bound(problem, boxes)
    share = torch.linspace(0, 1, 4001, dtype=torch.float64).view(-1, 1, 1, 1)
    low, high = boxes.sinr_low, boxes.sinr_high
    chord = softplus(low) + (softplus(high) - softplus(low)) * share
    expected = (chord - softplus(low + (high - low) * share)).amax(0) * problem.weight
    assert torch.allclose(excess, expected, rtol=1e-5, atol=1e-9)


def test_empty_boxes_are_seen() -> None:
    problem = WeightedProblem(
        torch.tensor([[[3.0, 3.0]]]).double(),
        torch.tensor([[[0.0, 400.0], [400.0, 0.0]]]).double(),
        torch.ones(1, 1, 2).double(),
    )
    zero = torch.zeros(1, 1, 2).double()
    # Both links cannot have an SINR above 1 (log 0) where interference is stronger than signals.
    both = Boxes(zero - 20, zero, zero, zero + 5, zero)
    assert not tightened(problem, both)[1].any()
    # No link transmits with the largest power.
    quiet = Boxes(zero - 20, zero - 1, zero - 30, zero + 5, zero - 1)
    assert not tightened(problem, quiet)[1].any()


def test_softplus_is_precise_at_both_ends() -> None:
    x = torch.tensor([-700.0, -40.0, 0.0, 25.0, 700.0]).double()
    expected = [9.8596765e-305, 4.248354255e-18, 0.6931471806, 25.0000000000139, 700.0]
    assert softplus(x).tolist() == pytest.approx(expected, rel=1e-8, abs=0.0)


def test_split_halves_the_larger_chord_error() -> None:
    low, high = torch.tensor([-30.0, -3.0, 2.0]).double(), torch.tensor([10.0, 4.0, 9.0]).double()
    cut = split_point(low, high)
    assert (cut > low).all()
    assert (cut < high).all()

    def error(a: Tensor, b: Tensor) -> Tensor:
        x = a + (b - a) * torch.linspace(0, 1, 4001, dtype=torch.float64).unsqueeze(-1)
        chord = softplus(a) + (softplus(b) - softplus(a)) / (b - a) * (x - a)
        return (chord - softplus(x)).amax(0)

    whole = error(low, high)
    assert (torch.maximum(error(low, cut), error(cut, high)) < 0.5 * whole).all()
