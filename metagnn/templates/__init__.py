"""Pieces of the page that `metagnn report` writes: markup, style and script."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def read_template(name: str) -> str:
    """Text of a piece by its file name."""
    return (_FOLDER / name).read_text(encoding="utf-8")
