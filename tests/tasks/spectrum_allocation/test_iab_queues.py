"""Queues of trees against packets in plain lists: one hop per slot, ages, buffers, conservation."""

from collections import deque

import torch
from torch import Tensor

from metagnn.graphs.iab import IabNetworks
from metagnn.graphs.randomness import generator
from metagnn.tasks.spectrum_allocation.queues import Queues


def _networks(parent: list[list[int]], server: list[list[int]]) -> IabNetworks:
    batch, nodes, users = len(parent), len(parent[0]), len(server[0])
    place = torch.zeros(batch, nodes + users, 2)
    return IabNetworks(
        torch.tensor(parent), torch.tensor(server), place[:, :nodes], place[:, nodes:]
    )


# Chain 0 - 1 - 2, a star, and node 2 before node 1.
TREES = _networks([[-1, 0, 1], [-1, 0, 0], [-1, 2, 0]], [[2, 0, 1, 2], [1, 2, 0, 1], [1, 1, 2, 0]])


def _bits(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


class _Plain:
    """One copy by loops: a node has a list of [slot, bits] for each user."""

    def __init__(self, networks: IabNetworks, copy: int, buffer_bit: int) -> None:
        self.parent = networks.parent[copy].tolist()
        self.server = networks.server[copy].tolist()
        self.buffer_bit, self.slot = buffer_bit, 0
        self.queue = [[deque[list[int]]() for _ in self.server] for _ in self.parent]

    def held(self, node: int, user: int) -> int:
        return sum(bits for _, bits in self.queue[node][user])

    def _next(self, node: int, user: int) -> int:
        at, link = self.server[user], len(self.parent) - 1 + user
        while at >= 0 and at != node:
            at, link = self.parent[at], at - 1
        return link if at == node else -1

    def serve(self, capacity: list[int], arriving: list[int]) -> tuple[list[int], list[int]]:
        waiting = [0] * len(capacity)
        routes = [(m, u) for m in range(len(self.parent)) for u in range(len(self.server))]
        routes = [(m, u) for m, u in routes if self._next(m, u) >= 0]
        for node, user in routes:
            waiting[self._next(node, user)] += self.held(node, user)
        moving = []
        delivered, dropped = [0] * len(self.server), [0] * len(self.server)
        for node, user in routes:
            link = self._next(node, user)
            carried = min(waiting[link], capacity[link])
            take = self.held(node, user) * carried // max(waiting[link], 1)
            while take > 0:
                first = self.queue[node][user][0]
                part = min(take, first[1])
                first[1], take = first[1] - part, take - part
                moving.append((link, user, first[0], part))
                if first[1] == 0:
                    self.queue[node][user].popleft()
        for user, bits in enumerate(arriving):
            moving.append((-1, user, self.slot, bits))
        for link, user, born, bits in moving:
            if link >= len(self.parent) - 1:
                delivered[user] += bits
                continue
            to = link + 1
            fits = min(bits, self.buffer_bit - self.held(to, user))
            dropped[user] += bits - fits
            if fits:
                self.queue[to][user].append([born, fits])
        self.slot += 1
        return delivered, dropped

    def age(self, node: int, user: int) -> int:
        waiting = self.queue[node][user]
        return self.slot - 1 - waiting[0][0] if waiting else 0


def _compare(buffer_bit: int, largest_bit: int) -> tuple[float, int]:
    """Runs 60 slots beside plain lists; share dropped below the donor, and the largest age."""
    source, slots = generator(4, buffer_bit), 60
    queues = Queues(TREES, slots, buffer_bit)
    plain = [_Plain(TREES, copy, buffer_bit) for copy in range(3)]
    offered = torch.zeros(3, 4, dtype=torch.float64)
    gone = torch.zeros(3, 4, dtype=torch.float64)
    below, oldest = 0.0, 0
    for _ in range(slots):
        busy = torch.rand((3, 6), generator=source) < 0.5
        capacity = torch.randint(largest_bit, (3, 6), generator=source) * busy
        arriving = torch.randint(100, (3, 4), generator=source)
        donor = queues.queue_bit[:, 0].clone()
        served = queues.serve(capacity.double(), arriving.double())
        for copy, one in enumerate(plain):
            delivered, dropped = one.serve(capacity[copy].tolist(), arriving[copy].tolist())
            assert served.delivered_bit[copy].tolist() == delivered
            assert served.dropped_bit[copy].tolist() == dropped
            for node in range(3):
                for user in range(4):
                    assert queues.queue_bit[copy, node, user] == one.held(node, user)
                    assert queues.age[copy, node, user] == one.age(node, user)
        offered += arriving
        gone += served.delivered_bit + served.dropped_bit
        assert torch.equal(offered, gone + queues.queue_bit.sum(1))
        assert float(queues.queue_bit.max()) <= buffer_bit
        at_donor = (donor + arriving - buffer_bit).clamp(min=0.0)
        below += float((served.dropped_bit - at_donor).clamp(min=0.0).sum())
        oldest = max(oldest, int(queues.age.max()))
    return below, oldest


def test_queues_are_those_of_plain_lists() -> None:
    below, oldest = _compare(10**6, 300)
    assert below == 0.0
    assert oldest > 5


def test_full_buffers_drop_the_newest_as_plain_lists_do() -> None:
    below, oldest = _compare(150, 400)
    assert below > 0.0
    assert oldest > 5


def test_bits_move_one_hop_per_slot() -> None:
    chain = _networks([[-1, 0, 1]], [[2]])
    queues = Queues(chain, 9, 1e6)
    plenty = _bits(1e6, 1e6, 1e6)
    seen = []
    for arriving in (7.0, 0.0, 0.0, 0.0):
        served = queues.serve(plenty, _bits(arriving))
        seen.append([*queues.queue_bit[0, :, 0].tolist(), float(served.delivered_bit)])
    assert seen == [[7, 0, 0, 0], [0, 7, 0, 0], [0, 0, 7, 0], [0, 0, 0, 7]]


def test_a_backhaul_link_drains_in_proportion() -> None:
    star = _networks([[-1, 0]], [[1, 1, 0]])
    queues = Queues(star, 9, 1e6)
    queues.serve(torch.zeros(1, 4, dtype=torch.float64), _bits(30.0, 10.0, 50.0))
    assert queues.link_queue_bit.tolist() == [[40, 0, 0, 50]]
    served = queues.serve(_bits(20.0, 0.0, 0.0, 0.0), _bits(0.0, 0.0, 0.0))
    assert served.moved_bit.tolist() == [[20, 0, 0, 0]]
    assert queues.queue_bit[0].tolist() == [[15, 5, 50], [15, 5, 0]]
    assert queues.link_queue_bit.tolist() == [[20, 15, 5, 50]]


def test_the_age_is_that_of_the_oldest_bit_left() -> None:
    donor = _networks([[-1]], [[0]])
    queues = Queues(donor, 9, 1e6)
    ages = []
    for capacity, arriving in [(0, 10), (0, 10), (10, 0), (5, 0), (5, 0), (1, 1)]:
        queues.serve(_bits(capacity), _bits(arriving))
        ages.append(int(queues.age))
    # 10 bits of slot 0 go in slot 2; then the oldest are of slot 1; the last is of slot 5.
    assert ages == [0, 1, 1, 2, 0, 0]


def test_huge_numbers_of_bits_stay_exact() -> None:
    donor = _networks([[-1, 0]], [[1]])
    queues = Queues(donor, 30, 1e15)
    for slot in range(30):
        served = queues.serve(_bits(3e13 + slot, 1e13 + 1), _bits(3e13 + 1))
        if slot > 1:
            assert float(served.delivered_bit) == 1e13 + 1
    total = queues.queue_bit.sum() + 28 * (1e13 + 1)
    assert float(total) == 30 * (3e13 + 1)
