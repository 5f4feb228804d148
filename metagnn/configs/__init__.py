"""Packaged configurations, one YAML file per experiment."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def packaged_names() -> list[str]:
    """Names of the packaged configurations."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def config_path(name_or_path: str) -> Path:
    """Path of a configuration given by its packaged name or by a path.

    Raises:
        ValueError: If it is neither.
    """
    packaged = _FOLDER / f"{name_or_path}.yaml"
    if name_or_path in packaged_names():
        return packaged
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    raise ValueError(f"`config` must be a path or one of {packaged_names()}, got {name_or_path!r}")
