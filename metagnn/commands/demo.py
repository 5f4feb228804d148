"""``metagnn demo``: meta-train in minutes, adapt to real and random networks, compare."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from metagnn.commands.options import drawn_scenario, output_folder, table, to_json

_POLICIES = ("metagnn", "metagnn_unadapted", "itlinq", "wmmse", "full_power")


def main(words: Sequence[str]) -> None:
    """Run the subcommand."""
    parser = argparse.ArgumentParser(
        prog="metagnn demo",
        description="Meta-train `power_control_quick`, adapt to 59 real co-channel links in New "
        "York and to unseen random networks, and compare with the baselines.",
    )
    parser.add_argument("--out", default="demo", metavar="DIR", help="folder for results (demo)")
    parser.add_argument("--short", action="store_true", help="a check of the machinery in seconds")
    arguments = parser.parse_args(words)
    out = output_folder(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    print("1/3  Meta-training `power_control_quick`", flush=True)
    checkpoint = _train(out / "training", short=arguments.short)
    print("2/3  Unseen random networks: 20 steps of adaptation, then 256 samples", flush=True)
    _random_networks(out / "random", checkpoint, 1 if arguments.short else 4)
    print("\n3/3  New York: 59 sub-links of real community links at 5 GHz", flush=True)
    print("     (metagnn_shipped: the shipped meta-parameters, adapted)", flush=True)
    _new_york(out / "new_york", checkpoint, 2 if arguments.short else 20)
    pages = _pages(checkpoint.parents[1], out / "random", out / "new_york")
    print(
        f"\nFigures: {out}/random/comparison.png, {out}/new_york/comparison.png, "
        f"{out}/new_york/map.png\nPages: {', '.join(map(str, pages))}\n"
        f"Done in {time.monotonic() - began:.0f} s."
    )


def _train(folder: Path, short: bool) -> Path:
    from metagnn.commands import training

    words = ["fit", "--config", "power_control_quick"]
    words += [
        f"--trainer.logger.init_args.save_dir={folder}",
        "--trainer.logger.init_args.version=0",
    ]
    # A second demo replaces the first one's checkpoint instead of standing beside it.
    words += ["--trainer.limit_val_batches=0", "--checkpoint.enable_version_counter=false"]
    if short:
        words += ["--trainer.max_epochs=3"]
    training.main(words)
    return folder / "power_control_quick" / "version_0" / "checkpoints" / "last.ckpt"


def _pages(*folders: Path) -> list[Path]:
    from metagnn.report import collect
    from metagnn.report_page import write_page

    return [write_page(collect(folder), folder / "report.html") for folder in folders]


def _random_networks(folder: Path, checkpoint: Path, num_networks: int) -> None:
    from metagnn.commands import compare

    words = ["--config", "power_control_quick", "--networks", str(num_networks), "--seed", "1"]
    words += ["--checkpoint", str(checkpoint), "--policies", ",".join(_POLICIES)]
    compare.main([*words, "--out", str(folder)])


def _new_york(folder: Path, checkpoint: Path, steps: int) -> None:
    from metagnn.comparison import Comparison, compare
    from metagnn.comparison_files import write_comparison
    from metagnn.graphs.deployment import new_york_links
    from metagnn.meta_parameters import load_meta_parameters
    from metagnn.plots_networks import save_network_map
    from metagnn.versions import versions

    configuration = new_york_links()
    scenario = drawn_scenario(configuration, seed=0)
    trained, shipped = load_meta_parameters(str(checkpoint)), load_meta_parameters("power_control")
    result = compare([scenario], _POLICIES, trained, steps)
    outcomes = compare([scenario], ("metagnn",), shipped, steps).outcomes["metagnn"]
    # The share of satisfied links would have two meanings: each training has its own slacks.
    result = Comparison({"metagnn_shipped": outcomes, **result.outcomes}, None)
    metrics = result.metrics()
    print(table(metrics))
    document = {
        "gain": "59 links in New York (OpenMesh)",
        "checkpoint": str(checkpoint),
        "num_networks": 1,
        "num_links": [configuration.num_links],
        "steps": steps,
        "seed": 0,
        "policies": to_json(metrics),
        "versions": versions(),
    }
    write_comparison(folder, document, result, metrics, [scenario], trained.problem)
    save_network_map(
        folder / "map.png",
        configuration.transmitter_m,
        configuration.receiver_m,
        {name: result.rates[name][0] for name in ("metagnn_shipped", "itlinq")},
    )
