"""Sites as agents: whose model decides for whom, who sees what, edges and values by loops."""

import math
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.models.offloading import JointAction, Wishes
from metagnn.models.offloading_perceptron import flat_action, flat_state
from metagnn.offloading_agents import (
    PARTS,
    AgentShape,
    OffloadingAgents,
    interference_edges,
    met_error,
    worth,
)
from metagnn.offloading_place import Place
from metagnn.tasks.offloading.baselines import random_decision
from metagnn.tasks.offloading.environment import NUM_FEATURES, graph_of
from metagnn.tasks.offloading.scenario import Radio

RADIO = Radio(num_channels=3)
# Three cells of two users in no order, and cells of five and of three.
CELL, UNEQUAL = torch.tensor([2, 0, 1, 1, 0, 2]), torch.tensor([0, 1, 0, 0, 1, 0, 1, 0])
GRAPH = {"hidden_channels": (6, 5), "critic_channels": (7, 6), "num_claims": 2, "prior": 0.0}
PERCEPTRON = {
    "kind": "perceptron",
    "prior": 0.0,
    "hidden_channels": (6,),
    "critic_channels": (7,),
    "num_claims": 0,
}
SHAPES: dict[str, dict[str, Any]] = {"graph": GRAPH, "perceptron": PERCEPTRON}


def _agents(
    kind: str = "graph",
    shared: bool = True,
    central: bool = True,
    cell: Tensor = CELL,
    seed: int = 0,
    **changed: Any,
) -> OffloadingAgents:
    """Agents with constant parameters of order one half, which say different things of users."""
    shape = AgentShape(**{**SHAPES[kind], "shared": shared, **changed})
    agents = OffloadingAgents(shape, cell, int(cell.max()) + 1, RADIO, central, seed)
    for number, parameter in enumerate(agents.parameters()):
        source = generator(seed, "parameters", number + 1)
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=source)
    return agents.requires_grad_(False)


def _graph(seed: int = 0, cell: Tensor = CELL, batch: int = 2) -> DenseGraph:
    source, users = generator(seed, "graph"), len(cell)
    per_channel = torch.randn(batch, users, RADIO.num_channels, 4, generator=source)
    per_user = torch.randn(batch, users, NUM_FEATURES - 4, generator=source)
    return graph_of(0.3 * per_channel, per_user, cell)


def _edges(seed: int = 0, cell: Tensor = CELL, batch: int = 2) -> Tensor:
    users = len(cell)
    weight = 1e4 * torch.rand(batch, users, users, generator=generator(seed, "edges"))
    return weight * (cell.unsqueeze(-1) != cell)


def _action(seed: int = 0, users: int = 6, batch: int = 2) -> JointAction:
    """Users on channels 0 and 1 by turns, so that all cells meet on both."""
    source = generator(seed, "action")
    channel = torch.arange(users).expand(batch, -1).div(3, rounding_mode="floor") % 2
    place = torch.nn.functional.one_hot(channel, RADIO.num_channels).float()
    numbers = torch.rand(batch, users, RADIO.num_channels + 2, generator=source)
    return JointAction(place, numbers[..., 0], numbers[..., 2:], 0.5 * numbers[..., 1])


def _changed(action: JointAction, who: Tensor) -> JointAction:
    """Some users have other numbers."""
    other = _action(9, action.place.shape[1], len(action.place))
    rows = {}
    for field in fields(JointAction):
        rows[field.name] = getattr(action, field.name).clone()
        if field.name != "place":
            rows[field.name][:, who] = getattr(other, field.name)[:, who]
    return JointAction(**rows)


def _of_users(wishes: Wishes) -> Tensor:
    """All wishes side by side ``[B, I, W]``."""
    rows = (wishes.ratio.unsqueeze(-1), wishes.score, wishes.level, wishes.need.unsqueeze(-1))
    return torch.cat(rows, dim=-1)


def _moved(before: Tensor, after: Tensor) -> list[int]:
    """Rows along the second axis that differ."""
    return [n for n in range(before.shape[1]) if not torch.allclose(before[:, n], after[:, n])]


