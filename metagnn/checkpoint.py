"""Checkpoints and weights that are verified before they are used and cannot run code."""

import hashlib
import io
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from metagnn.files import write_atomically
from metagnn.graphs.checks import require

MAGIC = b"\x89metagnn\r\n\x1a\n"
FORMAT_VERSION = 1
WEIGHTS_FORMAT = "metagnn-weights-1"
_METADATA = {"config", "format", "sha256"}
_PREFIX = struct.Struct(">12sIQ")  # magic, format version, bytes of payload
_HEADER_SIZE = _PREFIX.size + hashlib.sha256().digest_size


def write_checkpoint(
    path: str | os.PathLike[str], checkpoint: Mapping[str, Any], *, name: str = "checkpoint"
) -> None:
    """Write the state of a training run atomically, behind a header with its SHA-256.

    A state that `read_checkpoint` would refuse (an object that is not a tensor or a plain value)
    is refused here, so that no run finds out when it resumes.

    Args:
        path: The file to write or replace; its folder exists.
        checkpoint: Nested dicts and lists of tensors, numbers and strings.
        name: What the caller calls ``path``, for error messages.

    Raises:
        ValueError: If ``checkpoint`` holds anything else, or the folder is missing or not writable.
        OSError: If the bytes cannot be stored; the old file is as it was.
    """
    payload = io.BytesIO()
    try:
        torch.save(dict(checkpoint), payload)
    except Exception as error:  # what pickling raises depends on the object
        raise _error(name, f"hold tensors and plain values only ({error})", path) from error
    _load_payload(payload, path, name, map_location="meta")
    content = payload.getbuffer()
    prefix = _PREFIX.pack(MAGIC, FORMAT_VERSION, len(content))
    write_atomically(path, prefix, _sha256(prefix, content), content, name=name)


