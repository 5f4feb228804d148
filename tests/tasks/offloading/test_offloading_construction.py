"""Decisions by construction: the constraints for any numbers, channels and shares by hand."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.offloading.construction import (
    construct,
    divide_server,
    match_channels,
    members,
)
from metagnn.tasks.offloading.cost import NO_CHANNEL


def _cells(seed: int, num_users: int, num_cells: int) -> Tensor:
    """Cells in no order, some of which may have no users."""
    return torch.randint(num_cells, (num_users,), generator=generator(seed, "cell"))


def _scores(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "scores"))


def _best_sum(scores: list[list[float]]) -> float:
    """The largest sum of the scores of one cell, by trying all matchings."""
    if len(scores) > len(scores[0]):
        scores = [list(column) for column in zip(*scores, strict=True)]
    columns = permutations(range(len(scores[0])), len(scores))
    return max(sum(scores[i][k] for i, k in enumerate(one)) for one in columns)


def test_users_of_each_cell() -> None:
    found = members(torch.tensor([2, 0, 2, 2, 0]), 4)
    assert found.tolist() == [[1, 4, -1], [-1, -1, -1], [0, 2, 3], [-1, -1, -1]]


def test_the_largest_sum_and_not_the_best_pair_counts() -> None:
    # The best pair 9 leaves 1; 8 + 8.5 are more. The other cell does not matter.
    scores = torch.tensor([[[9.0, 8.0], [8.5, 1.0], [2.0, 9.5]]])
    assert match_channels(scores, torch.tensor([1, 1, 0]), 2).tolist() == [[1, 0, 1]]


def test_who_adds_least_waits() -> None:
    scores = torch.tensor([[[1.0, 2.0], [5.0, 4.0], [3.0, 3.5], [-9.0, -8.0]]])
    assert match_channels(scores, torch.tensor([0, 0, 0, 1]), 2).tolist() == [[-1, 0, 1, 1]]


@given(
    seed=st.integers(0, 2**31),
    num_users=st.integers(1, 7),
    num_cells=st.integers(1, 4),
    num_channels=st.integers(1, 5),
)
def test_channels_are_the_best_of_all_matchings(
    seed: int, num_users: int, num_cells: int, num_channels: int
) -> None:
    cell = _cells(seed, num_users, num_cells)
    scores = _scores(seed, 3, num_users, num_channels)
    wanted = _scores(seed + 1, 3, num_users) > -0.5
    found = match_channels(scores, cell, num_cells, wanted)
    assert bool((found[~wanted] == NO_CHANNEL).all())
    for copy in range(3):
        for site in range(num_cells):
            users = (wanted[copy] & (cell == site)).nonzero().flatten()
            channel = found[copy, users]
            served = channel != NO_CHANNEL
            assert int(served.sum()) == min(len(users), num_channels)
            assert len(set(channel[served].tolist())) == int(served.sum())
            if len(users) > 0:
                total = float(scores[copy, users[served], channel[served]].sum())
                best = _best_sum(scores[copy, users].tolist())
                assert total == pytest.approx(best, rel=1e-5, abs=1e-5)
    if bool(wanted.all()):
        assert torch.equal(found, match_channels(scores, cell, num_cells))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_scores_that_are_refused(value: float) -> None:
    scores = torch.zeros(2, 3, 2)
    scores[1, 2, 0] = value
    scores[1, 2, 1] = math.inf
    with pytest.raises(ValueError, match=f"`scores` must be finite, got {value}"):
        match_channels(scores, torch.tensor([0, 1, 1]), 2)
    ones = torch.ones(2, 3)
    with pytest.raises(ValueError, match=f"`scores` must be finite, got {value}"):
        construct(ones, scores, ones.unsqueeze(-1), ones, torch.tensor([0, 1, 1]), 2)


@pytest.mark.parametrize("wanted", [torch.tensor([[0, 1, 1]]), torch.ones(1, 2, dtype=torch.bool)])
def test_masks_that_are_refused(wanted: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"`wanted` must be a mask \(torch.bool\) of shape \(1, 3\)"
    ):
        match_channels(torch.zeros(1, 3, 2), torch.tensor([0, 1, 1]), 2, wanted)


def test_shares_are_in_proportion_to_needs() -> None:
    need = torch.tensor([[1.0, 5.0, 3.0, 7.0, 2.0], [1.0, 1.0, 3.0, 1.0, 1.0]])
    offloads = torch.tensor([[True, True, True, False, False], [True, False, True, True, True]])
    cell = torch.tensor([1, 0, 1, 1, 2])
    found = divide_server(need.log(), offloads, cell, 4)
    wanted = [[0.25, 1.0, 0.75, 0.0, 0.0], [0.2, 0.0, 0.6, 0.2, 1.0]]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_extreme_needs_leave_everyone_a_share() -> None:
    need = torch.tensor([[1e6, -1e6, 1e6, -1e6, -1e6], [6.0, -6.0, math.inf, -math.inf, -7.0]])
    cell = torch.tensor([0, 0, 1, 2, 2])
    found = divide_server(need, torch.ones(2, 5, dtype=torch.bool), cell, 3)
    # Logarithms count within [-6, 6], so the smallest share is 1 / (1 + e^12) = 6.1e-6.
    least = 1.0 / (1.0 + math.exp(12.0))
    row = torch.tensor([1.0 - least, least, 1.0, 0.5, 0.5])
    torch.testing.assert_close(found, row.expand(2, -1))


def test_a_decision_by_hand() -> None:
    # Users 0, 1 and 3 are in cell 1, of whom user 1 wants nothing; user 2 is alone.
    ratio = torch.tensor([[0.5, 0.0, 0.25, 1.0]])
    scores = torch.tensor([[[1.0, 2.0], [9.0, 9.0], [2.0, 1.0], [3.0, 5.0]]])
    power_w = torch.tensor([[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]])
    need = torch.tensor([[1.0, 8.0, 1.0, 3.0]]).log()
    found = construct(ratio, scores, power_w, need, torch.tensor([1, 1, 0, 1]), 2)
    assert found.channel.tolist() == [[0, -1, 0, 1]]
    torch.testing.assert_close(found.ratio, ratio)
    torch.testing.assert_close(found.power_w, torch.tensor([[0.1, 0.0, 0.5, 0.8]]))
    torch.testing.assert_close(found.share, torch.tensor([[0.25, 0.0, 1.0, 0.75]]))


def test_who_waits_computes_locally() -> None:
    ratio, need = torch.full((1, 3), 0.5), torch.tensor([[9.0, 1.0, 2.0]]).log()
    scores = torch.tensor([[[1.0], [3.0], [2.0]]])
    power_w = torch.tensor([[[0.1], [0.2], [0.3]]])
    found = construct(ratio, scores, power_w, need, torch.tensor([0, 0, 1]), 2)
    assert found.channel.tolist() == [[-1, 0, 0]]
    torch.testing.assert_close(found.ratio, torch.tensor([[0.0, 0.5, 0.5]]))
    torch.testing.assert_close(found.power_w, torch.tensor([[0.0, 0.2, 0.3]]))
    torch.testing.assert_close(found.share, torch.tensor([[0.0, 1.0, 1.0]]))


@given(
    seed=st.integers(0, 2**31),
    num_users=st.integers(1, 9),
    num_cells=st.integers(1, 4),
    num_channels=st.integers(1, 5),
    per_channel=st.booleans(),
    spread=st.sampled_from([1.0, 1e6]),
)
def test_constraints_hold_for_any_numbers(
    seed: int,
    num_users: int,
    num_cells: int,
    num_channels: int,
    per_channel: bool,
    spread: float,
) -> None:
    cell = _cells(seed, num_users, num_cells)
    source = generator(seed, "numbers")
    # About a third of the users wants to compute locally.
    ratio = (1.5 * torch.rand(2, num_users, generator=source) - 0.5).clamp(min=0.0)
    last = num_channels if per_channel else 1
    power_w = 0.01 + torch.rand(2, num_users, last, generator=source)
    need = spread * torch.randn(2, num_users, generator=source)
    scores = spread * _scores(seed, 2, num_users, num_channels)
    found = construct(ratio, scores, power_w, need, cell, num_cells)
    for network in range(2):
        for site in range(num_cells):
            users = [user for user in range(num_users) if int(cell[user]) == site]
            willing = [user for user in users if float(ratio[network, user]) > 0.0]
            channels = {user: int(found.channel[network, user]) for user in users}
            busy = [user for user in users if channels[user] >= 0]
            # C4 and C5: as many as there are channels, each on its own.
            assert set(busy) <= set(willing)
            assert len(busy) == min(len(willing), num_channels)
            taken = {channels[user] for user in busy}
            assert len(taken) == len(busy)
            assert taken <= set(range(num_channels))
            # C7.
            shares = [float(found.share[network, user]) for user in users]
            assert sum(shares) == pytest.approx(1.0 if busy else 0.0, abs=1e-5)
            for user, share in zip(users, shares, strict=True):
                ends = (float(found.ratio[network, user]), float(found.power_w[network, user]))
                if user not in busy:
                    assert (*ends, share) == (0.0, 0.0, 0.0)
                    continue
                power = power_w[network, user, channels[user] if per_channel else 0]
                assert ends == (float(ratio[network, user]), float(power))
                assert 0.0 < share <= 1.0
