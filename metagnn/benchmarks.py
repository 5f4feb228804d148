"""Speed against the ordinary way: both in turn in one run, so that their ratio can be trusted."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from metagnn.adaptation_task import Problem, make_task
from metagnn.experiment import experiment_scenarios
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.interference import interference_graph
from metagnn.graphs.neighbour_search import drop_many_links, nearest_neighbours
from metagnn.graphs.neighbours import NeighbourGain
from metagnn.graphs.pathloss import dual_slope_db
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate
from metagnn.graphs.sparse_interference import SparseGraph, sparse_interference_graph
from metagnn.learn2learn_engine import sparse_networks
from metagnn.meta_gradient import InnerLoop, mean_meta_gradient
from metagnn.meta_parameters import load_meta_parameters
from metagnn.models.leconv import DenseLEConvStack
from metagnn.models.leconv_sparse import SparseLEConvStack
from metagnn.models.primal_dual import NetworkShape, PowerNet, PrimalDualNetworks
from metagnn.numpy_baselines import numpy_itlinq, numpy_wmmse
from metagnn.tasks.channel_assignment.baselines import random_action
from metagnn.tasks.channel_assignment.environment import ChannelAssignment
from metagnn.tasks.channel_assignment.scenario import scenario
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.wmmse import wmmse
from metagnn.update_rule import UpdateRule

FAMILY = ChannelFamily()
WIDTH = 128


@dataclass(frozen=True)
class Measurement:
    """One thing timed against the ordinary way of doing it.

    Attributes:
        name: What was timed.
        seconds: Median time of ours [s].
        reference_seconds: Median time of the ordinary way [s], or None where there is none.
        ratio: Median over repeats of ordinary time / our time, each pair timed in a row.
        ratio_low: Smallest of these ratios.
        ratio_high: Largest.
        note: How much work it is, or a second figure.
    """

    name: str
    seconds: float
    reference_seconds: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    note: str = ""


def against(
    name: str,
    ours: Callable[[], object],
    ordinary: Callable[[], object] | None,
    repeats: int,
    note: str = "",
) -> Measurement:
    """Time two ways of the same work in turn, after one run of each that is not counted."""
    ours()
    if ordinary is not None:
        ordinary()
    pairs = [
        (_seconds(ours), 0.0 if ordinary is None else _seconds(ordinary)) for _ in range(repeats)
    ]
    mine = median(pair[0] for pair in pairs)
    if ordinary is None:
        return Measurement(name, mine, note=note)
    ratios = [theirs / own for own, theirs in pairs]
    theirs = median(pair[1] for pair in pairs)
    return Measurement(name, mine, theirs, median(ratios), min(ratios), max(ratios), note)


def _seconds(work: Callable[[], object]) -> float:
    # Of the process: what else the machine does counts little.
    began = time.process_time()
    work()
    return time.process_time() - began


def peak_flops(repeats: int = 5, size: int = 1024) -> float:
    """Floating-point operations per second of a large matrix product in float32."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    a @ b
    return 2.0 * size**3 / min(_seconds(lambda: a @ b) for _ in range(repeats))