def read_checkpoint(
    path: str | os.PathLike[str], *, name: str = "checkpoint", map_location: Any = "cpu"
) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, after checking that every bit is as it was.

    The SHA-256 finds damage, not forgery: a file made with intent carries a fitting digest. Such a
    file runs no code either, because only tensors and plain values are unpickled
    (``weights_only=True``).

    Args:
        path: The file to read.
        name: What the caller calls ``path``, for error messages.
        map_location: Where the tensors go, as in `torch.load`.

    Raises:
        ValueError: If the file is missing, is not a checkpoint of this format and version, is cut
            off or damaged, or holds anything but tensors and plain values.
    """
    data = _read(path, name)
    if len(data) < len(MAGIC) or not data.startswith(MAGIC):
        raise _error(name, "be a metagnn checkpoint (its header is not there)", path)
    if len(data) < _HEADER_SIZE:
        raise _error(name, f"be complete (its {_HEADER_SIZE} bytes of header are cut off)", path)
    prefix, digest = data[: _PREFIX.size], data[_PREFIX.size : _HEADER_SIZE]
    content = memoryview(data)[_HEADER_SIZE:]
    _, version, size = _PREFIX.unpack(prefix)
    if version != FORMAT_VERSION:
        raise _error(name, f"have format version {FORMAT_VERSION} (not {version})", path)
    if len(content) != size:
        raise _error(name, f"be complete ({len(content)} of {size} bytes are there)", path)
    if _sha256(prefix, content) != digest:
        raise _error(name, "be undamaged (its SHA-256 does not fit)", path)
    return _load_payload(io.BytesIO(content), path, name, map_location)


def save_weights(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    config: Mapping[str, object],
    *,
    name: str = "path",
) -> None:
    """Write weights atomically as safetensors, with their configuration and a SHA-256 over both.

    The same weights and configuration give the same bytes.

    Args:
        path: The file to write or replace; its folder exists.
        state: Tensors by name, as `torch.nn.Module.state_dict` gives them.
        config: What JSON can hold.
        name: What the caller calls ``path``, for error messages.

    Raises:
        ValueError: If ``state`` is empty or holds something else than tensors, if ``config`` is
            not JSON, or the folder is missing or not writable.
        OSError: If the bytes cannot be stored; the old file is as it was.
    """
    require(len(state) > 0, "state", "hold at least one tensor", dict(state))
    for key, tensor in state.items():
        require(isinstance(tensor, Tensor), "state", f"hold tensors ({key!r})", type(tensor))
        require(key != "__metadata__", "state", "leave the name to safetensors", key)
    try:
        config_json = json.dumps(config, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`config` must be JSON ({error}), got {config!r}") from error
    # Copies, because safetensors refuses tensors that share memory.
    copies = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in state.items()
    }
    metadata = {
        "config": config_json,
        "format": WEIGHTS_FORMAT,
        "sha256": _weights_sha256(copies, config_json),
    }
    # safetensors writes the metadata in random order: sort the header, then pad it as it does.
    content = to_safetensors(copies, metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    text = json.dumps(json.loads(content[8:end]), sort_keys=True, ensure_ascii=False).encode()
    header = text + b" " * (-len(text) % 8)
    tensors = memoryview(content)[end:]
    write_atomically(path, len(header).to_bytes(8, "little"), header, tensors, name=name)


def load_weights(
    path: str | os.PathLike[str], *, name: str = "checkpoint"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote, after checking that every bit is as it was.

    Args:
        path: The file to read.
        name: What the caller calls ``path``, for error messages.

    Returns:
        The tensors by name (on the CPU), and the configuration.

    Raises:
        ValueError: If the file is missing, is no safetensors file (or one cut off), was not made
            by `save_weights`, or is damaged.
    """
    data = _read(path, name)
    try:
        state = dict(sorted(from_safetensors(data).items()))
        end = 8 + int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8:end]).get("__metadata__", {})
    except Exception as error:  # a forged header can fail in any way
        raise _error(name, f"be a complete safetensors file ({error})", path) from error
    if metadata.get("format") != WEIGHTS_FORMAT or metadata.keys() != _METADATA:
        raise _error(name, f"be weights of format {WEIGHTS_FORMAT!r}", path)
    if _weights_sha256(state, metadata["config"]) != metadata["sha256"]:
        raise _error(name, "be undamaged (its SHA-256 does not fit)", path)
    config: dict[str, Any] = json.loads(metadata["config"])
    return state, config


def _weights_sha256(state: Mapping[str, Tensor], config_json: str) -> str:
    keys = sorted(state)
    tensors = [[key, str(state[key].dtype), list(state[key].shape)] for key in keys]
    # The manifest fixes how many bytes each tensor has, so no two contents hash the same stream.
    digest = hashlib.sha256(json.dumps([WEIGHTS_FORMAT, config_json, tensors]).encode())
    for key in keys:
        digest.update(state[key].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_payload(
    payload: io.BytesIO, path: str | os.PathLike[str], name: str, map_location: Any
) -> dict[str, Any]:
    try:
        payload.seek(0)
        refused = torch.serialization.get_unsafe_globals_in_checkpoint(payload)
        payload.seek(0)
        checkpoint = None
        if not refused:
            checkpoint = torch.load(payload, map_location=map_location, weights_only=True)
    except Exception as error:  # a forged pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _error(name, f"hold tensors and plain values only ({reason})", path) from error
    if refused:
        what = ", ".join(sorted(refused))
        raise _error(name, f"hold tensors and plain values only (not {what})", path)
    if not isinstance(checkpoint, dict):
        raise _error(name, f"hold a dict (not {type(checkpoint).__name__})", path)
    return checkpoint


def _read(path: str | os.PathLike[str], name: str) -> bytes:
    if not Path(path).is_file():
        raise _error(name, "be an existing file", path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise _error(name, f"be a file that can be read ({error.strerror})", path) from error


def _sha256(*parts: bytes | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def _error(name: str, rule: str, path: str | os.PathLike[str]) -> ValueError:
    return ValueError(f"`{name}` must {rule}, got {str(path)!r}")
