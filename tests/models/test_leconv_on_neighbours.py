from dataclasses import replace

import pytest
import torch

from metagnn.graphs.interference import EDGE_KINDS, EdgeKind, interference_graph
from metagnn.graphs.neighbours import NeighbourGain, strongest
from metagnn.graphs.randomness import generator
from metagnn.graphs.sparse_interference import graph_of, sparse_interference_graph
from metagnn.models.leconv import DenseLEConvStack

POWER_MAX_W, NOISE_W = 2.0, 0.5


def _samples(num_neighbours: int) -> NeighbourGain:
    """Two samples of a network of six links."""
    source = generator(0, "leconv on neighbours")
    exponent = torch.rand((6, 6), generator=source, dtype=torch.float64)
    kept = strongest(10.0 ** (4.0 * exponent - 2.0), num_neighbours)
    fading = torch.rand((2, kept.neighbours.num_pairs), generator=source, dtype=torch.float64)
    return replace(
        kept,
        direct=kept.direct.expand(2, 6),
        crossed=kept.crossed * fading,
        neglected=torch.zeros(6, dtype=torch.float64),
    )


@pytest.mark.parametrize("edges", EDGE_KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_neighbours", [2, 5])
def test_leconv_on_neighbour_lists_equals_the_dense_one(
    edges: EdgeKind, bidirectional: bool, num_neighbours: int
) -> None:
    kept = _samples(num_neighbours)
    sparse = sparse_interference_graph(kept, POWER_MAX_W, NOISE_W, edges)
    dense = interference_graph(kept.dense(), POWER_MAX_W, NOISE_W, edges)
    torch.testing.assert_close(sparse.node, dense.node)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stack = DenseLEConvStack(3, 5, 3, bidirectional).double()
    x = torch.randn((2, 6, 3), generator=generator(3), dtype=torch.float64)
    for sample in range(2):
        ours, theirs = x[sample].clone().requires_grad_(), x[sample].clone().requires_grad_()
        found = stack(ours, sparse[sample].edge_weight)
        wanted = stack(theirs, dense.edge_weight[sample])
        torch.testing.assert_close(found, wanted)
        parameters = [ours, *stack.parameters()], [theirs, *stack.parameters()]
        slopes = [
            torch.autograd.grad(value.square().sum(), leaves)
            for value, leaves in zip((found, wanted), parameters, strict=True)
        ]
        for slope, other in zip(*slopes, strict=True):
            torch.testing.assert_close(slope, other)


def test_samples_side_by_side_are_taken_one_by_one() -> None:
    kept = _samples(2)
    graph = graph_of(kept, POWER_MAX_W, NOISE_W)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stack = DenseLEConvStack(4, 5, 2, True).double()
    together = stack(graph.node, graph.edge_weight)
    for sample in range(2):
        alone = stack(graph[sample].node, graph[sample].edge_weight)
        torch.testing.assert_close(together[sample], alone)
