"""Uplink of a cell as a batched environment: channels and powers of moving users (paper B)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.fading import rayleigh_power
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.units import db_to_linear, linear_to_db, w_to_dbm
from metagnn.tasks.channel_assignment.energy_efficiency import energy_efficiency, permitted_power
from metagnn.tasks.channel_assignment.observation import Edges, Layout, observe
from metagnn.tasks.channel_assignment.scenario import Scenario, Uplink
from metagnn.tasks.environment import Step

Reward = Literal["sum", "difference"]

# Paper B, Table I: fading changes every millisecond, path loss and shadowing every 100.
STEP_S, STEPS_PER_MOVE = 1e-3, 100
# The best mean gain that a user may hope for: so near, shadowed by minus so many deviations.
NEAREST_M, FEWEST_DEVIATIONS = 1.0, 4.0
# A floor that even such a user meets less often is out of reach.
RAREST = 1e-6


@dataclass(frozen=True)
class Action:
    """What the users do.

    Attributes:
        channel: Subchannels ``[B, I]``, 0 to N - 1.
        power_w: Transmit powers ``[B, I]`` [W].
    """

    channel: Tensor
    power_w: Tensor


@dataclass(frozen=True)
class Outcome:
    """What came of an action.

    Attributes:
        energy_efficiency: Energy efficiencies ``[B, I]`` [bit/J], 0 after a collision.
        undisturbed: The same as if each user were alone ``[B, I]`` [bit/J].
        alone: Whether each user had its subchannel for itself ``[B, I]``.
        snr_met: Whether it was alone and above the smallest SNR ``[B, I]``.
    """

    energy_efficiency: Tensor
    undisturbed: Tensor
    alone: Tensor
    snr_met: Tensor


class ChannelAssignment:
    """B cells of I users each, which choose a subchannel and a power every millisecond.

    Users move on straight lines with a speed of at most ``speed_max_m_s`` and are reflected at
    the border. Every 100 steps path loss and shadowing follow, the latter with TR 38.901's
    correlation over the distance moved (Section 7.4.4), which is another one for users who are in
    sight after the move. The fading is drawn anew at every step and is Rayleigh's, also in sight.
    Episodes end by truncation only.

    The SNR floor must be in reach: where the mean gain is the best that a user may hope for (1 m
    from the base station on the ground, shadowed by minus four standard deviations), full power on
    the subchannel of least noise must meet it with a probability of at least 1e-6. Under Rayleigh
    fading that is :math:`e^{-x}` for a floor of x times the mean SNR.

    Args:
        scenario: The cell.
        num_users: Number of users I, at most the number of subchannels.
        uplink: What the users may do.
        num_steps: Steps of an episode.
        reward: ``sum``, the paper's Eq. 6, the same for all users; or ``difference``, what
            `difference_reward` says.
        reward_scale: Coefficient xi of Eq. 7 [J/bit].
        layout: Observations per ``user``, or per user and ``channel`` (see `observation.observe`).
        edges: ``none`` (every user sees itself only) or ``order`` (see `observation.observe`).
        progress: The observation's fingerprint t, the share of training done, in [0, 1].

    Attributes:
        position_m: Where the users are, seen from the base station ``[B, I, 2]`` [m].
        gain_to_noise: Their channel gains over noise powers ``[B, I, N]`` [1/W].

    Raises:
        ValueError: If an argument is out of range or the SNR floor out of reach.
    """

    def __init__(
        self,
        scenario: Scenario,
        num_users: int = 6,
        uplink: Uplink = Uplink(),  # noqa: B008 - frozen
        num_steps: int = 100,
        reward: Reward = "sum",
        reward_scale: float = 1e-9,
        layout: Layout = "channel",
        edges: Edges = "order",
        progress: float = 1.0,
    ) -> None:
        check_count("num_users", num_users)
        rule = f"be at most the {uplink.num_channels} subchannels"
        require(num_users <= uplink.num_channels, "num_users", rule, num_users)
        check_count("num_steps", num_steps)
        require(reward in ("sum", "difference"), "reward", "be 'sum' or 'difference'", reward)
        require(layout in ("user", "channel"), "layout", "be 'user' or 'channel'", layout)
        require(edges in ("none", "order"), "edges", "be 'none' or 'order'", edges)
        check_positive("reward_scale", reward_scale)
        require(0.0 <= progress <= 1.0, "progress", "lie in [0, 1]", progress)
        self.scenario, self.uplink = scenario, uplink
        self.num_users, self.num_steps = num_users, num_steps
        self.reward, self.reward_scale = reward, reward_scale
        self.layout: Layout = layout
        self.edges: Edges = edges
        self.progress = progress
        self._noise_w = scenario.noise_w(uplink.bandwidth_hz)
        self._steps_done = 0
        highest_db = self._highest_floor_db()
        user = f"a user {NEAREST_M:g} m away, shadowed by -{FEWEST_DEVIATIONS:g} deviations"
        rule = f"be at most {highest_db:.2f}, which {user}, meets with probability {RAREST:g}"
        require(uplink.snr_min_db <= highest_db, "snr_min_db", rule, uplink.snr_min_db)

    def _highest_floor_db(self) -> float:
        model, site = self.scenario.model, self.scenario.site
        laws = [(model.nlos_db, model.nlos_shadowing_db)]
        if self.scenario.line_of_sight:
            laws.append((model.los_db, model.los_shadowing_db))
        nearest_m = torch.tensor(NEAREST_M)
        loss_db = min(
            float(path_loss(nearest_m, site)) - FEWEST_DEVIATIONS * std_db
            for path_loss, std_db in laws
        )
        received_dbm = self.uplink.power_max_dbm + self.scenario.antenna_gain_db - loss_db
        mean_snr_db = received_dbm - w_to_dbm(float(self._noise_w.min()))
        return mean_snr_db + linear_to_db(-math.log(RAREST))

    @property
    def num_features(self) -> int:
        """Number of node features F of an observation."""
        return self.uplink.num_channels + 2 if self.layout == "user" else 4

    def reset(self, batch: int, generator: torch.Generator) -> DenseGraph:
        """Drop the users of ``batch`` cells and begin an episode.

        Args:
            batch: Number of cells B.
            generator: Source of all randomness until the next reset; the cells are on its device.
        """
        check_count("batch", batch)
        self._generator = generator
        shape = (batch, self.num_users)
        area_m = self.scenario.area_m
        self.position_m = area_m * (self._uniform(*shape, 2) - 0.5)
        angle = 2.0 * math.pi * self._uniform(*shape)
        speed = self.scenario.speed_max_m_s * self._uniform(*shape, 1)
        self._velocity_m_s = speed * torch.stack([angle.cos(), angle.sin()], dim=-1)
        self._shadowing = self._normal(*shape)
        self._draw_of_sight = self._uniform(*shape)
        self._steps_done = 0
        self._path_gain = self._large_scale_gain()
        return self._fade()

    def step(self, action: Action) -> Step[Outcome]:
        """Transmit for one millisecond.

        Args:
            action: Channels and powers of the users.

        Raises:
            ValueError: If a channel or a power is out of range or their shape is wrong.
        """
        require(hasattr(self, "gain_to_noise"), "step", "follow a reset", "none")
        check_action(action, self.gain_to_noise, self.uplink)
        outcome = transmit(action, self.gain_to_noise, self.uplink)
        reward = (
            sum_reward(outcome, self.reward_scale)
            if self.reward == "sum"
            else difference_reward(action, outcome, self.reward_scale)
        )
        self._steps_done += 1
        if self._steps_done % STEPS_PER_MOVE == 0:
            self._move()
        observation = self._fade()
        batch = len(reward)
        return Step(
            observation,
            reward,
            terminated=torch.zeros(batch, dtype=torch.bool, device=reward.device),
            truncated=torch.full(
                (batch,), self._steps_done >= self.num_steps, device=reward.device
            ),
            info=outcome,
        )

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self._generator.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._generator.device)

    def _large_scale_gain(self) -> Tensor:
        """Path loss, shadowing and antennas as power gains ``[B, I]`` [1]."""
        model, site = self.scenario.model, self.scenario.site
        distance_m = self.position_m.norm(dim=-1)
        loss_db = model.nlos_db(distance_m, site) + model.nlos_shadowing_db * self._shadowing
        if self.scenario.line_of_sight:
            los_db = model.los_db(distance_m, site) + model.los_shadowing_db * self._shadowing
            loss_db = torch.where(self._in_sight(), los_db, loss_db)
        return db_to_linear(self.scenario.antenna_gain_db - loss_db)

    def _in_sight(self) -> Tensor:
        """Which users have a line of sight where they are ``[B, I]``."""
        return self._draw_of_sight < self.scenario.model.los_probability(
            self.position_m.norm(dim=-1)
        )

    def _shadowing_distance_m(self) -> float | Tensor:
        """Distance over which shadowing decorrelates, one or ``[B, I]`` [m]."""
        model = self.scenario.model
        if not self.scenario.line_of_sight:
            return model.nlos_shadowing_distance_m
        distances_m = model.los_shadowing_distance_m, model.nlos_shadowing_distance_m
        return torch.where(self._in_sight(), *distances_m)

    def _move(self) -> None:
        moved_m = STEP_S * STEPS_PER_MOVE * self._velocity_m_s
        position_m, border_m = self.position_m + moved_m, self.scenario.area_m / 2.0
        outside = position_m.abs() > border_m
        self._velocity_m_s = torch.where(outside, -self._velocity_m_s, self._velocity_m_s)
        mirrored = position_m.sign() * 2.0 * border_m - position_m
        self.position_m = torch.where(outside, mirrored, position_m)
        kept = torch.exp(-moved_m.norm(dim=-1) / self._shadowing_distance_m())
        fresh = self._normal(*kept.shape)
        self._shadowing = kept * self._shadowing + (1.0 - kept.square()).sqrt() * fresh
        self._path_gain = self._large_scale_gain()

    def _fade(self) -> DenseGraph:
        batch = len(self._path_gain)
        shape = (batch, self.num_users, self.uplink.num_channels)
        gain = self._path_gain.unsqueeze(-1) * rayleigh_power(shape, self._generator)
        self.gain_to_noise = gain / self._noise_w.to(gain)
        return self.observation()

    def observation(self) -> DenseGraph:
        """What the users see now."""
        return observe(self.gain_to_noise, self.uplink, self.layout, self.edges, self.progress)


def check_action(action: Action, gain_to_noise: Tensor, uplink: Uplink) -> None:
    """Require channels and powers within their limits, for gains over noise ``[B, I, N]``.

    Raises:
        ValueError: If a shape, a channel or a power is out of range.
    """
    shape = tuple(gain_to_noise.shape[:-1])
    for name in ("channel", "power_w"):
        found = tuple(getattr(action, name).shape)
        require(found == shape, name, f"have the shape {shape}", found)
    whole = action.channel.dtype == torch.long
    require(whole, "channel", "hold integers (torch.long)", str(action.channel.dtype))
    low, high = (int(value) for value in action.channel.aminmax())
    rule = f"lie in [0, {uplink.num_channels - 1}]"
    require(low >= 0 and high < uplink.num_channels, "channel", rule, (low, high))
    least, most = (float(value) for value in action.power_w.aminmax())
    limit = uplink.power_max_w
    rule = f"be 0 or lie in [{uplink.power_min_w:g}, {limit:g}] W"
    positive = action.power_w[action.power_w > 0]
    weakest = float(positive.min()) if len(positive) else uplink.power_min_w
    fits = least >= 0.0 and most <= limit * (1.0 + 1e-5)
    fits = fits and weakest >= uplink.power_min_w * (1.0 - 1e-5)
    require(fits, "power_w", rule, (least, most))


def transmit(action: Action, gain_to_noise: Tensor, uplink: Uplink) -> Outcome:
    """Outcome of an action (paper B, Eq. 3, 4 and 7): users of one subchannel all fail.

    Args:
        action: Channels and powers ``[B, I]``.
        gain_to_noise: Channel gains over noise powers ``[B, I, N]`` [1/W].
        uplink: Bandwidths and limits.
    """
    own = gain_to_noise.gather(-1, action.channel.unsqueeze(-1)).squeeze(-1)
    power_w = permitted_power(action.power_w, own, uplink)
    bandwidth_hz = gain_to_noise.new_tensor(uplink.bandwidth_hz)[action.channel]
    undisturbed = energy_efficiency(power_w, own, bandwidth_hz, uplink.circuit_power_w)
    alone = _sharing(action.channel).sum(-1) == 1
    return Outcome(torch.where(alone, undisturbed, 0.0), undisturbed, alone, alone & (power_w > 0))


def _sharing(channel: Tensor) -> Tensor:
    """Whether two users are on one subchannel: ``[B, I]`` to ``[B, I, I]``."""
    return channel.unsqueeze(-1) == channel.unsqueeze(-2)


def sum_reward(outcome: Outcome, scale: float) -> Tensor:
    """Reward of the paper's Eq. 6, the same for all users ``[B, I]``."""
    share_failed = 1.0 - outcome.alone.double().mean(-1)
    total = scale * outcome.energy_efficiency.double().sum(-1)
    reward = torch.where(share_failed == 0.0, total, -share_failed)
    return reward.float().unsqueeze(-1).expand(outcome.alone.shape)


def difference_reward(action: Action, outcome: Outcome, scale: float) -> Tensor:
    r"""What each user adds to the scaled sum of efficiencies ``[B, I]``.

    :math:`D_i = G(a) - G(a_{-i})` with :math:`G = \xi \sum_j u_j`, without Eq. 6's punishment:
    its own efficiency if it is alone, minus that of the other one if they are two, 0 if they are
    more. It ranks a user's actions as the sum does, and leaves out what the others do elsewhere.
    """
    sharing = _sharing(action.channel)
    taken = (sharing * outcome.undisturbed.unsqueeze(-2)).sum(-1) - outcome.undisturbed
    taken = torch.where(sharing.sum(-1) == 2, taken, 0.0)
    return scale * torch.where(outcome.alone, outcome.undisturbed, -taken)
