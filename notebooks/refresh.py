"""Run notebooks and write each as a pair: text to edit (``.py``), text with results (``.ipynb``).

``python notebooks/refresh.py notebooks/1_quickstart.py ...`` reads the ``.py`` and writes the
``.ipynb`` beside it, without times and versions, so that only what changed differs.
"""

import argparse
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

from metagnn.files import write_atomically

TIMEOUT_S = 300


def refresh(path: Path) -> None:
    """Run one notebook in its folder and write its results; cells keep their numbers."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=TIMEOUT_S, record_timing=False, resources=where).execute()
    notebook.metadata.get("language_info", {}).pop("version", None)
    text = nbformat.writes(notebook)
    write_atomically(path.with_suffix(".ipynb"), text.encode(), b"\n")


def main() -> None:
    """Refresh the notebooks that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="+", type=Path, help="the .py of a pair")
    for path in parser.parse_args().notebook:
        refresh(path)
        print(path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
