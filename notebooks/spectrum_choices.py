"""How policies of paper C adapt on validation scenarios, by which the rates of steps were chosen.

``python notebooks/spectrum_choices.py RUNS`` takes the finished runs under a folder (of one seed
each) and lets them adapt to 64 validation scenarios of seed 0 in several ways: by nothing but what
they remember, by PPO at several rates, by steps of MAML at several rates. It adds a row for each
way, after none and after five episodes, to ``notebooks/results/spectrum_choices.md``. ``--edges
topology`` is for runs that learned with these.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from spectrum_table import COLUMNS, FEW, RESULTS

from metagnn.commands.options import interval_cell
from metagnn.files import write_atomically
from metagnn.meta_rl import InnerSettings
from metagnn.spectrum_adaptation import (
    Adapter,
    Finetuning,
    GradientSteps,
    ProximalSteps,
    Remembering,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_comparison import PRETRAINED, TrainedSpectrum, find_spectrum
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.power_control.metrics import network_average

PATH = RESULTS / "spectrum_choices.md"
SEED, NUM_SCENARIOS = 0, 64
FINETUNING = tuple(Finetuning(rate, 10) for rate in (3e-4, 1e-3))
STEPS = tuple(InnerSettings(rate) for rate in (3e-3, 1e-2, 2e-2, 1e-1))


def ways(one: TrainedSpectrum) -> dict[str, Adapter]:
    """Ways in which a policy may adapt, by name."""
    found: dict[str, Adapter] = {"memory alone": Remembering(one.policy)}
    settings = replace(one.ppo, entropy_weight=0.0)
    if one.agent == PRETRAINED:
        for way in FINETUNING:
            found[f"PPO, rate {way.rate:g}"] = ProximalSteps(
                one.policy, NUM_SCENARIOS, way, settings, one.credit
            )
    if one.shape.memory == "none":
        for inner in STEPS:
            found[f"steps, rate {inner.rate:g}"] = GradientSteps(
                one.policy, NUM_SCENARIOS, inner, settings, one.credit
            )
    return found


def row(place: SpectrumPlace, agent: str, way: str, adapter: Adapter) -> str:
    """Metrics before and after five episodes, and what they gain in throughput."""
    device = torch.device("cpu")
    scenarios = unseen_scenarios(place, NUM_SCENARIOS, SEED, "validation", device)
    after = adapt_to(adapter, place, scenarios, (0, FEW), SEED).after
    gained = after[FEW].throughput_mbit_s - after[0].throughput_mbit_s
    cells = [
        " / ".join(f"{float(getattr(after[point], name).mean()):.{digits}f}" for point in after)
        for name, (_, digits) in COLUMNS.items()
    ]
    gain = interval_cell(network_average(gained), 2)
    return f"| {' | '.join([place.edges, agent, way, *cells, gain])} |"


def main() -> None:
    """Add the rows of runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--edges", choices=("interference", "topology"), default="interference")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    place = SpectrumPlace(edges=arguments.edges)
    titles = ("edges", "agent", "adapts by", *(title for title, _ in COLUMNS.values()), "gain")
    heading = f"# {NUM_SCENARIOS} validation scenarios, before / after {FEW} episodes"
    table = [heading, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines = PATH.read_text().splitlines() if PATH.exists() else table
    for one in find_spectrum(arguments.runs, place):
        for way, adapter in ways(one).items():
            lines.append(row(place, one.agent, way, adapter))
            print(lines[-1], flush=True)
            write_atomically(PATH, "\n".join([*lines, ""]).encode(), name="choices")


if __name__ == "__main__":
    main()
