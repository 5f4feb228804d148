import errno
import hashlib
import io
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metagnn.checkpoint import (
    load_weights,
    read_checkpoint,
    save_weights,
    write_checkpoint,
)

NUM_FLIPS = 200


class CreatesFile:
    """Unpickled without care, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def weights() -> dict[str, Tensor]:
    tensor = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    return {
        "float32": tensor,
        "shared": tensor,
        "view": tensor.T,
        "float64": tensor.double() / 3,
        "bfloat16": tensor.bfloat16(),
        "float16": tensor.half(),
        "int64": torch.tensor([2**62 + 1, -1]),
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(float("nan")),
        "empty": torch.zeros(0, 4),
    }


def assert_same_bits(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    first, second = (t.contiguous().reshape(-1).view(torch.uint8) for t in (actual, expected))
    assert torch.equal(first, second)


def with_header(payload: bytes, version: int = 1) -> bytes:
    prefix = struct.pack(">12sIQ", b"\x89metagnn\r\n\x1a\n", version, len(payload))
    return prefix + hashlib.sha256(prefix + payload).digest() + payload


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def num_flips_found(path: Path, load: Callable[[Path], object], bits: list[int]) -> int:
    data = path.read_bytes()
    num_found = 0
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            load(path)
        except ValueError as error:
            start, end = "`checkpoint` must ", f", got {str(path)!r}"
            num_found += str(error).startswith(start) and str(error).endswith(end)
    return num_found


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state: dict[str, Any] = {
        "weights": weights(),
        "net": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "epoch": 3,
        "plain": [None, True, 1.5, "text", (1, 2), {"a": float("inf")}],
    }
    write_checkpoint(tmp_path / "a.ckpt", state)
    loaded = read_checkpoint(tmp_path / "a.ckpt")
    assert loaded.keys() == state.keys()
    for key, tensor in weights().items():
        assert_same_bits(loaded["weights"][key], tensor)
    for key, tensor in net.state_dict().items():
        assert_same_bits(loaded["net"][key], tensor)
    assert_same_bits(loaded["random"], state["random"])
    assert loaded["epoch"] == 3
    assert loaded["plain"] == state["plain"]
    moments, expected = loaded["optimizer"]["state"], optimizer.state_dict()["state"]
    assert moments.keys() == expected.keys()
    for index, entries in expected.items():
        assert entries.keys() == {"step", "exp_avg", "exp_avg_sq"}
        for key, tensor in entries.items():
            assert_same_bits(moments[index][key], tensor)
    assert loaded["optimizer"]["param_groups"] == optimizer.state_dict()["param_groups"]


def test_every_flipped_bit_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, {"weights": weights()})
    header = range(8 * 56)
    anywhere = random.Random(0).sample(range(8 * path.stat().st_size), NUM_FLIPS)
    bits = [*header[::7], *anywhere]
    assert num_flips_found(path, read_checkpoint, bits) == len(bits)


def test_every_flipped_bit_of_weights_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, weights(), {"heads": "softplus", "città": [1, None]})
    num_bits = 8 * path.stat().st_size
    tensors = range(num_bits - 8 * 16, num_bits)  # holds the small dtypes, bool among them
    bits = [*tensors, *random.Random(0).sample(range(num_bits), NUM_FLIPS)]
    assert num_flips_found(path, load_weights, bits) == len(bits)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"F32"', b'"I32"'), (b"[3, 2]", b"[2, 3]"), (b'"a"', b'"b"'), (b"128", b"129")],
)
def test_changed_header_of_weights_is_found(old: bytes, new: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, {"a": torch.ones(3, 2)}, {"width": 128})
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(ValueError, match=r"`checkpoint` must be undamaged .* got '.*tensors'"):
        load_weights(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.02, 0.5, 0.999])
def test_cut_off_files_are_found(share: float, tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_checkpoint(path, {"weights": weights()})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    rule = "be complete" if path.stat().st_size >= 12 else "be a metagnn checkpoint"
    with pytest.raises(ValueError, match=f"`checkpoint` must {rule} .* got '.*file'"):
        read_checkpoint(path)
    save_weights(path, weights(), {})
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"`checkpoint` must be a complete safetensors file"):
        load_weights(path)


def test_appended_bytes_are_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_checkpoint(path, {})
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="`checkpoint` must be complete"):
        read_checkpoint(path)
    save_weights(path, weights(), {})
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="`checkpoint` must be a complete safetensors file"):
        load_weights(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "text")
    for content in (saved(weights()), archive.getvalue(), pickle.dumps({}), b"", b"\x89PNG\r\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"`checkpoint` must be a metagnn checkpoint .*file'"):
            read_checkpoint(path)
        with pytest.raises(ValueError, match=r"`checkpoint` must be a complete safetensors .*file"):
            load_weights(path)
    from safetensors.torch import save

    for metadata in (None, {"format": "pt"}, {"format": "metagnn-weights-1", "config": "{}"}):
        path.write_bytes(save({"a": torch.ones(2)}, metadata))
        with pytest.raises(ValueError, match="must be weights of format 'metagnn-weights-1', got"):
            load_weights(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        for load in (read_checkpoint, load_weights):
            with pytest.raises(ValueError, match=f"`init` must be an existing file, got '{path}'"):
                load(path, name="init")


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:  # the superuser is never refused for real
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ValueError, match=r"must be a file that can be read \(Permission denied\)"):
        read_checkpoint(tmp_path / "file")


def test_other_format_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(with_header(saved({"epoch": 1})))
    assert read_checkpoint(tmp_path / "file") == {"epoch": 1}
    (tmp_path / "file").write_bytes(with_header(saved({"epoch": 1}), version=2))
    with pytest.raises(ValueError, match=r"`checkpoint` must have format version 1 \(not 2\), got"):
        read_checkpoint(tmp_path / "file")


@pytest.mark.parametrize("environment", ["0", "1"])
def test_malicious_checkpoint_with_a_fitting_digest_runs_nothing(
    environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", environment)
    victim, path = tmp_path / "victim", tmp_path / "file"
    malicious = {"epoch": CreatesFile(victim)}
    pickle.loads(pickle.dumps(malicious))["epoch"].close()  # the trap works
    assert victim.exists()
    victim.unlink()
    rule = r"`checkpoint` must hold tensors and plain values only \(not _?io\.open\), got '.*file'"
    path.write_bytes(with_header(saved(malicious)))
    with pytest.raises(ValueError, match=rule):
        read_checkpoint(path)
    for payload in (pickle.dumps(malicious), saved(malicious)[:-40], b"", b"PK\x03\x04"):
        path.write_bytes(with_header(payload))
        with pytest.raises(ValueError, match="`checkpoint` must hold tensors and plain values"):
            read_checkpoint(path)
    path.write_bytes(saved(malicious))
    with pytest.raises(ValueError, match="`checkpoint` must be a metagnn checkpoint"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="`checkpoint` must be a complete safetensors file"):
        load_weights(path)
    assert not victim.exists()


def test_loader_refuses_what_the_scan_overlooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, path = tmp_path / "victim", tmp_path / "file"
    path.write_bytes(with_header(saved({"epoch": CreatesFile(victim)})))
    monkeypatch.setattr(torch.serialization, "get_unsafe_globals_in_checkpoint", lambda _: [])
    with pytest.raises(ValueError, match="`checkpoint` must hold tensors and plain values only"):
        read_checkpoint(path)
    assert not victim.exists()


def test_payload_that_is_no_dict_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(with_header(saved([1])))
    with pytest.raises(ValueError, match=r"`checkpoint` must hold a dict \(not list\), got"):
        read_checkpoint(tmp_path / "file")


def test_what_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, {"epoch": 1})
    unreadable = (CreatesFile(tmp_path / "victim"), np.ones(2), Path("x"), lambda: 0)
    for value in unreadable:
        with pytest.raises(ValueError, match=r"`checkpoint` must hold tensors and plain values"):
            write_checkpoint(path, {"value": value})
    assert read_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_full_disk_keeps_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "a.ckpt", {"epoch": 1})
    save_weights(tmp_path / "a.safetensors", {"a": torch.ones(1)}, {"epoch": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*a\.ckpt'"):
            write_checkpoint(tmp_path / "a.ckpt", {"epoch": 2})
        with pytest.raises(OSError, match=r"No space left on device: '.*a\.safetensors'"):
            save_weights(tmp_path / "a.safetensors", {"a": torch.zeros(1)}, {"epoch": 2})
    assert read_checkpoint(tmp_path / "a.ckpt") == {"epoch": 1}
    state, config = load_weights(tmp_path / "a.safetensors")
    assert state["a"].tolist() == [1.0]
    assert config == {"epoch": 1}
    assert sorted(os.listdir(tmp_path)) == ["a.ckpt", "a.safetensors"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(ValueError, match="`checkpoint` must lie in a folder that exists"):
        write_checkpoint(path, {})
    with pytest.raises(ValueError, match="`out` must lie in a folder that exists"):
        save_weights(path, weights(), {}, name="out")


def test_weights_come_back_bit_for_bit(tmp_path: Path) -> None:
    config = {"width": 128, "lr": 1e-3, "heads": ["softplus", None], "città": {"x": True}}
    save_weights(tmp_path / "a", weights(), config)
    state, loaded_config = load_weights(tmp_path / "a")
    assert loaded_config == config
    assert state.keys() == weights().keys()
    for key, tensor in weights().items():
        assert_same_bits(state[key], tensor)


def test_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    for index in range(8):
        save_weights(tmp_path / str(index), weights(), {"b": 1, "a": 2})
    save_weights(tmp_path / "reversed", dict(reversed(weights().items())), {"a": 2, "b": 1})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    save_weights(tmp_path / "other", weights(), {"b": 1, "a": 3})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 2


def test_bad_weights_are_refused(tmp_path: Path) -> None:
    path, good = tmp_path / "a", {"a": torch.ones(1)}
    with pytest.raises(ValueError, match=r"`state` must hold at least one tensor, got \{\}"):
        save_weights(path, {}, {})
    with pytest.raises(ValueError, match=r"`state` must hold tensors \('a'\), got <class 'float'>"):
        save_weights(path, {"a": 1.0}, {})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="`state` must leave the name to safetensors, got '__met"):
        save_weights(path, {"__metadata__": torch.ones(1)}, {})
    for value in (float("nan"), object()):
        with pytest.raises(ValueError, match=r"`config` must be JSON \(.*\), got \{'x': "):
            save_weights(path, good, {"x": value})
    assert os.listdir(tmp_path) == []
