import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.graphs.interference import EDGE_KINDS, DenseGraph, EdgeKind, interference_graph
from metagnn.graphs.randomness import generator
from metagnn.models.leconv import DenseLEConvStack
from metagnn.models.leconv_sparse import SparseLEConvStack
from metagnn.models.primal_dual import (
    ConfigurationNet,
    DualNet,
    ErgodicRateNet,
    NetworkShape,
    PowerNet,
    PrimalDualNetworks,
    SlackNet,
)

SMALL = NetworkShape(hidden_channels=4, config_hidden_channels=4)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _graph(num_links: int, edges: EdgeKind, *leading: int) -> DenseGraph:
    source = generator(0, "networks", num_links)
    gain = 10.0 ** (8.0 * torch.rand(*leading, num_links, num_links, generator=source) - 3.0)
    return interference_graph(gain, 1.0, 1.0, edges)


@pytest.mark.parametrize("edges", EDGE_KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_powers_are_shares_of_the_largest(edges: EdgeKind, bidirectional: bool) -> None:
    net = PowerNet(replace(SMALL, edges=edges, bidirectional=bidirectional))
    graph = _graph(5, edges, 3, 2)
    for scale in (0.0, 1.0, 1e6):
        share = net(scale * torch.rand(3, 2, 5), graph)
        assert share.shape == (3, 2, 5)
        assert ((share >= 0.0) & (share <= 1.0)).all()


def test_power_is_the_sigmoid_of_the_scores_of_ratio_and_graph() -> None:
    ratio = torch.rand(5)
    plain, loss = _graph(5, "normalised_log"), _graph(5, "rate_loss")
    net = PowerNet(SMALL)
    expected = torch.sigmoid(net.stack(ratio.unsqueeze(-1), plain.edge_weight))
    torch.testing.assert_close(net(ratio, plain), expected)
    net = PowerNet(replace(SMALL, edges="rate_loss"))
    x = torch.cat([torch.log(ratio + 0.01).unsqueeze(-1), loss.node], dim=-1)
    torch.testing.assert_close(net(ratio, loss), torch.sigmoid(net.stack(x, loss.edge_weight)))
    assert not torch.allclose(net(ratio, loss), net(2.0 * ratio, loss))


@pytest.mark.parametrize("edges", EDGE_KINDS)
@pytest.mark.parametrize("cls", [ErgodicRateNet, SlackNet, DualNet])
def test_heads_are_never_negative(cls: type[ConfigurationNet], edges: EdgeKind) -> None:
    graph, rate = _graph(6, edges), 5.0 * torch.rand(6)
    for head in ("relu", "softplus"):
        net = cls(replace(SMALL, head=head, edges=edges))
        torch.nn.init.normal_(net.stack.readout.weight, std=3.0)
        x = torch.cat(
            [(rate / (1.0 if edges == "normalised_log" else 10.0)).unsqueeze(-1), graph.node],
            dim=-1,
        )
        for bias in (-20.0, 0.0, 1.0):
            torch.nn.init.constant_(net.stack.readout.bias, bias)
            score = net.stack(x, graph.edge_weight)
            value = net(rate, graph)
            assert value.shape == (6,)
            if head == "relu":
                torch.testing.assert_close(value, score.clamp(min=0.0))
            else:
                torch.testing.assert_close(value, torch.log1p(torch.exp(score)))
            assert (value >= 0.0).all()


def test_equation_27_weights_of_the_read_out() -> None:
    shape = NetworkShape(config_hidden_channels=4096, head_mean=0.2, head_std=0.05)
    for cls in (ErgodicRateNet, SlackNet, DualNet):
        # one layer keeps the wide network small: the read-out does not depend on it
        net = cls(shape, _OneLayer)
        weight, bias = net.stack.readout.weight, net.stack.readout.bias
        # 4096 draws: standard errors 0.0008 and 0.0006
        assert weight.mean().item() == pytest.approx(0.2, abs=0.004)
        assert weight.std().item() == pytest.approx(0.05, abs=0.003)
        assert bias.tolist() == [0.0]


class _OneLayer(DenseLEConvStack):
    def __init__(self, channels: int, hidden: int, num_layers: int, bidirectional: bool) -> None:
        super().__init__(channels, hidden, 1, bidirectional)


@pytest.mark.parametrize("seed", range(5))
def test_equation_27_gives_positive_multipliers_at_the_start(seed: int) -> None:
    torch.manual_seed(seed)
    networks = PrimalDualNetworks(NetworkShape(num_networks=5))
    graph = _graph(8, "normalised_log")
    rate = 4.0 * torch.rand(8, generator=generator(seed, "rate"))
    for name in ("rate", "slack", "lam", "mu"):
        assert (networks.call(name, rate, graph) > 0.0).all()


def test_the_power_read_out_is_not_that_of_equation_27() -> None:
    net = PowerNet(replace(SMALL, hidden_channels=512))
    assert abs(net.stack.readout.weight.mean().item()) < 0.01


@pytest.mark.parametrize("num_networks", [2, 3, 5])
def test_networks_by_name(num_networks: int) -> None:
    networks = PrimalDualNetworks(replace(SMALL, num_networks=num_networks))
    three = ("power", "slack", "mu")
    names = {2: ("power", "mu"), 3: three, 5: (*three, "rate", "lam")}[num_networks]
    assert networks.shape.names == names
    assert [name for name, _ in networks.named_children()] == list(names)
    graph = _graph(3, "normalised_log")
    value = {name: networks.call(name, torch.ones(3), graph) for name in names}
    torch.testing.assert_close(value["mu"], networks.mu(torch.ones(3), graph))
    distinct = {tuple(v.tolist()) for v in value.values()}
    assert len(distinct) == num_networks


def test_widths_and_depths() -> None:
    shape = NetworkShape(hidden_channels=6, num_layers=3, config_hidden_channels=4)
    networks = PrimalDualNetworks(shape)
    assert [conv.lin1.weight.shape for conv in networks.power.stack.convs] == [
        (6, 1),
        (6, 6),
        (6, 6),
    ]
    assert [conv.lin1.weight.shape for conv in networks.mu.stack.convs] == [(4, 1), (4, 4)]


def test_dense_and_sparse_networks_are_interchangeable() -> None:
    shape = replace(SMALL, edges="rate_loss", bidirectional=True, num_networks=5)
    dense, sparse = PrimalDualNetworks(shape), PrimalDualNetworks(shape, SparseLEConvStack)
    sparse.load_state_dict(dense.state_dict())
    graph, rate = _graph(5, "rate_loss"), torch.rand(5)
    for name in shape.names:
        torch.testing.assert_close(dense.call(name, rate, graph), sparse.call(name, rate, graph))


def test_a_given_stack_takes_the_place_of_the_own_one() -> None:
    graph = _graph(3, "normalised_log")

    def stack(x: Tensor, edge_weight: Tensor) -> Tensor:
        return x[..., 0] + edge_weight.sum()

    ratio = torch.rand(3)
    total = ratio + graph.edge_weight.sum()
    torch.testing.assert_close(PowerNet(SMALL)(ratio, graph, stack), torch.sigmoid(total))
    torch.testing.assert_close(DualNet(SMALL)(ratio, graph, stack), total.clamp(min=0.0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("edges", "log"),
        ("head", "gelu"),
        ("num_networks", 4),
        ("hidden_channels", 0),
        ("num_layers", 0),
        ("config_hidden_channels", 2.5),
        ("head_std", 0.0),
        ("head_std", math.nan),
        ("head_mean", 0.0009),
        ("head_mean", math.nan),
        ("head_mean", math.inf),
    ],
)
def test_shape_errors_name_argument_and_value(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must .*got {value!r}"):
        NetworkShape(**{name: value})  # type: ignore[arg-type]
