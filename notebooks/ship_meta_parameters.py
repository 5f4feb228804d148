"""Turn a training run into shipped meta-parameters with their card, which tells how it was made.

Run ``python notebooks/ship_meta_parameters.py RUN NAME COMMIT``: the folder of a run of
``metagnn fit``, the name to ship under, and the commit whose code trained it. What the run logged
on validation networks goes to ``results/training_curve_NAME.csv``.
"""

import argparse
import csv
from pathlib import Path

import torch
import yaml

from metagnn import __version__
from metagnn.files import write_csv, write_json
from metagnn.graphs.checks import require
from metagnn.meta_parameters import load_meta_parameters

FOLDER = Path(__file__).parent.parent / "metagnn" / "pretrained"
RESULTS = Path(__file__).parent / "results"
SECTIONS = ("seed_everything", "model", "data")


def training_curve(metrics: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what a run logged on validation networks."""
    with metrics.open(newline="") as file:
        reader = csv.DictReader(file)
        names = [name for name in reader.fieldnames or [] if name.startswith("validation_")]
        rows = [
            [row["epoch"], *(row[n] for n in names)] for row in reader if any(row[n] for n in names)
        ]
    return ["epoch", *names], rows


def main() -> None:
    """Write ``metagnn/pretrained/NAME.safetensors`` and ``NAME.json``, and the training curve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("commit")
    arguments = parser.parse_args()
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    begun_anew = config["model"]["init_args"]["start_from"] is None
    require(begun_anew, "run", "begin without `start_from`, which the card lacks", "one")
    parameters = load_meta_parameters(str(arguments.run / "checkpoints" / "last.ckpt"))
    parameters.save(FOLDER / f"{arguments.name}.safetensors")
    card = {
        "name": arguments.name,
        "format": "safetensors; load with metagnn.meta_parameters.load_meta_parameters",
        "settings": parameters.settings(),
        "num_parameters": sum(p.numel() for p in parameters.networks.parameters()),
        "command": "metagnn fit --config CONFIG, with `config` below as YAML",
        "config": {
            "trainer": {"max_epochs": config["trainer"]["max_epochs"]},
            **{section: config[section] for section in SECTIONS},
        },
        "commit": arguments.commit,
        "versions": {"metagnn": __version__, "torch": torch.__version__},
        "measured": "notebooks/results/summary.md",
        "licence": "MIT",
    }
    write_json(FOLDER / f"{arguments.name}.json", card)
    header, rows = training_curve(arguments.run / "metrics.csv")
    write_csv(RESULTS / f"training_curve_{arguments.name}.csv", header, rows)
    print(f"{FOLDER / arguments.name}.safetensors and .json")


if __name__ == "__main__":
    main()
