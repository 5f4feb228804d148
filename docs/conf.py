"""Sphinx: prose in Markdown; pages of modules and of measured tables are written by the build."""

import re
from pathlib import Path
from typing import Any

import metagnn

ROOT = Path(__file__).parent.parent
FLOORS = ("metagnn", "graphs", "models", "tasks")

project = "metagnn"
author = "The metagnn authors"
copyright = author
version = release = metagnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build"]
default_role = "py:obj"
html_theme = "furo"
html_title = f"metagnn {release}"
myst_heading_anchors = 3
maximum_signature_line_length = 88
autosummary_generate = False
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_mock_imports = ["flwr"]  # an extra
# Two classes are named Scenario, and one module imports its own for types alone.
suppress_warnings = ["ref.python"]
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes"]
napoleon_use_ivar = True


def public_modules(root: Path) -> dict[str, list[str]]:
    """Public modules of every package of a checkout, by the package's name."""
    packages: dict[str, list[str]] = {}
    for floor in FLOORS:
        for path in sorted((root / floor).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts if floor == "metagnn" else ("metagnn", *parts))
            package, _, module = name.rpartition(".")
            if module == "__init__":
                packages.setdefault(package, [])
            elif not module.startswith("_"):
                packages.setdefault(package, []).append(name)
    return packages


def reference_pages(root: Path) -> dict[str, str]:
    """Text of every page of the reference, by its name: a table a package, then its modules."""
    packages = public_modules(root)
    pages = {}
    for package, modules in packages.items():
        below = [name for name in packages if name.rpartition(".")[0] == package]
        table = ["", ".. autosummary::", "   :toctree:", ""] if below or modules else []
        names = (name.removeprefix(f"{package}.") for name in below + modules)
        pages[package] = "\n".join([_page(package), *table, *(f"   {name}" for name in names)])
        pages |= {name: _page(name) for name in modules}
    return pages


def _page(name: str) -> str:
    return f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n"


def _write_pages(*_: Any) -> None:
    docs = Path(__file__).parent
    pages = {docs / "api" / f"{name}.rst": text for name, text in reference_pages(ROOT).items()}
    for path in (ROOT / "notebooks" / "results").glob("*.md"):
        pages[docs / "results" / path.name] = path.read_text(encoding="utf-8")
    for folder in (docs / "api", docs / "results"):
        folder.mkdir(exist_ok=True)
        for stale in set(folder.iterdir()) - set(pages):
            stale.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _link_to_pages(_: Any, name: str, content: list[str]) -> None:
    """Let links to tables, which hold in a checkout, lead to their pages."""
    content[0] = re.sub(r"\]\(\.\./notebooks/(results/\w+\.md)\)", r"](\1)", content[0])


def setup(app: Any) -> None:
    """Write pages before Sphinx looks for them."""
    app.connect("builder-inited", _write_pages)
    app.connect("source-read", _link_to_pages)
