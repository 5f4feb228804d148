"""Shipped meta-parameters: safetensors files, each beside a JSON card of how it was made."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def pretrained_names() -> list[str]:
    """Names of the shipped meta-parameters."""
    return sorted(path.stem for path in _FOLDER.glob("*.safetensors"))


def pretrained_path(name_or_path: str) -> Path:
    """Path of meta-parameters given by their shipped name or by a path.

    Raises:
        ValueError: If it is neither.
    """
    if name_or_path in pretrained_names():
        return _FOLDER / f"{name_or_path}.safetensors"
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    raise ValueError(
        f"`checkpoint` must be a file or one of {pretrained_names()}, got {name_or_path!r}"
    )
