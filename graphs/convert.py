"""Networks as networkx graphs, and back."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from metagnn.graphs.checks import check_gain, check_positive, require

if TYPE_CHECKING:
    import networkx


def to_networkx(
    gain: Tensor,
    power_max_w: float,
    noise_w: float,
    transmitter_m: Tensor | None = None,
    receiver_m: Tensor | None = None,
) -> "networkx.DiGraph":
    """Directed graph with a node per link and an edge i -> k per gain above zero between links.

    Node k has ``index`` k, ``gain`` (of the direct link) [1], ``snr_db`` at full power [dB] and,
    where positions are given, ``transmitter_m`` and ``receiver_m`` (pairs [m]). Edge i -> k has
    ``gain`` [1] and ``inr_db``, the interference over noise at full power [dB]. The graph has
    ``power_max_w`` and ``noise_w``.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        transmitter_m: Positions of the transmitters [m].
        receiver_m: Positions of the receivers [m].

    Shapes:
        gain ``[K, K]``, transmitter_m and receiver_m ``[K, 2]``.

    Raises:
        ValueError: If an argument is out of range or has another shape.
    """
    import networkx

    values = check_gain("gain", gain)
    require(values.dim() == 2, "gain", "be one sample [K, K]", tuple(values.shape))
    check_positive("power_max_w", power_max_w)
    check_positive("noise_w", noise_w)
    num_links = values.shape[0]
    positions = {"transmitter_m": transmitter_m, "receiver_m": receiver_m}
    for name, position in positions.items():
        if position is not None:
            expected = (num_links, 2)
            shape = tuple(position.shape)
            require(shape == expected, name, f"have the shape {expected}", shape)

    graph = networkx.DiGraph(power_max_w=power_max_w, noise_w=noise_w)
    rows: list[list[float]] = values.tolist()
    scale = power_max_w / noise_w
    for link in range(num_links):
        direct = rows[link][link]
        attributes = {
            name: tuple(position[link].tolist())
            for name, position in positions.items()
            if position is not None
        }
        graph.add_node(
            link, index=link, gain=direct, snr_db=10.0 * math.log10(direct * scale), **attributes
        )
    for source, row in enumerate(rows):
        for target, value in enumerate(row):
            if source != target and value > 0.0:
                inr_db = 10.0 * math.log10(value * scale)
                graph.add_edge(source, target, gain=value, inr_db=inr_db)
    return graph


def from_networkx(graph: "networkx.DiGraph") -> Tensor:
    """Gains of a directed graph whose nodes and edges carry ``gain``; the inverse of `to_networkx`.

    Links are in the order of the nodes' ``index`` if every node has one, else in the graph's own
    order. A missing edge is a gain of 0.

    Shapes:
        Returns ``[K, K]`` [1], transmitter (row) to receiver (column), float32.

    Raises:
        ValueError: If the graph is undirected or a multigraph, is empty, has a self-loop, lacks
            ``gain`` on a node or an edge, has ``index`` values other than 0 ... K - 1, or if a
            gain breaks a rule of `check_gain`.
    """
    is_simple = graph.is_directed() and not graph.is_multigraph()
    require(is_simple, "graph", "be a networkx.DiGraph", type(graph).__name__)
    num_links = graph.number_of_nodes()
    require(num_links > 0, "graph", "have at least one node", num_links)
    order = list(graph.nodes)
    indices = [graph.nodes[node].get("index") for node in order]
    if any(index is not None for index in indices):
        is_permutation = set(indices) == set(range(num_links))
        require(is_permutation, "index", f"number the nodes 0 ... {num_links - 1}", indices)
        order = [node for _, node in sorted(zip(indices, order, strict=True), key=lambda x: x[0])]
    position = {node: link for link, node in enumerate(order)}
    gain = torch.zeros(num_links, num_links, dtype=torch.float64)
    for node, link in position.items():
        gain[link, link] = _gain(f"node {node!r}", graph.nodes[node])
    for source, target, attributes in graph.edges(data=True):
        require(
            source != target,
            "graph",
            "have no self-loops (the direct gain is the node's `gain`)",
            (source, target),
        )
        gain[position[source], position[target]] = _gain(f"edge {(source, target)!r}", attributes)
    return check_gain("gain", gain)


def _gain(where: str, attributes: dict[str, object]) -> float:
    value = attributes.get("gain")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`gain` of {where} must be a real number, got {value!r}")
    return float(value)
