"""Lightning module of primal-dual learning on one configuration: learning from scratch."""

from typing import Any

from torch import Tensor

from metagnn.adaptation import Adaptation
from metagnn.adaptation_task import Problem, Task, make_task
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.dataset import NetworkSamples
from metagnn.graphs.neighbours import Gain
from metagnn.inner_loop import run_epoch
from metagnn.lagrangian import indicators
from metagnn.models.primal_dual import NetworkShape
from metagnn.policy_module import PolicyModule
from metagnn.update_rule import UpdateRule


class PrimalDual(PolicyModule):
    """Networks trained on one configuration by the updates of paper A's Eq. 17 to 21.

    The configuration is the first of the data module's training set; every Lightning epoch is
    one gradient step of all networks. Scored on networks of another size without adaptation this
    is the paper's *mismatch* baseline.

    Args:
        shape: What the networks look like.
        problem: Constants of the problem.
        rule: Update rule with a learning rate per network.
        adaptation: How validation and test networks are adapted to (0 epochs: as they are).
        steps_per_epoch: Time steps of every sequence that an epoch rolls out.
        num_sequences: Parallel sequences into which the samples are cut.
        init_seed: Seed of the initial parameters.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        shape: NetworkShape,
        problem: Problem,
        rule: UpdateRule,
        adaptation: Adaptation,
        steps_per_epoch: int = 64,
        num_sequences: int = 32,
        init_seed: int = 0,
    ) -> None:
        super().__init__(shape, problem, rule, adaptation, init_seed)
        rule.require_names("rule", shape.names)
        check_count("steps_per_epoch", steps_per_epoch)
        check_count("num_sequences", num_sequences)
        self.steps_per_epoch = steps_per_epoch
        self.num_sequences = num_sequences
        self._network: tuple[Gain, Gain] | None = None
        self._task: Task | None = None
        self._average_rate: Tensor | None = None

    def training_step(self, batch: list[NetworkSamples], batch_index: int) -> Tensor:
        """One gradient step on the configuration."""
        if self._network is None:
            large_scale_gain, gain = batch[0].configuration.large_scale_gain, batch[0].gain
            rule = "be few enough for dense gains, which checkpoints hold"
            dense = isinstance(large_scale_gain, Tensor) and isinstance(gain, Tensor)
            require(dense, "num_links", rule, gain.shape[-1])
            self._network = (large_scale_gain, gain)
        if self._task is None:
            # A checkpoint's network lies on the CPU.
            large_scale_gain, gain = (value.to(self.device) for value in self._network)
            edges = self.networks.shape.edges
            self._task = make_task(large_scale_gain, gain, self.problem, edges, self.num_sequences)
        task = self._task
        if self._average_rate is None:
            self._average_rate = task.average_rate()
        result = run_epoch(
            self.networks,
            task,
            self.problem,
            self.current_epoch,
            self._average_rate.to(self.device),
            self.steps_per_epoch,
        )
        self._average_rate = result.average_rate
        values = indicators(result.variables, task.minimum_rate, self.problem.alpha)
        self.log("lagrangian", values.pop("lagrangian"), prog_bar=True)
        self.log_dict(values)
        return result.loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the random state, the configuration and the averaged rates of its sequences."""
        super().on_save_checkpoint(checkpoint)
        # Batches differ from epoch to epoch: a resumed run would meet another configuration.
        checkpoint["network"] = self._network
        checkpoint["average_rate"] = self._average_rate

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what `on_save_checkpoint` added.

        Raises:
            ValueError: If the checkpoint is not of this class or holds networks of another shape.
        """
        super().on_load_checkpoint(checkpoint)
        rule = "be a checkpoint of PrimalDual (it holds a `network`)"
        require("network" in checkpoint, "ckpt_path", rule, sorted(checkpoint))
        self._network = checkpoint["network"]
        self._task = None
        self._average_rate = checkpoint["average_rate"]
