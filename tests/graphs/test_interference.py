import math

import pytest
import torch
from torch import Tensor

from metagnn.graphs.interference import (
    EDGE_KINDS,
    DenseGraph,
    EdgeKind,
    interference_graph,
    num_node_features,
    to_data,
)
from metagnn.graphs.randomness import generator


def _gain(num_links: int, *leading: int, seed: int = 0) -> Tensor:
    """Asymmetric gains with about 60 dB between the largest and the smallest."""
    source = generator(seed, "interference", num_links)
    exponent = torch.rand((*leading, num_links, num_links), generator=source, dtype=torch.float64)
    return 10.0 ** (6.0 * exponent - 3.0)


def test_equation_24_by_hand() -> None:
    # logarithms 3, 1, -1, 5: their squares add up to 36
    gain = torch.tensor([[3.0, 1.0], [-1.0, 5.0]], dtype=torch.float64).exp() * 0.5
    graph = interference_graph(gain, power_max_w=4.0, noise_w=2.0, edges="normalised_log")
    expected = torch.tensor([[3.0, 1.0], [-1.0, 5.0]], dtype=torch.float64) / 6.0
    torch.testing.assert_close(graph.edge_weight, expected)
    assert graph.node.shape == (2, 0)


@pytest.mark.parametrize("num_links", [1, 2, 7])
def test_equation_24_has_frobenius_norm_one_in_every_sample(num_links: int) -> None:
    gain = _gain(num_links, 3, 2)
    weight = interference_graph(gain, 1.0, 1.0, "normalised_log").edge_weight
    norm = torch.linalg.matrix_norm(weight)
    torch.testing.assert_close(norm, torch.ones_like(norm))
    alone = interference_graph(gain[1, 0], 1.0, 1.0, "normalised_log").edge_weight
    torch.testing.assert_close(weight[1, 0], alone)


def test_rate_loss_by_hand() -> None:
    # SNRs 255 (8 bit) and 15 (4 bit). Transmitter 0 leaves 15 / (1 + 4) = 3, i.e. 2 bit of 4;
    # transmitter 1 leaves 255 / (1 + 84) = 3, i.e. 2 bit of 8. (1/2)^5 = 1/32, (3/4)^5 = 243/1024.
    gain = torch.tensor([[255.0, 4.0], [84.0, 15.0]], dtype=torch.float64)
    graph = interference_graph(3.0 * gain, power_max_w=2.0, noise_w=6.0, edges="rate_loss")
    loss = torch.tensor([[1.0, 0.03125], [0.2373046875, 1.0]], dtype=torch.float64)
    caused, suffered = (1.03125, 1.2373046875), (1.2373046875, 1.03125)
    for i in range(2):
        for k in range(2):
            weight = loss[i, k].item() / math.sqrt(caused[i] * suffered[k])
            assert graph.edge_weight[i, k].item() == pytest.approx(weight)
    degrees = [math.log(1.2373046875), math.log(1.03125)]
    assert graph.node[0].tolist() == pytest.approx([0.8, 0.2, *degrees])
    assert graph.node[1].tolist() == pytest.approx([0.4, 0.2, *reversed(degrees)])


def test_rate_loss_equals_a_plain_loop() -> None:
    gain = _gain(5)
    graph = interference_graph(gain, 2.0, 0.5, "rate_loss")
    inr = (gain * 4.0).tolist()
    loss = [[1.0] * 5 for _ in range(5)]
    for i in range(5):
        for k in range(5):
            if i != k:
                kept = math.log(1.0 + inr[k][k] / (1.0 + inr[i][k])) / math.log(1.0 + inr[k][k])
                loss[i][k] = (1.0 - kept) ** 5
    for i in range(5):
        for k in range(5):
            caused = sum(loss[i])
            suffered = sum(row[k] for row in loss)
            expected = loss[i][k] / math.sqrt(caused * suffered)
            assert graph.edge_weight[i, k].item() == pytest.approx(expected)
            assert graph.node[k, 2].item() == pytest.approx(math.log(suffered))
            assert graph.node[i, 3].item() == pytest.approx(math.log(caused))


def test_rate_loss_grows_with_interference_and_vanishes_without() -> None:
    gain = torch.tensor([[1e3, 0.0], [1e-12, 1e3]], dtype=torch.float64)
    weight = interference_graph(gain, 1.0, 1.0, "rate_loss").edge_weight
    assert weight[0, 1] == 0.0
    assert 0.0 <= weight[1, 0].item() < 1e-12
    torch.testing.assert_close(weight.diagonal(), torch.ones(2, dtype=torch.float64))
    weights = [
        interference_graph(gain + torch.tensor([[0.0, g], [0.0, 0.0]]), 1.0, 1.0).edge_weight[0, 1]
        for g in (1e-3, 1.0, 1e3, 1e6)
    ]
    assert weights == sorted(weights)
    assert weights[0] < weights[-1] < 1.0


