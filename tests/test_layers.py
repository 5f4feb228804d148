"""The four floors: who may import whom, read from the source of every file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("graphs", "models", "tasks")
# Folder -> the parts of metagnn that its files may import; what is missing here may import all.
MAY_IMPORT = {
    "graphs": {"graphs"},
    "models": {"graphs", "models"},
    "tasks": {"graphs", "tasks"},
}


def _absolute(node: ast.ImportFrom, package: list[str]) -> str:
    if node.level == 0:
        return node.module or ""
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def imported_names(source: str, package: str) -> list[str]:
    """Dotted names that a file of `package` imports anywhere, `from a import b` as `a.b`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package.split("."))
            names += [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            first = node.args[0]
            if called in {"import_module", "__import__"} and isinstance(first, ast.Constant):
                names.append(str(first.value))
    return names


def violations(source: str, package: str) -> list[str]:
    """Imports in a file of `package` (such as `metagnn.tasks.power_control`) against the rules."""
    floor = ([*package.split("."), ""])[1]
    found = []
    for name in imported_names(source, package):
        first, second, *_ = (name + "..").split(".")
        if first in FLOORS:
            found.append(f"`{name}` must be imported as `metagnn.{name}`")
        elif first == "metagnn" and floor in MAY_IMPORT and second not in MAY_IMPORT[floor]:
            found.append(f"{floor} must not import `{name}`")
    return found


def _sources() -> list[tuple[Path, str]]:
    found = []
    for folder in ("metagnn", *FLOORS, "tests", "notebooks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.parent.relative_to(ROOT).parts
            found.append((path, ".".join(("metagnn", *parts) if folder in FLOORS else parts)))
    return found


def test_every_file_keeps_to_its_floor() -> None:
    sources = _sources()
    assert {package.split(".")[1] for _, package in sources if package.startswith("metagnn.")} >= {
        *FLOORS
    }
    found = [
        f"{path.relative_to(ROOT)}: {violation}"
        for path, package in sources
        for violation in violations(path.read_text(encoding="utf-8"), package)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("metagnn.graphs", "import metagnn"),
        ("metagnn.graphs", "from metagnn import models"),
        ("metagnn.graphs", "from metagnn.tasks.power_control import wmmse"),
        ("metagnn.graphs", "def late():\n    import metagnn.lagrangian"),
        ("metagnn.graphs", "from ..models import leconv"),
        ("metagnn.graphs", "import importlib\nimportlib.import_module('metagnn.models')"),
        ("metagnn.models", "from metagnn.tasks import power_control"),
        (
            "metagnn.models",
            "if TYPE_CHECKING:\n    import metagnn.cli",
        ),
        ("metagnn.tasks", "from metagnn import __version__"),
        ("metagnn.tasks.power_control", "from metagnn.models.leconv import LEConv"),
        ("metagnn.tasks.power_control", "from ...models import leconv"),
        ("metagnn", "import graphs.units"),
        ("metagnn", "from models import leconv"),
        ("tests", "import tasks"),
    ],
)
def test_a_planted_violation_is_found(package: str, source: str) -> None:
    assert len(violations(source, package)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("metagnn.graphs", "import torch, torch_geometric\nfrom metagnn.graphs.units import db"),
        ("metagnn.graphs", "from metagnn import graphs\nfrom . import units"),
        ("metagnn.models", "import metagnn.graphs.checks, metagnn.models.leconv"),
        ("metagnn.tasks.power_control", "from metagnn.graphs import rates\nfrom . import problem"),
        ("metagnn", "import metagnn.graphs, metagnn.models, metagnn.tasks"),
        ("metagnn", "from torch.nn import models\nfrom scipy import graphs"),
    ],
)
def test_a_permitted_import_is_left_alone(package: str, source: str) -> None:
    assert violations(source, package) == []
