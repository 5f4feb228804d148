"""Cells of the studies' tables."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from metagnn.commands.options import interval_cell
from metagnn.seed_statistics import interquartile_mean

# What fewer seeds vary says nothing of the others.
LEAST_SEEDS = 3


def middle(values: Iterable[float], digits: int = 3, scale: float = 1.0) -> str:
    """Inter-quartile mean over seeds, with its interval where there are at least three."""
    score = torch.tensor(list(values), dtype=torch.float64).unsqueeze(-1)
    found = interquartile_mean(score)
    if len(score) < LEAST_SEEDS:
        found = replace(found, low=None, high=None)
    return interval_cell(found, digits, scale)
