"""FPLinQ against its own update formulas as a plain loop."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from metagnn.graphs.rates import rate
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.fplinq import fplinq, on_off


def plain_fplinq(
    gain: NDArray[np.float64], num_iterations: int, alpha: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Powers of one sample at the start and after each iteration; P_max and noise are 1."""
    num_links = len(gain)
    p = np.ones(num_links)
    powers = [p]
    for _ in range(num_iterations):
        received = np.array(
            [1 + sum(gain[i, k] * p[i] for i in range(num_links)) for k in range(num_links)]
        )
        own = np.array([gain[k, k] * p[k] for k in range(num_links)])
        z = own / (received - own)
        y = np.sqrt(alpha * (1 + z) * own) / received
        p = np.array(
            [
                min(
                    1.0,
                    y[k] ** 2
                    * alpha[k]
                    * (1 + z[k])
                    * gain[k, k]
                    / sum(y[j] ** 2 * gain[k, j] for j in range(num_links)) ** 2,
                )
                for k in range(num_links)
            ]
        )
        powers.append(p)
    return powers


def _gain(num_samples: int, num_links: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    gain = torch.rand(num_samples, num_links, num_links, generator=generator, dtype=torch.float64)
    return 10 ** (4 * gain - 2)


@pytest.mark.parametrize("num_links", [2, 4, 7])
def test_equals_the_plain_loop(num_links: int) -> None:
    gain = _gain(5, num_links, seed=1)
    alpha = 0.1 + torch.rand(5, num_links, generator=torch.Generator().manual_seed(2)).double()
    continuous = fplinq(gain, 1.0, 1.0, alpha, num_iterations=30, quantize=False)
    rounded = fplinq(gain, 1.0, 1.0, alpha, num_iterations=30)
    for sample in range(5):
        expected = plain_fplinq(gain[sample].numpy(), 30, alpha[sample].numpy())[-1]
        np.testing.assert_allclose(continuous[sample], expected, rtol=1e-6, atol=1e-12)
        if expected.max() > 0.5:
            np.testing.assert_array_equal(rounded[sample], (expected > 0.5).astype(float))


def test_objective_never_falls_before_rounding() -> None:
    gain = _gain(20, 6, seed=3)
    alpha = torch.rand(20, 6, generator=torch.Generator().manual_seed(4)).double()
    powers = [torch.ones(20, 6).double()] + [
        fplinq(gain, 1.0, 1.0, alpha, num_iterations=count, quantize=False)
        for count in range(1, 15)
    ]
    values = [(alpha * rate(gain, power_w, 1.0)).sum(-1) for power_w in powers]
    for before, after in itertools.pairwise(values):
        assert (after >= before * (1 - 1e-12)).all()
    assert (values[-1] > values[0] * 1.01).any()


def test_two_links_reach_the_optimum_that_on_off_attains() -> None:
    # For the sum rate of two links an optimum is on/off.
    gain = _gain(200, 2, seed=5)
    best = rate(gain, exact(gain, 1.0, 1.0), 1.0).sum(-1)
    got = rate(gain, fplinq(gain, 1.0, 1.0, num_iterations=500), 1.0).sum(-1)
    assert (got <= best * (1 + 1e-12)).all()
    assert (got > best * (1 - 1e-9)).double().mean() > 0.8
    assert got.sum() > 0.97 * best.sum()


def test_rounding_by_hand() -> None:
    share = torch.tensor([[0.51, 0.5, 1.0], [0.4, 0.1, 0.5], [0.0, 0.0, 0.0]])
    value_alone = torch.tensor([[9.0, 9.0, 9.0], [1.0, 3.0, 2.0], [2.0, 1.0, 1.0]])
    # In the second and third sample all would be silent: the best link alone is on.
    assert on_off(share, value_alone).int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_links_that_would_all_be_silent() -> None:
    gain = _gain(3, 4, seed=6)
    nobody = fplinq(gain, 2.0, 1.0, torch.zeros(4), quantize=False)
    assert nobody.abs().max() == 0
    assert (fplinq(gain, 2.0, 1.0, torch.zeros(4)).sum(-1) == 2.0).all()


def test_num_iterations_is_checked() -> None:
    with pytest.raises(ValueError, match="`num_iterations` must be an integer >= 1, got 0"):
        fplinq(torch.ones(2, 2), 1.0, 1.0, num_iterations=0)
