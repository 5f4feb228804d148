"""``metagnn fit | validate | test | predict``: the LightningCLI over packaged configurations."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import lazy_instance
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger

from metagnn.checkpoint_io import HashedCheckpointIO
from metagnn.configs import config_path
from metagnn.data import ConfigurationData
from metagnn.graphs.units import dbm_to_w, thermal_noise_w
from metagnn.policy_module import PolicyModule
from metagnn.progress import EpochProgress

# A class_path is imported; only these packages may be named in a configuration.
_ALLOWED = ("metagnn.", "lightning.pytorch.")


class _CLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True})
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
                "logger": lazy_instance(CSVLogger, save_dir="runs", name="metagnn"),
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


def _resolve_configs(words: list[str]) -> list[str]:
    resolved = []
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config", "-c") and equals:
            word = f"{name}={_checked(value)}"
        elif position and words[position - 1] in ("--config", "-c"):
            word = str(_checked(word))
        elif name.endswith("class_path") and equals:
            _check_class_paths({"class_path": value})
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
    if isinstance(content, dict):
        name = content.get("class_path")
        if name is not None and not str(name).startswith(_ALLOWED):
            raise ValueError(f"`class_path` must begin with one of {list(_ALLOWED)}, got {name!r}")
        content = list(content.values())
    if isinstance(content, list):
        for item in content:
            _check_class_paths(item)
