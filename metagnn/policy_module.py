"""What the Lightning modules share: networks, problem, optimiser, scoring, random state."""

from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from metagnn.adaptation import Adaptation
from metagnn.adaptation_task import Problem
from metagnn.graphs.checks import require
from metagnn.graphs.dataset import NetworkSamples
from metagnn.meta_parameters import MetaParameters
from metagnn.models.leconv import DenseLEConvStack
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.network_score import run_network, score_network
from metagnn.update_rule import UpdateRule


class PolicyModule(pl.LightningModule):
    """Module around one set of primal and dual networks, scored with and without adaptation.

    Args:
        shape: What the networks look like.
        problem: Constants of the problem.
        rule: Update rule of the module's own parameters, a learning rate per network.
        adaptation: How validation and test networks are adapted to.
        init_seed: Seed of the initial parameters.
        stack: Class of the convolution stack.
    """

    def __init__(
        self,
        shape: NetworkShape,
        problem: Problem,
        rule: UpdateRule,
        adaptation: Adaptation,
        init_seed: int,
        stack: type[nn.Module] = DenseLEConvStack,
    ) -> None:
        super().__init__()
        adaptation.rule.require_names("adaptation.rule", shape.names)
        printed, wanted = problem.slack_as_printed, "be false without a slack network"
        require(not printed or "slack" in shape.names, "slack_as_printed", wanted, printed)
        self.problem = problem
        self.rule = rule
        self.adaptation = adaptation
        self._scores: list[dict[str, float]] = []
        with torch.random.fork_rng():
            torch.manual_seed(init_seed)
            self.networks = PrimalDualNetworks(shape, stack)

    def meta_parameters(self) -> MetaParameters:
        """The networks with the problem and the adaptation they are meant for."""
        return MetaParameters(self.networks, self.problem, self.adaptation)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Optimiser with a step size per network."""
        groups = [
            {"params": list(getattr(self.networks, name).parameters()), "lr": rate, "name": name}
            for name, rate in self.rule.learning_rates.items()
        ]
        return torch.optim.SGD(groups) if self.rule.kind == "sgd" else torch.optim.Adam(groups)

    def on_validation_epoch_start(self) -> None:
        """Begin without scores."""
        self._scores = []

    def on_test_epoch_start(self) -> None:
        """Begin without scores."""
        self._scores = []

    def on_validation_epoch_end(self) -> None:
        """Log averages over the networks of all processes."""
        self._log_scores()

    def on_test_epoch_end(self) -> None:
        """Log averages over the networks of all processes."""
        self._log_scores()

    def _log_scores(self) -> None:
        # Lightning's own reduction halves an odd number of networks to a whole one.
        sums = {name: sum(score[name] for score in self._scores) for name in self._scores[0]}
        own = torch.tensor([*sums.values(), len(self._scores)], dtype=torch.float64)
        total = self.trainer.strategy.reduce(own.to(self.device), reduce_op="sum")
        self.log_dict(dict(zip(sums, (total[:-1] / total[-1]).float().unbind(), strict=True)))

    def _score(self, network: NetworkSamples, stage: str) -> None:
        values: dict[str, float] = {}
        # Adaptation needs gradients, which Lightning's evaluation loops switch off.
        with torch.inference_mode(False), torch.enable_grad():
            network = _trackable(network)
            for epochs in sorted({0, self.adaptation.num_epochs}):
                rates = score_network(self.networks, network, self.problem, self.adaptation, epochs)
                values[f"{stage}_mean_rate_{epochs}"] = float(rates.mean())
                values[f"{stage}_min_rate_{epochs}"] = float(rates.min())
        self._scores.append(values)

    def validation_step(self, network: NetworkSamples, batch_index: int) -> None:
        """Log mean and minimum rates on a validation network before and after adaptation."""
        self._score(network, "validation")

    def test_step(self, network: NetworkSamples, batch_index: int) -> None:
        """Log mean and minimum rates on a test network before and after adaptation."""
        self._score(network, "test")

    def predict_step(self, network: NetworkSamples, batch_index: int) -> Tensor:
        """Transmit powers ``[S_test, K]`` [W] on a test network after adaptation."""
        with torch.inference_mode(False), torch.enable_grad():
            network, epochs = _trackable(network), self.adaptation.num_epochs
            run = run_network(self.networks, network, self.problem, self.adaptation, epochs)
        return run.power_w.squeeze(1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the random state, and the settings without which the weights are of no use."""
        checkpoint["torch_random_state"] = torch.get_rng_state()
        checkpoint["metagnn_settings"] = self.meta_parameters().settings()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the random state.

        Raises:
            ValueError: If the checkpoint holds networks of another shape, or none of metagnn.
        """
        shape = checkpoint.get("metagnn_settings", {}).get("shape", {})
        own = self.networks.shape
        fits = set(shape) <= set(asdict(own)) and NetworkShape(**shape) == own
        require(bool(shape) and fits, "ckpt_path", f"hold networks of {own}", shape)
        torch.set_rng_state(checkpoint["torch_random_state"])


def _trackable(network: NetworkSamples) -> NetworkSamples:
    """Copy that autograd may save: tensors drawn in inference mode stay inference tensors."""
    configuration = network.configuration
    gain = configuration.large_scale_gain.clone()
    return NetworkSamples(
        replace(configuration, large_scale_gain=gain),
        network.gain.clone(),
        network.test_gain.clone(),
    )
