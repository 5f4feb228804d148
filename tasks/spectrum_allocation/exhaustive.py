"""Best powers of all agents on each band by trying all of them."""

import torch
from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.graphs.iab import IabNetworks
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.search import (
    Contest,
    by_band,
    differential_backlog_bit,
)
from metagnn.tasks.spectrum_allocation.transmission import State

# With four levels: up to six agents with links.
MAX_COMBINATIONS = 20_000
# Combinations that are looked at together, times copies.
_BLOCK = 200_000


def exhaustive_level(state: State, radio: Radio) -> Tensor:
    """Levels ``[B, M, 2, N]`` of the largest sum of differential backlog times bits moved.

    It is exact on each band, given what the bands before it took off the queues, in which the
    schedulers go; over all bands at once it need not be the best. It knows all gains, and who of
    the incumbents sends.

    Raises:
        ValueError: If there are more than 20,000 combinations of levels on a band.
    """
    return by_band(state, radio, differential_backlog_bit(state), exhaustive_search)


def num_combinations(networks: IabNetworks, radio: Radio) -> int:
    """Combinations of levels on a band, where most agents have links; see `MAX_COMBINATIONS`."""
    num_agents = int(networks.agent_links.any(-1).sum(-1).max())
    return int((radio.num_levels + 1) ** num_agents)


def exhaustive_search(given: Contest) -> Tensor:
    """Levels ``[B, A]`` of the largest value of a contest; of equal ones those with lowest levels.

    Only agents that have a link to serve are tried, the others are off.

    Raises:
        ValueError: If there are more than 20,000 combinations.
    """
    num_choices = given.radio.num_levels + 1
    num_active = max(1, int(given.active.sum(-1).max()))
    count = num_choices**num_active
    rule = f"leave at most {MAX_COMBINATIONS} combinations of levels for exhaustive search"
    require(count <= MAX_COMBINATIONS, "num_nodes", rule, f"{num_choices}**{num_active}")
    batch, num_agents = given.active.shape
    device = given.active.device
    # Digits of the numbers of combinations, one for each agent that is active.
    place = num_choices ** torch.arange(num_active, device=device)
    digits = torch.arange(count, device=device).unsqueeze(-1) // place % num_choices
    rank = (given.active.long().cumsum(-1) - 1).clamp(min=0, max=num_active - 1)
    best = torch.full((batch,), -torch.inf, dtype=torch.float64, device=device)
    chosen = torch.zeros(batch, num_agents, dtype=torch.long, device=device)
    for block in digits.split(max(1, _BLOCK // batch)):
        level = block[:, rank].transpose(0, 1) * given.active.unsqueeze(1)
        most, at = given.value(level).max(-1)
        found = level.gather(1, at.view(-1, 1, 1).expand(-1, 1, num_agents)).squeeze(1)
        better = most > best
        best = torch.where(better, most, best)
        chosen = torch.where(better.unsqueeze(-1), found, chosen)
    return chosen
