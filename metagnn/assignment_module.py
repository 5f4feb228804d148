"""What the Lightning modules of channel assignment share: episodes, updates, scores (paper B)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from metagnn.agent_module import AgentModule
from metagnn.assignment_score import deterministic, score_assignment
from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.randomness import generator
from metagnn.graphs.units import dbm_to_w
from metagnn.models.action_heads import HybridAction, HybridPolicy
from metagnn.models.actor_critic import ActorCritic, ActorCriticShape
from metagnn.plain_values import plain
from metagnn.ppo import (
    Network,
    PPOSettings,
    Trajectories,
    collect,
    generalised_advantage,
    make_batch,
    ppo_loss,
)
from metagnn.tasks.channel_assignment.environment import (
    Action,
    ChannelAssignment,
    Outcome,
    Reward,
)
from metagnn.tasks.channel_assignment.observation import Edges, Layout
from metagnn.tasks.channel_assignment.scenario import Uplink, scenario
from metagnn.tasks.environment import Step


@dataclass(frozen=True)
class Cell:
    """Cells in which episodes take place.

    Attributes:
        scenario: Name of the propagation scenario.
        line_of_sight: Draw lines of sight with their probability; the paper has none.
        num_copies: Cells B that an episode runs side by side.
        num_steps: Steps T of an episode.
        reward: See `ChannelAssignment`; so are the others.
        reward_scale: Coefficient xi [J/bit].
        layout: Observations per ``user`` or per ``channel``.
        edges: ``none`` or ``order``.
        snr_min_db: Smallest SNR [dB], see `Uplink`.
    """

    scenario: str = "urban_micro"
    line_of_sight: bool = False
    num_copies: int = 256
    num_steps: int = 1
    reward: Reward = "difference"
    reward_scale: float = 3e-9
    layout: Layout = "channel"
    edges: Edges = "order"
    snr_min_db: float = Uplink.snr_min_db

    def __post_init__(self) -> None:
        check_count("num_copies", self.num_copies)
        self.environment(1)

    def environment(self, num_users: int) -> ChannelAssignment:
        """Environment of cells with so many users."""
        return ChannelAssignment(
            replace(scenario(self.scenario), line_of_sight=self.line_of_sight),
            num_users,
            Uplink(snr_min_db=self.snr_min_db),
            self.num_steps,
            reward=self.reward,
            reward_scale=self.reward_scale,
            layout=self.layout,
            edges=self.edges,
        )


class _Users:
    """The environment as a rollout sees it: actions of the network's heads become powers."""

    def __init__(self, environment: ChannelAssignment) -> None:
        self.environment = environment

    def step(self, policy: HybridPolicy, action: HybridAction) -> Step[Outcome]:
        power_w = dbm_to_w(policy.bounded(action))
        return self.environment.step(Action(action.choice, power_w))


