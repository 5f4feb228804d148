"""Stacks side by side, evaluation in blocks of nodes, and input that does not fit."""

import pytest
import torch
from torch import Tensor

from metagnn.graphs.neighbours import strongest
from metagnn.graphs.randomness import generator
from metagnn.graphs.sparse_interference import sparse_interference_graph
from metagnn.models.fused_stack import FusedStack
from metagnn.models.leconv import DenseLEConvStack


def _arguments(
    leading: tuple[int, ...], num_stacks: int | None, bidirectional: bool
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Parameters, features and edge weights, in double precision."""
    source = generator(0, "fused", len(leading))
    stacked = () if num_stacks is None else (num_stacks,)

    def random(*shape: int) -> Tensor:
        return torch.randn(*stacked, *shape, generator=source, dtype=torch.float64)

    stack = DenseLEConvStack(3, 4, 2, bidirectional)
    parameters = {name: random(*p.shape) for name, p in stack.named_parameters()}
    return parameters, random(*leading, 5, 3), random(*leading, 5, 5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_stacks_side_by_side_are_each_by_itself(
    leading: tuple[int, ...], bidirectional: bool
) -> None:
    parameters, x, weight = _arguments(leading, 2, bidirectional)
    scores = FusedStack(parameters)(x, weight)
    assert scores.shape == (2, *leading, 5)
    for m in range(2):
        alone = FusedStack({name: value[m] for name, value in parameters.items()})
        torch.testing.assert_close(scores[m], alone(x[m], weight[m]))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("leading", "num_stacks"), [((), None), ((3,), None), ((3,), 2)])
def test_evaluation_in_blocks_of_nodes(
    leading: tuple[int, ...],
    num_stacks: int | None,
    bidirectional: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters, x, weight = _arguments(leading, num_stacks, bidirectional)
    wanted = FusedStack(parameters)(x, weight)
    monkeypatch.setattr("metagnn.models.fused_stack.NODES_AT_ONCE", 2)
    with torch.no_grad():
        torch.testing.assert_close(FusedStack(parameters)(x, weight), wanted)


@pytest.mark.parametrize("is_grad_enabled", [False, True])
def test_no_samples_give_no_scores(is_grad_enabled: bool) -> None:
    parameters, x, weight = _arguments((3,), None, True)
    with torch.set_grad_enabled(is_grad_enabled):
        assert FusedStack(parameters)(x[:0], weight[:0]).shape == (0, 5)


def test_samples_of_lists_need_features_of_their_own() -> None:
    gain = torch.rand(5, 5, generator=generator(0))
    lists = strongest(gain, 2).samples(gain.expand(4, 5, 5))
    graph = sparse_interference_graph(lists, 1.0, 1.0)
    parameters, x, _ = _arguments((), None, True)
    with pytest.raises(ValueError, match=r"`edge_weight` must have the leading axes \(\) of `x`"):
        FusedStack(parameters)(x, graph.edge_weight)


def test_weights_of_lists_that_ask_for_a_gradient_are_refused() -> None:
    gain = torch.rand(5, 5, generator=generator(0))
    graph = sparse_interference_graph(strongest(gain, 2), 1.0, 1.0)
    parameters, x, _ = _arguments((), None, True)
    graph.edge_weight.crossed.requires_grad_()
    with pytest.raises(ValueError, match="`edge_weight` must require no gradient"):
        FusedStack(parameters)(x, graph.edge_weight)