def _members(number: int, cell: Tensor = CELL) -> list[int]:
    return [user for user, site in enumerate(cell.tolist()) if site == number]


# --- Wishes. ---


@pytest.mark.parametrize("bidirectional", [True, False])
def test_one_model_cell_by_cell_is_the_model_on_all(bidirectional: bool) -> None:
    agents, graph = _agents(bidirectional=bidirectional), _graph()
    found, wanted = _of_users(agents.wishes(graph)), _of_users(agents.actors[0](graph))
    assert float(wanted.std(1).min()) > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_what_actors_say_is_added_to_the_measured_sinr() -> None:
    place = Place(num_cells=6, users_per_cell=4, radio=Radio(num_channels=6))
    environment, radio = place.environment(3), place.environment(3).radio
    environment.reset(2, generator(0, "networks"))
    for _ in range(2):
        environment.step(random_decision(environment.slot, radio, generator(0, "actions")))
    slot, cells = environment.slot, environment.cells
    found = []
    for prior in (0.0, 2.0):
        shape = AgentShape(**{**GRAPH, "prior": prior})
        agents = OffloadingAgents(shape, cells.cell, cells.num_cells, radio, True, 0)
        found.append(agents.wishes(environment.observation()))
    disturbance_w = radio.noise_w + slot.interference_at_own
    decades = torch.log10(radio.power_max_w * slot.own_gain / disturbance_w)
    held = (slot.held.unsqueeze(-1) == torch.arange(6)).float()
    assert float((slot.interference_at_own / radio.noise_w).max()) > 1.0
    assert float(held.mean()) > 0.1
    added = found[1].score - found[0].score
    torch.testing.assert_close(added, 2.0 * (decades + held), rtol=1e-4, atol=1e-4)
    assert found[1].level.equal(found[0].level)


@pytest.mark.parametrize("kind", ["graph", "perceptron"])
@pytest.mark.parametrize("shared", [True, False])
def test_each_site_decides_for_its_own_users(kind: str, shared: bool) -> None:
    agents, graph = _agents(kind, shared), _graph()
    found = _of_users(agents.wishes(graph))
    assert len(agents.actors) == (1 if shared else 3)
    for number in range(3):
        mine = _members(number)
        own = DenseGraph(graph.node[:, mine], graph.edge_weight[:, mine][:, :, mine])
        wanted = _of_users(agents.actors[0 if shared else number](own))
        torch.testing.assert_close(found[:, mine], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["graph", "perceptron"])
def test_another_model_changes_its_own_cell_only(kind: str) -> None:
    graph = _graph()
    for number in range(3):
        agents = _agents(kind, shared=False)
        before = _of_users(agents.wishes(graph))
        for parameter in agents.actors[number].parameters():
            parameter.add_(0.1)
        assert _moved(before, _of_users(agents.wishes(graph))) == _members(number)


@pytest.mark.parametrize("kind", ["graph", "perceptron"])
@pytest.mark.parametrize("shared", [True, False])
def test_wishes_follow_from_the_own_cell_alone(kind: str, shared: bool) -> None:
    agents, graph = _agents(kind, shared), _graph()
    before = _of_users(agents.wishes(graph))
    for user in range(6):
        node = graph.node.clone()
        node[:, user] += 0.5
        moved = _moved(before, _of_users(agents.wishes(DenseGraph(node, graph.edge_weight))))
        assert user in moved
        assert set(moved) <= set(_members(int(CELL[user])))
        # A perceptron, and graph networks over edges, tell the other user of the cell.
        assert moved == _members(int(CELL[user]))


@pytest.mark.parametrize("kind", ["graph", "perceptron"])
def test_the_order_of_cells_with_one_model_does_not_matter(kind: str) -> None:
    # Users keep their order within the cells, which perceptrons need.
    order = torch.tensor([2, 0, 1, 5, 3, 4])
    graph = _graph()
    mixed = DenseGraph(graph.node[:, order], graph.edge_weight[:, order][:, :, order])
    renamed = torch.tensor([1, 2, 0])[CELL][order]
    before = _of_users(_agents(kind).wishes(graph))
    after = _of_users(_agents(kind, cell=renamed).wishes(mixed))
    torch.testing.assert_close(after, before[:, order], rtol=1e-4, atol=1e-5)


