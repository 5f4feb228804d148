"""``metagnn compare`` for spectrum allocation: agents after some episodes, and baselines."""

import argparse
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from metagnn.commands.options import interval_cell, output_folder, text_table, to_json

if TYPE_CHECKING:
    from metagnn.spectrum_place import SpectrumPlace
    from metagnn.tasks.power_control.metrics import Estimate

_KEYS = ("task", "num_networks", "points", "finetuning", "scratch", "baselines")
# Titles of the metrics and their digits.
COLUMNS = {
    "throughput_mbit_s": ("throughput [Mbit/s]", 2),
    "sinr_violation": ("SINR violations", 3),
    "failed": ("failed", 3),
    "starved": ("starved", 3),
    "latency_violation": ("latency violations", 3),
    "jain": ("Jain", 3),
    "dropped": ("dropped", 3),
    "reward": ("reward", 3),
}


def compare(
    arguments: argparse.Namespace, settings: Mapping[str, Any], model: Mapping[str, Any]
) -> None:
    """Adapt every run found under ``--runs`` to unseen scenarios, and print a table per point.

    Args:
        arguments: Options of ``metagnn compare``.
        settings: Section ``compare`` of the configuration.
        model: Section ``model`` of the configuration, whose scenarios are those.

    Raises:
        ValueError: If an option or a setting breaks its rule.
    """
    from metagnn.commands.agent_options import put_out, refuse_for_agents, runs_folder
    from metagnn.graphs.checks import check_count, require
    from metagnn.spectrum_adaptation import Finetuning
    from metagnn.spectrum_comparison import (
        compare_spectrum,
        find_spectrum,
        improvements,
        spectrum_metrics,
        while_adapting,
    )

    refuse_for_agents(arguments, "--num-links")
    require(set(settings) == set(_KEYS), "compare", f"have the keys {list(_KEYS)}", list(settings))
    check_count("compare.num_networks", settings["num_networks"])
    known = [field.name for field in fields(Finetuning)]
    for name in ("finetuning", "scratch"):
        fits = isinstance(settings[name], Mapping) and set(settings[name]) == set(known)
        require(fits, f"compare.{name}", f"have the keys {known}", settings[name])
    out = None if arguments.out is None else output_folder(arguments.out)
    place = _place(model, arguments.network)
    wanted = settings["num_networks"] if arguments.networks is None else arguments.networks
    check_count("networks", wanted)
    folder = runs_folder(arguments)
    trained = [] if folder is None else find_spectrum(folder, place)
    # Baselines learn nothing: alone, they are scored once.
    points = settings["points"] if trained else [0]
    baselines = settings["baselines"]
    steps = (Finetuning(**settings["finetuning"]), Finetuning(**settings["scratch"]))
    scores = compare_spectrum(
        trained,
        place,
        wanted,
        points,
        arguments.seed,
        *steps,
        baselines,
        progress=not arguments.json,
    )
    metrics = {point: spectrum_metrics(scores, point) for point in points}
    better = {point: improvements(scores, point) for point in points}
    learning = while_adapting(scores)
    left_out = [name for name in baselines if name not in scores]
    document = {
        "network": place.family.network,
        "num_networks": wanted,
        "num_steps": place.num_steps,
        "left_out": left_out,
        "seed": arguments.seed,
        "interval": "over seeds (of the inter-quartile mean), over scenarios where num_seeds is 1",
        "num_seeds": {name: len(of_seeds) for name, of_seeds in scores.items()},
        "after_episodes": {str(point): to_json(of) for point, of in metrics.items()},
        "while_adapting": learning,
        "probability_of_improvement": {
            str(point): to_json({f"{a} > {b}": {"probability": p} for (a, b), p in of.items()})
            for point, of in better.items()
        },
    }
    if put_out(document, arguments, out):
        return
    print(f"{place.family.network}: {wanted} unseen scenarios, episodes of {place.num_steps} slots")
    for point, of in metrics.items():
        print(f"\nafter {point} episodes")
        print(_table(of))
        for (first, second), chance in better[point].items():
            print(f"P({first} > {second}) in throughput: {interval_cell(chance, 2)}")
    for name, episodes in learning.items():
        shown = ("sinr_violation", "latency_violation")
        mean = {c: sum(one[c] for one in episodes) / len(episodes) for c in shown if episodes}
        words = [f"{COLUMNS[c][0]} {value:.3f}" for c, value in mean.items()]
        if words:
            print(f"{name}, mean of its {len(episodes)} episodes of adaptation: {', '.join(words)}")
    for name in left_out:
        print(f"{name} is left out: too many combinations of levels")
    print(
        "\nBrackets: 95 % bootstrap interval, over seeds (inter-quartile mean) or else scenarios."
    )


def _place(model: Mapping[str, Any], network: str | None) -> "SpectrumPlace":
    """Scenarios of the configuration, or trees of ``--network nycmesh``."""
    from metagnn.graphs.checks import require
    from metagnn.plain_values import from_plain
    from metagnn.spectrum_place import SpectrumPlace

    place = from_plain(SpectrumPlace, model.get("init_args", {}).get("place", {}), "place")
    if network is None:
        return place
    require(network == "nycmesh", "--network", "be nycmesh", network)
    return replace(place, family=replace(place.family, network="nycmesh"))


def _table(metrics: Mapping[str, Mapping[str, "Estimate"]]) -> str:
    order = sorted(metrics, key=lambda name: -metrics[name]["throughput_mbit_s"].value)
    rows = [["policy", *(title for title, _ in COLUMNS.values())]]
    for name in order:
        cells = [
            interval_cell(metrics[name][column], digits) for column, (_, digits) in COLUMNS.items()
        ]
        rows.append([name, *cells])
    return text_table(rows)
