"""Adaptation of channel assignment at the users, averaged or not (paper B, Algorithm 2)."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from metagnn.assignment_module import AssignmentModule, Cell, initial_network, successes
from metagnn.checkpoint import read_checkpoint
from metagnn.federated import WEIGHTINGS, Update, Weighting, federated_round
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import HybridPolicy
from metagnn.models.actor_critic import ActorCriticShape
from metagnn.ppo import Network, PPOSettings

Scheme = Literal["mfrl", "mrl", "frl", "marl"]
SCHEMES: tuple[Scheme, ...] = ("mfrl", "mrl", "frl", "marl")
Messages = Literal["differentiable", "detached"]
MESSAGES: tuple[Messages, ...] = ("differentiable", "detached")


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
        messages: ``differentiable``: in training the gradient of what a user hears goes back to
            whoever said it (Foerster et al., 2016); ``detached``: each model learns from its own
            user's loss alone.
        learning_rate: Learning rate of Adam.
        schedule: ``constant`` or ``linear``.
        seed: Seed.
        num_validation_cells: Cells per validation.

    Attributes:
        start: Facts of the base station's run from which the users start, but for its seed, which
            may differ between seeds of one kind of run; None if they start from random models.

    Raises:
        ValueError: If an argument is out of range, or ``start_from`` is needed and does not fit.
    """

    num_successes: Tensor
    num_transmissions: Tensor
    start: dict[str, Any] | None = None

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
        messages: Messages = "differentiable",
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
        require(messages in MESSAGES, "messages", f"be one of {MESSAGES}", messages)
        require(weighting in WEIGHTINGS, "weighting", f"be one of {WEIGHTINGS}", weighting)
        self.num_users, self.scheme, self.average_every = num_users, scheme, average_every
        self.weighting: Weighting = weighting
        self.messages: Messages = messages
        self.quorum = quorum
        if scheme in ("mfrl", "mrl"):
            rule = f"be a checkpoint of MetaPPO for scheme {scheme!r}"
            require(start_from is not None, "start_from", rule, start_from)
            self.start, parameters = load_start(str(start_from), self)
            self.network.load_state_dict(parameters)
        models = [
            initial_network(shape, seed, user) if scheme == "marl" else self.network
            for user in range(num_users)
        ]
        self.local = nn.ParameterDict(
            {
                stored(name): torch.stack([m.get_parameter(name) for m in models]).detach()
                for name, _ in self.network.named_parameters()
            }
        )
        self.register_buffer("num_successes", torch.zeros(num_users, dtype=torch.float64))
        self.register_buffer("num_transmissions", torch.zeros((), dtype=torch.int64))
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)

    def learned(self) -> list[nn.Parameter]:
        """The users' models."""
        return list(self.local.parameters())

    def models(self) -> dict[str, Tensor]:
        """Named parameters of all users ``[I, ...]``."""
        return {name.replace("/", "."): value for name, value in self.local.named_parameters()}

    def policy(self, num_users: int) -> Network:
        """The users' own models, user i of a cell with the i-th."""
        models = self.models()

        def network(graph: DenseGraph) -> tuple[HybridPolicy, Tensor]:
            policy: tuple[HybridPolicy, Tensor] = self.network(
                graph, models, detached=self.messages == "detached"
            )
            return policy

        return network

    def total(self, loss: Tensor) -> Tensor:
        """Sum over users: none of their models learns slower for being one of many."""
        return loss.sum()

    def shorten_gradients(self) -> None:
        """Bound the norm of each user's gradient; one that is not finite counts as 0, by name.

        A model that broke would reach the others with the next features it sends. Where messages
        carry gradients, a loss that is not finite breaks those of all that the user heard.
        """
        gradients = [p.grad.flatten(1) for p in self.learned() if p.grad is not None]
        norm = torch.cat(gradients, dim=1).norm(dim=1)
        broken = ~norm.isfinite()
        if bool(broken.any()):
            users = ", ".join(str(user) for user in broken.nonzero().flatten().tolist())
            message = f"episode {self.current_epoch}: gradients of users {users} are not finite"
            warnings.warn(f"{message}, and left out", stacklevel=1)
        factor = (self.ppo.max_gradient_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        for parameter in self.learned():
            if parameter.grad is not None:
                trailing = [1] * (parameter.dim() - 1)
                parameter.grad *= factor.view(-1, *trailing)
                parameter.grad.masked_fill_(broken.view(-1, *trailing), 0.0)

    def facts(self) -> dict[str, Any]:
        """Further the scheme, what averages and messages are, and what it all began from."""
        return {
            **super().facts(),
            "scheme": self.scheme,
            "start": self.start,
            "num_users": self.num_users,
            "average_every": self.average_every,
            "weighting": self.weighting,
            "quorum": self.quorum,
            "messages": self.messages,
        }

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

    def update(self, user: int) -> Update:
        """What a user sends to the server."""
        models = self.models()
        return Update(
            f"user {user}",
            {name: value[user].detach() for name, value in models.items()},
            int(self.num_transmissions),
            float(self.num_successes[user] / self.num_transmissions),
        )

    @torch.no_grad()
    def receive(self, model: Mapping[str, Tensor]) -> None:
        """Give every user a global model."""
        self.network.load_state_dict(model)
        for name, value in self.models().items():
            value.copy_(model[name].expand(value.shape))

    def average(self) -> None:
        """A round of federated averaging, after which every user has the global model.

        Below the quorum that is the old one.
        """
        updates = [self.update(user) for user in range(self.num_users)]
        found = federated_round(self.network.state_dict(), updates, self.weighting, self.quorum)
        self.log("federated_bytes", float(found.num_bytes), batch_size=1)
        self.log("federated_rejected", float(len(found.rejected)), batch_size=1)
        for client, reason in found.rejected.items():
            message = f"{client} was left out of the average of episode {self.current_epoch}"
            warnings.warn(f"{message}: {reason}", stacklevel=1)
        self.receive(found.model)

    def scored_num_users(self) -> Sequence[int]:
        """That of training."""
        return (self.num_users,)


def load_start(path: str, module: AssignmentModule) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Facts without the seed and network of a `MetaPPO` checkpoint, to be used by another module.

    Raises:
        ValueError: If the file is no such checkpoint or unfinished, or its network or observations
            are others, or its numbers are not finite.
    """
    checkpoint = read_checkpoint(path, name="start_from")
    run, wanted = checkpoint.get("run", {}), module.facts()
    kind = run.get("kind")
    require(kind == "MetaPPO", "start_from", "be a checkpoint of MetaPPO", kind)
    done, total = run["num_done"], run["num_episodes"]
    require(done == total, "start_from", f"be of a finished run of {total} episodes", done)
    for name, value in wanted["shape"].items():
        rule = f"have a network with {name} = {value}"
        require(run["shape"].get(name) == value, "start_from", rule, run["shape"].get(name))
    for name in ("layout", "edges"):
        rule = f"have learned with {name} = {wanted['cell'][name]!r}"
        require(run["cell"][name] == wanted["cell"][name], "start_from", rule, run["cell"][name])
    found = network_in(checkpoint["state_dict"])
    for name, value in found.items():
        require(bool(value.isfinite().all()), "start_from", f"have finite numbers in {name}", path)
    return {name: value for name, value in run.items() if name not in ("seed", "num_done")}, found


def network_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The shared network in the state of a module."""
    prefix = "network."
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def models_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The users' models ``[I, ...]`` in the state of a `FederatedPPO`."""
    found = {n.removeprefix("local."): v for n, v in state.items() if n.startswith("local.")}
    return {name.replace("/", "."): value for name, value in found.items()}


def stored(name: str) -> str:
    """Name of a parameter among the users' models, where a dot is not allowed."""
    return name.replace(".", "/")
