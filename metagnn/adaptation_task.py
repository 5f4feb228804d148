"""The resilient power-control problem on one configuration: what an inner loop works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, check_positive, require
from metagnn.graphs.interference import DenseGraph, EdgeKind
from metagnn.graphs.neighbours import Gain
from metagnn.graphs.rates import full_power_rate
from metagnn.graphs.sparse_interference import Graph, graph_of
from metagnn.rollout import in_sequences
from metagnn.tasks.power_control.problem import minimum_rate


@dataclass(frozen=True)
class Problem:
    """Constants of the resilient problem; powers, alpha and window default to paper A's Section V.

    Attributes:
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        alpha: Weight of the slack's norm.
        minimum_rate_threshold: Threshold of the minimum rate in Eq. 34 [bit/s/Hz]; the paper
            gives no number.
        window: Averaging window beta of the PF ratio.
        reduction: Lagrangian per link (``mean``) or, as in the paper, of all links (``sum``).
        slack_as_printed: Use Eq. 19 as the paper prints it.
    """

    power_max_w: float = 0.01
    noise_w: float = 3.9810717055349565e-14
    alpha: float = 4.0
    minimum_rate_threshold: float = 1.0
    window: float = 0.05
    reduction: Literal["mean", "sum"] = "mean"
    slack_as_printed: bool = False

    def __post_init__(self) -> None:
        for name in ("power_max_w", "noise_w", "alpha", "minimum_rate_threshold"):
            check_positive(name, getattr(self, name))
        check_non_negative("window", self.window)
        require(self.window <= 1.0, "window", "be <= 1", self.window)
        require(
            self.reduction in ("mean", "sum"), "reduction", "be 'mean' or 'sum'", self.reduction
        )


@dataclass(frozen=True)
class Task:
    """What adaptation may know of one configuration: D_tau = [N, {H_t}] of the paper.

    M tasks of equal size may stand side by side in one: on the first axis, on the second where
    the first is time.

    Attributes:
        graph: Interference graph of the large-scale gains, the paper's N.
        initial_rate: Mean rates at full power over the samples, r~(0) ``[(M,) K]`` [bit/s/Hz].
        minimum_rate: f_min of Eq. 34 ``[(M,) 1]`` [bit/s/Hz].
        gain: The samples as parallel sequences ``[T, (M,) B, K, K]``.
        sample_graph: Their interference graphs.
        full_power_rate: Their rates at full power ``[T, (M,) B, K]`` [bit/s/Hz].
    """

    graph: Graph
    initial_rate: Tensor
    minimum_rate: Tensor
    gain: Gain
    sample_graph: Graph
    full_power_rate: Tensor

    @property
    def num_sequences(self) -> int:
        """Number of parallel sequences B."""
        return int(self.gain.shape[-3])

    def average_rate(self) -> Tensor:
        """Averaged rates of all sequences before the first time step ``[(M,) B, K]``."""
        return self.initial_rate.unsqueeze(-2).expand(self.gain.shape[1:-1])


def make_task(
    large_scale_gain: Gain,
    gain: Gain,
    problem: Problem,
    edges: EdgeKind,
    num_sequences: int = 32,
) -> Task:
    """Task of a configuration from its large-scale gains ``[K, K]`` and samples ``[S, K, K]``."""
    check_count("num_sequences", num_sequences)
    powers = (problem.power_max_w, problem.noise_w)
    initial_rate = full_power_rate(gain, *powers).mean(0)
    gain = in_sequences(gain, min(num_sequences, len(gain)))
    return Task(
        graph_of(large_scale_gain, *powers, edges),
        initial_rate,
        minimum_rate(initial_rate, problem.minimum_rate_threshold).unsqueeze(-1),
        gain,
        graph_of(gain, *powers, edges),
        full_power_rate(gain, *powers),
    )


def side_by_side(tasks: Sequence[Task]) -> Task:
    """M tasks with equal numbers of links, sequences and time steps as one.

    Raises:
        ValueError: If the tasks differ in one of these numbers.
    """
    shapes = {tuple(task.gain.shape) for task in tasks}
    require(len(shapes) == 1, "tasks", "be of one shape", sorted(shapes))

    def stack(values: Sequence[object], axis: int) -> Tensor:
        dense = [value for value in values if isinstance(value, Tensor)]
        require(len(dense) == len(values), "tasks", "be dense", "neighbour lists")
        return torch.stack(dense, axis)

    def stack_graphs(graphs: Sequence[Graph], axis: int) -> DenseGraph:
        return DenseGraph(
            stack([graph.node for graph in graphs], axis),
            stack([graph.edge_weight for graph in graphs], axis),
        )

    return Task(
        stack_graphs([task.graph for task in tasks], 0),
        stack([task.initial_rate for task in tasks], 0),
        stack([task.minimum_rate for task in tasks], 0),
        stack([task.gain for task in tasks], 1),
        stack_graphs([task.sample_graph for task in tasks], 1),
        stack([task.full_power_rate for task in tasks], 1),
    )
