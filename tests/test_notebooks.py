"""Notebooks: both files of a pair say the same, and results are whole, small and of no machine."""

import json
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
HEADER = "formats: ipynb,py:percent"
MAX_BYTES = 400_000
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|usr|opt|mnt|var|Users)/|[A-Z]:\\\\")


def cells(path: Path) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in jupytext.read(path).cells]


def texts(output: dict[str, object]) -> str:
    """All that an output says, without pictures."""
    data = output.get("data", {})
    assert isinstance(data, dict)
    said = {kind: value for kind, value in data.items() if not kind.startswith("image/")}
    return json.dumps([said, output.get("text", "")])


def test_every_text_of_a_notebook_has_its_pair() -> None:
    texts = [path for path in FOLDER.glob("*.py") if HEADER in path.read_text(encoding="utf-8")]
    assert sorted(path.stem for path in texts) == [path.stem for path in NOTEBOOKS]
    assert len(NOTEBOOKS) >= 4


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_pair_says_the_same(path: Path) -> None:
    assert jupytext.read(path).metadata["jupytext"]["formats"] == "ipynb,py:percent"
    assert cells(path) == cells(path.with_suffix(".py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_results_are_whole_small_and_of_no_machine(path: Path) -> None:
    assert path.stat().st_size <= MAX_BYTES
    code = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert {output.output_type for output in outputs} <= {"stream", "execute_result"}
    # Warnings and progress bars are none of the story.
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert not [text for text in map(texts, outputs) if MACHINE_PATH.search(text)]
    assert all("execution" not in cell.metadata for cell in code)


@pytest.mark.parametrize("text", ["/tmp/x.py:5: Warning", "in '/home/me/a'", r'"C:\\\\Users"'])
def test_a_planted_path_is_found(text: str) -> None:
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["bit/s/Hz", "https://doi.org/tmp/x", "results/var/"])
def test_units_and_addresses_are_no_paths(text: str) -> None:
    assert not MACHINE_PATH.search(text)


def test_the_readme_names_every_notebook() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [path.stem for path in NOTEBOOKS if f"notebooks/{path.name}" not in readme] == []