def test_cells_of_any_size_have_one_graph_model() -> None:
    agents, graph = _agents(cell=UNEQUAL), _graph(cell=UNEQUAL)
    found = _of_users(agents.wishes(graph))
    assert found.shape == (2, 8, 8)
    for number in range(2):
        mine = _members(number, UNEQUAL)
        own = DenseGraph(graph.node[:, mine], graph.edge_weight[:, mine][:, :, mine])
        wanted = _of_users(agents.actors[0](own))
        torch.testing.assert_close(found[:, mine], wanted, rtol=1e-4, atol=1e-5)
    for central in (True, False):
        agents = _agents(cell=UNEQUAL, central=central)
        parts = agents.parts(graph, _edges(cell=UNEQUAL), _action(users=8))
        assert parts.shape == (2, 8, len(PARTS))


# The site in the middle of the second has no users.
@pytest.mark.parametrize("cell", [UNEQUAL, torch.tensor([0, 0, 0, 2, 0, 0, 2, 0])])
def test_cells_of_any_size_have_graph_models_of_their_own(cell: Tensor) -> None:
    agents, graph = _agents(shared=False, cell=cell, central=False), _graph(cell=cell)
    action = _action(users=8)
    wishes = _of_users(agents.wishes(graph))
    parts = agents.parts(graph, _edges(cell=cell), action)
    for number in range(agents.num_cells):
        mine = _members(number, cell)
        own = DenseGraph(graph.node[:, mine], graph.edge_weight[:, mine][:, :, mine])
        wanted = _of_users(agents.actors[number](own))
        torch.testing.assert_close(wishes[:, mine], wanted, rtol=1e-4, atol=1e-5)
        done = JointAction(*(getattr(action, field.name)[:, mine] for field in fields(action)))
        alone = DenseGraph(own.node, torch.zeros_like(own.edge_weight))
        torch.testing.assert_close(parts[:, mine], agents.critics[number](alone, done))


@pytest.mark.parametrize("cell", [UNEQUAL, torch.tensor([0, 0, 2, 2])])
def test_cells_of_other_sizes_are_refused_by_perceptrons(cell: Tensor) -> None:
    with pytest.raises(ValueError, match="`cells` must be of equal sizes for perceptrons"):
        _agents("perceptron", True, cell=cell)


# --- Critics of graphs. ---


def test_parts_are_bounded_and_positive_in_orders_of_magnitude() -> None:
    agents, graph, action = _agents(), _graph(), _action()
    assert agents.parts(graph, _edges(), action).shape == (2, 6, 4)
    # First guesses of a half, e^-3, e^-5 and e^-3.
    agents.get_parameter("critics.0.value.weight").zero_()
    for bias, wanted in (
        (0.0, [0.5, math.exp(-3.0), math.exp(-5.0), math.exp(-3.0)]),
        (1e4, [1.0, *[math.exp(3.0)] * 3]),
        (-1e4, [0.0, *[math.exp(-14.0)] * 3]),
    ):
        agents.get_parameter("critics.0.value.bias").fill_(bias)
        assert agents.parts(graph, _edges(), action)[1, 3].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("shared", [True, False])
def test_a_central_critic_values_what_all_do(shared: bool) -> None:
    agents, graph, edges, action = _agents(shared=shared), _graph(), _edges(), _action()
    assert len(agents.critics) == 1
    before = agents.parts(graph, edges, action)
    # Users 0, 1 and 2 are on channel 0, in cells 2, 0 and 1.
    after = agents.parts(graph, edges, _changed(action, torch.tensor([0])))
    assert _moved(before, after) == [0, 1, 2]
    # Without the edge 0 -> 1 user 1 does not hear it; that of 1 -> 0 does not count.
    edges = edges.clone()
    edges[:, 0, 1] = 0.0
    before = agents.parts(graph, edges, action)
    after = agents.parts(graph, edges, _changed(action, torch.tensor([0])))
    assert _moved(before, after) == [0, 2]


