"""``metagnn fit | validate | test | predict``: the LightningCLI over packaged configurations."""

import logging
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from metagnn.checkpoint_io import HashedCheckpointIO
from metagnn.configs import config_path
from metagnn.data import ConfigurationData
from metagnn.graphs.checks import require
from metagnn.graphs.units import dbm_to_w, thermal_noise_w
from metagnn.policy_module import PolicyModule
from metagnn.progress import EpochProgress

# A class_path is imported; only these packages may be named in a configuration.
_ALLOWED = ("metagnn.", "lightning.pytorch.")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class _CLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {"checkpoint.save_last": True, "checkpoint.save_on_train_epoch_end": True}
        )
        problem = "model.init_args.problem"
        parser.link_arguments("data.family.power_max_dbm", f"{problem}.power_max_w", dbm_to_w)
        parser.link_arguments(
            ("data.family.bandwidth_hz", "data.family.noise_density_dbm_hz"),
            f"{problem}.noise_w",
            thermal_noise_w,
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the configuration as given: a checkpoint holds weights, not settings."""


def main(words: Sequence[str]) -> None:
    """Run one of the LightningCLI's subcommands.

    Args:
        words: Subcommand and its options; ``--config`` takes a packaged name or a path.

    Raises:
        ValueError: If a configuration is unknown or names a class outside the allowed packages.
    """
    words = _resolve_configs(list(words))
    _quieten()
    try:
        _CLI(
            PolicyModule,
            ConfigurationData,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveConfigCallback,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "accelerator": "cpu",
                "devices": 1,
                "callbacks": [EpochProgress()],
                "plugins": [HashedCheckpointIO()],
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "num_sanity_val_steps": 0,
            },
            args=words,
        )
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
    )
    for message in expected:
        warnings.filterwarnings("ignore", message=rf"[\s\S]*{message}")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)


def _resolve_configs(words: list[str]) -> list[str]:
    resolved = []
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config", "-c") and equals:
            word = f"{name}={_checked(value)}"
        elif position and words[position - 1] in ("--config", "-c"):
            word = str(_checked(word))
        elif name.endswith("class_path") and equals:
            _check_class_paths(value)
        resolved.append(word)
    return resolved


def _checked(name_or_path: str) -> Path:
    path = config_path(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`config` must be a YAML file, got {str(path)!r}: {error}") from error
    _check_class_paths(content)
    return path


def _check_class_paths(content: Any) -> None:
    # A class may stand as `class_path: package.Class`, or as that dotted name alone.
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            _check_class_paths(item)
    if isinstance(content, str) and _DOTTED.fullmatch(content):
        rule = f"name classes that begin with one of {list(_ALLOWED)}"
        require(content.startswith(_ALLOWED), "config", rule, content)
