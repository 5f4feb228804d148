"""Intervals that hold the optimum, for a page: from gap.json."""

from dataclasses import dataclass, field
from pathlib import Path

from metagnn.report_files import entry, is_number, read_json, refuse_unless

_DISTRIBUTION = ("low", "high", "confidence")


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
        undecided: By how much the search can have left it too high; None if not said.
        distribution: Both ends of the interval of the distribution, and its confidence; or None.
        values: Where policies stand; empty where that is not said.
    """

    network: int
    num_links: int
    policy: str
    primal: float
    best_known: float
    dual: float
    bound: str
    undecided: float | None = None
    distribution: tuple[float, float, float] | None = None
    values: dict[str, float] = field(default_factory=dict)


def read_gaps(folder: Path) -> list[Gap]:
    """Intervals of ``gap.json`` (`metagnn.gap_file.write_gaps`), none if it is not there.

    Raises:
        ValueError: If the file is malformed.
    """
    path = folder / "gap.json"
    if not path.exists():
        return []
    document = read_json(path)
    policy = str(entry(path, "", document, "policy"))
    rows = entry(path, "", document, "networks")
    refuse_unless(isinstance(rows, list), path, "hold a list in networks", type(rows).__name__)
    gaps = [_gap(path, row, policy) for row in rows]
    known = {gap.network for gap in gaps}
    refuse_unless(len(known) == len(gaps), path, "hold each network once", sorted(known))
    return gaps


def _gap(path: Path, row: object, policy: str) -> Gap:
    names = ("network", "num_links", "primal", "best_known", "dual")
    values = [entry(path, "networks", row, name) for name in names]
    refuse_unless(all(map(is_number, values)), path, f"hold numbers as {names}", values)
    network, num_links, *ends = values
    whole = all(float(each).is_integer() for each in (network, num_links))
    refuse_unless(whole, path, "hold whole numbers as network and num_links", values[:2])
    low, best, high = map(float, ends)
    ordered = low <= best <= high + 1e-9 * abs(high)
    refuse_unless(ordered, path, "hold primal <= best_known <= dual", ends)
    bound = str(entry(path, "networks", row, "bound"))
    assert isinstance(row, dict)  # `entry` saw to it
    undecided, spread = row.get("undecided"), row.get("distribution")
    known = undecided is None or (is_number(undecided) and undecided >= 0.0)
    refuse_unless(known, path, "hold a number >= 0 in networks.undecided", undecided)
    distribution = None
    if spread is not None:
        ends = [entry(path, "networks.distribution", spread, name) for name in _DISTRIBUTION]
        fits = all(map(is_number, ends)) and ends[0] <= ends[1] and 0.0 < ends[2] < 1.0
        refuse_unless(fits, path, f"hold numbers as {_DISTRIBUTION}, in order", ends)
        distribution = (float(ends[0]), float(ends[1]), float(ends[2]))
    stand = row.get("values", {})
    known = isinstance(stand, dict) and all(map(is_number, stand.values()))
    refuse_unless(known, path, "hold numbers by policy in networks.values", stand)
    above = [name for name, value in stand.items() if value > high + 1e-5 * abs(high)]
    refuse_unless(not above, path, "hold no value above dual in networks.values", above)
    return Gap(
        int(network),
        int(num_links),
        policy,
        low,
        best,
        high,
        bound,
        undecided,
        distribution,
        stand,
    )
