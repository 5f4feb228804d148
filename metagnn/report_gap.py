"""Intervals that hold the optimum, for a page: from gap.json, or of the duality study."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from metagnn.report_files import entry, is_number, read_json, read_text, refuse_unless


@dataclass(frozen=True)
class Gap:
    """What holds the optimum of one network's samples: ``primal <= P* <= dual`` [bit/s/Hz].

    Attributes:
        network: Number of the network.
        num_links: Number of links K.
        policy: Policy whose value ``primal`` is.
        primal: Its value with the smallest slack, summed over links.
        best_known: Value of the best powers known.
        dual: Certified upper bound of the optimum.
        bound: How the bound was found.
    """

    network: int
    num_links: int
    policy: str
    primal: float
    best_known: float
    dual: float
    bound: str


def read_gaps(folder: Path) -> list[Gap]:
    """Intervals of ``gap.json`` (`metagnn.gap_file.write_gaps`), else of ``duality_K.csv``.

    Raises:
        ValueError: If a file is malformed.
    """
    path = folder / "gap.json"
    if path.exists():
        document = read_json(path)
        policy = str(entry(path, "", document, "policy"))
        rows = entry(path, "", document, "networks")
        refuse_unless(isinstance(rows, list), path, "hold a list in networks", type(rows).__name__)
        return [_gap(path, row, policy, "primal") for row in rows]
    found = []
    files = [path for path in folder.glob("duality_*.csv") if path.stem[8:].isdigit()]
    for path in sorted(files, key=lambda file: int(file.stem[8:])):
        for row in csv.DictReader(io.StringIO(read_text(path))):
            values = {key: _plain(value) for key, value in row.items() if key is not None}
            found.append(_gap(path, values, "metagnn", "metagnn"))
    return found


def _plain(value: str | None) -> object:
    try:
        number = float(value or "")
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


def _gap(path: Path, row: object, policy: str, primal: str) -> Gap:
    names = ("network", "num_links", primal, "best_known", "dual")
    values = [entry(path, "networks", row, name) for name in names]
    refuse_unless(all(map(is_number, values)), path, f"hold numbers as {names}", values)
    network, num_links, *ends = values
    low, best, high = map(float, ends)
    # The study writes six digits after the point.
    ordered = low <= best + 1e-6 and best <= high + 1e-6
    refuse_unless(ordered, path, f"hold {primal} <= best_known <= dual", ends)
    bound = str(entry(path, "networks", row, "bound"))
    return Gap(int(network), int(num_links), policy, low, best, high, bound)
