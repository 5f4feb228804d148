"""Flower's side of federated averaging: records to and fro, and who is left out by name."""

import logging
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from metagnn.federated import Update
from metagnn.federated_user import FederatedUser, federated_user

pytest.importorskip("flwr", reason="the extra `federated` is not installed")

from flwr.app import RecordDict
from flwr.serverapp.strategy import FedAvg

from metagnn.flower_app import Averaging, reply_of, updates_of

NUM_USERS = 3


def _user(quorum: int) -> FederatedUser:
    changed = {"num_users": NUM_USERS, "quorum": quorum, "num_validation_cells": 2}
    return federated_user("channel_assignment_adapt", scenario="indoor", **changed)


def _sent(module: FederatedUser, user: int, success_rate: float = 0.5) -> Update:
    model = {name: value + user for name, value in module.network.state_dict().items()}
    return Update(f"user {user}", model, 10, success_rate)


@dataclass
class _Metadata:
    src_node_id: int


class _Reply:
    """Answer of a node as the strategy reads it, an error where there is no content."""

    def __init__(self, node: int, content: RecordDict | None) -> None:
        self.metadata, self._content = _Metadata(node), content

    def has_error(self) -> bool:
        return self._content is None

    @property
    def content(self) -> RecordDict:
        if self._content is None:
            raise ValueError("an error has no content")
        return self._content


def _averaged(module: FederatedUser, weights: dict[int, float]) -> dict[str, Tensor]:
    total = sum(weights.values())
    shift = sum(user * weight for user, weight in weights.items()) / total
    return {name: value + shift for name, value in module.network.state_dict().items()}


def test_replies_of_all_users_are_averaged_whatever_their_order() -> None:
    module = _user(NUM_USERS)
    strategy = Averaging(module, module.network.state_dict())
    assert isinstance(strategy, FedAvg)
    weights = {0: 0.5, 1: 0.25, 2: 1.0}
    replies = [
        _Reply(node, reply_of(_sent(module, user, weights[user]), user))
        for node, user in ((7, 2), (8, 0), (9, 1))
    ]
    assert [update.client for update in updates_of(replies, 3)] == ["user 0", "user 1", "user 2"]
    arrays, metrics = strategy.aggregate_train(1, replies)
    assert metrics["rejected"] == 0
    for name, value in _averaged(module, weights).items():
        torch.testing.assert_close(arrays.to_torch_state_dict()[name], value)


def test_clients_at_fault_are_left_out_by_name(caplog: pytest.LogCaptureFixture) -> None:
    module = _user(1)
    strategy = Averaging(module, module.network.state_dict())
    broken = _sent(module, 2)
    assert broken.model is not None
    nan = {name: value * torch.nan for name, value in broken.model.items()}
    replies = [
        _Reply(5, reply_of(_sent(module, 0), 0)),
        _Reply(6, reply_of(_sent(module, 0), 0)),
        _Reply(7, None),
        _Reply(8, RecordDict()),
        _Reply(9, reply_of(Update("user 2", nan, 10, 0.5), 2)),
        _Reply(10, reply_of(_sent(module, 3), 3)),
    ]
    with caplog.at_level(logging.WARNING, logger="flwr"):
        logging.getLogger("flwr").propagate = True
        arrays, metrics = strategy.aggregate_train(4, replies)
    assert metrics["rejected"] == 5
    assert strategy.num_averaged == 1
    for name, value in module.network.state_dict().items():
        assert torch.equal(arrays.to_torch_state_dict()[name], value)
    for name, reason in (
        ("node 6", "a second reply of user 0"),
        ("node 7", "did not answer"),
        ("node 8", "the reply must have arrays and metrics"),
        ("user 2", "`convs.0.lin1.weight` must be finite"),
        ("node 10", "`user` must be an integer in [0, 2], got 3"),
    ):
        assert f"round 4: {name} was left out: {reason}" in caplog.text


def test_below_the_quorum_the_global_model_stays() -> None:
    module = _user(2)
    strategy = Averaging(module, module.network.state_dict())
    replies = [_Reply(5, reply_of(_sent(module, 1), 1)), _Reply(7, None)]
    arrays, _ = strategy.aggregate_train(1, replies)
    assert strategy.num_averaged == 0
    for name, value in module.network.state_dict().items():
        assert torch.equal(arrays.to_torch_state_dict()[name], value)