@pytest.mark.parametrize("shared", [True, False])
def test_local_critics_see_their_own_cell_only(shared: bool) -> None:
    agents = _agents(shared=shared, central=False)
    assert len(agents.critics) == (1 if shared else 3)
    graph, action = _graph(), _action()
    before = agents.parts(graph, _edges(), action)
    assert torch.equal(agents.parts(graph, 3.0 * _edges(), action), before)
    for number in range(3):
        mine = _members(number)
        node = graph.node.clone()
        node[:, mine] += 0.5
        after = agents.parts(
            DenseGraph(node, graph.edge_weight), _edges(), _changed(action, torch.tensor(mine))
        )
        assert _moved(before, after) == mine


def test_each_site_is_valued_by_its_own_local_critic() -> None:
    agents, graph, action = _agents(shared=False, central=False), _graph(), _action()
    before = agents.parts(graph, _edges(), action)
    for number in range(3):
        # Without edges a critic values each user by itself, so it may see all of them.
        alone = _agents(central=False)
        alone.critics[0].load_state_dict(agents.critics[number].state_dict())
        wanted, mine = alone.parts(graph, _edges(), action), _members(number)
        torch.testing.assert_close(before[:, mine], wanted[:, mine])
    for parameter in agents.critics[1].parameters():
        parameter.add_(0.1)
    assert _moved(before, agents.parts(graph, _edges(), action)) == _members(1)


# --- Critics of the paper. ---


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("central", [True, False])
def test_site_values_by_loops(shared: bool, central: bool) -> None:
    agents, graph, action = _agents("perceptron", shared, central), _graph(), _action()
    seen = []
    for number in range(3):
        mine = _members(number)
        own = DenseGraph(graph.node[:, mine], graph.edge_weight[:, mine][:, :, mine])
        done = JointAction(*(getattr(action, f.name)[:, mine] for f in fields(JointAction)))
        seen.append(torch.cat([flat_state(own), flat_action(done)], dim=-1))
    found = agents.site_values(graph, action)
    assert found.shape == (2, 3)
    assert len(agents.critics) == (1 if shared else 3)
    for number in range(3):
        critic = agents.critics[0 if shared else number]
        wanted = critic(torch.cat(seen, dim=-1) if central else seen[number])
        torch.testing.assert_close(found[:, number], wanted[:, 0])


@pytest.mark.parametrize("shared", [True, False])
def test_sites_values_follow_from_what_they_see(shared: bool) -> None:
    graph, action = _graph(), _action()
    for central in (True, False):
        agents = _agents("perceptron", shared, central)
        before = agents.site_values(graph, action)
        after = agents.site_values(graph, _changed(action, torch.tensor([3])))
        # User 3 belongs to site 1.
        assert _moved(before, after) == ([0, 1, 2] if central else [1])


# --- Edges, values and errors. ---


def test_interference_edges_by_loops() -> None:
    gain = 1e-9 * torch.rand(2, 6, 3, generator=generator(0))
    radio = Radio(num_channels=3, power_max_dbm=20.0, bandwidth_hz=1e6)
    found = interference_edges(gain, CELL, radio)
    # 20 dBm are 0.1 W, and -174 dBm/Hz over 1 MHz -114 dBm.
    snr = 0.1 / 10.0 ** (-114.0 / 10.0 - 3.0)
    for copy in range(2):
        for sender in range(6):
            for listener in range(6):
                site = int(CELL[listener])
                wanted = snr * float(gain[copy, sender, site]) if site != CELL[sender] else 0.0
                weight = float(found[copy, sender, listener])
                assert weight == pytest.approx(wanted, rel=1e-5)
    assert not torch.allclose(found, found.mT)


def test_worth_by_hand() -> None:
    parts = torch.tensor([[[1.0, 0.0, 0.25, 0.5], [0.0, 2.0, 0.125, 0.0]]])
    assert worth(parts, 0.5).tolist() == [[-0.25, -2.125]]
    assert worth(parts, 2.0).tolist() == [[1.25, -2.125]]


