"""The strong heuristic of paper D's networks: how it was chosen, and what it trades.

``python notebooks/offloading_heuristic.py choose`` scores margins and preferences for the held
channel on validation networks, of which the pair with the largest reward is the default of
`metagnn.tasks.offloading.baselines.heuristic`, and writes ``results/offloading_heuristic.md``.
``... curve`` scores more of both on the test networks of `offloading_study.py`, of which the best
are compared with policies at equal guarantee, and writes ``results/offloading_heuristic.csv``.
"""

import argparse
from functools import partial

import torch
from offloading_study import NUM_NETWORKS, NUM_STEPS, TEST_SEED
from offloading_table import HEURISTIC, RESULTS

from metagnn.files import write_atomically, write_csv
from metagnn.offloading_place import Place
from metagnn.offloading_score import OffloadingScore, score_offloading
from metagnn.tasks.offloading.baselines import HOLD_DB, MARGIN_DB, heuristic

MARGINS_DB = (3.0, 6.0, 10.0, 13.0)
HOLDS_DB = (0.0, 6.0, 10.0, 15.0, 20.0)
CURVE_MARGINS_DB = (3.0, 6.0, 8.0, 10.0, 12.0, 14.0, 17.0)
CURVE_HOLDS_DB = (6.0, 8.0, 10.0, 12.0, 15.0)
NAMES = ("met", "energy_j", "reward")

Pair = tuple[float, float]


def scores(
    pairs: list[Pair], number: int, steps: int, seed: int, split: str
) -> dict[Pair, OffloadingScore]:
    """The heuristic with margins and preferences [dB], on the paper's networks."""
    policies = {str(pair): partial(heuristic, margin_db=pair[0], hold_db=pair[1]) for pair in pairs}
    environment = Place().environment(steps)
    found = score_offloading(policies, environment, number, seed, split, with_bound=False)
    return {pair: found[str(pair)] for pair in pairs}


def choose() -> str:
    """Table of all pairs on validation networks."""
    pairs = [(margin, hold) for margin in MARGINS_DB for hold in HOLDS_DB]
    found = scores(pairs, 40, 10, 0, "validation")
    best = max(pairs, key=lambda pair: float(found[pair].reward.mean()))
    lines = [
        "# The heuristic of offloading",
        "",
        "Deadlines met / energy [mJ] / reward [J] on 40 validation networks of 10 slots, by margin",
        "and by preference for the channel that a user has (`offloading_heuristic.py choose`).",
        f"Best reward: {best[0]:g} dB and {best[1]:g} dB; default: {MARGIN_DB:g} and {HOLD_DB:g}.",
        "",
        f"| margin | {' | '.join(f'held {hold:g} dB' for hold in HOLDS_DB)} |",
        "|---" * (len(HOLDS_DB) + 1) + "|",
    ]
    for margin in MARGINS_DB:
        cells = []
        for hold in HOLDS_DB:
            met, energy, reward = (
                float(getattr(found[margin, hold], name).mean()) for name in NAMES
            )
            cells.append(f"{met:.3f} / {1e3 * energy:.1f} / {reward:.3f}")
        lines.append(f"| {margin:g} dB | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Choose, or draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("choose", "curve"))
    torch.set_num_threads(1)
    if parser.parse_args().step == "choose":
        text = choose()
        write_atomically(RESULTS / "offloading_heuristic.md", text.encode(), name="results")
        print(text)
        return
    pairs = [(margin, hold) for margin in CURVE_MARGINS_DB for hold in CURVE_HOLDS_DB]
    found = scores(pairs, NUM_NETWORKS, NUM_STEPS, TEST_SEED, "test")
    rows = [
        (*pair, *(f"{float(getattr(one, name).mean()):.6g}" for name in NAMES))
        for pair, one in found.items()
    ]
    write_csv(HEURISTIC, ("margin_db", "hold_db", *NAMES), rows)
    print(HEURISTIC)


if __name__ == "__main__":
    main()
