"""Networks of integrated access and backhaul: trees of nodes and the users that they serve."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metagnn.graphs.checks import require


@dataclass(frozen=True)
class IabNetworks:
    """Downlink trees of one size: node 0 is the donor, which alone has fibre.

    Links are numbered by their receivers: link j < M - 1 is the backhaul link to node j + 1, link
    M - 1 + u the access link to user u, so there are L = M - 1 + U.

    Attributes:
        parent: Node that feeds each node ``[B, M]``, -1 for the donor.
        server: Node that serves each user ``[B, U]``; a node may serve none.
        node_m: Positions of the nodes ``[B, M, 2]`` [m].
        user_m: Positions of the users ``[B, U, 2]`` [m].

    Raises:
        ValueError: If shapes do not fit, a position is not finite, a parent or a server is no
            node, or the parents are no tree with node 0 as its root.
    """

    parent: Tensor
    server: Tensor
    node_m: Tensor
    user_m: Tensor

    def __post_init__(self) -> None:
        for name, value in (("parent", self.parent), ("server", self.server)):
            fits = value.dim() == 2 and value.dtype == torch.long and value.numel() > 0
            found = (tuple(value.shape), value.dtype)
            require(fits, name, "be integers (long) of two axes that hold something", found)
        batch, nodes, users = *self.parent.shape, self.server.shape[-1]
        same = len(self.server) == batch
        rule = f"hold {batch} networks, as `parent` does"
        require(same, "server", rule, len(self.server))
        for name, value, size in (("node_m", self.node_m, nodes), ("user_m", self.user_m, users)):
            shape = (batch, size, 2)
            require(tuple(value.shape) == shape, name, f"have shape {shape}", tuple(value.shape))
            odd = ~value.isfinite()
            require(not bool(odd.any()), name, "be finite", _first(value, odd))
        self._check_tree(nodes)

    def _check_tree(self, nodes: int) -> None:
        donor, others = self.parent[:, 0], self.parent[:, 1:]
        odd = donor != -1
        rule = "be -1 for node 0, the donor"
        require(not bool(odd.any()), "parent", rule, _first(donor, odd))
        for name, value in (("parent", others), ("server", self.server)):
            odd = (value < 0) | (value >= nodes)
            rule = f"be nodes 0 to {nodes - 1}"
            if name == "parent":
                rule += ", for all but the donor"
            require(not bool(odd.any()), name, rule, _first(value, odd))
        # Who has not reached the donor after as many hops as there are nodes runs in a circle.
        lost = self._climb(torch.arange(nodes, device=self.parent.device), nodes) >= 0
        if bool(lost.any()):
            copy, node = lost.nonzero()[0].tolist()
            path = self.parent[copy].tolist()
            rule = f"lead from every node to node 0 (node {node} of network {copy} is in a circle)"
            require(False, "parent", rule, path)

    def _climb(self, node: Tensor, hops: int) -> Tensor:
        """Where ``node`` (broadcast to ``[B, K]``) leads after so many hops, -1 above the donor."""
        at = node.expand(len(self.parent), -1)
        for _ in range(hops):
            at = self._above(at)
        return at

    def _above(self, node: Tensor) -> Tensor:
        return torch.where(node >= 0, self.parent.gather(1, node.clamp(min=0)), -1)

    @property
    def num_nodes(self) -> int:
        """Number of nodes M."""
        return self.parent.shape[-1]

    @property
    def num_users(self) -> int:
        """Number of users U."""
        return self.server.shape[-1]

    @property
    def num_links(self) -> int:
        """Number of links L."""
        return self.num_nodes - 1 + self.num_users

    @cached_property
    def transmitter(self) -> Tensor:
        """Node that sends on each link ``[B, L]``."""
        return torch.cat([self.parent[:, 1:], self.server], dim=1)

    @cached_property
    def receiver(self) -> Tensor:
        """Node that receives on each link ``[L]``, -1 where a user does."""
        nodes = torch.arange(1, self.num_links + 1, device=self.parent.device)
        return nodes.masked_fill(nodes >= self.num_nodes, -1)

    @cached_property
    def agent(self) -> Tensor:
        """Agent that serves each link ``[B, L]``: twice its transmitter, plus 1 on the backhaul."""
        return 2 * self.transmitter + (self.receiver >= 0).long()

    @cached_property
    def agent_links(self) -> Tensor:
        """Which links an agent serves ``[B, 2 M, L]``."""
        agents = torch.arange(2 * self.num_nodes, device=self.parent.device)
        return self.agent.unsqueeze(1) == agents.unsqueeze(-1)

    @cached_property
    def depth(self) -> Tensor:
        """Hops from the donor to each node ``[B, M]``."""
        at = torch.arange(self.num_nodes, device=self.parent.device).expand_as(self.parent)
        depth = torch.zeros_like(at)
        for _ in range(self.num_nodes - 1):
            at = self._above(at)
            depth += at >= 0
        return depth

    @cached_property
    def next_link(self) -> Tensor:
        """Link on which each node forwards each user's bits ``[B, M, U]``, -1 off its path."""
        users = torch.arange(self.num_users, device=self.parent.device)
        # One row more, in which what lies above the donor is thrown away.
        shape = (len(self.parent), self.num_nodes + 1, self.num_users)
        found = self.parent.new_full(shape, -1)
        at, link = self.server, (self.num_nodes - 1 + users).expand_as(self.server)
        for _ in range(self.num_nodes):
            row = torch.where(at >= 0, at, self.num_nodes).unsqueeze(1)
            found.scatter_(1, row, link.unsqueeze(1))
            at, link = self._above(at), at - 1
        return found[:, : self.num_nodes]

    @property
    def on_path(self) -> Tensor:
        """Whether a node is on the path of a user, donor and server included ``[B, M, U]``."""
        return self.next_link >= 0

    @cached_property
    def users_behind(self) -> Tensor:
        """Whether a link is on the path of a user ``[B, L, U]``."""
        links = torch.arange(self.num_links, device=self.parent.device).view(-1, 1, 1)
        return (self.next_link.unsqueeze(1) == links).any(2)

    def at(self, copies: Tensor) -> "IabNetworks":
        """Networks of these numbers or of this mask."""
        return IabNetworks(
            self.parent[copies], self.server[copies], self.node_m[copies], self.user_m[copies]
        )


def _first(value: Tensor, where: Tensor) -> float | int:
    return value[where][0].item() if bool(where.any()) else 0
