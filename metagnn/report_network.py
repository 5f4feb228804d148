"""The networks of a page: where links are, and what each policy gives them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metagnn.report_files import entry, is_number, numbers, read_json, refuse_unless

POWERS = ("power_max_w", "noise_w")

Point = tuple[float, float]


@dataclass(frozen=True)
class PolicyOnLinks:
    """A policy on the links of one network; what is unknown is None.

    Attributes:
        rate: Ergodic rates [bit/s/Hz].
        power_w: Mean transmit powers [W].
        minimum_rate: f_min [bit/s/Hz].
        slack: Slacks [bit/s/Hz].
        multiplier: Multipliers mu.
        lagrangian: Lagrangian per link before each step of adaptation [bit/s/Hz].
    """

    rate: list[float]
    power_w: list[float] | None = None
    minimum_rate: float | None = None
    slack: list[float] | None = None
    multiplier: list[float] | None = None
    lagrangian: list[float] | None = None


@dataclass(frozen=True)
class Network:
    """The links of one network.

    Attributes:
        number: Its number in rates.csv.
        num_links: Number of links K.
        policies: What each policy does.
        layout: ``map`` where positions are known [m], ``circle`` where links are put on one,
            ``none`` where there is nothing to draw.
        transmitter: Positions of the transmitters, east and north.
        receiver: Positions of the receivers.
        direct_gain: Gains of the direct links [1].
        interferers: For each link the strongest other transmitters, each with its gain [1].
    """

    number: int
    num_links: int
    policies: dict[str, PolicyOnLinks]
    layout: str = "none"
    transmitter: list[Point] | None = None
    receiver: list[Point] | None = None
    direct_gain: list[float] | None = None
    interferers: list[list[tuple[int, float]]] | None = None


@dataclass(frozen=True)
class Networks:
    """The networks of a comparison and what they share: powers [W]."""

    networks: list[Network]
    power_max_w: float
    noise_w: float


def networks_of(path: Path, rates: Mapping[str, list[list[float]]]) -> Networks:
    """Networks of a comparison's networks.json.

    Args:
        path: The file.
        rates: Per policy and network the rates of the links [bit/s/Hz].

    Raises:
        ValueError: If the file is malformed or does not fit the rates.
    """
    document = read_json(path)
    found = entry(path, "", document, "networks")
    wanted = len(next(iter(rates.values())))
    fits = isinstance(found, list) and len(found) == wanted
    refuse_unless(fits, path, f"hold the {wanted} networks of rates.csv", _size(found))
    networks = []
    for number, values in enumerate(found):
        where = f"networks[{number}]"
        of = {name: links[number] for name, links in rates.items()}
        size = len(next(iter(of.values())))
        policies = entry(path, where, values, "policies")
        known = isinstance(policies, dict) and list(policies) == list(of)
        refuse_unless(known, path, f"hold the policies {list(of)} in {where}", _size(policies))
        networks.append(
            Network(
                number,
                size,
                {
                    name: _policy(path, f"{where}.policies.{name}", policies[name], rate)
                    for name, rate in of.items()
                },
                **_links(path, where, values, size),
            )
        )
    return Networks(networks, *(_positive(path, document, name) for name in POWERS))


def networks_without_powers(rates: Mapping[str, list[list[float]]]) -> list[Network]:
    """Networks of which only the rates are known."""
    return [
        Network(number, len(of[0]), dict(zip(rates, map(PolicyOnLinks, of), strict=True)))
        for number, of in enumerate(zip(*rates.values(), strict=True))
    ]


def adapted_network(path: Path, document: Mapping[str, Any]) -> Network:
    """Network of an adaptation's report.json, with the mean powers of power.npz.

    Raises:
        ValueError: If a file is missing or malformed.
    """
    for name in POWERS:
        _positive(path, document, name)
    rate = numbers(path, "rate", entry(path, "", document, "rate"))
    refuse_unless(bool(rate), path, "hold at least one link in rate", "none")
    power_w = _mean_powers(path.parent / "power.npz", len(rate))
    policy = _policy(path, "", {**document, "power_w": power_w}, rate, needs_dual=True)
    refined = document.get("refined", False)
    refuse_unless(isinstance(refined, bool), path, "hold true or false as refined", refined)
    links = _links(path, "links", document["links"], len(rate)) if "links" in document else {}
    return Network(0, len(rate), {"metagnn_refined" if refined else "metagnn": policy}, **links)


def _mean_powers(path: Path, num_links: int) -> list[float]:
    import numpy as np

    refuse_unless(path.exists(), path, "exist", "no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            power_w = np.asarray(archive["power_w"], dtype=np.float64)
    # A damaged archive ends in any of a dozen types; for the reader they are one.
    except Exception as error:
        raise ValueError(f"`{path}` must be an intact .npz with `power_w`, got {error}") from error
    fits = power_w.ndim == 2 and len(power_w) > 0 and power_w.shape[1] == num_links
    refuse_unless(fits, path, f"hold power_w of {num_links} links", power_w.shape)
    return [float(f"{value:.6g}") for value in power_w.mean(0)]


def _policy(
    path: Path, where: str, values: object, rate: list[float], needs_dual: bool = False
) -> PolicyOnLinks:
    size = len(rate)

    def of_links(key: str) -> list[float]:
        return numbers(path, f"{where}.{key}", entry(path, where, values, key), size)

    power_w = of_links("power_w")
    assert isinstance(values, Mapping)
    # The parts of what a learned policy knows stand together.
    duals = ("minimum_rate", "slack", "multiplier", "lagrangian_per_link")
    if not needs_dual and not any(key in values for key in duals):
        return PolicyOnLinks(rate, power_w)
    minimum_rate = entry(path, where, values, "minimum_rate")
    refuse_unless(is_number(minimum_rate), path, "hold a number as minimum_rate", minimum_rate)
    return PolicyOnLinks(
        rate,
        power_w,
        float(minimum_rate),
        of_links("slack"),
        of_links("multiplier"),
        numbers(path, f"{where}.{duals[3]}", entry(path, where, values, duals[3])),
    )


def _links(path: Path, where: str, values: object, size: int) -> dict[str, Any]:
    gain = entry(path, where, values, "direct_gain")
    interferers = entry(path, where, values, "interferers")
    ends = [entry(path, where, values, key) for key in ("transmitter_m", "receiver_m")]
    if ends == [None, None]:
        layout = "circle"
        sender, receiver = (_circle(size, radius) for radius in (1.0, 0.85))
    else:
        layout = "map"
        sender, receiver = (_points(path, where, value, size) for value in ends)
    fits = isinstance(interferers, list) and len(interferers) == size
    refuse_unless(fits, path, f"hold {size} lists in {where}.interferers", _size(interferers))
    for pairs in interferers:
        valid = isinstance(pairs, list) and all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(map(is_number, pair))
            and pair[0] in range(size)
            for pair in pairs
        )
        rule = f"hold pairs of link and gain in {where}.interferers"
        refuse_unless(valid, path, rule, repr(pairs)[:60])
    return {
        "layout": layout,
        "transmitter": sender,
        "receiver": receiver,
        "direct_gain": numbers(path, f"{where}.direct_gain", gain, size),
        "interferers": [[(int(link), float(value)) for link, value in p] for p in interferers],
    }


def _points(path: Path, where: str, value: object, size: int) -> list[Point]:
    fits = isinstance(value, list) and len(value) == size
    refuse_unless(fits, path, f"hold {size} positions in {where}", _size(value))
    assert isinstance(value, list)
    pairs = [numbers(path, f"{where} as a position", each, 2) for each in value]
    return [(round(east, 2), round(north, 2)) for east, north in pairs]


def _circle(size: int, radius: float) -> list[Point]:
    angles = [2.0 * math.pi * (0.25 - link / size) for link in range(size)]
    return [(round(radius * math.cos(a), 4), round(radius * math.sin(a), 4)) for a in angles]


def _positive(path: Path, document: Mapping[str, Any], name: str) -> float:
    value = entry(path, "", document, name)
    refuse_unless(is_number(value) and value > 0, path, f"hold a number > 0 as {name}", value)
    return float(value)


def _size(value: object) -> str:
    if isinstance(value, dict):
        return f"{list(value)}"
    return f"{len(value)}" if isinstance(value, list) else type(value).__name__
