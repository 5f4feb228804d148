"""The gradient that `FusedStack` writes out itself, held to autograd's."""

import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.models.fused_stack import FusedStack
from metagnn.models.leconv import DenseLEConvStack

CASES = [((), None), ((3,), None), ((2, 3), None), ((), 2), ((3,), 2), ((2, 3), 2)]


def _arguments(
    leading: tuple[int, ...], num_stacks: int | None, num_layers: int, bidirectional: bool
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Parameters, features and edge weights, in double precision."""
    source = generator(0, "fused", num_layers)
    stacked = () if num_stacks is None else (num_stacks,)

    def random(*shape: int) -> Tensor:
        return torch.randn(*stacked, *shape, generator=source, dtype=torch.float64)

    stack = DenseLEConvStack(3, 4, num_layers, bidirectional)
    parameters = {name: random(*p.shape) for name, p in stack.named_parameters()}
    return parameters, random(*leading, 5, 3), random(*leading, 5, 5)


@pytest.mark.parametrize("is_x_wanted", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(("leading", "num_stacks"), CASES)
def test_gradients_equal_those_of_autograd(
    leading: tuple[int, ...],
    num_stacks: int | None,
    num_layers: int,
    bidirectional: bool,
    is_x_wanted: bool,
) -> None:
    parameters, x, weight = _arguments(leading, num_stacks, num_layers, bidirectional)
    wanted = [p.requires_grad_() for p in parameters.values()]
    if is_x_wanted:
        wanted.append(x.requires_grad_())
    found = []
    for is_weight_wanted in (False, True):  # with it, autograd writes the gradient
        weight.requires_grad_(is_weight_wanted)
        scores = FusedStack(parameters)(x, weight)
        assert scores.shape == x.shape[:-1]
        assert ("_Scores" in _history(scores)) != is_weight_wanted
        found.append((scores, *torch.autograd.grad(scores.square().sum(), wanted)))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(("leading", "num_stacks"), [((), None), ((3,), 2)])
def test_second_derivatives(leading: tuple[int, ...], num_stacks: int | None) -> None:
    parameters, x, weight = _arguments(leading, num_stacks, 2, True)
    values = [p.requires_grad_() for p in (x, *parameters.values())]

    def scores(x: Tensor, *values: Tensor) -> Tensor:
        return FusedStack(dict(zip(parameters, values, strict=True)))(x, weight)

    assert torch.autograd.gradgradcheck(scores, values)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("leading", [(), (3,)])
def test_evaluation_in_blocks_of_nodes(
    leading: tuple[int, ...], bidirectional: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters, x, weight = _arguments(leading, None, 2, bidirectional)
    wanted = FusedStack({k: p.requires_grad_() for k, p in parameters.items()})(x, weight)
    monkeypatch.setattr("metagnn.models.fused_stack.NODES_AT_ONCE", 2)
    with torch.no_grad():
        torch.testing.assert_close(FusedStack(parameters)(x, weight), wanted.detach())


def test_features_without_the_leading_axes_of_the_edges() -> None:
    parameters, x, weight = _arguments((2,), None, 2, False)
    x = x[0].requires_grad_()
    slopes = []
    for is_weight_wanted in (False, True):
        scores = FusedStack(parameters)(x, weight.requires_grad_(is_weight_wanted))
        slopes.append(torch.autograd.grad(scores.square().sum(), x)[0])
    torch.testing.assert_close(*slopes)


def _history(value: Tensor) -> str:
    """Names of the functions that autograd recorded behind a value."""
    names, waiting = [], [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            names.append(node.name())
            waiting += [parent for parent, _ in node.next_functions]
    return " ".join(names)
