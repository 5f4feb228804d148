"""Integrated access and backhaul as a batched environment: powers of nodes on bands (paper C)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, require
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.units import dbm_to_w
from metagnn.tasks.environment import Step
from metagnn.tasks.spectrum_allocation.band_reward import (
    Prices,
    alternatives,
    band_reward,
    prices,
)
from metagnn.tasks.spectrum_allocation.channel import Channel
from metagnn.tasks.spectrum_allocation.events import Events
from metagnn.tasks.spectrum_allocation.listening import Heard, listen
from metagnn.tasks.spectrum_allocation.observation import (
    EDGES,
    NUM_FEATURES,
    NUM_PER_BAND,
    Edges,
    edge_weight,
    features,
)
from metagnn.tasks.spectrum_allocation.queues import Queues
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily, Scenarios
from metagnn.tasks.spectrum_allocation.transmission import (
    Past,
    Scheduler,
    State,
    transmit,
)

__all__ = ["NUM_FEATURES", "NUM_PER_BAND", "Action", "Outcome", "SpectrumAllocation"]

# Share of the newest slot in the averages of what links carried.
AVERAGE_WINDOW = 0.05


@dataclass(frozen=True)
class Action:
    """What the nodes do.

    Attributes:
        level: Powers of each node in each role on each band ``[B, M, 2, N]``: 0 is off, 1 to P
            the radio's levels. Role 0 serves the node's users (access), role 1 its child nodes
            (backhaul). Those of a role without links are ignored.
    """

    level: Tensor


@dataclass(frozen=True)
class Outcome:
    """What came of an action.

    Attributes:
        delivered_bit: Bits that each user got ``[B, U]``.
        dropped_bit: Bits of each user that found a full buffer ``[B, U]``.
        offered_bit: Bits that came for each user ``[B, U]``.
        moved_bit: Bits that each link carried ``[B, L]``.
        sinr: SINRs of links that were sent on ``[B, L, N]`` [1], else 0.
        failed: Share of a link's bands on which it was sent on below the floor ``[B, L]``, 0 if
            it was not sent on.
        starved: Whether something has waited for a link for longer than the limit, and none of
            it was received at or above the floor on any band ``[B, L]``; switching off is
            no way around violations.
        band_reward: What bands were worth ``[B, N]``, see `band_reward.band_reward`.
        latency_violation: Whether a user's oldest bit is older than the limit, or bits for it were
            dropped, which it never gets ``[B, U]``.
        age: Ages of the users' oldest bits after the slot ``[B, U]`` [slots], 0 if all is
            delivered.
    """

    delivered_bit: Tensor
    dropped_bit: Tensor
    offered_bit: Tensor
    moved_bit: Tensor
    sinr: Tensor
    failed: Tensor
    starved: Tensor
    band_reward: Tensor
    latency_violation: Tensor
    age: Tensor

    @property
    def sinr_violation(self) -> Tensor:
        """Violations of the SINR ``[B, L]``: shares that failed, or 1 where a link is starved."""
        return torch.where(self.starved, 1.0, self.failed)


class SpectrumAllocation:
    r"""B trees of M nodes that choose powers on N bands for access and for backhaul.

    In a slot the nodes' schedulers serve links (see `transmission`), bits move one hop (see
    `queues`), packets come to the donor, loads, nodes and incumbents change their states (see
    `events`), and gains drift (see `channel`). The links of a node that failed are dead in both
    directions; it keeps its queues. These are empty at first. All agents share the reward

    .. math:: \frac{\text{delivered bits}}{\text{mean load of all users in a slot}}
              - w_s \frac{1}{L} \sum_l \text{violation}_l - w_l \frac{\text{users in violation}}{U}

    with `Outcome.sinr_violation`. Of its own each band has a reward that nodes can measure without
    knowing who disturbs whom (see `band_reward.prices`).

    Episodes end by truncation only.

    Args:
        family: Where scenarios come from.
        radio: Bands, powers and limits.
        num_steps: Slots of an episode.
        sinr_weight: Weight w_s of violations of the SINR.
        latency_weight: Weight w_l of users in violation of the latency.
        failure_weight: What a failure costs in the reward of a band, over the number of links.
        success_weight: What the first success of a link that has waited up to its limit is worth
            there, over the number of links: slots of starvation that it saves.
        edges: ``interference``, ``topology`` or ``none`` (see `observation.edge_weight`).

    Raises:
        ValueError: If an argument is out of range.

    Attributes:
        scenarios: What was drawn at the last reset.
        state: What the coming slot begins with.
        link_agent: Agent that serves each link, ``2 * node + role`` ``[B, L]``.
        agent_mask: Roles that have links ``[B, M, 2]``.
    """

    scenarios: Scenarios
    state: State
    link_agent: Tensor
    agent_mask: Tensor

    def __init__(
        self,
        family: ScenarioFamily = ScenarioFamily(),  # noqa: B008 - frozen
        radio: Radio = Radio(),  # noqa: B008 - frozen
        num_steps: int = 100,
        sinr_weight: float = 0.5,
        latency_weight: float = 0.5,
        failure_weight: float = 0.12,
        success_weight: float = 1.0,
        edges: Edges = "interference",
    ) -> None:
        check_count("num_steps", num_steps)
        check_non_negative("sinr_weight", sinr_weight)
        check_non_negative("latency_weight", latency_weight)
        check_non_negative("failure_weight", failure_weight)
        check_non_negative("success_weight", success_weight)
        require(edges in EDGES, "edges", f"be one of {EDGES}", edges)
        self.family, self.radio, self.num_steps = family, radio, num_steps
        self.sinr_weight, self.latency_weight = sinr_weight, latency_weight
        self.failure_weight, self.success_weight = failure_weight, success_weight
        self.edges: Edges = edges
        self._weighted_gain: Tensor | None = None

    def reset(self, batch: int, generator: torch.Generator) -> DenseGraph:
        """Draw ``batch`` scenarios and begin an episode.

        Args:
            batch: Number of copies B.
            generator: Source of all randomness until the next reset; all is on its device.
        """
        drawn = self.family.draw(batch, self.radio.num_bands, generator)
        return self.begin(drawn, generator)

    def begin(self, scenarios: Scenarios, generator: torch.Generator) -> DenseGraph:
        """Begin an episode in given scenarios, of the family's numbers of nodes and users."""
        networks = scenarios.networks
        size = (networks.num_nodes, networks.num_users)
        wanted = (self.family.num_nodes, self.family.num_users)
        require(size == wanted, "scenarios", f"have {wanted} nodes and users", size)
        bands, here = self.radio.num_bands, scenarios.incumbent_duty.shape[-1]
        require(here == bands, "scenarios", f"have {bands} bands", here)
        self.scenarios = scenarios
        self.link_agent = networks.agent
        self.agent_mask = networks.agent_links.any(-1).view(-1, networks.num_nodes, 2)
        return self.reset_episode(generator)

    def reset_episode(self, generator: torch.Generator) -> DenseGraph:
        """Begin a new episode in the same scenarios.

        Trees, terrain, mean loads, speeds, incumbents and the users' first positions with their
        lines of sight and shadowing stay; directions, fading, states of loads and incumbents,
        arrivals and failures are new, queues empty.

        Args:
            generator: Source of all randomness until the next reset, on the scenarios' device.
        """
        require(hasattr(self, "scenarios"), "reset_episode", "follow a reset", "none")
        scenarios, radio = self.scenarios, self.radio
        networks = scenarios.networks
        batch, num_links = networks.transmitter.shape
        self._channel = Channel(scenarios, radio, generator)
        self._queues = Queues(networks, self.num_steps, float(self.family.buffer_bit))
        self._events = Events(scenarios, self.family, radio.slot_s, generator)
        self._slots_unserved = networks.transmitter.new_zeros(batch, num_links)
        self._steps_done = 0
        silent = scenarios.load_bit_s.new_zeros(batch, num_links, radio.num_bands)
        off = networks.parent.new_zeros(batch, networks.num_nodes, 2, radio.num_bands)
        nothing = self._queues.link_queue_bit
        heard = Heard(silent, off[:, 0, 0])
        past = Past(silent, silent, off, silent > 0, silent > 0, heard, nothing, nothing)
        self._begin_slot(past)
        return self.observation()

    def step(self, action: Action) -> Step[Outcome]:
        """Transmit for one slot.

        Args:
            action: What the nodes do.

        Raises:
            ValueError: If the episode is over, or a level is out of range or of another shape.
        """
        require(hasattr(self, "state"), "step", "follow a reset", "none")
        rule = f"come before the end of the episode, after {self.num_steps} steps"
        require(self._steps_done < self.num_steps, "step", rule, self._steps_done)
        before, radio = self.state, self.radio
        check_action(action, before, radio)
        sent = transmit(before, radio, action.level)
        offered_bit = self._events.arrivals()
        served = self._queues.serve(sent.capacity_bit.sum(-1), offered_bit)
        age = self._queues.age.amax(1)
        used, failed = sent.power_w > 0, sent.failed
        # A link with an end that has failed neither waits nor recovers.
        unserved = (self._slots_unserved + before.usable) * ~sent.served.any(-1)
        self._slots_unserved = unserved * (before.link_queue_bit > 0)
        outcome = Outcome(
            served.delivered_bit,
            served.dropped_bit,
            offered_bit,
            served.moved_bit,
            sent.sinr,
            failed.sum(-1) / used.sum(-1).clamp(min=1),
            before.usable & (self._slots_unserved > radio.starvation_limit),
            band_reward(before, sent, self._prices()),
            (age > radio.latency_limit) | (served.dropped_bit > 0),
            age,
        )
        reward = self._reward(before, outcome)
        self._steps_done += 1
        self._events.advance()
        self._channel.advance()
        reports = used & ~sent.deaf
        past = Past(
            torch.where(reports, sent.interference_w, 0.0),
            torch.where(reports, sent.explained_w, 0.0),
            action.level,
            used,
            sent.served,
            listen(
                before.heard,
                reports,
                sent.interference_w,
                sent.explained_w,
                radio.noise_w,
            ),
            served.moved_bit,
            torch.lerp(before.average_bit, served.moved_bit, AVERAGE_WINDOW),
        )
        self._begin_slot(past)
        batch, device = len(reward), reward.device
        over = self._steps_done >= self.num_steps
        return Step(
            self.observation(),
            reward,
            terminated=torch.zeros(batch, dtype=torch.bool, device=device),
            truncated=torch.full((batch,), over, device=device),
            info=outcome,
        )

    def observation(self) -> DenseGraph:
        """What the nodes see now: node ``[B, L, N, 24]``, edge_weight ``[B, L, L]``."""
        state, radio = self.state, self.radio
        if self._weighted_gain is not state.mean_gain:
            # Edges change when gains without fading do, which is every so many slots.
            self._weight = edge_weight(state.networks, state.mean_gain, radio, self.edges)
            self._weighted_gain = state.mean_gain
        return DenseGraph(features(state, radio, self.edges), self._weight)

    def scheduler(self) -> Scheduler:
        """The nodes' schedulers at the beginning of the coming slot."""
        return Scheduler(self.state, self.radio)

    def alternatives(self, action: Action) -> Tensor:
        """What bands would be worth for each choice of a node, if all others act as in ``action``.

        See `band_reward.alternatives`: ``[B, M, N, 1 + 2 P]``.
        """
        check_action(action, self.state, self.radio)
        return alternatives(self.state, self.radio, action.level, self._prices())

    def _prices(self) -> Prices:
        return prices(self.state, self.radio, self.failure_weight, self.success_weight)

    def _reward(self, before: State, outcome: Outcome) -> Tensor:
        delivered = outcome.delivered_bit.sum(-1) / before.load_bit.sum(-1)
        reward = delivered.float()
        reward = reward - self.sinr_weight * outcome.sinr_violation.mean(-1)
        reward = reward - self.latency_weight * outcome.latency_violation.float().mean(-1)
        return reward.unsqueeze(-1).expand(-1, self.family.num_nodes)

    def _begin_slot(self, past: Past) -> None:
        radiated_w = dbm_to_w(self.family.incumbent_dbm) * self._events.incumbent_on
        self.state = State(
            networks=self.scenarios.networks,
            gain=self._channel.gain,
            mean_gain=self._channel.mean_gain,
            queue_bit=self._queues.queue_bit,
            link_queue_bit=self._queues.link_queue_bit,
            age=self._queues.age,
            alive=self._events.alive,
            load_bit=self._events.load_bit,
            unserved=self._slots_unserved,
            incumbent_w=radiated_w.unsqueeze(1) * self._channel.incumbent_gain,
            slot=self._steps_done,
            **vars(past),
        )


def check_action(action: Action, state: State, radio: Radio) -> None:
    """Require levels 0 to P of the state's shape.

    Raises:
        ValueError: If their shape, type or range is wrong.
    """
    level, shape = action.level, tuple(state.level.shape)
    require(tuple(level.shape) == shape, "level", f"have shape {shape}", tuple(level.shape))
    require(level.dtype == torch.long, "level", "be integers (long)", level.dtype)
    low, high = int(level.min()), int(level.max())
    rule = f"be in [0, {radio.num_levels}]"
    require(low >= 0, "level", rule, low)
    require(high <= radio.num_levels, "level", rule, high)
