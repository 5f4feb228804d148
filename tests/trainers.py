"""A trainer that writes and shows nothing unless asked to."""

from typing import Any

import lightning.pytorch as pl

from metagnn.checkpoint_io import HashedCheckpointIO


def quiet_trainer(max_epochs: int, **changed: Any) -> pl.Trainer:
    """Trainer on one core, with what is changed of its settings."""
    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "plugins": [HashedCheckpointIO()],
    }
    return pl.Trainer(max_epochs=max_epochs, **{**settings, **changed})
