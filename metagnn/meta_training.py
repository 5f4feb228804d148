"""Lightning module of meta-training: Algorithm 1 of paper A, one outer loop per epoch."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from metagnn.adaptation import Adaptation
from metagnn.adaptation_task import Problem, make_task
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.dataset import NetworkSamples
from metagnn.learner import unflatten
from metagnn.meta_gradient import Algorithm, Engine, InnerLoop, mean_meta_gradient
from metagnn.meta_parameters import load_meta_parameters
from metagnn.models.leconv import DenseLEConvStack
from metagnn.models.primal_dual import NetworkShape
from metagnn.policy_module import PolicyModule
from metagnn.update_rule import UpdateRule


class MetaGNN(PolicyModule):
    r"""Meta-parameters of the primal and dual networks, learned across configurations.

    Every epoch is one outer loop: N_b tasks adapt from the meta-parameters :math:`\theta`, and
    an outer step per network follows. With ``reptile`` and ``sgd`` that is Eq. 33,

    .. math:: \theta^I \leftarrow \theta^I + \frac{\varepsilon_I}{N_b}
              \sum_\tau (\theta^I_\tau - \theta^I) / \eta_I.

    Departures from the paper, each undone by an argument: the Lagrangian is averaged over links
    (``problem.reduction``), so that one learning rate serves all K; ``outer`` may be Adam;
    ``schedule`` may let the outer step sizes fall to zero (Reptile's own paper does, linearly).

    Args:
        shape: What the networks look like.
        problem: Constants of the problem.
        inner: The inner loop.
        outer: Update rule of the outer loop, epsilon_I per network.
        adaptation: How validation and test networks are adapted to.
        algorithm: ``reptile``, ``fomaml`` or ``maml``.
        engine: ``vectorized``, or ``learn2learn`` over PyG's LEConv.
        schedule: ``constant``, ``linear`` or ``cosine`` decay of the outer step sizes.
        num_sequences: Parallel sequences into which a task's samples are cut.
        init_seed: Seed of the initial parameters.
        start_from: Shipped name or file of meta-parameters to start from instead.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        shape: NetworkShape,
        problem: Problem,
        inner: InnerLoop,
        outer: UpdateRule,
        adaptation: Adaptation,
        algorithm: Algorithm = "reptile",
        engine: Engine = "vectorized",
        schedule: Literal["constant", "linear", "cosine"] = "constant",
        num_sequences: int = 32,
        init_seed: int = 0,
        start_from: str | None = None,
    ) -> None:
        algorithms, engines = ("reptile", "fomaml", "maml"), ("vectorized", "learn2learn")
        schedules = ("constant", "linear", "cosine")
        require(algorithm in algorithms, "algorithm", f"be one of {algorithms}", algorithm)
        require(engine in engines, "engine", f"be one of {engines}", engine)
        require(schedule in schedules, "schedule", f"be one of {schedules}", schedule)
        check_count("num_sequences", num_sequences)
        if algorithm == "reptile":
            check_count("inner.num_epochs", inner.num_epochs)
        inner.rule.require_names("inner.rule", shape.names)
        outer.require_names("outer", shape.names)
        super().__init__(shape, problem, outer, adaptation, init_seed, _stack(engine))
        if start_from is not None:
            start = load_meta_parameters(start_from).networks
            rule = f"be {shape}, as the networks are"
            require(start.shape == shape, "start_from", rule, start.shape)
            self.networks.load_state_dict(start.state_dict())
        self.automatic_optimization = False
        self.inner = inner
        self.algorithm: Algorithm = algorithm
        self.engine: Engine = engine
        self.schedule = schedule
        self.num_sequences = num_sequences

    def training_step(self, batch: list[NetworkSamples], batch_index: int) -> None:
        """One outer loop (Algorithm 1, lines 3 to 12), its tasks shared out among processes."""
        rank, processes = self.trainer.global_rank, self.trainer.world_size
        rule = f"be at most the {len(batch)} tasks of a batch"
        require(processes <= len(batch), "devices", rule, processes)
        tasks = [
            make_task(
                network.configuration.large_scale_gain,
                network.gain,
                self.problem,
                self.networks.shape.edges,
                self.num_sequences,
            )
            for network in share_out(batch, processes)[rank]
        ]
        found = mean_meta_gradient(
            self.algorithm, self.engine, self.networks, tasks, self.problem, self.inner
        )
        share = len(tasks) / len(batch)

        def mean(values: dict[str, Tensor]) -> dict[str, Tensor]:
            reduce = self.trainer.strategy.reduce
            return {k: reduce(share * v, reduce_op="sum") for k, v in values.items()}

        self._outer_step(mean(found.direction))
        indicators = mean(found.indicators)
        self.log("lagrangian", indicators.pop("lagrangian"), prog_bar=True)
        self.log_dict(indicators)

    def _outer_step(self, direction: dict[str, Tensor]) -> None:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for group in optimizer.param_groups:
            group["lr"] = self.rule.learning_rates[group["name"]] * self._decay()
        for name, vector in direction.items():
            named = dict(getattr(self.networks, name).named_parameters())
            for key, piece in unflatten(self.networks, name, vector).items():
                named[key].grad = piece.clone()
        optimizer.step()

    def _decay(self) -> float:
        total = self.trainer.max_epochs
        if self.schedule == "constant" or total is None or total < 1:
            return 1.0
        done = self.current_epoch / total
        return 1.0 - done if self.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def share_out(batch: Sequence[NetworkSamples], processes: int) -> list[list[NetworkSamples]]:
    """Networks of a batch for each process: as many links each, with pairs of one size together."""

    def num_links(networks: Sequence[NetworkSamples]) -> int:
        return sum(network.gain.shape[-1] for network in networks)

    at_once = 2 if len(batch) >= 2 * processes else 1
    by_size = sorted(batch, key=lambda network: num_links([network]))
    groups = [list(group) for _, group in groupby(by_size, lambda network: num_links([network]))]
    pieces = [g[i : i + at_once] for g in groups for i in range(0, len(g), at_once)]
    shares: list[list[NetworkSamples]] = [[] for _ in range(processes)]
    for piece in sorted(pieces, key=num_links, reverse=True):
        min(shares, key=num_links).extend(piece)
    return shares


def _stack(engine: Engine) -> type[nn.Module]:
    if engine == "learn2learn":
        from metagnn.models.leconv_sparse import SparseLEConvStack

        return SparseLEConvStack
    return DenseLEConvStack
