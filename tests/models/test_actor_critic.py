"""The graph actor-critic: the paper's network without edges, any number of agents, own models."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.neighbours import Neighbours
from metagnn.graphs.randomness import generator
from metagnn.graphs.sparse_interference import Graph, SparseGraph, SparseWeight
from metagnn.models.actor_critic import LOG_STD, ActorCritic, ActorCriticShape
from metagnn.models.encoder import WHOLE_CLAIM
from metagnn.models.leconv_sparse import SparseLEConvStack

PAPER = {
    "per_choice": False,
    "bidirectional": False,
    "number_per_choice": False,
    "hidden_channels": (512, 256),
    "critic_channels": 128,
}


def _network(in_channels: int = 4, num_choices: int = 3, **changed: Any) -> ActorCritic:
    torch.manual_seed(0)
    network = ActorCritic(ActorCriticShape(in_channels, num_choices, **changed))
    # The heads begin near zero, where orders of agents would hardly show.
    for head in (network.choice, network.mean, network.log_std):
        nn.init.normal_(head.weight)
    return network


def _graph(num_agents: int, *leading: int, channels: int | None = None) -> DenseGraph:
    source = generator(0, "graph", num_agents)
    bands = () if channels is None else (channels,)
    node = torch.randn(*leading, num_agents, *bands, 4, generator=source)
    weight = torch.rand(*leading, num_agents, num_agents, generator=source)
    return DenseGraph(node, weight)


def _outputs(network: ActorCritic, graph: Graph, *more: Any) -> list[Tensor]:
    policy, value = network(graph, *more)
    return [policy.choice.logits, policy.number.mean, policy.number.log_std, value]


def test_without_edges_it_is_the_papers_perceptron() -> None:
    network = _network(**PAPER)
    graph = _graph(5, 7)
    silent = DenseGraph(graph.node, torch.zeros_like(graph.edge_weight))
    x = graph.node
    for layer in range(2):
        lin3 = network.get_parameter(f"convs.{layer}.lin3.weight")
        bias = network.get_parameter(f"convs.{layer}.lin3.bias")
        x = functional.leaky_relu(functional.linear(x, lin3, bias))
    assert x.shape == (7, 5, 256)
    policy, value = network(silent)
    torch.testing.assert_close(policy.choice.logits, network.choice(x))
    torch.testing.assert_close(policy.number.mean, network.mean(x))
    assert policy.number.mean.shape == (7, 5, 1)
    hidden = functional.leaky_relu(network.critic_hidden(x))
    assert hidden.shape == (7, 5, 128)
    torch.testing.assert_close(value, network.value(hidden).squeeze(-1))


@pytest.mark.parametrize("on_lists", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_edges_that_vanish_are_none(bidirectional: bool, on_lists: bool) -> None:
    network, graph = _network(bidirectional=bidirectional), _graph(3, 2, channels=3)
    outputs = []
    for scale in (1e-12, 0.0):
        if on_lists:
            pairs = Neighbours(3, torch.tensor([1, 2]), torch.tensor([0, 1]))
            own = scale * graph.edge_weight.diagonal(dim1=-2, dim2=-1)
            weight = SparseWeight(pairs, scale * graph.edge_weight[..., [1, 2], [0, 1]], own)
            outputs.append(_outputs(network, SparseGraph(graph.node, weight)))
        else:
            outputs.append(_outputs(network, DenseGraph(graph.node, scale * graph.edge_weight)))
    for one, other in zip(*outputs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("critic", ["node", "graph"])
def test_the_order_of_agents_does_not_matter(channels: int | None, critic: str) -> None:
    changed = {"per_choice": channels is not None, "critic": critic}
    changed |= {"number_per_choice": channels is not None}
    network = _network(**changed)
    graph = _graph(5, 2, channels=channels)
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = DenseGraph(graph.node[:, order], graph.edge_weight[:, order][..., order])
    for found, wanted in zip(_outputs(network, moved), _outputs(network, graph), strict=True):
        torch.testing.assert_close(found, wanted[:, order], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("num_claims", [0, 2])
def test_the_order_of_channels_does_not_matter(num_claims: int) -> None:
    network, graph = _network(num_claims=num_claims), _graph(5, 2, channels=3)
    order = torch.tensor([2, 0, 1])
    moved = DenseGraph(graph.node[:, :, order], graph.edge_weight)
    *found, value = _outputs(network, moved)
    *wanted, wanted_value = _outputs(network, graph)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other[..., order], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(value, wanted_value, atol=1e-4, rtol=1e-5)


def test_channels_hear_of_each_other() -> None:
    network, graph = _network(), _graph(5, 2, channels=3)
    node = graph.node.clone()
    node[:, :, 0] += 1.0
    before, after = (_outputs(network, g)[0] for g in (graph, DenseGraph(node, graph.edge_weight)))
    assert float((after - before).detach()[..., 1:].abs().min()) > 0


@pytest.mark.parametrize(("channels", "num_claims"), [(None, 0), (3, 0), (3, 2)])
def test_models_of_their_own_are_those_of_each_agent(channels: int | None, num_claims: int) -> None:
    """Agent k's output, by plain loops over agents and layers."""
    changed = {"per_choice": channels is not None, "number_per_choice": channels is not None}
    network = _network(hidden_channels=(6, 5), num_claims=num_claims, **changed)
    graph = _graph(4, 2, channels=channels)
    source = generator(1)
    models = {
        name: torch.randn(4, *p.shape, generator=source) for name, p in network.named_parameters()
    }
    logits, *_ = _outputs(network, graph, models)

    def linear(name: str, agent: int, y: Tensor) -> Tensor:
        bias = models.get(f"{name}.bias")
        return functional.linear(
            y, models[f"{name}.weight"][agent], None if bias is None else bias[agent]
        )

    features, weight = list(graph.node.unbind(1)), graph.edge_weight
    for layer in range(2):
        hidden = []
        for k in range(4):
            y = torch.zeros(1)
            for kind, w in (("convs", weight), ("reverse_convs", weight.mT)):
                name = f"{kind}.{layer}"
                y = y + linear(f"{name}.lin3", k, features[k])
                for i in range(4):
                    edge = w[:, i, k].view(-1, *[1] * (features[k].dim() - 1))
                    message = linear(f"{name}.lin1", k, features[i])
                    y = y + edge * (message - linear(f"{name}.lin2", k, features[k]))
            y = functional.leaky_relu(y)
            if channels is not None:
                y = y + linear(f"mixes.{layer}", k, y.mean(-2, keepdim=True))
            if num_claims > 0:
                lean = y[..., -num_claims:]
                lean = (lean - lean.amax(-2, keepdim=True)).exp()
                claims = WHOLE_CLAIM * lean / lean.sum(-2, keepdim=True)
                y = torch.cat([y[..., :-num_claims], claims], dim=-1)
            hidden.append(y)
        features = hidden
    for k in range(4):
        wanted = linear("choice", k, features[k])
        wanted = wanted if channels is None else wanted.squeeze(-1)
        torch.testing.assert_close(logits[:, k], wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("critic", ["node", "graph"])
def test_gradients_of_equal_models_add_up_to_the_shared_ones(critic: str) -> None:
    """What is heard carries a gradient to the model of whoever said it."""
    network, graph = _network(hidden_channels=(6, 6), critic=critic), _graph(3, 2, channels=3)
    shared = dict(network.named_parameters())
    models = {
        name: p.detach().expand(3, *p.shape).clone().requires_grad_() for name, p in shared.items()
    }
    for output in range(4):
        of_shared, of_models = (
            torch.autograd.grad(
                _outputs(network, graph, given)[output][:, 1].square().sum(),
                list(given.values()),
                allow_unused=True,
            )
            for given in (shared, models)
        )
        heard = torch.zeros(3)
        for one, other in zip(of_shared, of_models, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                torch.testing.assert_close(other.sum(0), one, atol=1e-3, rtol=1e-4)
                heard += other.flatten(1).abs().sum(1)
        assert bool((heard > 0).all())


def test_the_value_is_of_what_will_be_chosen() -> None:
    """A critic that is the head of the means finds the mean that the policy expects."""
    network, graph = _network(critic_channels=1), _graph(5, 2, channels=3)
    with torch.no_grad():
        network.critic_hidden.weight.copy_(network.mean.weight)
        network.critic_hidden.bias.fill_(1e3)  # far from where the activation bends
        network.value.weight.fill_(1.0)
        network.value.bias.fill_(-1e3)
        policy, value = network(graph)
        wanted = (policy.choice.logits.softmax(-1) * policy.number.mean).sum(-1)
    torch.testing.assert_close(value, wanted, atol=1e-3, rtol=1e-3)
    assert float((value - policy.number.mean.mean(-1)).abs().max()) > 0.1


def test_equal_models_are_the_shared_one() -> None:
    network, graph = _network(), _graph(4, 2, channels=3)
    copies = {name: p.detach().expand(4, *p.shape) for name, p in network.named_parameters()}
    for found, wanted in zip(
        _outputs(network, graph, copies), _outputs(network, graph), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_encoder_is_pygs_leconv() -> None:
    network = _network(**{**PAPER, "hidden_channels": (6, 5)})
    graph = _graph(4)
    sparse = SparseLEConvStack(4, 6, 2)
    pyg_layer = type(sparse.convs[0])
    x = graph.node
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    index = torch.stack([rows.flatten(), columns.flatten()])
    for layer, (incoming, outgoing) in enumerate([(4, 6), (6, 5)]):
        conv = pyg_layer(incoming, outgoing)
        conv.load_state_dict(network.convs[layer].state_dict())
        x = functional.leaky_relu(conv(x, index, graph.edge_weight.flatten()))
    torch.testing.assert_close(_outputs(network, graph)[0], network.choice(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("channels", [None, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("leading", [(), (2, 3)])
def test_on_neighbour_lists_it_is_the_dense_one(
    leading: tuple[int, ...], bidirectional: bool, channels: int | None, separate: bool
) -> None:
    """Values and gradients; six edges and self-loops of other weights."""
    changed = {"per_choice": channels is not None, "number_per_choice": channels is not None}
    shape = {"hidden_channels": (6, 5), "bidirectional": bidirectional, **changed}
    network, graph = _network(**shape), _graph(5, *leading, channels=channels)
    target, source = torch.tensor([[0, 0, 1, 3, 3, 4], [1, 4, 2, 0, 1, 3]])
    pairs = Neighbours(5, source, target)
    kept = torch.eye(5)
    kept[source, target] = 1.0
    dense = DenseGraph(graph.node, kept * graph.edge_weight)
    own = graph.edge_weight.diagonal(dim1=-2, dim2=-1)
    weight = SparseWeight(pairs, graph.edge_weight[..., source, target], own)
    models = {
        name: p.detach().expand(*([5] if separate else []), *p.shape).clone().requires_grad_()
        for name, p in network.named_parameters()
    }
    gradients = []
    found = _outputs(network, SparseGraph(graph.node, weight), models)
    wanted = _outputs(network, dense, models)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    for outputs in (found, wanted):
        total = torch.stack([output.square().sum() for output in outputs]).sum()
        gradients.append(torch.autograd.grad(total, list(models.values())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_a_value_per_graph_is_the_same_for_all_agents() -> None:
    value = _outputs(_network(critic="graph"), _graph(5, 2, channels=3))[-1]
    assert value.shape == (2, 5)
    torch.testing.assert_close(value, value[:, :1].expand(2, 5))
    assert float((value[0, 0] - value[1, 0]).detach().abs()) > 0


def test_standard_deviations_keep_to_their_range() -> None:
    network = _network()
    nn.init.normal_(network.log_std.weight, 0.0, 1e3)
    log_std = _outputs(network, _graph(5, 2, channels=3))[2]
    assert float(log_std.detach().min()) >= LOG_STD[0]
    assert float(log_std.detach().max()) <= LOG_STD[1]


@pytest.mark.parametrize("leading", [(), (3,), (2, 2)])
def test_edges_of_other_graphs_are_refused(leading: tuple[int, ...]) -> None:
    graph = _graph(4, 4, channels=3)
    weight = torch.rand(*leading, 4, 4)
    message = r"`edge_weight` must be of the agents \(4, 4\) of `node`, got \("
    with pytest.raises(ValueError, match=message):
        _network()(DenseGraph(graph.node, weight))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_channels": ()}, r"`hidden_channels` must hold a layer, got \(\)"),
        ({"hidden_channels": (4, 0)}, r"`hidden_channels` must be an integer >= 1, got 0"),
        ({"critic_channels": 0}, r"`critic_channels` must be an integer >= 1, got 0"),
        ({"low": 24.0}, r"`low` must be < high = 24.0, got 24.0"),
        ({"critic": "all"}, r"`critic` must be 'node' or 'graph', got 'all'"),
        ({"num_claims": -1}, r"`num_claims` must be an integer >= 0, got -1"),
        ({"num_claims": 32}, r"`num_claims` must be at most 31, so that each layer has other"),
        (
            {"num_claims": 1, "per_choice": False},
            r"`num_claims` must be at most 0, so .* \(0 without per_choice\), got 1",
        ),
        ({"number_per_choice": False}, r"`number_per_choice` must be true with per_choice"),
    ],
)
def test_shapes_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ActorCriticShape(4, 3, **changed)