def leconv(sizes: tuple[int, ...], batch: int, repeats: int) -> Iterator[Measurement]:
    """Two layers of LEConv on dense graphs against PyG, forward and with the backward pass."""
    dense = DenseLEConvStack(WIDTH, WIDTH, 2)
    sparse = SparseLEConvStack(WIDTH, WIDTH, 2)
    sparse.load_state_dict(dense.state_dict())
    for num_links in sizes:
        source = generator(0, "bench", num_links)
        count = max(1, batch * 8 // num_links)
        x = torch.randn(count, num_links, WIDTH, generator=source)
        weight = torch.rand(count, num_links, num_links, generator=source) / num_links
        samples = torch.arange(count).repeat_interleave(num_links**2) * num_links
        pairs = torch.cartesian_prod(torch.arange(num_links), torch.arange(num_links)).T
        edge_index = pairs.repeat(1, count) + samples
        flat, flat_weight = x.flatten(0, 1), weight.flatten()

        def forward(stack: nn.Module, *inputs: Tensor) -> Tensor:
            value: Tensor = stack.convolve(*inputs) if stack is sparse else stack(*inputs)
            return value

        def both(stack: nn.Module, *inputs: Tensor) -> None:
            forward(stack, *inputs).sum().backward()

        for label, run in (("forward", forward), ("forward + backward", both)):
            yield against(
                f"LEConv {label}, K = {num_links}, against PyG",
                lambda run=run, x=x, weight=weight: run(dense, x, weight),  # type: ignore[misc]
                lambda run=run, f=flat, e=edge_index, w=flat_weight: run(sparse, f, e, w),  # type: ignore[misc]
                repeats,
                f"{count} graphs, width {WIDTH}",
            )


def meta_step(num_tasks: int, num_epochs: int, repeats: int) -> Iterator[Measurement]:
    """FOMAML on tasks of K in 4..20 with 256 samples: vectorized against learn2learn over PyG."""
    shape = NetworkShape()
    networks = PrimalDualNetworks(shape)
    reference = sparse_networks(networks)
    rule = UpdateRule(dict.fromkeys(shape.names, 1e-3), "adam")
    loop, problem = InnerLoop(rule, num_epochs, 8), Problem()
    sizes = [4 + (16 * task) // max(1, num_tasks - 1) for task in range(num_tasks)]
    drawn = [draw_network(FAMILY, k, 0, "train", i, 256, 0) for i, k in enumerate(sizes)]
    tasks = [
        make_task(n.configuration.large_scale_gain, n.gain, problem, shape.edges) for n in drawn
    ]

    def step() -> None:
        mean_meta_gradient("fomaml", "vectorized", networks, tasks, problem, loop)

    with FlopCounterMode(display=False) as counter:
        step()
    found = against(
        "meta-training step against learn2learn + PyG",
        step,
        lambda: mean_meta_gradient("fomaml", "learn2learn", reference, tasks, problem, loop),
        repeats,
        f"{num_tasks} tasks, {num_epochs} inner epochs, 256 samples, width {WIDTH}",
    )
    yield found
    share = counter.get_total_flops() / found.seconds / peak_flops()
    yield Measurement("share of the measured peak in that step", found.seconds, note=f"{share:.0%}")


def dense_samples(num_links: int, num_samples: int) -> Tensor:
    """Samples of one of the family's networks ``[S, K, K]`` [1]."""
    configuration = FAMILY.configuration(num_links, 0, "train", 0)
    gain = configuration.sample(num_samples, generator(0, "bench"))
    assert isinstance(gain, Tensor)
    return gain


def baselines(num_links: int, num_graphs: int, repeats: int) -> Iterator[Measurement]:
    """Batched WMMSE and ITLinQ against the same in NumPy, one graph at a time."""
    gain = dense_samples(num_links, num_graphs)
    constants = (FAMILY.power_max_w, FAMILY.noise_w)
    few = gain[: max(1, num_graphs // 16)].double().numpy()
    scale = len(gain) / len(few)
    for name, batched, single in (
        ("WMMSE, 100 iterations", wmmse, numpy_wmmse),
        ("ITLinQ", itlinq, numpy_itlinq),
    ):
        found = against(
            f"{name}, K = {num_links}, against one at a time in NumPy",
            lambda run=batched: run(gain, *constants),  # type: ignore[misc]
            lambda run=single: [run(sample, *constants) for sample in few],  # type: ignore[misc]
            repeats,
        )
        assert found.reference_seconds is not None
        assert found.ratio is not None
        assert found.ratio_low is not None
        assert found.ratio_high is not None
        yield replace(
            found,
            reference_seconds=scale * found.reference_seconds,
            ratio=scale * found.ratio,
            ratio_low=scale * found.ratio_low,
            ratio_high=scale * found.ratio_high,
            note=f"{num_graphs} graphs; NumPy in float64, timed on {len(few)} of them",
        )


def decisions(num_links: int, num_graphs: int, repeats: int) -> Iterator[Measurement]:
    """One power decision, its graph included, against 100 iterations of WMMSE."""
    gain = dense_samples(num_links, num_graphs)
    constants = (FAMILY.power_max_w, FAMILY.noise_w)
    ratio = torch.ones(gain.shape[:-1])
    for width in (WIDTH, 64, 32):
        net = PowerNet(NetworkShape(hidden_channels=width))

        def decide(net: PowerNet = net) -> None:
            with torch.no_grad():
                net(ratio, interference_graph(gain, *constants, "normalised_log"))

        yield against(
            f"policy of width {width}, K = {num_links}, against batched WMMSE",
            decide,
            lambda: wmmse(gain, *constants),
            repeats,
            f"{num_graphs} graphs, untrained",
        )
    yield shipped_decision(num_links, num_graphs, repeats)


def shipped_decision(num_links: int, num_graphs: int, repeats: int) -> Measurement:
    """Decisions of the shipped `sum_rate` policy on its channel family, and what they are worth."""
    scenarios, problem = experiment_scenarios("sum_rate", [num_links], num_graphs, 0)
    gain = torch.cat([s.gain for s in scenarios if isinstance(s.gain, Tensor)])
    constants = (problem.power_max_w, problem.noise_w)
    net = load_meta_parameters("sum_rate").networks.power
    ratio = torch.ones(gain.shape[:-1])

    def decide() -> Tensor:
        with torch.no_grad():
            share: Tensor = net(ratio, interference_graph(gain, *constants))
            return constants[0] * share

    found = against(
        f"shipped sum_rate policy, K = {num_links}, against batched WMMSE",
        decide,
        lambda: wmmse(gain, *constants),
        repeats,
    )
    share = (
        rate(gain, decide(), constants[1]).sum()
        / rate(gain, wmmse(gain, *constants), constants[1]).sum()
    )
    return replace(found, note=f"{num_graphs} graphs; sum rate {share:.3f} of WMMSE's")


def large(sizes: tuple[int, ...], num_neighbours: int, repeats: int) -> Iterator[Measurement]:
    """Power decisions on neighbour lists, and the sparse layer against PyG."""
    net = PowerNet(NetworkShape())
    pyg = SparseLEConvStack(1, WIDTH, 2)
    pyg.load_state_dict(net.stack.state_dict())
    for num_links in sizes:
        graph = large_graph(num_links, num_neighbours)
        ratio, weight = torch.ones(num_links), graph.edge_weight
        loops = torch.arange(num_links)
        pairs = weight.neighbours
        edge_index = torch.stack(
            [torch.cat([pairs.source, loops]), torch.cat([pairs.target, loops])]
        )
        edge_weight = torch.cat([weight.crossed, weight.own])

        def decide(ratio: Tensor = ratio, graph: SparseGraph = graph) -> None:
            with torch.no_grad():
                net(ratio, graph)

        def ordinary(
            ratio: Tensor = ratio, index: Tensor = edge_index, weight: Tensor = edge_weight
        ) -> None:
            with torch.no_grad():
                pyg.convolve(ratio.unsqueeze(-1), index, weight)

        decide()
        memory_gb = peak_memory_gb()
        found = against(
            f"power decisions of {num_links} links, {num_neighbours} neighbours, against PyG",
            decide,
            ordinary if num_links <= 100_000 else None,
            repeats,
        )
        per_link, per_edge = (found.seconds / n for n in (num_links, edge_index.shape[1]))
        note = f"{1e6 * per_link:.2f} us per link, {1e9 * per_edge:.0f} ns per edge"
        yield replace(found, note=f"{note}, peak {memory_gb:.1f} GB")


def peak_memory_gb() -> float:
    """Largest memory that this process has held so far [GB]."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def table_i(num_loops: int, num_processes: int = 2, overrides: Sequence[str] = ()) -> Measurement:
    """Outer loops of `power_control`, Table I of paper A, by ``metagnn fit`` without validation.

    Args:
        num_loops: Outer loops to time, the start included.
        num_processes: Processes that share each batch, of one thread each; timed by the clock.
        overrides: Further arguments of ``metagnn fit``.
    """
    words = [sys.executable, "-m", "metagnn", "fit", "--config", "power_control"]
    words += [f"--trainer.max_epochs={num_loops}", "--trainer.limit_val_batches=0", *overrides]
    if num_processes > 1:
        words += ["--trainer.strategy=ddp", f"--trainer.devices={num_processes}"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        words.append(f"--trainer.logger.init_args.save_dir={folder}")
        one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        subprocess.run(
            words, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **one_thread}
        )
    seconds = time.monotonic() - began
    hours = 400 * seconds / num_loops / 3600
    return Measurement(
        "Table I, one outer loop of 32 tasks",
        seconds / num_loops,
        note=f"by the clock, mean of {num_loops} in {num_processes} processes, start included, "
        f"without validation; 400 are {hours:.1f} hours",
    )


def environment_steps(num_copies: int, num_steps: int, repeats: int) -> Measurement:
    """Steps of paper B's uplink with 8 users and random actions, counted per user."""
    environment = ChannelAssignment(scenario("urban_micro"), 8, num_steps=num_steps)
    source = generator(0, "bench", "actions")
    environment.reset(num_copies, generator(0, "bench", "cells"))
    uplink = environment.uplink
    actions = [random_action(environment.gain_to_noise, uplink, source) for _ in range(8)]

    def run() -> None:
        environment.reset(num_copies, generator(0, "bench", "cells"))
        for step in range(num_steps):
            environment.step(actions[step % len(actions)])

    found = against(f"{num_steps} steps of {num_copies} cells of 8 users", run, None, repeats)
    per_second = 8 * num_copies * num_steps / found.seconds
    return replace(found, note=f"{per_second / 1e6:.2f} million steps of users per second")


def large_graph(num_links: int, num_neighbours: int) -> SparseGraph:
    """Interference graph of a drop as dense as 20 links on the family's square."""
    return sparse_interference_graph(
        large_network(num_links, num_neighbours),
        FAMILY.power_max_w,
        FAMILY.noise_w,
        "normalised_log",
    )


def large_network(num_links: int, num_neighbours: int) -> NeighbourGain:
    """Large-scale gains of a drop as dense as 20 links on the family's square."""
    source = generator(0, "bench", num_links)
    positions = drop_many_links(
        num_links,
        source,
        FAMILY.area_m * (num_links / 20.0) ** 0.5,
        FAMILY.min_link_m,
        FAMILY.max_link_m,
        FAMILY.min_transmitter_spacing_m,
        FAMILY.min_cross_m,
    )
    shadowing = FAMILY.shadowing_std_db
    return nearest_neighbours(*positions, dual_slope_db, num_neighbours, shadowing, source)
