"""Reading the files of a run: each error names the file, the rule and what is there."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

RATES_HEADER = ["policy", "network", "link", "rate_bit_s_hz"]


def refuse_unless(condition: bool, path: Path, rule: str, found: object) -> None:
    """Raise ``ValueError`` saying that a file must obey ``rule``, unless ``condition`` holds."""
    if not condition:
        raise ValueError(f"`{path}` must {rule}, got {found}")


def read_text(path: Path) -> str:
    """Text of a file.

    Raises:
        ValueError: If it is missing, empty or no UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"`{path}` must exist, got no such file") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"`{path}` must be text in UTF-8, got {error}") from error
    refuse_unless(bool(text.strip()), path, "not be empty", "an empty file")
    return text


def read_json(path: Path) -> dict[str, Any]:
    """Object in a JSON file.

    Raises:
        ValueError: If the file is missing, empty, cut off, holds NaN, or no object.
    """

    def no_number(word: str) -> float:
        raise ValueError(f"the number {word}")

    text = read_text(path)
    try:
        value = json.loads(text, parse_constant=no_number)
    except RecursionError:
        raise ValueError(f"`{path}` must be whole JSON, got too deep a nesting") from None
    except ValueError as error:
        raise ValueError(f"`{path}` must be whole JSON, got {error}") from error
    refuse_unless(isinstance(value, dict), path, "hold a JSON object", type(value).__name__)
    found: dict[str, Any] = value
    return found


def read_yaml(path: Path) -> tuple[str, dict[str, Any]]:
    """Text of a YAML file and what it holds.

    Raises:
        ValueError: If the file is missing, empty, or holds no mapping.
    """
    text = read_text(path)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"`{path}` must be whole YAML, got {error}") from error
    refuse_unless(isinstance(value, dict), path, "hold a YAML mapping", type(value).__name__)
    return text, value


def read_metrics(path: Path) -> dict[str, list[float | None]]:
    """Columns of a logger's metrics.csv, None where a row does not have the metric.

    Raises:
        ValueError: If the file is missing or empty, has no rows, a row has not as many fields as
            the header, a name stands twice, or a field is neither blank nor a number.
    """
    header, rows = _table(path)
    columns: dict[str, list[float | None]] = {name: [] for name in header}
    refuse_unless(len(columns) == len(header), path, "name each column once", header)
    for number, row in enumerate(rows, start=2):
        for name, field in zip(header, row, strict=True):
            columns[name].append(None if field == "" else _number(path, number, name, field))
    return columns


def read_rates(path: Path) -> dict[str, list[list[float]]]:
    """Rates of rates.csv: per policy a list of networks, each a list of links [bit/s/Hz].

    Raises:
        ValueError: If a column is missing, a rate is no number >= 0, networks or links are not
            numbered in order, or policies differ in them.
    """
    header, rows = _table(path)
    refuse_unless(header == RATES_HEADER, path, f"have the columns {RATES_HEADER}", header)
    rates: dict[str, list[list[float]]] = {}
    for number, (policy, network, link, field) in enumerate(rows, start=2):
        value = _number(path, number, header[3], field)
        is_rate = math.isfinite(value) and value >= 0
        refuse_unless(is_rate, path, "hold finite rates >= 0", f"{field!r} in line {number}")
        networks = rates.setdefault(policy, [])
        if network == str(len(networks)):
            networks.append([])
        in_order = network == str(len(networks) - 1) and link == str(len(networks[-1]))
        found = f"network {network!r}, link {link!r} in line {number}"
        refuse_unless(in_order, path, "number networks and links from 0 in order", found)
        networks[-1].append(value)
    sizes = {policy: [len(links) for links in networks] for policy, networks in rates.items()}
    alike = len({tuple(each) for each in sizes.values()}) == 1
    refuse_unless(alike, path, "hold the same links for each policy", sizes)
    return rates


def numbers(path: Path, where: str, value: object, length: int | None = None) -> list[float]:
    """A list of finite numbers in a JSON file.

    Raises:
        ValueError: If it is none, or has another length.
    """
    rule = f"hold finite numbers in {where}"
    refuse_unless(isinstance(value, list), path, rule, _short(value))
    assert isinstance(value, list)
    bad = [each for each in value if not is_number(each)]
    refuse_unless(not bad, path, rule, _short(bad[:1]))
    fits = length is None or len(value) == length
    refuse_unless(fits, path, f"hold {length} numbers in {where}", len(value))
    return [float(each) for each in value]


def is_number(value: object) -> bool:
    """Whether a value of JSON is a finite number, and one that a float holds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def entry(path: Path, where: str, holder: object, key: str) -> Any:
    """What stands under a key of an object in a JSON file.

    Raises:
        ValueError: If ``holder`` is no object or lacks the key.
    """
    refuse_unless(isinstance(holder, Mapping), path, f"hold an object in {where}", _short(holder))
    assert isinstance(holder, Mapping)
    place = f"{where}.{key}" if where else key
    refuse_unless(key in holder, path, f"hold `{place}`", f"only {sorted(holder)}")
    return holder[key]


def _table(path: Path) -> tuple[list[str], Sequence[list[str]]]:
    try:
        header, *rows = list(csv.reader(io.StringIO(read_text(path)), strict=True))
    except csv.Error as error:
        raise ValueError(f"`{path}` must be CSV, got {error}") from error
    refuse_unless(bool(rows), path, "have rows below its header", "none")
    for number, row in enumerate(rows, start=2):
        rule = f"have {len(header)} fields in each row, as in its header"
        refuse_unless(len(row) == len(header), path, rule, f"{len(row)} in line {number}")
    return header, rows


def _number(path: Path, line: int, column: str, field: str) -> float:
    try:
        return float(field)
    except ValueError:
        rule = "hold numbers"
        raise ValueError(
            f"`{path}` must {rule}, got {_short(field)} in line {line}, column {column}"
        ) from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