def test_error_of_met_deadlines_by_hand() -> None:
    value = torch.tensor([0.25, 0.25, 0.5, 0.0, 1.0, 1.0])
    target = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 7.0])
    found = met_error(value, target)
    # torch bounds logarithms at -100; targets are kept within [0, 1].
    wanted = [math.log(4.0), math.log(4.0 / 3.0), math.log(2.0), 100.0, 0.0, 0.0]
    assert found.tolist() == pytest.approx(wanted, abs=2e-6)


def test_a_share_that_is_sure_and_wrong_still_learns() -> None:
    raw = torch.tensor([-16.0, 16.0], requires_grad=True)
    met_error(raw.sigmoid(), torch.tensor([1.0, 0.0])).sum().backward()
    assert raw.grad is not None
    assert raw.grad.tolist() == pytest.approx([-1.0, 1.0], abs=0.1)


def test_error_of_met_deadlines_is_least_at_the_target() -> None:
    value = torch.linspace(0.01, 0.99, 99)
    for target in (0.1, 0.5, 0.8):
        at = met_error(value, torch.full_like(value, target)).argmin()
        assert float(value[at]) == pytest.approx(target, abs=1e-6)


# --- Seeds, state and shapes. ---


@pytest.mark.parametrize("kind", ["graph", "perceptron"])
def test_initial_parameters_are_of_the_seed(kind: str) -> None:
    shape = AgentShape(**{**SHAPES[kind], "shared": False})
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = []
    for seed in (0, 0, 1):
        agents = OffloadingAgents(shape, CELL, 3, RADIO, False, seed)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(1)
        state = torch.get_rng_state()
        found.append(agents.state_dict())
    first, again, other = found
    assert all(torch.equal(first[name], again[name]) for name in first)
    # Random parameters differ between seeds (head biases are zero); all sites begin alike, with
    # parameters of their own.
    weights = [name for name in first if name.endswith("weight")]
    assert not any(torch.equal(first[name], other[name]) for name in weights)
    for name in weights:
        if name.startswith("actors.0"):
            assert torch.equal(first[name], first[name.replace("actors.0", "actors.1")])
    changed, kept, _ = agents.actors
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(1.0)
    pairs = zip(changed.parameters(), kept.parameters(), strict=True)
    assert not any(bool((moved == still).any()) for moved, still in pairs)


def test_a_state_fits_any_cells_of_one_model() -> None:
    agents = _agents()
    other = _agents(cell=UNEQUAL, seed=1)
    other.load_state_dict(agents.state_dict())
    graph = _graph(cell=UNEQUAL)
    torch.testing.assert_close(other.wishes(graph).score, agents.actors[0](graph).score)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "transformer"}, "`kind` must be 'graph' or 'perceptron', got 'transformer'"),
        ({"hidden_channels": ()}, "`hidden_channels` must hold a layer"),
        ({"critic_channels": ()}, "`critic_channels` must hold a layer"),
        ({"hidden_channels": (8, 0)}, "`hidden_channels` must be an integer >= 1, got 0"),
        ({"critic_channels": (1.5,)}, "`critic_channels` must be an integer >= 1, got 1.5"),
        ({**PERCEPTRON, "hidden_channels": (8, 8)}, "`hidden_channels` must hold one layer of a"),
        ({**PERCEPTRON, "critic_channels": (8, 8)}, "`critic_channels` must hold one layer of a"),
        ({**PERCEPTRON, "num_claims": 1}, "`num_claims` must be 0 for perceptrons, got 1"),
        ({**PERCEPTRON, "prior": 1.0}, "`prior` must be 0 for perceptrons, got 1.0"),
        ({"prior": -1.0}, "`prior` must be finite and >= 0"),
        ({**PERCEPTRON, "bidirectional": True}, "`bidirectional` must be false for perceptrons"),
    ],
)
def test_shapes_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AgentShape(**changed)


def test_too_many_claims_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_claims` must be less than each width"):
        _agents(num_claims=5)
