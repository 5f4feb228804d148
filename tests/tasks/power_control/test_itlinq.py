"""ITLinQ against the rule written as a plain loop."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metagnn.graphs.rates import full_power_rate
from metagnn.tasks.power_control.itlinq import itlinq


def plain_itlinq(
    gain: Tensor, ratio: float, priority: Tensor, margin: float, exponent: float
) -> list[int]:
    """Links of one sample that are on."""
    on: list[int] = []
    for k in sorted(range(len(gain)), key=lambda link: -float(priority[link])):
        received = max((ratio * float(gain[i, k]) for i in on), default=0.0)
        caused = max((ratio * float(gain[k, i]) for i in on), default=0.0)
        if not on or max(received, caused) <= margin * (ratio * float(gain[k, k])) ** exponent:
            on.append(k)
    return sorted(on)


@given(
    seed=st.integers(0, 10_000),
    num_links=st.integers(1, 9),
    margin=st.sampled_from([1.0, 10.0, 10**2.5]),
    exponent=st.sampled_from([0.0, 0.5, 0.8]),
)
def test_equals_the_plain_loop(seed: int, num_links: int, margin: float, exponent: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    gain = 10 ** (-8 * torch.rand(2, 3, num_links, num_links, generator=generator) - 5)
    priority = torch.rand(2, 3, num_links, generator=generator)
    power_w = itlinq(gain, 0.01, 1e-12, priority, margin, exponent)
    assert set(power_w.unique().tolist()) <= {0.0, gain.new_tensor(0.01).item()}
    for a in range(2):
        for b in range(3):
            expected = plain_itlinq(gain[a, b], 1e10, priority[a, b], margin, exponent)
            assert power_w[a, b].nonzero().flatten().tolist() == expected


def test_received_and_caused_interference_both_count() -> None:
    # SNR 100 each, so the bound is 1 * sqrt(100) = 10; INR 20 one way only.
    for interferer, victim in ((0, 1), (1, 0)):
        gain = torch.diag(torch.tensor([100.0, 100.0]))
        gain[interferer, victim] = 20.0
        power_w = itlinq(gain, 1.0, 1.0, torch.tensor([2.0, 1.0]), margin=1.0)
        assert power_w.tolist() == [1.0, 0.0]
        gain[interferer, victim] = 10.0  # equality is let pass
        assert itlinq(gain, 1.0, 1.0, torch.tensor([2.0, 1.0]), margin=1.0).tolist() == [1.0, 1.0]


def test_the_bound_is_the_candidates_own() -> None:
    # Each may cause 15 at the other; the bound is 10 for link 0 and 20 for link 1.
    gain = torch.tensor([[100.0, 15.0], [1.0, 400.0]])
    assert itlinq(gain, 1.0, 1.0, torch.tensor([2.0, 1.0]), margin=1.0).tolist() == [1.0, 1.0]
    assert itlinq(gain, 1.0, 1.0, torch.tensor([1.0, 2.0]), margin=1.0).tolist() == [0.0, 1.0]


def test_links_that_are_off_block_nobody() -> None:
    # Link 0 blocks link 1, which alone would block link 2.
    gain = torch.tensor([[100.0, 50.0, 0.0], [0.0, 100.0, 50.0], [0.0, 0.0, 100.0]])
    priority = torch.tensor([3.0, 2.0, 1.0])
    assert itlinq(gain, 1.0, 1.0, priority, margin=1.0).tolist() == [1.0, 0.0, 1.0]
    assert itlinq(gain, 1.0, 1.0, priority, margin=10.0).tolist() == [1.0, 1.0, 1.0]


def test_default_priority_is_the_rate_at_full_power() -> None:
    generator = torch.Generator().manual_seed(3)
    gain = 10 ** (4 * torch.rand(50, 6, 6, generator=generator))
    expected = itlinq(gain, 2.0, 1.0, full_power_rate(gain.double(), 2.0, 1.0), margin=3.0)
    assert torch.equal(itlinq(gain, 2.0, 1.0, margin=3.0), expected)
    reversed_order = itlinq(gain, 2.0, 1.0, -full_power_rate(gain, 2.0, 1.0), margin=3.0)
    assert not torch.equal(reversed_order, expected)


def test_equal_priorities_are_visited_by_index() -> None:
    gain = torch.full((3, 3), 100.0)
    assert itlinq(gain, 1.0, 1.0, torch.ones(3), margin=1.0).tolist() == [1.0, 0.0, 0.0]


def test_bad_arguments_are_named() -> None:
    gain = torch.ones(2, 2)
    with pytest.raises(ValueError, match=r"`priority` must have the shape \(2,\)"):
        itlinq(gain, 1.0, 1.0, torch.ones(3))
    with pytest.raises(ValueError, match="`priority` must hold no NaN"):
        itlinq(gain, 1.0, 1.0, torch.tensor([1.0, torch.nan]))
    with pytest.raises(ValueError, match="`margin` must be finite and > 0, got 0"):
        itlinq(gain, 1.0, 1.0, margin=0.0)
    with pytest.raises(ValueError, match="`exponent` must be finite and >= 0, got -1"):
        itlinq(gain, 1.0, 1.0, exponent=-1.0)
