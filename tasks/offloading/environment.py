"""Offloading in small cells as a batched environment (paper D, Sections II and III-A)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.fading import rayleigh_power
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.small_cells import SmallCells
from metagnn.tasks.environment import Step
from metagnn.tasks.offloading.cost import (
    NO_CHANNEL,
    Cost,
    Decision,
    Slot,
    check_decision,
    cost,
    latency_value,
    received_w,
)
from metagnn.tasks.offloading.scenario import Computing, Radio

Reward = Literal["cooperative", "local"]

# Networks [B] for a batch and a source of randomness.
Networks = Callable[[int, torch.Generator], SmallCells]


@dataclass(frozen=True)
class Outcome:
    """What came of a decision.

    Attributes:
        cost: Delays and energies of all users.
        value: What each user adds to the reward ``[B, I]``.
    """

    cost: Cost
    value: Tensor


class Offloading:
    """B networks of M cells, whose sites decide for their users in every time slot.

    Networks and processors are drawn at the reset. In every slot all users get a new task, all
    gains fade anew (block Rayleigh fading, independent on channels), and sites have measured the
    interference of the slot before, which is 0 at first. Agents are the sites. Episodes end by
    truncation only.

    Args:
        networks: Where networks come from.
        radio: The uplink.
        computing: Tasks and processors.
        num_steps: Slots of an episode.
        reward: ``cooperative``, the sum over all users for every site (Eq. 12), or ``local``, that
            over its own users (Eq. 23).
        revenue: What a deadline that is met is worth (beta of Eq. 13) [J].
        patience: Deadlines after which a transmission is given up (see `cost`); infinite in the
            paper.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        networks: Networks,
        radio: Radio = Radio(),  # noqa: B008 - frozen
        computing: Computing = Computing(),  # noqa: B008 - frozen
        num_steps: int = 10,
        reward: Reward = "cooperative",
        revenue: float = 1.0,
        patience: float = 1.5,
    ) -> None:
        check_count("num_steps", num_steps)
        rewards = ("cooperative", "local")
        require(reward in rewards, "reward", f"be one of {rewards}", reward)
        check_positive("revenue", revenue)
        # A transmission that would end in time must not be stopped.
        require(patience >= 1.0, "patience", "be >= 1", patience)
        self.networks, self.radio, self.computing = networks, radio, computing
        self.num_steps, self.reward = num_steps, reward
        self.revenue, self.patience = revenue, patience
        self._steps_done = 0

    def reset(self, batch: int, generator: torch.Generator) -> DenseGraph:
        """Draw ``batch`` networks and begin an episode.

        Args:
            batch: Number of networks B.
            generator: Source of all randomness until the next reset; all is on its device.
        """
        check_count("batch", batch)
        self._generator = generator
        self.cells = self.networks(batch, generator)
        self.large_scale_gain = self.cells.large_scale_gain().expand(batch, -1, -1)
        num_users, num_cells = self.cells.num_users, self.cells.num_cells
        self._devices = self.computing.devices(batch, num_users, num_cells, generator)
        self._steps_done = 0
        shape = (batch, self.radio.num_channels, num_cells)
        nobody = torch.full((batch, num_users), NO_CHANNEL, device=generator.device)
        self._begin_slot(torch.zeros(shape, device=generator.device), nobody)
        return self.observation()

    def step(self, decision: Decision) -> Step[Outcome]:
        """Offload and compute for one slot.

        Args:
            decision: What the sites decide.

        Raises:
            ValueError: If it breaks one of C2 to C7.
        """
        require(hasattr(self, "slot"), "step", "follow a reset", "none")
        slot, radio = self.slot, self.radio
        check_decision(decision, slot, radio.power_min_w, radio.power_max_w)
        found = cost(slot, decision, radio.bandwidth_hz, radio.noise_w, self.patience)
        worth = latency_value(found, slot.tasks.deadline_s, self.revenue)
        value = worth - found.energy_j
        reward = value.new_zeros(len(value), self.cells.num_cells).index_add(1, slot.cell, value)
        if self.reward == "cooperative":
            reward = reward.sum(-1, keepdim=True).expand_as(reward)
        self._steps_done += 1
        self._begin_slot(received_w(slot, decision), decision.channel)
        batch, device = len(value), value.device
        return Step(
            self.observation(),
            reward,
            terminated=torch.zeros(batch, dtype=torch.bool, device=device),
            truncated=torch.full((batch,), self._steps_done >= self.num_steps, device=device),
            info=Outcome(found, value),
        )

    def _begin_slot(self, interference_w: Tensor, held: Tensor) -> None:
        batch, num_users, num_cells = self.large_scale_gain.shape
        shape = (batch, self.radio.num_channels, num_users, num_cells)
        fading = rayleigh_power(shape, self._generator)
        tasks = self.computing.tasks(self._devices.user_hz, self._generator)
        gain = self.large_scale_gain.unsqueeze(1) * fading
        self.slot = Slot(gain, self.cells.cell, tasks, self._devices, interference_w, held)

    def observation(self) -> DenseGraph:
        """What the sites see now."""
        return observe(self.slot, self.radio)


