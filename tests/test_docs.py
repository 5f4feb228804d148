"""Documentation: every module is in the reference, and what prose points at is there."""

import argparse
import importlib.util
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import jupytext
import pytest

from metagnn.cli import main
from metagnn.commands import training
from metagnn.configs import packaged_names

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
PROSE = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES]
CONF = runpy.run_path(str(ROOT / "docs" / "conf.py"))
NOTEBOOKS = [path.with_suffix(".py") for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)#?[^)]*\)")


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_every_packaged_module_has_a_page_and_a_place_in_a_table() -> None:
    tool = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["setuptools"]
    pages = CONF["reference_pages"](ROOT)
    expected = set(tool["packages"])
    for package in tool["packages"]:
        folder = package.replace(".", "/")
        for name, source in tool["package-dir"].items():
            if package == name or package.startswith(f"{name}."):
                folder = package.replace(name, source, 1).replace(".", "/")
        modules = {path.stem for path in (ROOT / folder).glob("[!_]*.py")}
        listed = pages[package].split()
        assert {m for m in modules if m not in listed} == set(), package
        expected |= {f"{package}.{module}" for module in modules}
    assert expected == set(pages)
    assert len(pages) > 100
    assert all(f".. automodule:: {name}\n" in page for name, page in pages.items())
    assert [name for name in pages if importlib.util.find_spec(name) is None] == []


def test_new_modules_and_packages_are_found_and_private_ones_are_not(tmp_path: Path) -> None:
    for name in ("metagnn/__init__", "metagnn/a", "metagnn/_b", "tasks/__init__", "tasks/c/d"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "tasks/c/__init__.py").touch()
    assert CONF["public_modules"](tmp_path) == {
        "metagnn": ["metagnn.a"],
        "metagnn.tasks": [],
        "metagnn.tasks.c": ["metagnn.tasks.c.d"],
    }
    assert CONF["reference_pages"](tmp_path)["metagnn"].split()[-2:] == ["tasks", "a"]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_what_prose_points_at_is_there(path: Path) -> None:
    said = text(path)
    targets = [target for target in LINK.findall(said) if target]
    assert [t for t in targets if not (path.parent / t).exists()] == []
    configs = re.findall(r"--config[ =]([a-z_]+)", said)
    assert sorted(set(configs) - set(packaged_names())) == []
    scripts = re.findall(r"(?:python |^)(notebooks/[\w/]+\.(?:py|sh))", said, re.MULTILINE)
    assert [s for s in scripts if not (ROOT / s).exists()] == []


class Understood(Exception):
    """Raised in place of the work of a command."""


def shell_commands(said: str) -> Iterator[list[str]]:
    """Words of each command in fenced shell blocks; what is in brackets is given."""
    for block in SHELL.findall(said):
        lines = re.sub(r"\[(--[^]]*)\]", r"\1", block.replace("\\\n", " "))
        for line in lines.replace("$seed", "1").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            for ends, command in groupby(words, lambda word: word == "do" or word[0] in "();<>|&"):
                if not ends:
                    yield list(command)


def test_shell_commands_are_taken_apart() -> None:
    said = "```sh\na b \\\n  --c [--d]   # e\n\nfor seed in 1 2; do f $seed\ndone\ng && h &\n```\n"
    found = list(shell_commands(f"x\n{said}```python\ny\n```\n{said}"))
    first = [["a", "b", "--c", "--d"], ["for", "seed", "in", "1", "2"], ["f", "1"], ["done"]]
    assert found == 2 * [*first, ["g"], ["h"]]


@pytest.mark.parametrize("path", [*PROSE, *NOTEBOOKS], ids=lambda path: path.name)
def test_commands_in_a_shell_are_understood(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(*arguments: Any) -> NoReturn:
        parse(*arguments)
        raise Understood

    def stop(_: training.LightningCLI) -> NoReturn:
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(training.LightningCLI, "before_instantiate_classes", stop)
    said = text(path)
    if path in NOTEBOOKS:
        cells = jupytext.read(path).cells
        said = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for command in shell_commands(said):
        assert not command[0].startswith("-"), command
        if "metagnn" in command:
            with pytest.raises(Understood):
                main(command[command.index("metagnn") + 1 :])


def test_the_readme_and_the_first_page_lead_to_every_page() -> None:
    readme, index = text(ROOT / "README.md"), text(ROOT / "docs" / "index.md")
    pages = [page for page in PAGES if page.name != "index.md"]
    assert len(pages) >= 7
    assert [page.name for page in pages if f"(docs/{page.name}" not in readme] == []
    assert [page.stem for page in pages if f"\n{page.stem}\n" not in index] == []
