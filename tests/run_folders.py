"""Small folders of runs for tests of the page, as the commands write them."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

POLICIES = ("metagnn", "itlinq")
LAGRANGIAN = [3.0, 3.1, 3.15]


def comparison_folder(
    folder: Path, sizes: tuple[int, ...] = (3,), policies: tuple[str, ...] = POLICIES
) -> Path:
    """Folder of `metagnn compare`, of random numbers; the last policies have no multipliers."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    rates = [
        f"{policy},{network},{link},{8 * draw.random():.6f}"
        for policy in policies
        for network, size in enumerate(sizes)
        for link in range(size)
    ]
    header = "policy,network,link,rate_bit_s_hz"
    (folder / "rates.csv").write_text("\n".join([header, *rates]) + "\n")
    metrics = {"mean_rate": 3.0, "min_rate": 0.5, "p5_rate": 0.6, "jain": 0.8}
    ends = {f"{name}_ci95": [0.9 * value, 1.1 * value] for name, value in metrics.items()}
    document = {
        "config": "power_control",
        "steps": 20,
        "seed": 3,
        "policies": dict.fromkeys(policies, metrics | ends),
        "versions": {"metagnn": "1.2.3"},
    }
    (folder / "comparison.json").write_text(json.dumps(document))
    networks = [_network(draw, size, policies) for size in sizes]
    content = {"power_max_w": 0.01, "noise_w": 4e-14, "networks": networks}
    (folder / "networks.json").write_text(json.dumps(content))
    return folder


def _network(draw: random.Random, size: int, policies: tuple[str, ...]) -> dict[str, Any]:
    def values(scale: float) -> list[float]:
        return [round(scale * draw.random(), 8) for _ in range(size)]

    # On a lattice, so that links do not lie on one another.
    corners = [(120.0 * (link % 8), 120.0 * (link // 8)) for link in range(size)]
    return {
        "transmitter_m": [[east, north] for east, north in corners],
        "receiver_m": [[east + 40.0, north + 10.0] for east, north in corners],
        "direct_gain": [1e-8] * size,
        "interferers": [[[(link + 1) % size, 1e-10]] for link in range(size)],
        "policies": {
            name: {"power_w": values(0.01)}
            | (
                {
                    "minimum_rate": 1.5,
                    "slack": values(1.0),
                    "multiplier": values(2.0),
                    "lagrangian_per_link": LAGRANGIAN,
                }
                if name.startswith("metagnn")
                else {}
            )
            for name in policies
        },
    }


def adaptation_folder(folder: Path, size: int = 3, refined: bool = False) -> Path:
    """Folder of `metagnn adapt`, of random numbers."""
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    links = _network(draw, size, ("metagnn",))
    policy = links.pop("policies")["metagnn"]
    power_w = np.array(policy.pop("power_w"))
    np.savez(folder / "power.npz", power_w=np.stack([0.5 * power_w, 1.5 * power_w]))
    document = {
        "gain": "gain.npz",
        "steps": 3,
        "refined": refined,
        "power_max_w": 0.01,
        "noise_w": 4e-14,
        "rate": [8 * draw.random() for _ in range(size)],
        "mean_rate": 3.0,
        "min_rate": 0.5,
        "p5_rate": 0.6,
        "jain": 0.8,
        "links": links,
        **policy,
    }
    (folder / "report.json").write_text(json.dumps(document))
    return folder


def training_folder(folder: Path) -> Path:
    """Folder that `metagnn fit` logged to: training rows and one of validation."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["epoch,lagrangian,mean_rate,step,validation_mean_rate_20"]
    rows += [f"{epoch},{1 + 0.1 * epoch},2.5,{epoch}," for epoch in range(4)]
    rows.insert(3, "1,,,1,3.25")
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    (folder / "config.yaml").write_text(
        "# lightning.pytorch==2.6.6\nseed_everything: 7\ntrainer: {max_epochs: 4}\n"
        "model: {class_path: metagnn.meta_training.MetaGNN}\n"
    )
    (folder / "versions.json").write_text('{"metagnn": "1.2.3", "python": "3.11.7"}')
    return folder