NUM_FEATURES = 8
# Of these so many differ between channels, and come first: the SNR, that over the mean of all
# channels, the interference over the noise, and whether the user had the channel.
NUM_PER_CHANNEL = 4
SNR, INR, HELD = 0, 2, 3
# Sum of the weights at a user, if all others of its cell are much stronger.
DEGREE = 2.25


def observe(slot: Slot, radio: Radio) -> DenseGraph:
    r"""Local observations of the sites (paper D, Section III-A) as a graph of all users.

    A user has features for each channel, all of order one: its SNR at full power, that over the
    mean of all channels, and the interference over the noise that its site measured in the slot
    before, in decades; whether it had the channel then; the logarithms of the spectral efficiency
    that sends its task within the deadline, of the times of edge computing with an equal share of
    the server and of local computing over the deadline, and of the task's size over 250 KB. Whether
    it had the channel is not in the paper's state, but is no news to its site.

    Edges run within cells only, so a site sees its own users only: the weight of i -> k is
    :math:`\sigma((\bar h_i - \bar h_k) / 1\,\mathrm{dB})` of the gains' means in dB over the
    channels, as in channel assignment, over the number of the cell's other users; so sums over
    them are of one order in cells of any size, on average those of quarters among ten.

    Shapes:
        node ``[B, I, K, 8]``, edge_weight ``[B, I, I]``.
    """
    tasks = slot.tasks
    snr = torch.log10(radio.power_max_w / radio.noise_w * slot.own_gain)
    inr = torch.log10(1.0 + slot.interference_at_own / radio.noise_w)
    channels = torch.arange(radio.num_channels, device=snr.device)
    held = (slot.held.unsqueeze(-1) == channels).to(snr)
    efficiency = tasks.size_bit / (radio.bandwidth_hz * tasks.deadline_s)
    counts = torch.bincount(slot.cell, minlength=slot.gain.shape[-1])[slot.cell].to(snr)
    edge = counts * tasks.cycles / (slot.server_hz * tasks.deadline_s)
    local = tasks.cycles / (slot.devices.user_hz * tasks.deadline_s)
    # The offsets of the logarithms are those of the paper's tasks and devices.
    size = (tasks.size_bit / 2e6).log()
    per_user = (efficiency.log() + 2.0, edge.log() + 1.7, local.log(), size)
    per_channel = (snr, snr - snr.mean(-1, keepdim=True), inr, held)
    return graph_of(torch.stack(per_channel, dim=-1), torch.stack(per_user, dim=-1), slot.cell)


def graph_of(per_channel: Tensor, per_user: Tensor, cell: Tensor) -> DenseGraph:
    """Graph of features per channel and per user; see `observe`.

    Shapes:
        per_channel ``[B, I, K, 4]``, of which the first is the SNR, per_user ``[B, I, 4]``, cell
        ``[I]``.
    """
    repeated = per_user.unsqueeze(-2).expand(*per_channel.shape[:-1], per_user.shape[-1])
    together = cell.unsqueeze(-1) == cell
    together = together & ~torch.eye(len(cell), dtype=torch.bool, device=cell.device)
    others = together.sum(-2).clamp(min=1)
    mean_db = 10.0 * per_channel[..., SNR].mean(-1, keepdim=True)
    weight = DEGREE / others * torch.sigmoid(mean_db - mean_db.mT) * together
    return DenseGraph(torch.cat([per_channel, repeated], dim=-1), weight)
