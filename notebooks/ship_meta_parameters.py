"""Turn a training checkpoint into shipped meta-parameters with their card.

How to adapt comes from the last configuration, whose rates were chosen on validation networks.

Run ``python notebooks/ship_meta_parameters.py last.ckpt power_control CONFIG [CONFIG ...]``.
"""

import argparse
import subprocess
from dataclasses import replace
from pathlib import Path

import torch

from metagnn import __version__
from metagnn.adaptation import Adaptation
from metagnn.configs import config_path
from metagnn.experiment import read_section
from metagnn.files import write_json
from metagnn.meta_parameters import load_meta_parameters
from metagnn.update_rule import UpdateRule

FOLDER = Path(__file__).parent.parent / "metagnn" / "pretrained"


def main() -> None:
    """Write ``metagnn/pretrained/NAME.safetensors`` and ``NAME.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("name")
    parser.add_argument("configs", nargs="+", help="packaged configurations, in order of training")
    arguments = parser.parse_args()
    git = ["git", "status", "--porcelain", "--untracked-files=no"]
    if subprocess.run(git, capture_output=True, text=True, check=True).stdout:
        raise SystemExit("`commit` must name all of the code, got uncommitted changes")
    parameters = load_meta_parameters(arguments.checkpoint)
    chosen = read_section(arguments.configs[-1], "model")["init_args"]["adaptation"]
    rule = UpdateRule(**chosen.pop("rule"))
    parameters = replace(parameters, adaptation=Adaptation(rule, **chosen))
    parameters.save(FOLDER / f"{arguments.name}.safetensors")
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    later = [
        f"metagnn fit --config {config} --model.init_args.start_from LAST.ckpt"
        for config in arguments.configs[1:]
    ]
    card = {
        "name": arguments.name,
        "format": "safetensors; load with metagnn.meta_parameters.load_meta_parameters",
        "settings": parameters.settings(),
        "num_parameters": sum(p.numel() for p in parameters.networks.parameters()),
        "seed": read_section(arguments.configs[0], "data").get("seed", 0),
        "configs": {name: config_path(name).read_text() for name in arguments.configs},
        "commands": [f"metagnn fit --config {arguments.configs[0]}", *later],
        "commit": commit,
        "versions": {"metagnn": __version__, "torch": torch.__version__},
        "measured": "notebooks/results/summary.md",
        "licence": "MIT",
    }
    write_json(FOLDER / f"{arguments.name}.json", card)
    print(f"{FOLDER / arguments.name}.safetensors and .json")


if __name__ == "__main__":
    main()
