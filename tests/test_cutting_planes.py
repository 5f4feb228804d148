import itertools

import pytest
import torch

from metagnn.cutting_planes import best_selection, refined_multipliers
from metagnn.duality import dual_value, primal_value

ALPHA = 0.7


def test_multipliers_minimise_the_model_of_the_dual_function() -> None:
    generator = torch.Generator().manual_seed(0)
    rate = 4 * torch.rand(30, 5, 2, generator=generator, dtype=torch.float64)
    required = torch.tensor([4.0, 2.0]).double()

    def model(mu: torch.Tensor) -> torch.Tensor:
        weighted = torch.einsum("sjk,mk->msj", rate, 1.0 + mu).amax(-1).mean(-1)
        return dual_value(weighted, mu, required, ALPHA)

    grid = torch.cartesian_prod(*[torch.linspace(0, 3, 121).double()] * 2)
    mu = refined_multipliers(rate, required, ALPHA, torch.ones(2).double())
    assert (mu >= 0).all()
    assert float(model(mu.unsqueeze(0))) <= float(model(grid).min()) + 1e-3


def test_selection_is_the_best_of_all_and_within_the_model_of_the_dual() -> None:
    generator = torch.Generator().manual_seed(1)
    required = torch.tensor([3.0, 2.0]).double()
    best_of_all, reached = 0.0, 0.0
    for _ in range(10):
        rate = 4 * torch.rand(4, 3, 2, generator=generator, dtype=torch.float64)
        every = torch.arange(4)
        values = [
            float(primal_value(rate[every, torch.tensor(choice)].mean(0), required, ALPHA))
            for choice in itertools.product(range(3), repeat=4)
        ]
        start = rate.sum(-1).argmax(-1)
        choice = best_selection(rate, required, ALPHA, start)
        value = float(primal_value(rate[every, choice].mean(0), required, ALPHA))
        assert value >= float(primal_value(rate[every, start].mean(0), required, ALPHA)) - 1e-12
        assert value <= max(values) + 1e-12
        best_of_all, reached = best_of_all + max(values), reached + value
    assert reached >= 0.98 * best_of_all


def test_number_of_steps_is_checked() -> None:
    with pytest.raises(ValueError, match="`num_steps` must be an integer >= 1, got 0"):
        refined_multipliers(torch.ones(1, 1, 1), 1.0, ALPHA, torch.zeros(1), num_steps=0)