class AssignmentModule(AgentModule):
    """What meta-training and adaptation share. One Lightning epoch is one episode.

    Args:
        shape: What the network looks like.
        cell: Where episodes take place.
        ppo: Constants of the learning.
        learning_rate: Learning rate of Adam.
        schedule: ``constant``, or ``linear`` decay of learning rate and entropy weight, to zero
            after the last epoch.
        seed: Seed of cells, actions and initial parameters.
        num_validation_cells: Cells per validation.

    Raises:
        ValueError: If an argument is out of range or the network does not fit the observations.
    """

    def __init__(
        self,
        shape: ActorCriticShape,
        cell: Cell,
        ppo: PPOSettings,
        learning_rate: float,
        schedule: Literal["constant", "linear"],
        seed: int,
        num_validation_cells: int = 100,
    ) -> None:
        super().__init__(seed)
        for name, value in fitting_shape(cell.environment(1)).items():
            found, rule = getattr(shape, name), f"be {value} for layout {cell.layout!r}"
            require(found == value, f"shape.{name}", rule, found)
        rule = f"be at most the {cell.num_copies} copies of the cell"
        require(ppo.num_batches <= cell.num_copies, "ppo.num_batches", rule, ppo.num_batches)
        smallest = cell.num_copies // ppo.num_batches * cell.num_steps
        rule = "leave batches of at least 2 transitions, to be normalised"
        require(smallest > 1 or not ppo.normalise, "cell.num_copies", rule, cell.num_copies)
        check_positive("learning_rate", learning_rate)
        schedules = ("constant", "linear")
        require(schedule in schedules, "schedule", f"be one of {schedules}", schedule)
        check_count("num_validation_cells", num_validation_cells)
        self.shape, self.cell, self.ppo = shape, cell, ppo
        self.learning_rate, self.schedule = learning_rate, schedule
        self.num_validation_cells = num_validation_cells
        self.network = initial_network(shape, seed)

    def facts(self) -> dict[str, Any]:
        """See `AgentModule`."""
        return {
            "kind": type(self).__name__,
            "shape": plain(asdict(self.shape)),
            "cell": asdict(self.cell),
            "ppo": asdict(self.ppo),
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "seed": self.seed,
        }

    def expected(self) -> dict[str, Any]:
        """See `AgentModule`; the length matters where a schedule depends on it."""
        fits = self.schedule == "linear" and self.trainer.state.fn == TrainerFn.FITTING
        return super().expected() if fits else self.facts()

    def prepare_data(self) -> None:
        """Require that there is an optimum to validate against, before anything is written.

        Raises:
            ValueError: If nobody meets the SNR floor in the validation cells.
        """
        device = self.trainer.strategy.root_device
        for num_users in self.scored_num_users():
            environment = replace(self.cell, num_steps=1).environment(num_users)
            cells = (self.num_validation_cells, self.seed, "validation", device)
            score_assignment({}, environment, *cells)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on what learns."""
        return torch.optim.Adam(self.learned(), lr=self.learning_rate, fused=True)

    def learned(self) -> list[nn.Parameter]:
        """Parameters that learn."""
        return list(self.network.parameters())

    def policy(self, num_users: int) -> Network:
        """Network for cells of so many users."""
        return self.network

    def episode(self, num_users: int) -> Trajectories:
        """Trajectories of an episode, of the epoch's own cells and actions."""
        environment = self.cell.environment(num_users)
        environment.progress = self.progress()
        position = (self.current_epoch, num_users)
        observation = environment.reset(
            self.cell.num_copies, generator(self.seed, "cells", *position, device=self.device)
        )
        return collect(
            self.policy(num_users),
            _Users(environment),
            observation,
            self.cell.num_steps,
            generator(self.seed, "actions", *position, device=self.device),
            self.ppo.looks_ahead,
        )

    def _learn(self, episodes: Mapping[int, Trajectories]) -> None:
        """Pass over the episodes of each number of users and log how it went."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        left = self.left() if self.schedule == "linear" else 1.0
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * left
        settings = replace(self.ppo, entropy_weight=self.ppo.entropy_weight * left)
        logged: dict[str, list[Tensor]] = {}
        for number in range(self.ppo.num_epochs):
            source = generator(self.seed, "order", self.current_epoch, number)
            order = torch.randperm(self.cell.num_copies, generator=source)
            for copies in order.tensor_split(self.ppo.num_batches):
                losses = []
                for num_users, trajectories in episodes.items():
                    batch = make_batch(trajectories, copies, self.ppo)
                    parts = ppo_loss(self.policy(num_users), batch, settings)
                    losses.append(self.total(parts.pop("loss")))
                    for name, value in parts.items():
                        logged.setdefault(name, []).append(value.detach().mean())
                optimizer.zero_grad()
                self.manual_backward(torch.stack(losses).mean())
                self.shorten_gradients()
                optimizer.step()
        self.num_done += 1
        values = {name: torch.stack(column).mean() for name, column in logged.items()}
        for num_users, trajectories in episodes.items():
            values[f"reward_{num_users}"] = trajectories.reward.mean()
        first = list(episodes.values())
        values["reward"] = torch.stack([t.reward.mean() for t in first]).mean()
        explained = [explained_variance(t, self.ppo) for t in first]
        values["explained_variance"] = torch.stack(explained).mean()
        values["success_rate"] = torch.stack([successes(t).mean() for t in first]).mean()
        self.log_dict(values, batch_size=1)

    def total(self, loss: Tensor) -> Tensor:
        """One number of the losses per agent ``[I]``."""
        return loss.mean()

    def shorten_gradients(self) -> None:
        """Bound the norm of the gradient; one that is not finite counts as 0, with a warning."""
        norm = nn.utils.clip_grad_norm_(self.learned(), self.ppo.max_gradient_norm)
        if not bool(norm.isfinite()):
            message = f"episode {self.current_epoch}: the gradient is not finite, and left out"
            warnings.warn(message, stacklevel=1)
            for parameter in self.learned():
                parameter.grad = None

    def validation_step(self, batch: int, batch_index: int) -> None:
        """Log the share of the optimum and the success rate on validation cells."""
        self._score("validation", self.num_validation_cells, 1)

    def test_step(self, batch: int, batch_index: int) -> None:
        """Log the same on the paper's test: 100 cells of 100 steps (Section IV)."""
        self._score("test", 100, 100)

    def _score(self, split: str, num_cells: int, num_steps: int) -> None:
        for num_users in self.scored_num_users():
            environment = replace(self.cell, num_steps=num_steps).environment(num_users)
            own = deterministic(
                self.policy(num_users), self.cell.layout, self.cell.edges, self.progress()
            )
            found = score_assignment(
                {"own": own}, environment, num_cells, self.seed, split, self.device
            )["own"]
            values = {
                "share": found.share,
                "success": float(found.success_rate.mean()),
                "sum_efficiency_mbit_j": float(found.efficiency.mean()) / 1e6,
            }
            for name, value in values.items():
                shown = name == "share"
                self.log(f"{split}_{name}_{num_users}", value, prog_bar=shown, batch_size=1)

    def scored_num_users(self) -> Sequence[int]:
        """Numbers of users in validation and test."""
        raise NotImplementedError


