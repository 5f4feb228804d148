import errno
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from trainers import quiet_trainer

from metagnn.checkpoint import read_checkpoint
from metagnn.checkpoint_io import HashedCheckpointIO

pytestmark = [
    # A toy's loader has no workers on purpose, and a resumed run finds its own folder.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


class Toy(pl.LightningModule):
    multiplier: Tensor

    def __init__(self, learning_rate: float, widths: tuple[int, ...], note: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.net = nn.Sequential(nn.Linear(widths[0], widths[1]), nn.BatchNorm1d(widths[1]))
        self.register_buffer("multiplier", torch.zeros(2, dtype=torch.bfloat16))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.multiplier += 1
        loss: Tensor = self.net(batch[0]).square().mean()
        self.log("loss", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.net.parameters(), lr=self.learning_rate)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def fit(folder: Path, max_epochs: int, resume: Path | None = None) -> tuple[pl.Trainer, Toy]:
    pl.seed_everything(1 if resume is None else 2, verbose=False)
    model = Toy(0.1, (3, 4), {"heads": "softplus", "none": None})
    callback = ModelCheckpoint(
        folder, filename="{epoch}", monitor="loss", save_top_k=2, save_last=True
    )
    trainer = quiet_trainer(max_epochs, callbacks=[callback], enable_checkpointing=True)
    data = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    trainer.fit(model, DataLoader(TensorDataset(data), batch_size=4), ckpt_path=resume)
    return trainer, model


def test_resumed_run_equals_the_straight_one(tmp_path: Path) -> None:
    _, straight = fit(tmp_path / "straight", 2)
    fit(tmp_path / "resumed", 1)
    trainer, resumed = fit(tmp_path / "resumed", 2, tmp_path / "resumed" / "last.ckpt")
    expected = straight.state_dict()
    assert expected["multiplier"].tolist() == [4.0, 4.0]
    for key, tensor in resumed.state_dict().items():
        assert torch.equal(tensor, expected[key])
    assert trainer.global_step == 4
    assert sorted(os.listdir(tmp_path / "resumed")) == ["epoch=0.ckpt", "epoch=1.ckpt", "last.ckpt"]

    first = read_checkpoint(tmp_path / "straight" / "last.ckpt")
    second = read_checkpoint(tmp_path / "resumed" / "last.ckpt")
    assert first["hyper_parameters"]["learning_rate"] == 0.1
    assert first["hyper_parameters"]["widths"] == (3, 4)
    assert first["lr_schedulers"] == second["lr_schedulers"]
    moments = [c["optimizer_states"][0]["state"][0]["exp_avg_sq"] for c in (first, second)]
    assert torch.equal(*moments)


def test_full_disk_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, _ = fit(tmp_path, 1)
    path = tmp_path / "last.ckpt"
    before, names = path.read_bytes(), sorted(os.listdir(tmp_path))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        trainer.save_checkpoint(path)
    with pytest.raises(OSError, match="No space left on device"):
        fit(tmp_path, 2, path)
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == names


def test_damaged_checkpoint_stops_the_resume(tmp_path: Path) -> None:
    fit(tmp_path, 1)
    path = tmp_path / "last.ckpt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"`checkpoint` must be undamaged .* got '.*last\.ckpt'"):
        fit(tmp_path, 2, path)


def test_doors_by_hand(tmp_path: Path) -> None:
    door = HashedCheckpointIO()
    path = tmp_path / "new" / "folder" / "a.ckpt"
    door.save_checkpoint({"epoch": 1}, path)
    assert door.load_checkpoint(str(path), weights_only=False) == {"epoch": 1}
    with pytest.raises(ValueError, match=r"`storage_options` must be None, got \{\}"):
        door.save_checkpoint({}, path, storage_options={})
    with pytest.raises(ValueError, match="`checkpoint` must lie in a folder that exists or can be"):
        door.save_checkpoint({}, path / "below" / "a.ckpt")
    with pytest.raises(ValueError, match="`checkpoint` must lie in a folder that exists or can be"):
        door.save_checkpoint({}, path / "a.ckpt")
    door.remove_checkpoint(path)
    door.remove_checkpoint(path)
    assert not path.exists()
    with pytest.raises(ValueError, match="`checkpoint` must be an existing file, got "):
        door.load_checkpoint(path)
