"""``metagnn compare`` for offloading: trained algorithms, baselines and the relaxation."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metagnn.commands.options import (
    interval_cell,
    output_folder,
    text_table,
    to_json,
)

if TYPE_CHECKING:
    from metagnn.offloading_place import Place
    from metagnn.tasks.power_control.metrics import Estimate

_KEYS = ("task", "num_networks", "num_copies", "num_steps")
# Titles of the metrics, their digits and factors.
COLUMNS = {
    "met": ("deadlines met", 4, 1.0),
    "met_of_allowed": ("of those possible", 4, 1.0),
    "energy_j": ("energy [mJ]", 2, 1e3),
    "local_j": ("local", 2, 1e3),
    "transmission_j": ("transmission", 2, 1e3),
    "edge_j": ("edge", 2, 1e3),
    "energy_over_bound": ("over the bound", 3, 1.0),
    "reward": ("reward", 3, 1.0),
}


def compare(
    arguments: argparse.Namespace, settings: Mapping[str, Any], model: Mapping[str, Any]
) -> None:
    """Score every run found under ``--runs`` and the baselines, and print a table.

    Args:
        arguments: Options of ``metagnn compare``.
        settings: Section ``compare`` of the configuration.
        model: Section ``model`` of the configuration, whose networks are scored on.

    Raises:
        ValueError: If an option or a setting breaks its rule.
    """
    from metagnn.commands.agent_options import put_out, refuse_for_agents, runs_folder
    from metagnn.graphs.checks import check_count, require
    from metagnn.offloading_comparison import (
        compare_offloading,
        find_sites,
        improvements,
        offloading_metrics,
        signalling,
    )

    refuse_for_agents(arguments, "--num-links")
    require(set(settings) == set(_KEYS), "compare", f"have the keys {list(_KEYS)}", list(settings))
    for key in _KEYS[1:]:
        check_count(f"compare.{key}", settings[key])
    out = None if arguments.out is None else output_folder(arguments.out)
    place = _place(model, arguments.network)
    drawn, key = "copies of the network", "num_copies"
    if place.network == "random":
        drawn, key = "networks", "num_networks"
    wanted = settings[key] if arguments.networks is None else arguments.networks
    folder = runs_folder(arguments)
    trained = [] if folder is None else find_sites(folder)
    num_steps = settings["num_steps"]
    scores = compare_offloading(
        trained, place, wanted, num_steps, arguments.seed, progress=not arguments.json
    )
    metrics, better = offloading_metrics(scores), improvements(scores)
    left_out = sorted({one.algorithm for one in trained} - set(scores))
    sent = signalling(trained)
    document = {
        "network": Path(place.folder).name or place.network,
        "num_networks": wanted,
        "num_steps": num_steps,
        "seed": arguments.seed,
        "interval": f"over seeds (of the inter-quartile mean), over {drawn} where num_seeds is 1",
        "num_seeds": {name: len(of_seeds) for name, of_seeds in scores.items()},
        "policies": to_json(metrics),
        "left_out": left_out,
        "signalling_per_episode": to_json(sent),
        "probability_of_improvement": to_json(
            {f"{a} > {b}": {"probability": p} for (a, b), p in better.items()}
        ),
    }
    if put_out(document, arguments, out):
        return
    cells = place.cells()
    size = f"{cells.num_cells} cells, {cells.num_users} users, {place.radio.num_channels} channels"
    slots = f"{wanted} {drawn} of {num_steps} slots"
    print(f"{document['network']}: {size}; {slots}; energies per task")
    print(metrics_table(metrics))
    for (first, second), chance in better.items():
        print(f"P({first} > {second}) in deadlines met: {interval_cell(chance, 2)}")
    if left_out:
        print(f"Left out, as their models do not fit these networks: {', '.join(left_out)}")
    for name, found in sent.items():
        print(f"{name}: {interval_cell(found['bytes'], 0, 1e-3)} kB of signalling per episode")
    print(f"Brackets: 95 % bootstrap interval, over seeds (inter-quartile mean) or else {drawn}.")


def _place(model: Mapping[str, Any], network: str | None) -> "Place":
    """Networks of the configuration, or others of ``--network``."""
    from metagnn.graphs.checks import require
    from metagnn.offloading_place import Place
    from metagnn.plain_values import from_plain

    place = from_plain(Place, model.get("init_args", {}).get("place", {}), "place")
    if network is None:
        return place
    if network == "melbourne":
        return replace(place, network="melbourne", folder="")
    numbers = network.split("x")
    if len(numbers) == 2 and all(n.isdecimal() for n in numbers):
        place = replace(place, network="random", folder="")
        return replace(place, num_cells=int(numbers[0]), users_per_cell=int(numbers[1]))
    rule = "be melbourne, CELLSxUSERS such as 12x10, or a folder with sites.csv and users.csv"
    require(network != "" and Path(network).is_dir(), "--network", rule, network)
    return replace(place, network="deployment", folder=network)


def metrics_table(metrics: Mapping[str, Mapping[str, "Estimate"]]) -> str:
    """Metrics of `offloading_metrics` with their intervals, most deadlines met first."""
    order = sorted(metrics, key=lambda name: -metrics[name]["met"].value)
    rows = [["policy", *(title for title, _, _ in COLUMNS.values())]]
    for name in order:
        cells = [
            interval_cell(metrics[name][column], digits, scale)
            for column, (_, digits, scale) in COLUMNS.items()
        ]
        rows.append([name, *cells])
    return text_table(rows)
