"""Policies of spectrum allocation: times one by one and at once, own parameters, memory."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.neighbours import Neighbours
from metagnn.graphs.randomness import generator
from metagnn.graphs.sparse_interference import Graph, SparseGraph, SparseWeight
from metagnn.models.attention import HistoryAttention
from metagnn.models.recurrent import Recurrent
from metagnn.models.spectrum import (
    NEVER,
    TRUST,
    GraphPolicy,
    Memory,
    PolicyShape,
    Seen,
    between_agents,
    choices,
)
from metagnn.models.spectrum_flat import FlatPolicy

LINKS, BANDS, AGENTS, FEATURES, POWERS = 5, 3, 4, 6, 2
# Agents of the links; agent 2 has none.
SENDER = torch.tensor([0, 0, 1, 3, 3])


def _seen(*leading: int, seed: int = 0) -> Seen:
    source = generator(seed, "seen")
    node = torch.randn(*leading, LINKS, BANDS, FEATURES, generator=source)
    weight = 0.25 * torch.rand(*leading, LINKS, LINKS, generator=source)
    offer = torch.full((*leading, AGENTS, BANDS), -1)
    some = torch.randint(2, (*leading, BANDS), generator=source)
    offer[..., 0, :], offer[..., 1, :2], offer[..., 3, :] = some, 2, 3 + some.flip(-1)
    sender = SENDER.expand(*leading, LINKS)
    left = torch.rand(*leading, AGENTS, BANDS, generator=source)
    feedback = torch.randn(*leading, 2, generator=source)
    worth = torch.rand(*leading, AGENTS // 2, BANDS, 1 + 2 * POWERS, generator=source)
    return Seen(DenseGraph(node, weight), offer, left, sender, feedback, worth)


def _policy(kind: str, memory: str, **changed: object) -> GraphPolicy | FlatPolicy:
    torch.manual_seed(0)
    shape = PolicyShape(kind=kind, memory=memory, hidden_channels=(8, 8), num_heads=2, **changed)  # type: ignore[arg-type]
    policy = (
        GraphPolicy(shape, FEATURES, POWERS)
        if kind == "graph"
        else FlatPolicy(shape, FEATURES, POWERS, (LINKS, BANDS, AGENTS))
    )
    # The first policy is nearly uniform, so that differences would hardly show.
    for head in (policy.powers, policy.off):
        nn.init.normal_(head.weight)
    if isinstance(policy, GraphPolicy):
        nn.init.normal_(policy.trust.weight, 0.0, 0.1)
    return policy


KINDS = [(k, m) for k in ("graph", "flat") for m in ("none", "recurrent", "attention")]


@pytest.mark.parametrize(("kind", "memory"), KINDS)
def test_times_at_once_are_those_one_by_one(kind: str, memory: str) -> None:
    policy = _policy(kind, memory, window=2)
    seen = _seen(4, 2)
    start = policy.start(seen[0])
    logits, values = policy.sequence(seen, start)
    assert logits.logits.shape == (4, 2, AGENTS // 2, BANDS, 1 + 2 * POWERS)
    assert values.shape == (4, 2, AGENTS // 2, BANDS)
    held = start
    for time in range(4):
        choice, value, held = policy(seen[time], held)
        torch.testing.assert_close(choice.logits, logits.logits[time])
        torch.testing.assert_close(value, values[time])


@pytest.mark.parametrize(("kind", "memory"), KINDS)
def test_only_a_memory_knows_of_the_past_and_of_rewards(kind: str, memory: str) -> None:
    policy = _policy(kind, memory)
    seen = _seen(3, 2)
    start = policy.start(seen[0])
    before = policy.sequence(seen, start)[0].logits
    feedback = seen.feedback.clone()
    feedback[0] += 1.0
    after = policy.sequence(replace(seen, feedback=feedback), start)[0].logits
    for time in range(3):
        changed = not torch.equal(before[time], after[time])
        assert changed == (memory != "none")


@pytest.mark.parametrize("kind", ["graph", "flat"])
def test_networks_may_have_parameters_of_their_own(kind: str) -> None:
    policy = _policy(kind, "none")
    source = generator(1)
    own = {n: torch.randn(3, *p.shape, generator=source) for n, p in policy.named_parameters()}
    seen = _seen(3, 2)
    start = policy.start(seen[:, 0])
    logits, values = policy.sequence(seen, start, own)
    for number in range(3):
        mine = {name: value[number] for name, value in own.items()}
        one = seen[number]
        choice, value = policy.sequence(one, policy.start(one), mine)
        torch.testing.assert_close(choice.logits, logits.logits[number], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(value, values[number], atol=1e-4, rtol=1e-4)
    choice, value, _ = policy(seen[:, 0], start, own)
    torch.testing.assert_close(choice.logits, logits.logits[:, 0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("memory", ["none", "recurrent", "attention"])
def test_the_order_of_links_and_bands_does_not_matter(memory: str) -> None:
    policy = _policy("graph", memory)
    seen = _seen(3, 2)
    links, bands = torch.tensor([3, 0, 4, 1, 2]), torch.tensor([2, 0, 1])
    weight = seen.graph.edge_weight[:, :, links][..., links]
    node = seen.graph.node[:, :, links][..., bands, :]
    # Where links went.
    offer = torch.where(seen.offer >= 0, links.argsort()[seen.offer], -1)[..., bands]
    left, sender = seen.left[..., bands], seen.sender[..., links]
    worth = seen.worth[..., bands, :]
    moved = Seen(DenseGraph(node, weight), offer, left, sender, seen.feedback, worth)
    wanted, value = policy.sequence(seen, policy.start(seen[0]))
    found, moved_value = policy.sequence(moved, policy.start(moved[0]))
    torch.testing.assert_close(found.logits, wanted.logits[..., bands, :], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(moved_value, value[..., bands], atol=1e-5, rtol=1e-5)


def test_a_node_knows_the_links_that_it_would_serve_and_what_they_hear() -> None:
    policy = _policy("graph", "none")
    seen = _seen(1)
    silent = replace(seen, graph=DenseGraph(seen.graph.node, torch.zeros(1, LINKS, LINKS)))
    # Link 2 is of agent 1, a role of node 0, and on the last band nobody serves it.
    node = seen.graph.node.clone()
    node[:, 2] += 1.0
    everywhere = [[node, band] for node in range(2) for band in range(3)]
    width = policy.agent.out_features

    def changed(one: Seen) -> list[list[int]]:
        other = replace(one, graph=DenseGraph(node, one.graph.edge_weight))
        before, after = (policy(s, policy.start(s))[0].logits[0] for s in (one, other))
        found: list[list[int]] = (before != after).any(-1).nonzero().tolist()
        return found

    # All links count in what the band is in the mean; but for that:
    assert changed(silent) == everywhere
    with torch.no_grad():
        policy.agent.weight[:, width : 2 * width] = 0.0
    assert changed(silent) == [[0, 0], [0, 1]]
    assert changed(seen) == everywhere


@pytest.mark.parametrize("kind", ["graph", "flat"])
def test_bands_one_by_one_are_those_at_once(kind: str) -> None:
    policy = _policy(kind, "recurrent")
    seen = _seen(3)
    memory = policy.start(seen)
    whole, values, after = policy(seen, memory)
    x, thought = policy.think(seen, memory)
    assert torch.equal(after.state, thought.state)
    for band in range(BANDS):
        # Later bands are not known.
        until = replace(seen, offer=seen.offer[..., : band + 1], left=seen.left[..., : band + 1])
        choice, value = policy.decide(x, until, slice(band, band + 1))
        torch.testing.assert_close(choice.logits, whole.logits[:, :, band : band + 1])
        torch.testing.assert_close(value, values[..., band : band + 1])


def test_edges_between_agents_by_hand() -> None:
    weight = torch.arange(25.0).view(5, 5)
    offer = torch.tensor([[0], [2], [-1], [4]])
    found = between_agents(DenseGraph(torch.zeros(5, 1, 1), weight), offer)
    wanted = weight[[0, 2, 0, 4]][:, [0, 2, 0, 4]]
    wanted[2], wanted[:, 2] = 0.0, 0.0
    assert found.shape == (1, 4, 4)
    assert torch.equal(found[0], wanted)


def test_what_is_remembered_adds_to_what_is_seen() -> None:
    policy, seen = _policy("graph", "recurrent"), _seen(2)
    assert isinstance(policy, GraphPolicy)
    start, given = policy.start(seen), dict(policy.named_parameters())
    x = policy._features(seen, given)
    thought, after = policy.think(seen, start)
    torch.testing.assert_close(thought, x + after.state)
    assert float(after.state.detach().abs().mean()) > 0.05


def test_agents_hear_whom_they_meet_in_both_directions() -> None:
    policy, seen = _policy("graph", "none"), _seen(1)
    x = torch.randn(1, LINKS, BANDS, 8, generator=generator(3))
    alone = DenseGraph(seen.graph.node, torch.zeros(1, LINKS, LINKS))
    quiet = policy.decide(x, replace(seen, graph=alone))[0].logits[0]
    for sender, receiver in ((0, 3), (3, 0)):
        one = alone.edge_weight.clone()
        # From the link of agent 0 on the first band to that of agent 3, or the other way.
        first, second = (int(seen.offer[0, agent, 0]) for agent in (sender, receiver))
        one[0, first, second] = 0.25
        met = policy.decide(x, replace(seen, graph=DenseGraph(alone.node, one)))[0].logits[0]
        assert bool((met[:, 0] != quiet[:, 0]).any(-1).all())


def test_what_is_left_counts_where_a_link_would_be_served() -> None:
    policy, seen = _policy("graph", "none"), _seen(1)
    other = replace(seen, left=seen.left + 0.5)
    before, after = (policy(one, policy.start(one))[0].logits[0] for one in (seen, other))
    assert bool((before != after).any(-1).all())
    # Agent 1 serves nobody on the last band.
    other = replace(seen, left=seen.left.clone())
    other.left[:, 1, 2] += 0.5
    after = policy(other, policy.start(other))[0].logits[0]
    assert torch.equal(before, after)


def test_worths_count_as_much_as_they_are_trusted() -> None:
    policy = GraphPolicy(PolicyShape(), FEATURES, POWERS)
    assert isinstance(policy, GraphPolicy)
    seen = _seen(2)
    nothing = replace(seen, worth=torch.zeros_like(seen.worth))
    with torch.no_grad():
        policy.trust.weight.zero_()
        policy.trust.bias.fill_(0.3)
        found, plain = (policy(one, policy.start(one))[0].logits for one in (seen, nothing))
    offered = plain > 0.5 * NEVER
    wanted = (0.3 * TRUST * seen.worth)[offered]
    torch.testing.assert_close((found - plain)[offered], wanted, atol=1e-5, rtol=1e-5)
    assert bool((found[~offered] < 0.5 * NEVER).all())


@pytest.mark.parametrize("kind", ["graph", "flat"])
def test_what_nobody_waits_for_is_no_choice(kind: str) -> None:
    policy = _policy(kind, "none")
    seen = _seen(50)
    choice, _, _ = policy(seen, policy.start(seen))
    shares = choice.logits.detach().softmax(-1)
    drawn = choice.sample(generator(0))
    for node in range(2):
        for role in range(2):
            powers = slice(1 + POWERS * role, 1 + POWERS * (role + 1))
            for band in range(BANDS):
                none = seen.offer[:, 2 * node + role, band] < 0
                of_role = shares[:, node, band, powers].sum(-1)
                assert float(of_role[none].sum()) == 0.0
                assert bool((of_role[~none] > 0.0).all())
    # Node 1 has no links for its users: it is off, or serves its child nodes.
    assert set(drawn[:, 1].flatten().tolist()) <= {0, 3, 4}
    # Without any choice it is off, and entropy and gradients are numbers.
    nothing = replace(seen, offer=torch.full_like(seen.offer, -1))
    choice, value, _ = policy(nothing, policy.start(nothing))
    assert bool((choice.sample(generator(0)) == 0).all())
    assert bool((choice.log_prob(torch.zeros_like(drawn)) == 0.0).all())
    assert bool((choice.entropy() == 0.0).all())
    (choice.entropy().sum() + value.sum()).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in policy.parameters() if p.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_choices_by_hand() -> None:
    off = torch.tensor([[[7.0]], [[8.0]]])
    powers = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]], [[9.0, 10.0]]])
    offer = torch.tensor([[0], [1], [-1], [2]])
    found = choices(off, powers, offer).logits
    wanted = [[[7.0, 1.0, 2.0, 3.0, 4.0]], [[8.0, NEVER, NEVER, 9.0, 10.0]]]
    assert found.tolist() == wanted


def test_a_flat_policy_sees_the_tree() -> None:
    policy = _policy("flat", "none")
    seen = _seen(1)
    sender = seen.sender.clone()
    sender[0, 4] = 2
    before, after = (
        policy(one, policy.start(one))[0].logits for one in (seen, replace(seen, sender=sender))
    )
    assert float((before - after).detach().abs().max()) > 1e-3


def test_the_recurrent_unit_is_torchs() -> None:
    torch.manual_seed(0)
    unit, reference = Recurrent(4, 6), nn.GRUCell(4, 6)
    with torch.no_grad():
        reference.weight_ih.copy_(unit.of_input.weight)
        reference.bias_ih.copy_(unit.of_input.bias)
        reference.weight_hh.copy_(unit.of_state.weight)
        reference.bias_hh.copy_(unit.of_state.bias)
    given = {f"unit.{name}": value for name, value in unit.named_parameters()}
    x, h = torch.randn(7, 4), torch.randn(7, 6)
    found = unit(unit.gates(x, given, "unit"), h, given, "unit")
    torch.testing.assert_close(found, reference(x, h))


def test_attention_by_plain_loops() -> None:
    torch.manual_seed(0)
    layer = HistoryAttention(4, 2, 9)
    given = {f"a.{name}": value for name, value in layer.named_parameters()}
    x, before = torch.randn(1, 3, 4), torch.randn(1, 2, 8)
    found, history = layer(x, before, given, "a")
    assert history.shape == (1, 5, 8)
    keys_values = torch.cat([before[0], layer.key_value(x[0])])
    for time in range(3):
        query, heads = layer.query(x[0, time]), []
        for head in range(2):
            part = slice(2 * head, 2 * head + 2)
            keys, values = keys_values[:, :4][:, part], keys_values[:, 4:][:, part]
            scores: list[Tensor] = [
                (query[part] @ keys[s]) / math.sqrt(2.0) for s in range(2 + time + 1)
            ]
            shares = torch.stack(scores).softmax(0)
            heads.append(sum(shares[s] * values[s] for s in range(len(scores))))
        torch.testing.assert_close(found[0, time], layer.out(torch.cat(heads)))


def test_bands_recall_their_own_past() -> None:
    """What a band was long ago changes, without mixing, that band alone."""
    layer = HistoryAttention(4, 2, 9)
    given = {f"a.{name}": value for name, value in layer.named_parameters()}
    x, before = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 2, 8)
    found, history = layer(x, before, given, "a")
    assert history.shape == (2, 3, 7, 8)
    for network in range(2):
        for band in range(3):
            at = (slice(network, network + 1), band)
            alone, _ = layer(x[at], before[at], given, "a")
            torch.testing.assert_close(found[network, band], alone[0])
    policy = _policy("graph", "attention")
    seen = _seen(2)
    memory = Memory(torch.randn(2, LINKS, BANDS, 8), torch.randn(2, BANDS, 4, 16))
    history, state = memory.history.clone(), memory.state.clone()
    history[:, 1] += 1.0
    state[:, :, 1] += 1.0
    one = policy(seen, memory)[0].logits
    for other in (Memory(memory.state, history), Memory(state, memory.history)):
        changed = (one != policy(seen, other)[0].logits).any(-1).any(1)
        assert changed.tolist() == [[False, True, False]] * 2


@pytest.mark.parametrize(("kind", "size"), [("graph", (2, BANDS, 3, 16)), ("flat", (2, 3, 16))])
def test_the_attention_forgets_what_is_older_than_its_window(
    kind: str, size: tuple[int, ...]
) -> None:
    policy = _policy(kind, "attention", window=3)
    seen = _seen(5, 2)
    memory = policy.start(seen[0])
    for time in range(5):
        *_, memory = policy(seen[time], memory)
    assert memory.history.shape == size
    assert memory.detach()[:1].history.shape == (1, *size[1:])


def test_the_first_policy_is_nearly_uniform() -> None:
    torch.manual_seed(0)
    policy = GraphPolicy(PolicyShape(), FEATURES, POWERS)
    seen = _seen(2)
    choice, _, memory = policy(seen, policy.start(seen))
    assert isinstance(memory, Memory)
    shares = choice.logits.softmax(-1)
    # Node 0 has all choices on the first two bands, on the last none for its child nodes.
    torch.testing.assert_close(
        shares[:, 0, :2], torch.full((2, 2, 1 + 2 * POWERS), 0.2), atol=0.02, rtol=0
    )
    wanted = torch.tensor([1.0] * 3 + [0.0] * 2) / 3
    torch.testing.assert_close(shares[:, 0, 2], wanted.expand(2, -1), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "star"}, "`kind` must be 'graph' or 'flat', got 'star'"),
        ({"memory": "long"}, "`memory` must be one of"),
        ({"hidden_channels": ()}, "`hidden_channels` must hold a layer"),
        ({"hidden_channels": (0,)}, "`hidden_channels` must be"),
        ({"num_heads": 0}, "`num_heads` must be"),
        ({"window": 0}, "`window` must be"),
        ({"num_claims": 24}, "`num_claims` must be at most 23"),
        ({"kind": "flat", "num_claims": 1}, "`num_claims` must be at most 0"),
    ],
)
def test_shapes_that_cannot_be(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyShape(**changed)  # type: ignore[arg-type]


def test_heads_must_share_the_features_out() -> None:
    with pytest.raises(ValueError, match="`num_heads` must divide the 8 features, got 3"):
        HistoryAttention(8, 3, 9)


def test_a_flat_policy_takes_networks_of_its_sizes_only() -> None:
    policy = FlatPolicy(PolicyShape(kind="flat"), FEATURES, POWERS, (LINKS, BANDS, AGENTS + 2))
    seen = _seen(2)
    with pytest.raises(ValueError, match=r"`network` must have the sizes \(5, 3, 6\)"):
        policy(seen, policy.start(seen))


@pytest.mark.parametrize("on_lists", [False, True])
def test_features_are_the_same_whichever_axis_comes_first(on_lists: bool) -> None:
    policy = _policy("graph", "none")
    assert isinstance(policy, GraphPolicy)
    graph: Graph = _seen(2, 3).graph
    if on_lists:
        target, source = (~torch.eye(LINKS, dtype=torch.bool)).nonzero().unbind(-1)
        pairs = Neighbours(LINKS, source, target)
        dense: Tensor = graph.edge_weight  # type: ignore[assignment]
        own = dense.diagonal(dim1=-2, dim2=-1)
        weight = SparseWeight(pairs, dense[..., source, target], own)
        graph = SparseGraph(graph.node, weight)
    given = dict(policy.named_parameters())
    first, last = (policy.encode(graph, given, agents_first=way) for way in (True, False))
    assert first.shape == (LINKS, 2, 3, BANDS, 8)
    torch.testing.assert_close(first.movedim(0, -3), last, atol=1e-5, rtol=1e-5)
