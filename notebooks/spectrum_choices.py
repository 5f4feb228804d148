"""How policies of paper C adapt on validation scenarios, by which the rates of steps were chosen.

``python notebooks/spectrum_choices.py RUNS`` takes the finished runs under a folder (of one seed
each) and lets them adapt to 64 validation scenarios of seed 0 in several ways: by nothing but what
they remember, by PPO at several rates, by steps of MAML at several rates. What they have before and
after five episodes, and what baselines have, goes to ``notebooks/results/spectrum_choices.csv``,
in place of what stood there of the same edges, agent, way, inner rate and seed; ``... table``
writes ``spectrum_choices.md``, and refuses rows that were scored by different sources. ``--edges
topology`` is for runs that learned with these. Seeds of the study are refused.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from spectrum_study import SEEDS
from spectrum_table import BESIDE, COLUMNS, FEW, RESULTS
from study_runs import add, digest_of_sources, read

from metagnn.files import write_atomically
from metagnn.graphs.checks import require
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
from metagnn.spectrum_comparison import (
    FROZEN,
    PRETRAINED,
    TrainedSpectrum,
    find_spectrum,
    run_baseline,
)
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.power_control.metrics import network_average
from metagnn.tasks.spectrum_allocation.baselines import BASELINES
from metagnn.tasks.spectrum_allocation.metrics import Metrics

PATH = RESULTS / "spectrum_choices.csv"
GAIN = ("gain", "gain_low", "gain_high")
HEADER = ("edges", "agent", "way", "inner_rate", "seed", "episodes", *COLUMNS, *GAIN, "sources")
SEED, NUM_SCENARIOS = 0, 64
FINETUNING = tuple(Finetuning(rate, 10) for rate in (3e-4, 1e-3))
STEPS = tuple(InnerSettings(rate) for rate in (3e-3, 1e-2, 2e-2, 1e-1))


def ways(one: TrainedSpectrum) -> dict[str, Adapter]:
    """Ways in which a policy may adapt, by name."""
    still = "nothing" if one.shape.memory == "none" else "memory"
    found: dict[str, Adapter] = {still: Remembering(one.policy)}
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


def score(runs: Path, place: SpectrumPlace) -> None:
    """Score the policies of finished runs before and after five episodes of each way."""
    trained = find_spectrum(runs, place)
    for one in trained:
        require(one.seed not in SEEDS, "runs", "be of no seed of the study", one.seed)
    device = torch.device("cpu")
    scenarios = unseen_scenarios(place, NUM_SCENARIOS, SEED, "validation", device)
    for name in (name for name in BESIDE if name != FROZEN):
        metrics = run_baseline(BASELINES[name], place, scenarios, SEED)
        add(PATH, HEADER, rows_of((place.edges, name, "", "", SEED), {0: metrics, FEW: metrics}))
    for one in trained:
        inner_rate = f"{one.inner.rate:g}" if one.agent == "maml" else ""
        for way, adapter in ways(one).items():
            after = adapt_to(adapter, place, scenarios, (0, FEW), SEED).after
            rows = rows_of((place.edges, one.agent, way, inner_rate, one.seed), after)
            add(PATH, HEADER, rows)
            print(rows[-1], flush=True)


def rows_of(key: tuple[object, ...], after: Mapping[int, Metrics]) -> list[tuple[object, ...]]:
    """Means over scenarios before and after, and what throughput gains from the first."""
    rows: list[tuple[object, ...]] = []
    for point, metrics in after.items():
        gain = network_average(metrics.throughput_mbit_s - after[0].throughput_mbit_s)
        means = [f"{float(getattr(metrics, name).mean()):.5g}" for name in COLUMNS]
        of_gain = (f"{value:.4g}" for value in (gain.value, gain.low, gain.high))
        rows.append((*key, point, *means, *of_gain, digest_of_sources()))
    return rows


def table() -> list[str]:
    """All that was scored, before and after."""
    titles = ["edges", "agent", "its inner rate", "adapts by", "seed"]
    titles += [f"{title}, before / after" for title, _ in COLUMNS.values()]
    lines = [f"# {NUM_SCENARIOS} validation scenarios, before and after {FEW} episodes", ""]
    lines += [f"| {' | '.join([*titles, 'gain [Mbit/s]'])} |", "|---" * (len(titles) + 1) + "|"]
    rows = read(PATH)
    sources = {row["sources"] for row in rows}
    require(len(sources) <= 1, PATH.name, "be scored by the same sources", sorted(sources))
    for before, after in zip(rows[::2], rows[1::2], strict=True):
        cells = [after[name] for name in ("edges", "agent", "inner_rate", "way", "seed")]
        for name, (_, digits) in COLUMNS.items():
            cells.append(" / ".join(f"{float(row[name]):.{digits}f}" for row in (before, after)))
        value, low, high = (float(after[name]) for name in GAIN)
        lines.append(f"| {' | '.join([*cells, f'{value:.2f} [{low:.2f}, {high:.2f}]'])} |")
    return lines


def main() -> None:
    """Score runs, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", help="folder of finished runs, or: table")
    parser.add_argument("--edges", choices=("interference", "topology"), default="interference")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "table":
        text = "\n".join([*table(), ""])
        write_atomically(PATH.with_suffix(".md"), text.encode(), name="choices")
        print(text)
    else:
        score(Path(arguments.what), SpectrumPlace(edges=arguments.edges))


if __name__ == "__main__":
    main()