@pytest.mark.parametrize("edges", EDGE_KINDS)
def test_shapes_and_slices(edges: EdgeKind) -> None:
    graph = interference_graph(_gain(4, 3, 2), 1.0, 1.0, edges)
    assert graph.node.shape == (3, 2, 4, num_node_features(edges))
    assert graph.edge_weight.shape == (3, 2, 4, 4)
    assert torch.equal(graph[1].node, graph.node[1])
    assert torch.equal(graph[1:].edge_weight, graph.edge_weight[1:])


@pytest.mark.parametrize("edges", EDGE_KINDS)
def test_renumbering_the_links_renumbers_the_graph(edges: EdgeKind) -> None:
    gain = _gain(5)
    order = torch.tensor([3, 0, 4, 1, 2])
    graph = interference_graph(gain, 1.0, 1.0, edges)
    renumbered = interference_graph(gain[order][:, order], 1.0, 1.0, edges)
    torch.testing.assert_close(renumbered.edge_weight, graph.edge_weight[order][:, order])
    torch.testing.assert_close(renumbered.node, graph.node[order])


@pytest.mark.parametrize("edges", EDGE_KINDS)
def test_transposed_gains_give_another_graph(edges: EdgeKind) -> None:
    gain = _gain(4)
    weight = interference_graph(gain, 1.0, 1.0, edges).edge_weight
    transposed = interference_graph(gain.mT, 1.0, 1.0, edges).edge_weight
    assert not torch.allclose(weight, transposed)


@pytest.mark.parametrize("edges", EDGE_KINDS)
@pytest.mark.parametrize(
    "gain",
    [
        torch.tensor([[2.0]]),
        torch.tensor([[1.0]]),  # exactly at the noise: every logarithm is 0
        torch.eye(4),  # disconnected
        torch.tensor([[5.0, 0.0], [3.0, 4.0]]),  # one link missing
        torch.tensor([[0.0, 2.0], [0.0, 4.0]]),  # a direct link missing
        torch.tensor([[0.0]]),
        torch.tensor([[1e20, 1e-38], [1e18, 1e-30]]),
        torch.tensor([[1e-30, 1e20], [1e20, 1e-30]]),
    ],
)
def test_extreme_gains_have_finite_values_and_gradients(edges: EdgeKind, gain: Tensor) -> None:
    gain = gain.clone().requires_grad_()
    graph = interference_graph(gain, 1.0, 1.0, edges)
    assert graph.node.isfinite().all()
    assert graph.edge_weight.isfinite().all()
    assert (graph.edge_weight.abs() <= 1.0 + 1e-6).all()
    (graph.node.sum() + graph.edge_weight.square().sum()).backward()
    assert gain.grad is not None
    assert gain.grad.isfinite().all()


def test_a_missing_link_has_weight_zero() -> None:
    gain = torch.tensor([[5.0, 0.0], [3.0, 4.0]])
    for edges in EDGE_KINDS:
        weight = interference_graph(gain, 1.0, 1.0, edges).edge_weight
        assert weight[0, 1] == 0.0
        assert weight[1, 0] > 0.0


def test_a_direct_link_of_gain_zero_is_the_limit_of_small_gains() -> None:
    def weight(direct: float) -> Tensor:
        gain = torch.tensor([[direct, 2.0], [3.0, 4.0]])
        return interference_graph(gain, 1.0, 1.0, "rate_loss").edge_weight

    torch.testing.assert_close(weight(0.0), weight(1e-7))


@pytest.mark.parametrize("edges", EDGE_KINDS)
def test_data_agrees_with_the_dense_graph(edges: EdgeKind) -> None:
    gain = _gain(4)
    gain[0, 2] = 0.0
    graph = interference_graph(gain, 1.0, 1.0, edges)
    ratio = torch.rand(4, 1, dtype=torch.float64)
    data = to_data(graph, ratio)
    assert data.edge_index.shape == (2, 15)
    assert [0, 2] not in data.edge_index.T.tolist()
    for source, target, weight in zip(*data.edge_index.tolist(), data.edge_weight, strict=True):
        assert weight == graph.edge_weight[source, target]
    assert torch.equal(data.x, torch.cat([ratio, graph.node], dim=-1))
    assert torch.equal(to_data(graph).x, graph.node)
    assert data.validate()


def test_data_keeps_self_loops_of_weight_zero() -> None:
    graph = DenseGraph(torch.zeros(2, 0), torch.zeros(2, 2))
    assert to_data(graph).edge_index.tolist() == [[0, 1], [0, 1]]
    assert graph.edge_weight.count_nonzero() == 0


def test_arguments_are_checked() -> None:
    gain = torch.rand(2, 2)
    with pytest.raises(ValueError, match=r"`gain` must be square.*got \(2, 3\)"):
        interference_graph(torch.rand(2, 3), 1.0, 1.0)
    with pytest.raises(ValueError, match=r"`power_max_w` must be finite and > 0, got 0.0"):
        interference_graph(gain, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"`noise_w` must be finite and > 0, got nan"):
        interference_graph(gain, 1.0, math.nan)
    with pytest.raises(ValueError, match=r"`edges` must be one of .*, got 'log'"):
        interference_graph(gain, 1.0, 1.0, "log")  # type: ignore[arg-type]
