from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import LEConv

from metagnn.graphs.interference import DenseGraph, to_data
from metagnn.graphs.randomness import generator
from metagnn.models.fused_stack import FusedStack
from metagnn.models.leconv import DenseLEConv, DenseLEConvStack
from metagnn.models.leconv_sparse import SparseLEConvStack

STACKS = [(1, False), (2, False), (1, True), (3, True)]


def _inputs(num_links: int, channels: int, *leading: int) -> tuple[Tensor, Tensor]:
    source = generator(0, "leconv", num_links)
    x = torch.randn(*leading, num_links, channels, generator=source)
    weight = torch.randn(*leading, num_links, num_links, generator=source)
    return x, weight


def _stack(cls: type[nn.Module], num_layers: int, bidirectional: bool, channels: int = 3) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return cls(channels, 5, num_layers, bidirectional)


def _loop(conv: Any, x: Tensor, weight: Tensor) -> Tensor:
    """One LEConv by hand, edge by edge, from node i to node k."""
    first, second, third = conv.lin1, conv.lin2, conv.lin3
    rows = []
    for k in range(x.shape[0]):
        row = x[k] @ third.weight.T + third.bias
        for i in range(x.shape[0]):
            sent = x[i] @ first.weight.T + first.bias
            row = row + weight[i, k] * (sent - x[k] @ second.weight.T)
        rows.append(row)
    return torch.stack(rows)


def _stack_loop(stack: Any, x: Tensor, weight: Tensor) -> Tensor:
    for layer, conv in enumerate(stack.convs):
        y = _loop(conv, x, weight)
        if len(stack.reverse_convs) > 0:
            y = y + _loop(stack.reverse_convs[layer], x, weight.T)
        x = torch.where(y > 0, y, 0.01 * y)
    return (x @ stack.readout.weight.T + stack.readout.bias)[:, 0]


def test_layer_by_hand() -> None:
    conv = DenseLEConv(1, 1)
    values = {
        "lin1.weight": [[2.0]],
        "lin1.bias": [1.0],
        "lin2.weight": [[3.0]],
        "lin3.weight": [[5.0]],
        "lin3.bias": [7.0],
    }
    conv.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    x = torch.tensor([[1.0], [10.0]])
    weight = torch.tensor([[0.0, 4.0], [0.0, 0.0]])  # the only edge goes from node 0 to node 1
    # node 0: 5 + 7; node 1: 4 * ((2 + 1) - 30) + 50 + 7
    assert conv(x, weight).tolist() == [[12.0], [-51.0]]


@pytest.mark.parametrize("num_links", [1, 2, 6])
def test_layer_equals_a_plain_loop_and_pyg(num_links: int) -> None:
    conv = DenseLEConv(3, 4)
    x, weight = _inputs(num_links, 3)
    out = conv(x, weight)
    torch.testing.assert_close(out, _loop(conv, x, weight), rtol=1e-5, atol=1e-6)
    sparse = LEConv(3, 4)
    sparse.load_state_dict(conv.state_dict())
    edges = torch.cartesian_prod(torch.arange(num_links), torch.arange(num_links)).T
    reference = sparse(x, edges, weight.flatten())
    torch.testing.assert_close(out, reference, rtol=1e-6, atol=2e-6)
    conv.load_state_dict(sparse.state_dict())


@pytest.mark.parametrize(("num_layers", "bidirectional"), STACKS)
@pytest.mark.parametrize("num_links", [1, 5])
def test_all_stacks_agree_in_value_and_gradient(
    num_links: int, num_layers: int, bidirectional: bool
) -> None:
    dense = _stack(DenseLEConvStack, num_layers, bidirectional).double()
    sparse = SparseLEConvStack(3, 5, num_layers, bidirectional).double()
    sparse.load_state_dict(dense.state_dict())
    x, weight = (t.double() for t in _inputs(num_links, 3))
    fused = FusedStack(dict(sparse.named_parameters()))
    expected = _stack_loop(dense, x, weight)
    for stack in (dense, sparse, fused):
        torch.testing.assert_close(stack(x, weight), expected)
    slopes = [
        torch.autograd.grad(stack(x, weight).square().sum(), list(stack.parameters()))
        for stack in (dense, sparse)
    ]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks_agree_in_single_precision(bidirectional: bool) -> None:
    dense = _stack(DenseLEConvStack, 2, bidirectional)
    sparse = _stack(SparseLEConvStack, 2, bidirectional)
    sparse.load_state_dict(dense.state_dict())
    x, weight = _inputs(6, 3)
    weight = weight / weight.norm()
    torch.testing.assert_close(dense(x, weight), sparse(x, weight), rtol=1e-6, atol=1e-6)


