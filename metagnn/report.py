"""What a page about a run shows, collected from the files in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metagnn.report_curves import Curve, curves_of
from metagnn.report_files import (
    entry,
    is_number,
    read_json,
    read_metrics,
    read_rates,
    read_yaml,
    refuse_unless,
)
from metagnn.report_gap import Gap, read_gaps
from metagnn.report_network import (
    POWERS,
    Network,
    adapted_network,
    networks_of,
    networks_without_powers,
)

# Links of all networks together that a page draws.
MAX_LINKS = 5000
METRICS = ("mean_rate", "min_rate", "p5_rate", "jain", "satisfied")

Interval = tuple[float, float | None, float | None]


@dataclass(frozen=True)
class Report:
    """What a page shows; what a folder does not hold is empty.

    Attributes:
        title: What it is a page of.
        facts: What was run: names and values.
        config: Text of the configuration.
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        metrics: Per policy and metric the value and its 95 % interval over networks.
        rates: Per policy the rates of all links of all networks [bit/s/Hz].
        networks: The networks to draw.
        curves: How training went.
        gaps: Intervals that hold the optimum.
        notes: What a reader should know.
    """

    title: str
    facts: list[tuple[str, str]]
    config: str | None = None
    power_max_w: float | None = None
    noise_w: float | None = None
    metrics: dict[str, dict[str, Interval]] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    networks: list[Network] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(folder: str | Path) -> Report:
    """What the folder of a comparison, an adaptation or a training run holds.

    Args:
        folder: What ``metagnn compare --out`` or ``adapt --out`` wrote, or the folder with
            metrics.csv and config.yaml that ``metagnn fit`` logged to.

    Raises:
        ValueError: If the folder is none of these, or a file is missing, cut off or malformed.
    """
    folder = Path(folder)
    refuse_unless(folder.is_dir(), folder, "be a folder", "none of that name")
    names = {path.name for path in folder.iterdir()}
    if "comparison.json" in names:
        return _comparison(folder)
    if "report.json" in names:
        return _adaptation(folder)
    if names & {"config.yaml", "metrics.csv", "checkpoints"}:
        return _training(folder)
    rule = (
        "be a folder of `metagnn compare` (comparison.json, rates.csv), `metagnn adapt` "
        "(report.json) or `metagnn fit` (metrics.csv, config.yaml)"
    )
    below = [*folder.glob("*/metrics.csv"), *folder.glob("*/*/metrics.csv")]
    runs = sorted(path.parent for path in below)[:3]
    hint = f"; runs inside: {', '.join(map(str, runs))}" if runs else ""
    refuse_unless(False, folder, rule, f"one with {sorted(names)[:8] or 'nothing'}{hint}")
    raise AssertionError


def _comparison(folder: Path) -> Report:
    path = folder / "comparison.json"
    document = read_json(path)
    if isinstance(document, dict) and "num_seeds" in document:
        rule = "be of a comparison of power control, which alone has a page"
        refuse_unless(False, path, rule, "one of trained agents")
    policies = entry(path, "", document, "policies")
    are_there = isinstance(policies, dict) and bool(policies)
    refuse_unless(are_there, path, "hold an object of policies", repr(policies)[:60])
    metrics = {name: _metrics(path, name, values) for name, values in policies.items()}
    rates = read_rates(folder / "rates.csv")
    same = list(rates) == list(metrics)
    rule = f"hold the policies of comparison.json, {list(metrics)}"
    refuse_unless(same, folder / "rates.csv", rule, list(rates))
    notes, power_max_w, noise_w = [], None, None
    if (folder / "networks.json").exists():
        found = networks_of(folder / "networks.json", rates)
        networks, power_max_w, noise_w = found.networks, found.power_max_w, found.noise_w
    else:
        networks = networks_without_powers(rates)
        notes.append("No networks.json here, so no map: run `metagnn compare` again for it.")
    shown = _fitting(networks)
    if len(shown) < len(networks):
        notes.append(
            f"{len(shown)} of {len(networks)} networks are drawn: the page draws {MAX_LINKS} links "
            "at most. Table and distribution count all of them."
        )
    gaps = _gaps(folder, networks)
    if "neglected_inr" in document:
        notes.append("Gains are on neighbour lists: all other links are heard as noise.")
    return Report(
        "Comparison of power control",
        _facts(
            document,
            ("config", "configuration"),
            ("gain", "gains"),
            ("adapt_to", "adapted to"),
            ("checkpoint", "meta-parameters"),
            ("steps", "steps of adaptation"),
            ("seed", "seed"),
            ("alpha", "weight of the slack, alpha"),
            ("minimum_rate_threshold", "threshold of minimum rates [bit/s/Hz]"),
            ("boxes", "boxes of a sample for the bound of more than 4 links, at most"),
        )
        + _sizes([len(links) for links in next(iter(rates.values()))])
        + _powers(power_max_w, noise_w)
        + _versions(document),
        power_max_w=power_max_w,
        noise_w=noise_w,
        metrics=metrics,
        rates={name: [rate for links in found for rate in links] for name, found in rates.items()},
        networks=shown,
        gaps=gaps,
        notes=notes,
    )


def _adaptation(folder: Path) -> Report:
    path = folder / "report.json"
    document = read_json(path)
    network = adapted_network(path, document)
    ((name, policy),) = network.policies.items()
    values = {key: entry(path, "", document, key) for key in METRICS[:4]}
    refuse_unless(all(map(is_number, values.values())), path, "hold numbers as metrics", values)
    power_max_w, noise_w = (float(entry(path, "", document, key)) for key in POWERS)
    return Report(
        "Adaptation to a network",
        _facts(
            document,
            ("gain", "adapted to"),
            ("test", "powers for"),
            ("checkpoint", "meta-parameters"),
            ("steps", "steps of adaptation"),
            ("refined", "refined by local search"),
            ("seed", "seed"),
            ("num_links", "links"),
            ("num_adaptation_samples", "samples adapted to"),
            ("num_test_samples", "samples decided on"),
        )
        + _powers(power_max_w, noise_w)
        + _versions(document),
        power_max_w=power_max_w,
        noise_w=noise_w,
        metrics={name: {key: (float(value), None, None) for key, value in values.items()}},
        rates={name: policy.rate},
        networks=_fitting([network]),
        gaps=_gaps(folder, [network]),
    )


def _training(folder: Path) -> Report:
    columns = read_metrics(folder / "metrics.csv")
    text, config = read_yaml(folder / "config.yaml")
    versions = folder / "versions.json"
    model = config.get("model")
    trainer = config.get("trainer")
    facts = {
        "model": model.get("class_path") if isinstance(model, dict) else None,
        "seed": config.get("seed_everything"),
        "epochs": trainer.get("max_epochs") if isinstance(trainer, dict) else None,
        "checkpoints": len(list(folder.glob("checkpoints/*.ckpt"))),
    }
    notes = [] if versions.exists() else ["The run did not record its versions."]
    return Report(
        f"Training run {folder.resolve().parent.name}/{folder.resolve().name}",
        _facts(facts, *((name, name) for name in facts))
        + (_versions({"versions": read_json(versions)}) if versions.exists() else []),
        config=text,
        curves=curves_of(folder / "metrics.csv", columns),
        gaps=read_gaps(folder),
        notes=notes,
    )


def _metrics(path: Path, policy: str, values: object) -> dict[str, Interval]:
    found: dict[str, Interval] = {}
    where = f"policies.{policy}"
    for name in METRICS:
        if name == "satisfied" and isinstance(values, Mapping) and name not in values:
            continue  # only where MetaGNN gives targets
        value = entry(path, where, values, name)
        ends = entry(path, where, values, f"{name}_ci95")
        low, high = ends if isinstance(ends, list) and len(ends) == 2 else (None, None)
        valid = is_number(value) and (ends is None or (is_number(low) and is_number(high)))
        rule = f"hold a number and an interval in {where}.{name}"
        refuse_unless(valid, path, rule, f"{value!r} and {ends!r}")
        found[name] = (value, low, high)
    return found


def _gaps(folder: Path, networks: Sequence[Network]) -> list[Gap]:
    """Intervals that hold the optimum of the networks, which must be theirs."""
    gaps = read_gaps(folder)
    sizes = {network.number: network.num_links for network in networks}
    others = [gap.network for gap in gaps if sizes.get(gap.network) != gap.num_links]
    rule = "hold networks of this page, with their numbers of links"
    refuse_unless(not others, folder / "gap.json", rule, f"others at {others[:5]}")
    return gaps


def _fitting(networks: list[Network]) -> list[Network]:
    total, kept = 0, []
    for network in networks:
        total += network.num_links
        if total > MAX_LINKS:
            break
        kept.append(network)
    return kept


def _facts(document: Mapping[str, Any], *names: tuple[str, str]) -> list[tuple[str, str]]:
    return [(text, str(document[key])) for key, text in names if document.get(key) is not None]


def _sizes(num_links: list[int]) -> list[tuple[str, str]]:
    few, many = min(num_links), max(num_links)
    each = f"{few}" if few == many else f"{few} to {many}"
    return [("networks", f"{len(num_links)} of {each} links")]


def _powers(power_max_w: float | None, noise_w: float | None) -> list[tuple[str, str]]:
    if power_max_w is None or noise_w is None:
        return []
    return [("largest power", f"{power_max_w:g} W"), ("noise power", f"{noise_w:.3g} W")]


def _versions(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = document.get("versions")
    if not isinstance(found, Mapping):
        return []
    return [("versions", ", ".join(f"{name} {version}" for name, version in found.items()))]
