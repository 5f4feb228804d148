"""``metagnn fit | validate | test | predict``: the LightningCLI over packaged configurations."""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from metagnn.assignment_module import AssignmentModule
from metagnn.checkpoint_callback import EndCheckpoint
from metagnn.checkpoint_io import HashedCheckpointIO
from metagnn.commands.config_guard import checked_words, model_class
from metagnn.data import ConfigurationData
from metagnn.files import write_json
from metagnn.graphs.checks import require
from metagnn.graphs.units import dbm_to_w, thermal_noise_w
from metagnn.offloading_learner import OffloadingLearner
from metagnn.policy_module import PolicyModule
from metagnn.prediction_writer import PowerWriter
from metagnn.progress import EpochProgress
from metagnn.spectrum_learner import SpectrumLearner
from metagnn.versions import versions

# Models that bring their own data, as they learn from an environment, and what they derive from.
AGENTS: dict[str, type[LightningModule]] = {
    "metagnn.meta_ppo.MetaPPO": AssignmentModule,
    "metagnn.federated_ppo.FederatedPPO": AssignmentModule,
    "metagnn.offloading_learner.OffloadingLearner": OffloadingLearner,
    "metagnn.spectrum_learner.SpectrumLearner": SpectrumLearner,
}


class _SaveConfig(SaveConfigCallback):
    """Saves configuration and versions once the run has begun: a refused one leaves nothing."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wait: Lightning reads ``ckpt_path`` after this."""

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().setup(trainer, pl_module, trainer.state.stage or "")
        # All processes must ask for the folder, of which the first tells the others.
        folder = trainer.log_dir
        if folder is not None and trainer.is_global_zero:
            write_json(Path(folder) / "versions.json", versions())

    on_train_start = on_validation_start = on_test_start = on_predict_start = _save


class _CLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(EndCheckpoint, "checkpoint")
        parser.set_defaults(
            {"checkpoint.save_last": True, "checkpoint.save_on_train_epoch_end": True}
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as given: a checkpoint holds weights, not settings."""


class _AgentsCLI(_CLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        help_text = "what `metagnn compare` scores; not used here"
        parser.add_argument("--compare", type=dict[str, Any] | None, default=None, help=help_text)


class _PowerControlCLI(_CLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        problem = "model.init_args.problem"
        parser.link_arguments("data.family.power_max_dbm", f"{problem}.power_max_w", dbm_to_w)
        parser.link_arguments(
            ("data.family.bandwidth_hz", "data.family.noise_density_dbm_hz"),
            f"{problem}.noise_w",
            thermal_noise_w,
        )


def main(words: Sequence[str]) -> None:
    """Run one of the LightningCLI's subcommands.

    Args:
        words: Subcommand and its options; ``--config`` takes a packaged name or a path.

    Raises:
        ValueError: If a configuration is unknown or names a class outside the allowed packages.
    """
    words = checked_words(words)
    _quieten()
    callbacks: list[Callback] = [EpochProgress()]
    trainer_defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "callbacks": callbacks,
        "plugins": [HashedCheckpointIO()],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        # ConfigurationData shares networks out itself: Lightning repeats some.
        "use_distributed_sampler": False,
    }
    settings: dict[str, Any] = {
        "subclass_mode_model": True,
        "auto_configure_optimizers": False,
        "seed_everything_default": 0,
        "save_config_callback": _SaveConfig,
        "save_config_kwargs": {"overwrite": True},
        "trainer_defaults": trainer_defaults,
        "args": words,
    }
    try:
        agents = AGENTS.get(model_class(words))
        if agents is not None:
            rule = "be fit, validate or test with this configuration (decisions: compare)"
            require(words[0] != "predict", "subcommand", rule, words[0])
            _AgentsCLI(agents, **settings)
        else:
            callbacks.append(PowerWriter())
            _PowerControlCLI(PolicyModule, ConfigurationData, **settings)
    except SIGTERMException:
        # Of Lightning's own it would be success, which a killed run is not.
        print("metagnn: terminated", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except SystemExit as stop:
        if stop.code:
            sys.exit(2)
        raise


def _quieten() -> None:
    # What Lightning says of choices made here on purpose.
    expected = (
        "LightningCLI's args parameter is intended",
        "Your `IterableDataset` has `__len__` defined",
        "The number of training batches",
        "You have overridden `transfer_batch_to_device`",
        "The '.*' does not have many workers",
        "`isinstance.treespec, LeafSpec.` is deprecated",
        "Unable to serialize instance",
        "By default only one JsonargparseDeprecationWarning",
        ".* was deprecated in v4",
        "Checkpoint directory .* exists and is not empty",
        "The dirpath has changed",
        "Couldn.t infer the batch indices",
    )
    for message in expected:
        warnings.filterwarnings("ignore", message=rf"[\s\S]*{message}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
