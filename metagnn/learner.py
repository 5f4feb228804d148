"""Learners: networks whose parameters inner steps move, functionally on dense graphs."""

from typing import Protocol

import torch
from torch import Tensor

from metagnn.graphs.sparse_interference import Graph
from metagnn.models.fused_stack import FusedStack
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.update_rule import State, UpdateRule


class Networks(Protocol):
    """Networks that can be called by name."""

    @property
    def shape(self) -> NetworkShape:
        """What the networks look like."""

    def call(self, name: str, x: Tensor, graph: Graph) -> Tensor:
        """Output of the network called ``name`` under the current parameters."""


class Learner(Networks, Protocol):
    """Networks with parameters of their own that inner steps move."""

    def descend(self, loss: Tensor) -> None:
        """One step of the update rule against the gradient of ``loss``."""

    def flat(self) -> dict[str, Tensor]:
        """Current parameters of each network as one vector."""

    def meta_gradient(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradient of ``loss`` in the parameters at the start, through the steps made.

        Without ``create_graph`` the steps' Jacobian counts as the identity.
        """


def flatten(networks: PrimalDualNetworks) -> dict[str, Tensor]:
    """Parameters of each network as one vector, detached copies."""
    return {
        name: torch.cat([p.detach().flatten() for p in getattr(networks, name).parameters()])
        for name in networks.shape.names
    }


def unflatten(networks: PrimalDualNetworks, name: str, vector: Tensor) -> dict[str, Tensor]:
    """Named parameters of one network as views of flat vectors ``[..., P]``."""
    named = dict(getattr(networks, name).named_parameters())
    pieces = vector.split([p.numel() for p in named.values()], dim=-1)
    return {
        key: piece.view(*vector.shape[:-1], *p.shape)
        for (key, p), piece in zip(named.items(), pieces, strict=True)
    }


class DenseLearner:
    """Learner on dense graphs: the networks are called functionally with flat parameters.

    Args:
        networks: Networks whose structure is used; they are not changed.
        parameters: Flat parameters at the start (e.g. the meta-parameters), ``[P]`` of each
            network, or ``[M, P]`` for M tasks that advance side by side.
        rule: Update rule.
        create_graph: Keep the graph through the updates (second-order MAML).
    """

    def __init__(
        self,
        networks: PrimalDualNetworks,
        parameters: dict[str, Tensor],
        rule: UpdateRule,
        create_graph: bool = False,
    ) -> None:
        self.networks = networks
        self.rule = rule
        self.create_graph = create_graph
        parameters = {k: v.detach().clone().requires_grad_() for k, v in parameters.items()}
        self._start = parameters
        self._state: State = {}
        self._step = 0
        self._set(parameters)

    @property
    def shape(self) -> NetworkShape:
        """What the networks look like."""
        return self.networks.shape

    def _set(self, parameters: dict[str, Tensor]) -> None:
        self._flat = parameters
        self._stacks = {name: self._stack(name, vector) for name, vector in parameters.items()}

    def _stack(self, name: str, vector: Tensor) -> FusedStack:
        named = unflatten(self.networks, name, vector)
        return FusedStack({key.removeprefix("stack."): value for key, value in named.items()})

    def call(self, name: str, x: Tensor, graph: Graph) -> Tensor:
        """Output of the network called ``name`` under the current parameters."""
        value: Tensor = getattr(self.networks, name)(x, graph, self._stacks[name])
        return value

    def descend(self, loss: Tensor) -> None:
        """One step of the update rule against the gradient of ``loss``, of each task its own."""
        names = list(self._flat)
        gradients = torch.autograd.grad(
            loss.sum(), [self._flat[n] for n in names], create_graph=self.create_graph
        )
        self._step += 1
        with torch.set_grad_enabled(self.create_graph):
            moved, self._state = self.rule.apply(
                self._flat, dict(zip(names, gradients, strict=True)), self._state, self._step
            )
        if not self.create_graph:
            moved = {k: v.detach().requires_grad_() for k, v in moved.items()}
        self._set(moved)

    def flat(self) -> dict[str, Tensor]:
        """Current parameters of each network as one vector."""
        return dict(self._flat)

    def meta_gradient(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradient of ``loss`` in the parameters at the start (FOMAML's without the graph)."""
        source = self._start if self.create_graph else self._flat
        gradients = torch.autograd.grad(loss.sum(), list(source.values()))
        return dict(zip(source, gradients, strict=True))


def load_flat(networks: PrimalDualNetworks, parameters: dict[str, Tensor]) -> None:
    """Copy flat parameters of each network into the networks themselves."""
    with torch.no_grad():
        for name, vector in parameters.items():
            named = dict(getattr(networks, name).named_parameters())
            for key, piece in unflatten(networks, name, vector).items():
                named[key].copy_(piece)
