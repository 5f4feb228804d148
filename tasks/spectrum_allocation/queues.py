"""Bits on their way through trees of nodes: finite queues, first in first out, with ages."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.iab import IabNetworks


@dataclass(frozen=True)
class Served:
    """What a slot did to the queues; all are whole bits.

    Attributes:
        moved_bit: Bits that each link carried ``[B, L]``.
        delivered_bit: Bits that each user got ``[B, U]``.
        dropped_bit: Bits of each user that found a buffer full ``[B, U]``.
    """

    moved_bit: Tensor
    delivered_bit: Tensor
    dropped_bit: Tensor


class Queues:
    """A queue per node and user; bits move one hop per slot and enter at the donor.

    Bits are whole numbers in float64, so sums of them are exact. A backhaul link drains the queues
    of the users behind it in proportion to what is in them, rounded down. What does not fit into a
    buffer is dropped, the newest first, and then counts as if it had never come. All
    queues of a user are first in first out and on one path, so its bits stay in order, and the
    ages follow from how many came by the end of each slot.

    Args:
        networks: The trees.
        num_slots: Most slots that can be served.
        buffer_bit: Most bits that a node holds for a user.

    Attributes:
        queue_bit: What nodes hold for users ``[B, M, U]`` [bit]; 0 off a user's path.
        age: Ages of the oldest bit there ``[B, M, U]`` [slots], 0 where there is none. A bit that
            came in this slot is of age 0.
    """

    def __init__(self, networks: IabNetworks, num_slots: int, buffer_bit: float) -> None:
        self.networks, self.buffer_bit = networks, buffer_bit
        device = networks.parent.device
        batch, nodes, users = networks.next_link.shape
        self.queue_bit = torch.zeros(batch, nodes, users, dtype=torch.float64, device=device)
        self.age = torch.zeros(batch, nodes, users, dtype=torch.long, device=device)
        self._delivered_bit = self.queue_bit.new_zeros(batch, users)
        # Bits that came by the end of each slot; beyond any count where the slot is yet to come.
        self._arrived_bit = self.queue_bit.new_full((batch, users, num_slots), torch.inf)
        self._slots = 0
        depth = networks.depth
        # Whether node k is deeper than node m: on the path of one user, whether it is nearer to it.
        self._deeper = (depth.unsqueeze(1) > depth.unsqueeze(2)).double()
        self._link = networks.next_link.clamp(min=0)
        self._parent = networks.parent.clamp(min=0).unsqueeze(-1).expand(-1, -1, users)
        self._from_parent = networks.on_path.clone()
        self._from_parent[:, 0] = False
        self._by_user = networks.server.unsqueeze(1)

    @property
    def link_queue_bit(self) -> Tensor:
        """What waits for each link ``[B, L]`` [bit]."""
        return self._sum_by_link(self.queue_bit)

    def _sum_by_link(self, value: Tensor) -> Tensor:
        sums = value.new_zeros(len(value), self.networks.num_links)
        return sums.scatter_add_(1, self._link.flatten(1), value.flatten(1))

    def serve(self, capacity_bit: Tensor, arriving_bit: Tensor) -> Served:
        """One slot: links carry what waited when it began, then new bits come to the donor.

        Args:
            capacity_bit: What each link can carry ``[B, L]`` [bit].
            arriving_bit: What comes for each user ``[B, U]`` [bit].
        """
        waiting = self.link_queue_bit
        carried = torch.minimum(waiting, capacity_bit)
        by_queue = self._link.flatten(1)
        waiting, carried = (
            value.gather(1, by_queue).view_as(self.queue_bit) for value in (waiting, carried)
        )
        # The product comes first: the share of a whole queue must be all of it.
        drained = (self.queue_bit * carried / waiting.clamp(min=1.0)).floor()
        incoming = drained.gather(1, self._parent) * self._from_parent
        incoming[:, 0] = arriving_bit
        wanted = self.queue_bit - drained + incoming
        self.queue_bit = wanted.clamp(max=self.buffer_bit)
        dropped = wanted - self.queue_bit
        delivered = drained.gather(1, self._by_user).squeeze(1)
        self._delivered_bit = self._delivered_bit + delivered
        self._record(arriving_bit - dropped[:, 0], dropped)
        return Served(self._sum_by_link(drained), delivered, dropped.sum(1))

    def _record(self, accepted_bit: Tensor, dropped: Tensor) -> None:
        before = self._arrived_bit[..., self._slots - 1] if self._slots else 0.0
        self._arrived_bit[..., self._slots] = before + accepted_bit
        nearer_bit = torch.matmul(self._deeper, self.queue_bit) + self._delivered_bit.unsqueeze(1)
        if bool(dropped[:, 1:].any()):
            self._forget(dropped, nearer_bit + self.queue_bit)
        # The first slot by whose end more had come than is ahead of the node's oldest bit.
        slot = torch.searchsorted(self._arrived_bit, nearer_bit.mT.contiguous(), right=True).mT
        self.age = torch.where(self.queue_bit > 0, self._slots - slot, 0)
        self._slots += 1

    def _forget(self, dropped: Tensor, ahead_bit: Tensor) -> None:
        """Take bits dropped below the donor, with ``ahead_bit`` before them, from the counts."""
        depth = self.networks.depth.unsqueeze(-1)
        # From the users' side up, so that those ahead are gone already.
        for hops in range(self.networks.num_nodes - 1, 0, -1):
            here = (depth == hops) & self.networks.on_path
            ahead, gone = (
                torch.where(here, value, 0.0).sum(1).unsqueeze(-1) for value in (ahead_bit, dropped)
            )
            past = (self._arrived_bit - ahead).clamp(min=0.0)
            self._arrived_bit -= torch.minimum(past, gone)
