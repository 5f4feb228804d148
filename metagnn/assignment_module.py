"""Lightning modules of paper B: meta-training at the base station, adaptation at the users."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from metagnn.assignment_score import deterministic, score_assignment
from metagnn.checkpoint import read_checkpoint
from metagnn.federated import WEIGHTINGS, Update, Weighting, federated_round
from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.models.action_heads import HybridAction, HybridPolicy
from metagnn.models.actor_critic import ActorCritic, ActorCriticShape
from metagnn.ppo import (
    Network,
    PPOSettings,
    Trajectories,
    collect,
    generalised_advantage,
    make_batch,
    ppo_loss,
)
from metagnn.tasks.channel_assignment.energy_efficiency import level_to_w
from metagnn.tasks.channel_assignment.environment import (
    Action,
    ChannelAssignment,
    Edges,
    Layout,
    Outcome,
    Reward,
)
from metagnn.tasks.channel_assignment.scenario import scenario
from metagnn.tasks.environment import Step

Scheme = Literal["mfrl", "mrl", "frl", "marl"]
SCHEMES: tuple[Scheme, ...] = ("mfrl", "mrl", "frl", "marl")


@dataclass(frozen=True)
class Cell:
    """Cells in which episodes take place.

    Attributes:
        scenario: Name of the propagation scenario.
        num_copies: Cells B that an episode runs side by side.
        num_steps: Steps T of an episode.
        reward: See `ChannelAssignment`; so are the others.
        reward_scale: Coefficient xi [J/bit].
        layout: Observations per ``user`` or per ``channel``.
        edges: ``none`` or ``order``.
    """

    scenario: str = "urban_micro"
    num_copies: int = 256
    num_steps: int = 1
    reward: Reward = "difference"
    reward_scale: float = 3e-9
    layout: Layout = "channel"
    edges: Edges = "order"

    def __post_init__(self) -> None:
        check_count("num_copies", self.num_copies)
        self.environment(1)

    def environment(self, num_users: int) -> ChannelAssignment:
        """Environment of cells with so many users."""
        return ChannelAssignment(
            scenario(self.scenario),
            num_users,
            num_steps=self.num_steps,
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
        power_w = level_to_w(policy.bounded(action))
        return self.environment.step(Action(action.choice, power_w))


class AssignmentModule(pl.LightningModule):
    """What meta-training and adaptation share. One Lightning epoch is one episode.

    Args:
        shape: What the network looks like.
        cell: Where episodes take place.
        ppo: Constants of the learning.
        learning_rate: Learning rate of Adam.
        schedule: ``constant``, or ``linear`` decay to zero at the last epoch.
        seed: Seed of cells, actions and initial parameters.
        num_validation_cells: Cells per validation.

    Raises:
        ValueError: If an argument is out of range or the network does not fit the observations.
    """

    num_done: Tensor

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
        super().__init__()
        environment = cell.environment(1)
        wanted = environment.num_features, environment.uplink.num_channels
        found = shape.in_channels, shape.num_choices
        rule = f"be {wanted} (in_channels, num_choices) for layout {cell.layout!r}"
        require(found == wanted, "shape", rule, found)
        rule = "be true for layout 'channel' only"
        fits = shape.per_choice == (cell.layout == "channel")
        require(fits, "shape.per_choice", rule, shape.per_choice)
        limits = environment.uplink.power_min_dbm, environment.uplink.power_max_dbm
        bounds = shape.low, shape.high
        require(bounds == limits, "shape", f"have the bounds {limits} dBm (low, high)", bounds)
        rule = f"be at most the {cell.num_copies} copies of the cell"
        require(ppo.num_batches <= cell.num_copies, "ppo.num_batches", rule, ppo.num_batches)
        smallest = cell.num_copies // ppo.num_batches * cell.num_steps
        rule = "leave batches of at least 2 transitions, to be normalised"
        require(smallest > 1 or not ppo.normalise, "cell.num_copies", rule, cell.num_copies)
        check_positive("learning_rate", learning_rate)
        schedules = ("constant", "linear")
        require(schedule in schedules, "schedule", f"be one of {schedules}", schedule)
        check_count("seed", seed, minimum=0)
        check_count("num_validation_cells", num_validation_cells)
        self.shape, self.cell, self.ppo = shape, cell, ppo
        self.learning_rate, self.schedule, self.seed = learning_rate, schedule, seed
        self.num_validation_cells = num_validation_cells
        self.automatic_optimization = False
        self.network = initial_network(shape, seed)
        self.register_buffer("num_done", torch.zeros((), dtype=torch.int64))

    def facts(self) -> dict[str, Any]:
        """What the run is, as plain values: a checkpoint of another run is refused by it."""
        return {
            "kind": type(self).__name__,
            "shape": {**asdict(self.shape), "hidden_channels": list(self.shape.hidden_channels)},
            "cell": asdict(self.cell),
            "seed": self.seed,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the run is and how far it has come."""
        checkpoint["run"] = {
            **self.facts(),
            "num_episodes": self.trainer.max_epochs,
            "num_done": int(self.num_done),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint is of this run.

        Raises:
            ValueError: If something of it differs.
        """
        found = checkpoint.get("run", {})
        for name, value in self.facts().items():
            had, rule = found.get(name), f"be of a run with {name} = {value}"
            require(had == value, "ckpt_path", rule, had)

    def train_dataloader(self) -> DataLoader[int]:
        """One item: every epoch is one step."""
        return DataLoader([0], batch_size=None)  # type: ignore[arg-type]

    val_dataloader = test_dataloader = train_dataloader

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on what learns."""
        return torch.optim.Adam(self.learned(), lr=self.learning_rate)

    def learned(self) -> list[nn.Parameter]:
        """Parameters that learn."""
        return list(self.network.parameters())

    def policy(self, num_users: int) -> Network:
        """Network for cells of so many users."""
        return self.network

    def episode(self, num_users: int) -> Trajectories:
        """Trajectories of an episode, of the epoch's own cells and actions."""
        environment = self.cell.environment(num_users)
        environment.progress = self._progress()
        position = (self.current_epoch, num_users)
        observation = environment.reset(
            self.cell.num_copies, generator(self.seed, "cells", *position)
        )
        return collect(
            self.policy(num_users),
            _Users(environment),
            observation,
            self.cell.num_steps,
            generator(self.seed, "actions", *position),
        )

    def _progress(self) -> float:
        total = self.trainer.max_epochs
        return int(self.num_done) / total if total is not None and total > 0 else 0.0

    def _learn(self, episodes: Mapping[int, Trajectories]) -> None:
        """Pass over the episodes of each number of users and log how it went."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        if self.schedule == "linear":
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (1.0 - self._progress())
        logged: dict[str, list[Tensor]] = {}
        for number in range(self.ppo.num_epochs):
            source = generator(self.seed, "order", self.current_epoch, number)
            order = torch.randperm(self.cell.num_copies, generator=source)
            for copies in order.tensor_split(self.ppo.num_batches):
                losses = []
                for num_users, trajectories in episodes.items():
                    batch = make_batch(trajectories, copies, self.ppo)
                    parts = ppo_loss(self.policy(num_users), batch, self.ppo)
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
        """Bound the norm of the gradient."""
        nn.utils.clip_grad_norm_(self.learned(), self.ppo.max_gradient_norm)

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
                self.policy(num_users), self.cell.layout, self.cell.edges, self._progress()
            )
            found = score_assignment({"own": own}, environment, num_cells, self.seed, split)["own"]
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


class MetaPPO(AssignmentModule):
    """Meta-training at the base station (paper B, Algorithm 1): one model for all tasks.

    Args:
        shape: See `AssignmentModule`, as for all that is not listed here.
        cell: Where episodes take place.
        ppo: Constants of the learning.
        num_users: Numbers of users I_k, one task each.
        learning_rate: Learning rate of Adam.
        schedule: ``constant`` or ``linear``.
        seed: Seed.
        num_validation_cells: Cells per validation.
    """

    def __init__(
        self,
        shape: ActorCriticShape,
        cell: Cell,
        ppo: PPOSettings,
        num_users: tuple[int, ...] = (2, 4, 8),
        learning_rate: float = 2e-3,
        schedule: Literal["constant", "linear"] = "linear",
        seed: int = 0,
        num_validation_cells: int = 100,
    ) -> None:
        super().__init__(shape, cell, ppo, learning_rate, schedule, seed, num_validation_cells)
        require(len(num_users) > 0, "num_users", "hold a number of users", num_users)
        distinct = len(set(num_users)) == len(num_users)
        require(distinct, "num_users", "hold each number once", num_users)
        for number in num_users:
            cell.environment(number)
        self.num_users = tuple(num_users)

    def training_step(self, batch: int, batch_index: int) -> None:
        """One epoch of Algorithm 1: episodes of every task, then an update from all of them."""
        self._learn({number: self.episode(number) for number in self.num_users})

    def scored_num_users(self) -> Sequence[int]:
        """Those of training."""
        return self.num_users


class FederatedPPO(AssignmentModule):
    """Adaptation at the users (paper B, Algorithm 2), each with a model of its own.

    ``mfrl`` starts from the model of `MetaPPO` and averages; ``mrl`` starts from it and does not
    average; ``frl`` averages from one random model; ``marl`` does not, from random models of its
    own for each user.

    Args:
        shape: See `AssignmentModule`, as for all that is not listed here.
        cell: Where episodes take place.
        ppo: Constants of the learning.
        num_users: Number of users I.
        scheme: ``mfrl``, ``mrl``, ``frl`` or ``marl``.
        start_from: Checkpoint of `MetaPPO` from which ``mfrl`` and ``mrl`` start.
        average_every: Episodes between averagings.
        weighting: Weights of the average: ``uniform``, ``samples`` (Eq. 19), ``success`` (Eq. 20).
        quorum: Fewest clients of an average.
        learning_rate: Learning rate of Adam.
        schedule: ``constant`` or ``linear``.
        seed: Seed.
        num_validation_cells: Cells per validation.

    Raises:
        ValueError: If an argument is out of range, or ``start_from`` is needed and does not fit.
    """

    num_successes: Tensor
    num_transmissions: Tensor

    def __init__(
        self,
        shape: ActorCriticShape,
        cell: Cell,
        ppo: PPOSettings,
        num_users: int = 6,
        scheme: Scheme = "mfrl",
        start_from: str | None = None,
        average_every: int = 100,
        weighting: Weighting = "success",
        quorum: int = 1,
        learning_rate: float = 1e-3,
        schedule: Literal["constant", "linear"] = "linear",
        seed: int = 0,
        num_validation_cells: int = 100,
    ) -> None:
        super().__init__(shape, cell, ppo, learning_rate, schedule, seed, num_validation_cells)
        cell.environment(num_users)
        require(scheme in SCHEMES, "scheme", f"be one of {SCHEMES}", scheme)
        check_count("average_every", average_every)
        check_count("quorum", quorum)
        rule = f"be at most the {num_users} users"
        require(quorum <= num_users, "quorum", rule, quorum)
        require(weighting in WEIGHTINGS, "weighting", f"be one of {WEIGHTINGS}", weighting)
        self.num_users, self.scheme, self.average_every = num_users, scheme, average_every
        self.weighting: Weighting = weighting
        self.quorum = quorum
        if scheme in ("mfrl", "mrl"):
            rule = f"be a checkpoint of MetaPPO for scheme {scheme!r}"
            require(start_from is not None, "start_from", rule, start_from)
            self.network.load_state_dict(load_network(str(start_from), self))
        models = [
            initial_network(shape, seed, user) if scheme == "marl" else self.network
            for user in range(num_users)
        ]
        # ParameterDict allows no dots in names.
        self.local = nn.ParameterDict(
            {
                name.replace(".", "/"): torch.stack(
                    [m.get_parameter(name) for m in models]
                ).detach()
                for name, _ in self.network.named_parameters()
            }
        )
        self.register_buffer("num_successes", torch.zeros(num_users, dtype=torch.float64))
        self.register_buffer("num_transmissions", torch.zeros((), dtype=torch.int64))
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)

    def learned(self) -> list[nn.Parameter]:
        """The users' models."""
        return list(self.local.values())

    def models(self) -> dict[str, Tensor]:
        """Named parameters of all users ``[I, ...]``."""
        return {name.replace("/", "."): value for name, value in self.local.items()}

    def policy(self, num_users: int) -> Network:
        """The users' own models, user i of a cell with the i-th."""
        models = self.models()

        def network(graph: DenseGraph) -> tuple[HybridPolicy, Tensor]:
            policy: tuple[HybridPolicy, Tensor] = self.network(graph, models)
            return policy

        return network

    def total(self, loss: Tensor) -> Tensor:
        """Sum over users: each model descends the gradient of all losses it takes part in."""
        return loss.sum()

    def shorten_gradients(self) -> None:
        """Bound the norm of each user's gradient."""
        gradients = [p.grad.flatten(1) for p in self.learned() if p.grad is not None]
        norm = torch.cat(gradients, dim=1).norm(dim=1)
        factor = (self.ppo.max_gradient_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        for parameter in self.learned():
            if parameter.grad is not None:
                parameter.grad *= factor.view(-1, *[1] * (parameter.dim() - 1))

    def facts(self) -> dict[str, Any]:
        """Further the scheme and the number of users."""
        return {**super().facts(), "scheme": self.scheme, "num_users": self.num_users}

    def training_step(self, batch: int, batch_index: int) -> None:
        """One epoch of Algorithm 2, and the averaging that may be due after it."""
        trajectories = self.episode(self.num_users)
        found = successes(trajectories)
        self.num_successes += found.double().flatten(0, 1).sum(0)
        self.num_transmissions += found[..., 0].numel()
        self._learn({self.num_users: trajectories})
        averages = self.scheme in ("mfrl", "frl")
        if averages and (self.current_epoch + 1) % self.average_every == 0:
            self.average()

    @torch.no_grad()
    def average(self) -> None:
        """A round of federated averaging, after which every user has the global model."""
        models = self.models()
        updates = [
            Update(
                f"user {i}",
                {name: value[i] for name, value in models.items()},
                int(self.num_transmissions),
                float(self.num_successes[i] / self.num_transmissions),
            )
            for i in range(self.num_users)
        ]
        found = federated_round(self.network.state_dict(), updates, self.weighting, self.quorum)
        self.log("federated_bytes", float(found.num_bytes), batch_size=1)
        self.log("federated_rejected", float(len(found.rejected)), batch_size=1)
        if found.averaged:
            self.network.load_state_dict(found.model)
            for name, value in models.items():
                value.copy_(found.model[name].expand(value.shape))

    def scored_num_users(self) -> Sequence[int]:
        """That of training."""
        return (self.num_users,)


def initial_network(shape: ActorCriticShape, seed: int, user: int = 0) -> ActorCritic:
    """Network with random parameters, a function of seed and user."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(seed, "network", user).initial_seed() % 2**63)
        return ActorCritic(shape)


def load_network(path: str, module: AssignmentModule) -> dict[str, Tensor]:
    """Parameters of the network of a `MetaPPO` checkpoint, to be used by another module.

    Raises:
        ValueError: If the file is no such checkpoint, or its network or observations are others.
    """
    checkpoint = read_checkpoint(path, name="start_from")
    run, wanted = checkpoint.get("run", {}), module.facts()
    kind = run.get("kind")
    require(kind == "MetaPPO", "start_from", "be a checkpoint of MetaPPO", kind)
    for name, value in wanted["shape"].items():
        rule = f"have a network with {name} = {value}"
        require(run["shape"].get(name) == value, "start_from", rule, run["shape"].get(name))
    for name in ("layout", "edges"):
        rule = f"have learned with {name} = {wanted['cell'][name]!r}"
        require(run["cell"][name] == wanted["cell"][name], "start_from", rule, run["cell"][name])
    return {
        name.removeprefix("network."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("network.")
    }


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
