"""Turn a training checkpoint into shipped meta-parameters with their card.

Run ``python notebooks/ship_meta_parameters.py last.ckpt power_control CONFIG [CONFIG ...]``.
"""

import argparse
import subprocess
from pathlib import Path

import torch

from metagnn import __version__
from metagnn.files import write_json
from metagnn.meta_parameters import load_meta_parameters

FOLDER = Path(__file__).parent.parent / "metagnn" / "pretrained"


def main() -> None:
    """Write ``metagnn/pretrained/NAME.safetensors`` and ``NAME.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("name")
    parser.add_argument("configs", nargs="+", help="packaged configurations, in order of training")
    arguments = parser.parse_args()
    parameters = load_meta_parameters(arguments.checkpoint)
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
        "seed": 0,
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
