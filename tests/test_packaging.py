"""The wheel: everything in it, nothing beside `metagnn`, usable from an empty folder."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import metagnn

ROOT = Path(__file__).parent.parent
FOLDERS = {"metagnn": "metagnn", "graphs": "metagnn/graphs"}
FOLDERS |= {"models": "metagnn/models", "tasks": "metagnn/tasks"}
SHIPPED = {".py", ".yaml", ".safetensors", ".json", ".csv", ".txt", ".md", ".typed"}
SHIPPED |= {".html", ".css", ".js"}

DIST_INFO = f"metagnn-{metagnn.__version__}.dist-info"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None, reason="building a wheel needs setuptools"
)


def _shipped_files() -> set[str]:
    """Names that the wheel must hold, one for each source or data file of the checkout."""
    names = set()
    for folder, target in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            hidden = any(part == "__pycache__" or part.startswith(".") for part in path.parts)
            if not hidden and (path.suffix in SHIPPED or path.name.startswith("LICENSE")):
                names.add(f"{target}/{path.relative_to(ROOT / folder).as_posix()}")
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A copy, because setuptools leaves build/ and metagnn.egg-info behind and packs what it
    # finds in an old build/.
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS:
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--wheel-dir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_metagnn_is_the_only_top_level_name(wheel: Path, names: set[str]) -> None:
    assert wheel.name == f"metagnn-{metagnn.__version__}-py3-none-any.whl"
    assert {name.split("/")[0] for name in names} == {"metagnn", DIST_INFO}


def test_the_wheel_holds_every_file_of_the_checkout_and_no_other(names: set[str]) -> None:
    inside = {name for name in names if name.startswith("metagnn/") and not name.endswith("/")}
    expected = _shipped_files()
    assert {"metagnn/__init__.py", "metagnn/graphs/units.py", "metagnn/py.typed"} <= expected
    assert sorted(expected - inside) == [], "missing: is the package listed in pyproject.toml?"
    assert sorted(inside - expected) == []


def test_the_licence_and_the_command_are_in_the_metadata(wheel: Path, names: set[str]) -> None:
    assert f"{DIST_INFO}/licenses/LICENSE" in names
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{DIST_INFO}/METADATA").decode()
        commands = archive.read(f"{DIST_INFO}/entry_points.txt").decode()
    assert "metagnn = metagnn.cli:main" in commands
    for refused in ("learn2learn", "torchvision"):
        assert f"Requires-Dist: {refused}" not in metadata


def test_the_unpacked_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    unpacked, empty = tmp_path / "unpacked", tmp_path / "empty"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    empty.mkdir()
    code = (
        "import importlib.util, metagnn, metagnn.graphs.units, metagnn.tasks.power_control\n"
        "print(metagnn.__file__, metagnn.graphs.units.__file__, *metagnn.__path__, sep='\\n')\n"
        "print([importlib.util.find_spec(name) for name in ('graphs', 'models', 'tasks')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(unpacked / "metagnn" / "__init__.py"),
        str(unpacked / "metagnn" / "graphs" / "units.py"),
        str(unpacked / "metagnn"),
        "[None, None, None]",
    ]
