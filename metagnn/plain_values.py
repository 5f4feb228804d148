"""Dataclasses as plain values, as configurations and checkpoints hold them, and back."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from metagnn.graphs.checks import require

T = TypeVar("T")


def plain(value: Any) -> Any:
    """The same with lists in place of tuples, as a file gives them back."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, tuple | list) else value


def from_plain(kind: type[T], values: Mapping[str, Any], name: str) -> T:
    """A dataclass from plain values: mappings become those it consists of, lists tuples.

    Args:
        kind: The dataclass.
        values: Its fields, or some of them; numbers may be in words, as YAML takes 1e9.
        name: What the caller calls the values.

    Raises:
        ValueError: If a key is not a field, or the dataclass refuses a value.
    """
    types = get_type_hints(kind)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for key, value in values.items():
        require(key in known, name, f"have keys among {known}", key)
        if isinstance(value, Mapping):
            found[key] = from_plain(types[key], value, f"{name}.{key}")
        elif isinstance(value, tuple | list):
            found[key] = tuple(_number(types[key], one, f"{name}.{key}") for one in value)
        else:
            found[key] = _number(types[key], value, f"{name}.{key}")
    return kind(**found)


def _number(hint: Any, value: Any, name: str) -> Any:
    """The number that a word is, where numbers are wanted."""
    if not isinstance(value, str) or hint not in (float, tuple[float, float]):
        return value
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"`{name}` must be a number, got {value!r}") from None
