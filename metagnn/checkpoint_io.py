"""Lightning's door to verified checkpoints."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO

from metagnn.checkpoint import read_checkpoint, write_checkpoint


class HashedCheckpointIO(CheckpointIO):
    """Checkpoints written atomically with a SHA-256 and read without running code.

    Pass it to the trainer: ``Trainer(plugins=[HashedCheckpointIO()])``. Left out: remote paths,
    and `LightningModule.load_from_checkpoint` and `LightningCLI._parse_ckpt_path`, which open the
    file with `torch.load` instead of asking the trainer.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the state that the trainer collected; missing folders are made.

        Raises:
            ValueError: If the folder cannot be made or written, if the state holds anything but
                tensors and plain values, or ``storage_options`` is given.
            OSError: If the bytes cannot be stored; the old file is as it was.
        """
        if storage_options is not None:
            raise ValueError(f"`storage_options` must be None, got {storage_options!r}")
        folder = Path(path).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            rule = "lie in a folder that exists or can be made"
            raise ValueError(f"`checkpoint` must {rule}, got {str(path)!r}") from error
        write_checkpoint(path, checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; ``weights_only`` changes nothing, code is never loaded.

        Raises:
            ValueError: If the file is missing, foreign, cut off, damaged, or holds anything but
                tensors and plain values.
        """
        del weights_only
        location = "cpu" if map_location is None else map_location
        return read_checkpoint(path, map_location=location)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, if it is there."""
        Path(path).unlink(missing_ok=True)