def test_state_dicts_and_flat_parameters_have_the_same_order() -> None:
    dense = _stack(DenseLEConvStack, 2, True)
    sparse = _stack(SparseLEConvStack, 2, True)
    sparse.load_state_dict(dense.state_dict())
    dense.load_state_dict(sparse.state_dict())
    pairs = zip(dense.named_parameters(), sparse.named_parameters(), strict=True)
    for (name, value), (other_name, other) in pairs:
        assert name == other_name
        assert torch.equal(value, other)


@pytest.mark.parametrize("cls", [DenseLEConvStack, SparseLEConvStack])
def test_leading_axes_are_independent_graphs(cls: type[nn.Module]) -> None:
    stack = _stack(cls, 2, True)
    x, weight = _inputs(4, 3, 2, 3)
    out = stack(x, weight)
    assert out.shape == (2, 3, 4)
    torch.testing.assert_close(out[1, 2], stack(x[1, 2], weight[1, 2]))
    torch.testing.assert_close(stack(x, weight[0, 0])[1, 1], stack(x[1, 1], weight[0, 0]))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_edge_lists_without_zero_edges_give_the_same(bidirectional: bool) -> None:
    dense = _stack(DenseLEConvStack, 2, bidirectional)
    sparse = _stack(SparseLEConvStack, 2, bidirectional)
    sparse.load_state_dict(dense.state_dict())
    x, weight = _inputs(5, 3, 2)
    weight[:, 0, 3] = weight[:, 2, 1] = 0.0
    graphs: list[Data] = [to_data(DenseGraph(x[i, :, :0], weight[i]), x[i]) for i in range(2)]
    assert graphs[0].num_edges == 23
    batch = Batch.from_data_list(graphs)
    scores = sparse.convolve(batch.x, batch.edge_index, batch.edge_weight)
    torch.testing.assert_close(scores, dense(x, weight).flatten(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_renumbering_the_nodes_renumbers_the_scores(bidirectional: bool) -> None:
    stack = _stack(DenseLEConvStack, 2, bidirectional)
    x, weight = _inputs(5, 3)
    order = torch.tensor([2, 4, 0, 1, 3])
    renumbered = stack(x[order], weight[order][:, order])
    torch.testing.assert_close(renumbered, stack(x, weight)[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_direction_of_the_edges_matters(bidirectional: bool) -> None:
    stack = _stack(DenseLEConvStack, 1, bidirectional)
    x, weight = _inputs(4, 3)
    assert not torch.allclose(stack(x, weight), stack(x, weight.T))
    one_edge = torch.zeros(4, 4)
    one_edge[0, 2] = 1.0
    changed = stack(x, one_edge) != stack(x, torch.zeros(4, 4))
    # The receiver hears the transmitter; the transmitter hears back in both directions only.
    assert changed.tolist() == [bidirectional, False, True, False]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_equal_finite_differences(bidirectional: bool) -> None:
    stack = _stack(DenseLEConvStack, 2, bidirectional, channels=2).double()
    names = list(dict(stack.named_parameters()))
    x, weight = (t.double() for t in _inputs(3, 2))

    def scores(x: Tensor, weight: Tensor, *parameters: Tensor) -> Tensor:
        out: Tensor = FusedStack(dict(zip(names, parameters, strict=True)))(x, weight)
        return out

    arguments = (x, weight, *(p.detach() for p in stack.parameters()))
    assert torch.autograd.gradcheck(scores, tuple(t.clone().requires_grad_() for t in arguments))
