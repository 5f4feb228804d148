"""gap.json: intervals that hold the optimum of networks, beside a comparison of the same."""

from collections.abc import Mapping
from pathlib import Path

from metagnn.duality import Interval
from metagnn.files import write_json


def gap_rows(intervals: Mapping[int, Interval]) -> list[dict[str, object]]:
    """Intervals as plain values, by the numbers of their networks."""
    return [
        {
            "network": number,
            "num_links": len(interval.rate),
            "primal": interval.primal,
            "best_known": interval.best_known,
            "dual": interval.dual,
            "bound": interval.name,
        }
        for number, interval in sorted(intervals.items())
    ]


def write_gaps(folder: str | Path, intervals: Mapping[int, Interval], policy: str) -> None:
    """Write gap.json, which `metagnn report` shows, into the folder of a comparison.

    The file holds ``policy`` and ``networks``, a list of objects with the number of the
    ``network`` in the comparison, ``num_links``, ``primal``, ``best_known`` and ``dual``, sums over
    the links [bit/s/Hz], and the ``bound`` behind the last of them.

    Args:
        folder: Folder of the comparison.
        intervals: Interval of each network (`duality_interval`, `adapted_interval`) by its number.
        policy: Name of the policy whose value ``primal`` is.

    Raises:
        ValueError: If the folder is missing or cannot be written.
    """
    document = {"policy": policy, "networks": gap_rows(intervals)}
    write_json(Path(folder) / "gap.json", document)
