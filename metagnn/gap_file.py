"""gap.json: intervals that hold the optimum of networks, beside a comparison of the same."""

from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from types import MappingProxyType

from metagnn.duality import Interval
from metagnn.ergodic_interval import ErgodicInterval
from metagnn.files import write_json
from metagnn.graphs.checks import require

# Values of policies by name, of each by the number of the network.
Values = Mapping[str, Mapping[int, float]]
# Intervals of distributions by the number of the network.
Ergodic = Mapping[int, ErgodicInterval]


def gap_rows(
    intervals: Mapping[int, Interval],
    values: Values = MappingProxyType({}),
    ergodic: Ergodic = MappingProxyType({}),
) -> list[dict[str, object]]:
    """Intervals as plain values, by the numbers of their networks (see `write_gaps`)."""
    for name, of in values.items():
        wrong = [number for number in sorted(intervals) if not isfinite(of.get(number, nan))]
        require(not wrong, f"values[{name!r}]", "have a finite value of each network", wrong)
    return [
        {
            "network": number,
            "num_links": len(interval.rate),
            "primal": interval.primal,
            "best_known": interval.best_known,
            "dual": interval.dual,
            "undecided": interval.undecided,
            "bound": interval.name,
            "minimum_rate": interval.minimum_rate.tolist(),
            "mu": interval.mu.tolist(),
            "distribution": _distribution(ergodic.get(number)),
            "values": {name: of[number] for name, of in values.items()},
        }
        for number, interval in sorted(intervals.items())
    ]


def _distribution(ergodic: ErgodicInterval | None) -> dict[str, float] | None:
    if ergodic is None:
        return None
    return {"low": ergodic.low, "high": ergodic.high, "confidence": ergodic.confidence}


def write_gaps(
    folder: str | Path,
    intervals: Mapping[int, Interval],
    policy: str,
    values: Values = MappingProxyType({}),
    ergodic: Ergodic = MappingProxyType({}),
) -> None:
    """Write gap.json, which `metagnn report` shows, into the folder of a comparison.

    The file holds ``policy`` and ``networks``, a list of objects with the number of the
    ``network`` in the comparison, ``num_links``, ``primal``, ``best_known`` and ``dual``, sums over
    the links [bit/s/Hz], by how much the search may have left the last too high (``undecided``),
    the ``bound`` behind it, each link's ``minimum_rate`` [bit/s/Hz] and multiplier ``mu`` at which
    it holds, ``low``, ``high`` and ``confidence`` of the interval of the ``distribution`` or null,
    and ``values`` of policies.

    Args:
        folder: Folder of the comparison or the adaptation (whose network is number 0).
        intervals: Interval of each network (`duality_interval`, `adapted_interval`) by its number.
        policy: Name of the policy whose value ``primal`` is.
        values: Where policies stand (`metagnn.duality.primal_value`), each on each network.
        ergodic: Interval of each network's distribution (`ergodic_interval`), where it is known.

    Raises:
        ValueError: If the folder is missing or cannot be written, or a policy has no finite value
            of a network.
    """
    document = {"policy": policy, "networks": gap_rows(intervals, values, ergodic)}
    write_json(Path(folder) / "gap.json", document)
