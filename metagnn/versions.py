"""Versions of what computes a result, to be stored beside it."""

import platform
from importlib.metadata import PackageNotFoundError, version

from metagnn import __version__

_LIBRARIES = ("torch", "torch-geometric", "lightning", "numpy")


def versions() -> dict[str, str]:
    """Versions of metagnn, Python and the libraries behind its numbers, those installed."""
    found = {"metagnn": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
