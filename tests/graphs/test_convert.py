import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metagnn.graphs.convert import from_networkx, to_networkx
from metagnn.graphs.randomness import generator

GAIN = torch.tensor([[4e-9, 1e-12, 0.0], [3e-11, 2e-9, 5e-13], [0.0, 7e-12, 6e-9]])


def test_edges_run_from_transmitter_to_receiver() -> None:
    graph = to_networkx(GAIN, 0.01, 1e-13)
    assert sorted(graph.edges) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert graph.edges[0, 1]["gain"] == pytest.approx(1e-12)
    assert graph.edges[1, 0]["gain"] == pytest.approx(3e-11)
    assert graph.edges[0, 1]["inr_db"] == pytest.approx(-10.0, abs=1e-4)
    assert graph.nodes[1]["gain"] == pytest.approx(2e-9)
    assert graph.nodes[2]["index"] == 2
    assert graph.nodes[0]["snr_db"] == pytest.approx(26.0206, abs=1e-3)
    assert graph.graph == {"power_max_w": 0.01, "noise_w": 1e-13}
    assert "transmitter_m" not in graph.nodes[0]


def test_positions_are_pairs_of_numbers() -> None:
    transmitter_m, receiver_m = torch.zeros(3, 2), torch.tensor([[0.0, 5.0]] * 3)
    graph = to_networkx(GAIN, 0.01, 1e-13, transmitter_m, receiver_m)
    assert graph.nodes[2]["transmitter_m"] == (0.0, 0.0)
    assert graph.nodes[2]["receiver_m"] == (0.0, 5.0)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_round_trip_is_exact(num_links: int, seed: int) -> None:
    source = generator(seed, "convert")
    gain = torch.rand(num_links, num_links, generator=source) * 1e-9
    gain = gain * (torch.rand(num_links, num_links, generator=source) > 0.4)
    gain.fill_diagonal_(1e-8)
    assert torch.equal(from_networkx(to_networkx(gain, 0.01, 1e-13)), gain)


def test_index_orders_the_links_whatever_the_order_of_the_nodes() -> None:
    graph = to_networkx(GAIN, 0.01, 1e-13)
    shuffled = networkx.DiGraph()
    shuffled.add_nodes_from((node, graph.nodes[node]) for node in (2, 0, 1))
    shuffled.add_edges_from(graph.edges(data=True))
    renamed = networkx.relabel_nodes(shuffled, {0: "roof", 1: "mast", 2: "yard"})
    assert torch.equal(from_networkx(renamed), GAIN)


def test_without_index_the_graphs_own_order_holds() -> None:
    graph = networkx.DiGraph()
    graph.add_node("b", gain=2.0)
    graph.add_node("a", gain=1)
    graph.add_edge("a", "b", gain=0.5)
    assert from_networkx(graph).tolist() == [[2.0, 0.0], [0.5, 1.0]]


def test_to_networkx_rejects() -> None:
    with pytest.raises(ValueError, match="`gain` must be >= 0 everywhere"):
        to_networkx(-GAIN, 0.01, 1e-13)
    with pytest.raises(ValueError, match=r"`gain` must be one sample \[K, K\], got \(1, 3, 3\)"):
        to_networkx(GAIN[None], 0.01, 1e-13)
    with pytest.raises(ValueError, match="`power_max_w` must be finite and > 0, got 0"):
        to_networkx(GAIN, 0.0, 1e-13)
    with pytest.raises(ValueError, match="`noise_w` must be finite and > 0, got -1"):
        to_networkx(GAIN, 0.01, -1.0)
    with pytest.raises(
        ValueError, match=r"`receiver_m` must have the shape \(3, 2\), got \(2, 2\)"
    ):
        to_networkx(GAIN, 0.01, 1e-13, receiver_m=torch.zeros(2, 2))


def _graph() -> networkx.DiGraph:
    return to_networkx(GAIN, 0.01, 1e-13)


def test_from_networkx_rejects_other_kinds_of_graph() -> None:
    for kind in (networkx.Graph, networkx.MultiDiGraph, networkx.MultiGraph):
        with pytest.raises(ValueError, match=r"`graph` must be a networkx\.DiGraph, got"):
            from_networkx(kind(_graph()))
    with pytest.raises(ValueError, match="`graph` must have at least one node, got 0"):
        from_networkx(networkx.DiGraph())


def test_from_networkx_rejects_bad_attributes() -> None:
    graph = _graph()
    graph.add_edge(1, 1, gain=1.0)
    with pytest.raises(ValueError, match=r"`graph` must have no self-loops .* got \(1, 1\)"):
        from_networkx(graph)
    graph = _graph()
    del graph.nodes[1]["gain"]
    with pytest.raises(ValueError, match="`gain` of node 1 must be a real number, got None"):
        from_networkx(graph)
    graph = _graph()
    graph.edges[0, 1]["gain"] = "strong"
    with pytest.raises(ValueError, match=r"`gain` of edge \(0, 1\) must be .* got 'strong'"):
        from_networkx(graph)
    graph = _graph()
    graph.edges[0, 1]["gain"] = float("nan")
    with pytest.raises(ValueError, match="`gain` must be finite everywhere, got nan"):
        from_networkx(graph)


@pytest.mark.parametrize("index", [0, 5, None, -1])
def test_from_networkx_rejects_indices_that_do_not_number_the_nodes(index: int | None) -> None:
    graph = _graph()
    graph.nodes[2]["index"] = index
    with pytest.raises(ValueError, match=r"`index` must number the nodes 0 \.\.\. 2, got"):
        from_networkx(graph)