def fitting_shape(environment: ChannelAssignment) -> dict[str, Any]:
    """What an `ActorCriticShape` must say to fit an environment's observations and actions."""
    uplink = environment.uplink
    return {
        "in_channels": environment.num_features,
        "num_choices": uplink.num_channels,
        "per_choice": environment.layout == "channel",
        "low": uplink.power_min_dbm,
        "high": uplink.power_max_dbm,
    }


def initial_network(shape: ActorCriticShape, seed: int, user: int = 0) -> ActorCritic:
    """Network with random parameters, a function of seed and user."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(seed, "network", user).initial_seed() % 2**63)
        return ActorCritic(shape)


def successes(trajectories: Trajectories) -> Tensor:
    """Transmissions without a collision ``[T, B, I]`` (1 or 0)."""
    alone = [step.alone for step in trajectories.info if isinstance(step, Outcome)]
    return torch.stack(alone).float()


def explained_variance(trajectories: Trajectories, settings: PPOSettings) -> Tensor:
    """Share of the returns' variance that the critic explains; 0 if there is none.

    A return is the discounted sum of the rewards that followed in the episode, and beyond its cut
    the critic's value.
    """
    t = trajectories
    ends = (t.terminated, t.truncated)
    values = (t.reward, t.value, t.next_value)
    returns = generalised_advantage(*values, *ends, settings.discount, 1.0) + t.value
    variance = returns.var(correction=0)
    unexplained = (returns - t.value).var(correction=0)
    return torch.where(variance > 0, 1.0 - unexplained / variance, 0.0)
