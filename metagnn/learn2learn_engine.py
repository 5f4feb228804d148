"""Inner loops through learn2learn over PyG's sparse LEConv: the reference engine."""

import torch
from torch import Tensor, nn

from metagnn.graphs.checks import require
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.sparse_interference import Graph
from metagnn.learn2learn_import import import_learn2learn
from metagnn.learner import unflatten
from metagnn.models.leconv_sparse import SparseLEConvStack
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.update_rule import State, UpdateRule


class Learn2LearnLearner:
    """Learner whose networks are a learn2learn clone, updated by `learn2learn.update_module`.

    Args:
        networks: Networks over `SparseLEConvStack` to clone; gradients can flow back to them.
        rule: Update rule.
        create_graph: Keep the graph through the updates (second-order MAML).
    """

    def __init__(
        self, networks: PrimalDualNetworks, rule: UpdateRule, create_graph: bool = False
    ) -> None:
        self._l2l = import_learn2learn()
        self._source = networks
        self.networks: PrimalDualNetworks = self._l2l.clone_module(networks)
        self.rule = rule
        self.create_graph = create_graph
        self._state: State = {}
        self._step = 0

    @property
    def shape(self) -> NetworkShape:
        """What the networks look like."""
        return self.networks.shape

    def call(self, name: str, x: Tensor, graph: Graph) -> Tensor:
        """Output of the network called ``name`` under the current parameters."""
        require(isinstance(graph, DenseGraph), "graph", "be dense with this engine", type(graph))
        network: nn.Module = getattr(self.networks, name)
        value: Tensor = network(x, graph)
        return value

    def descend(self, loss: Tensor) -> None:
        """One step of the update rule against the gradient of ``loss``."""
        slopes = _gradients(loss, self.networks, self.create_graph)
        self._step += 1
        flat = self.flat()
        moved, self._state = self.rule.apply(flat, slopes, self._state, self._step)
        for name in self.shape.names:
            network = getattr(self.networks, name)
            change = unflatten(self.networks, name, moved[name] - flat[name])
            for key, parameter in network.named_parameters():
                # Detached changes make a first-order gradient: d(theta + change) = d(theta).
                parameter.update = change[key] if self.create_graph else change[key].detach()
        self._l2l.update_module(self.networks)

    def flat(self) -> dict[str, Tensor]:
        """Current parameters of each network as one vector."""
        return {
            name: torch.cat([p.flatten() for p in getattr(self.networks, name).parameters()])
            for name in self.shape.names
        }

    def meta_gradient(self, loss: Tensor) -> dict[str, Tensor]:
        """Gradient of ``loss`` in the networks that were cloned, through the steps made."""
        return _gradients(loss, self._source, create_graph=False)


def _gradients(loss: Tensor, networks: PrimalDualNetworks, create_graph: bool) -> dict[str, Tensor]:
    names = networks.shape.names
    parameters = {name: list(getattr(networks, name).parameters()) for name in names}
    everything = [p for group in parameters.values() for p in group]
    gradients = iter(torch.autograd.grad(loss, everything, create_graph=create_graph))
    return {
        name: torch.cat([next(gradients).flatten() for _ in group])
        for name, group in parameters.items()
    }


def sparse_networks(networks: PrimalDualNetworks) -> PrimalDualNetworks:
    """The same networks over PyG's LEConv, with a copy of the parameters."""
    sparse = PrimalDualNetworks(networks.shape, SparseLEConvStack)
    sparse.load_state_dict(networks.state_dict())
    return sparse
