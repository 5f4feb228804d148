"""Guard of configurations: no class outside metagnn and lightning is ever imported for one."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from metagnn.configs import config_path
from metagnn.graphs.checks import require

_ALLOWED = ("metagnn.", "lightning.pytorch.")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_OPTIONS = ("--config", "-c")
# Settings whose value is a file that holds no settings.
_FILES = ("start_from", "ckpt_path")


def checked_words(words: Sequence[str]) -> list[str]:
    """Words of a training command with packaged configurations resolved, and all of it checked.

    jsonargparse imports whatever class a setting names, and reads settings out of strings and
    further files; so dotted names must lie in the allowed packages, and settings must stand in
    the configuration itself.

    Raises:
        ValueError: If a configuration is unknown, no YAML, or breaks one of these rules.
    """
    resolved = []
    key = ""
    for word in words:
        name, equals, value = word.partition("=")
        if name in _OPTIONS and equals:
            word = f"{name}={_checked_file(value)}"
        elif key in _OPTIONS and not word.startswith("-"):
            word = str(_checked_file(word))
        elif name.startswith("--"):
            if equals:
                _check_setting(_parsed(value), Path(), name.rpartition(".")[2].lstrip("-"))
        else:
            _check_setting(_parsed(word), Path(), key.rpartition(".")[2].lstrip("-"))
        key = "" if equals else name
        resolved.append(word)
    return resolved


def model_class(words: Sequence[str]) -> str:
    """Dotted name of the class that checked words choose as the model, or nothing."""
    chosen = ""
    for option, value in _options(words):
        content: Any = value
        if option in _OPTIONS:
            content = _parsed(Path(value).read_text(encoding="utf-8"))
            content = content.get("model") if isinstance(content, dict) else None
        elif option not in ("--model", "--model.class_path"):
            continue
        content = content.get("class_path") if isinstance(content, dict) else content
        chosen = content if isinstance(content, str) else chosen
    return chosen


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """Options with their values, given as one word or as two."""
    pairs = [tuple(word.split("=", 1)) for word in words if "=" in word]
    return [(a, b) for a, b in pairs] + list(pairwise(words))


def _checked_file(name_or_path: str) -> Path:
    path = config_path(name_or_path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"`config` must be a YAML file, got {str(path)!r}: {error}") from error
    _check_setting(content, path.parent, "")
    return path


def _check_setting(content: Any, folder: Path, key: str) -> None:
    if isinstance(content, dict):
        for name, value in content.items():
            _check_setting(value, folder, str(name))
    elif isinstance(content, list):
        for item in content:
            _check_setting(item, folder, key)
    elif isinstance(content, str):
        if _DOTTED.fullmatch(content) and key not in _FILES:
            rule = f"name classes that begin with one of {list(_ALLOWED)}"
            require(content.startswith(_ALLOWED), "config", rule, content)
            return
        nested = isinstance(_parsed(content), dict | list)
        if key not in _FILES:
            nested = nested or any((place / content).is_file() for place in (Path(), folder))
        rule = f"hold its settings itself, not in a string or another file (`{key}`)"
        require(not nested, "config", rule, content)


def _parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
