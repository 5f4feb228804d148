"""Who is left out of a round over Flower, by which name and why, whatever the replies hold."""

import math

import pytest
import torch
from torch import Tensor

from metagnn.federated import Update
from metagnn.federated_user import FederatedUser, federated_user

pytest.importorskip("flwr", reason="the extra `federated` is not installed")

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from metagnn import flower_averaging
from metagnn.flower_averaging import Averaging
from metagnn.flower_records import reply_of, update_in, user_in

NUM_USERS = 10
SUPERLINK = 1


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, SUPERLINK)
    monkeypatch.setattr(flower_averaging._LOG, "propagate", True)


class _Grid:
    """Connected SuperNodes, one more at every look until there are all."""

    def __init__(self, nodes: list[int], connected: int = 99) -> None:
        self.nodes, self.connected = nodes, connected

    def get_node_ids(self) -> list[int]:
        self.connected += 1
        return self.nodes[: self.connected - 1]


def _module(quorum: int = 1) -> FederatedUser:
    changed = {"num_users": NUM_USERS, "quorum": quorum, "num_validation_cells": 2}
    return federated_user("channel_assignment_adapt_local", scenario="indoor", **changed)


def _strategy(quorum: int = 1) -> Averaging:
    module = _module(quorum)
    return Averaging(module, module.network.state_dict())


def _sent(strategy: Averaging, user: int, success_rate: float = 0.5) -> RecordDict:
    model = {name: value + user for name, value in strategy.model.items()}
    return reply_of(Update(f"user {user}", model, 10, success_rate), user)


def _round(
    strategy: Averaging, number: int, answers: dict[int, RecordDict | Error | None]
) -> tuple[dict[str, Tensor], MetricRecord]:
    """A round in which SuperNodes, by number, answer with content or an error, or not at all.

    The SuperLink answers with an error for a node whose number is negative.
    """
    nodes = [abs(node) for node in answers]
    grid = _Grid(nodes)
    replies = []
    asked = strategy.configure_train(number, ArrayRecord(strategy.model), ConfigRecord(), grid)
    for message, node in zip(asked, answers, strict=True):
        assert message.content["config"]["server-round"] == number
        message.metadata.__dict__["_message_id"] = f"to {abs(node)}"
        answer = answers[node]
        if answer is not None:
            reply = Message(answer, reply_to=message)
            if node < 0:
                reply.metadata.__dict__["_src_node_id"] = SUPERLINK
            replies.append(reply)
    arrays, metrics = strategy.aggregate_train(number, replies)
    return arrays.to_torch_state_dict(), metrics


def _left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    caplog.clear()
    return [message for message in found if "was left out" in message]


def _size(strategy: Averaging) -> int:
    return sum(4 * value.numel() for value in strategy.model.values())


def test_all_users_are_averaged_in_the_order_of_their_numbers() -> None:
    strategy = _strategy(NUM_USERS)
    first = strategy.model
    rates = {user: (user + 1) / 20 for user in range(NUM_USERS)}
    answers = {50 - i: _sent(strategy, i, rates[i]) for i in (7, 2, 0, 1, 3, 9, 4, 8, 6, 5)}
    found, metrics = _round(strategy, 1, answers)
    assert dict(metrics) == {"bytes": 2 * 10 * _size(strategy), "rejected": 0, "averaged": 1}
    shift = sum(user * rate for user, rate in rates.items()) / sum(rates.values())
    for name, value in first.items():
        torch.testing.assert_close(found[name], value + shift)


def test_the_first_round_waits_for_all_users_and_no_later_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(flower_averaging.time, "sleep", slept.append)
    strategy = _strategy()
    arrays, config = ArrayRecord(strategy.model), ConfigRecord()
    with caplog.at_level("INFO", logger="flwr"):
        asked = strategy.configure_train(1, arrays, config, _Grid(list(range(2, 12)), 7))
    assert [m.metadata.dst_node_id for m in asked] == list(range(2, 12))
    assert slept == [1, 1, 1]
    assert "waiting for users: 7 of 10 are connected" in caplog.text
    asked = strategy.configure_train(2, arrays, config, _Grid([5, 3]))
    assert [m.metadata.dst_node_id for m in asked] == [5, 3]
    assert list(strategy.configure_train(3, arrays, config, _Grid([]))) == []
    assert len(slept) == 3


def test_a_user_who_leaves_is_named_and_may_come_back(caplog: pytest.LogCaptureFixture) -> None:
    strategy = _strategy(quorum=9)
    nodes = {user: 20 + user for user in range(NUM_USERS)}
    _round(strategy, 1, {node: _sent(strategy, user) for user, node in nodes.items()})
    assert _left_out(caplog) == []
    size = _size(strategy)
    answers = {node: _sent(strategy, user) for user, node in nodes.items() if user != 3}
    # Asked before it was seen to be gone, then silent, then answered for by the SuperLink.
    wanted = {
        "rejected": 1,
        "averaged": 1,
        "bytes": (9 + 10) * size,
    }
    _, metrics = _round(strategy, 2, {**answers, 23: None})
    assert dict(metrics) == wanted
    assert _left_out(caplog) == ["round 2: user 3 was left out: did not answer"]
    _, metrics = _round(strategy, 3, {-23: Error(5, "Node Unavailable"), **answers})
    assert dict(metrics) == wanted
    assert _left_out(caplog) == ["round 3: user 3 was left out: did not answer: Node Unavailable"]
    # Not even asked: one model less is sent.
    _, metrics = _round(strategy, 4, answers)
    assert dict(metrics) == {**wanted, "bytes": (9 + 9) * size}
    assert _left_out(caplog) == ["round 4: user 3 was left out: did not answer"]
    # Another user's own error.
    _, metrics = _round(strategy, 5, {**answers, 24: Error(2, "ZeroDivisionError")})
    assert metrics["averaged"] == 0
    assert _left_out(caplog) == [
        "round 5: user 3 was left out: did not answer",
        "round 5: user 4 was left out: ZeroDivisionError",
    ]
    # A new SuperNode answers while the SuperLink still answers for the old one.
    back = {-23: Error(5, "Node Unavailable"), **answers, 99: _sent(strategy, 3)}
    _, metrics = _round(strategy, 6, back)
    assert dict(metrics) == {"rejected": 0, "averaged": 1, "bytes": (10 + 11) * size}
    assert _left_out(caplog) == []
    assert strategy.num_averaged == 5


def test_below_the_quorum_the_global_model_stays(caplog: pytest.LogCaptureFixture) -> None:
    strategy = _strategy(quorum=3)
    first = strategy.model
    answers = {5: _sent(strategy, 1), 6: _sent(strategy, 2)} | {9 + i: None for i in range(8)}
    found, metrics = _round(strategy, 1, answers)
    assert dict(metrics) == {"bytes": (2 + 10) * _size(strategy), "rejected": 8, "averaged": 0}
    assert strategy.num_averaged == 0
    assert "round 1: below the quorum, the global model stays" in caplog.text
    for name, value in first.items():
        assert torch.equal(found[name], value)


def test_those_at_fault_are_left_out_by_name(caplog: pytest.LogCaptureFixture) -> None:
    strategy = _strategy()
    first = strategy.model
    name = next(iter(first))
    _round(strategy, 1, {20 + user: _sent(strategy, user) for user in range(NUM_USERS)})
    caplog.clear()
    strategy.model = first

    def broken(user: int, value: object) -> RecordDict:
        return reply_of(Update("", {**first, name: value}, 10, 0.5), user)

    answers: dict[int, RecordDict | Error | None] = {
        20: _sent(strategy, 0),
        21: broken(1, first[name] * math.nan),
        22: broken(2, first[name][:-1]),
        23: _sent(strategy, 3, 0.0),
        24: _sent(strategy, 0),
        25: RecordDict(),
        26: Error(1),
        27: reply_of(Update("", None, fault="ValueError: disk full"), 7),
        28: _sent(strategy, 10),
        29: broken(9, first[name].to(torch.complex64)),
        40: _sent(strategy, 0),
        41: Error(2, "`node-config` must have a 'user'"),
        -42: Error(5, "Node Unavailable"),
    }
    found, metrics = _round(strategy, 2, answers)
    shape = tuple(first[name].shape)
    reasons = {
        "user 1": f"`{name}` must be finite",
        "user 2": f"`{name}` must have the shape {shape}, got {(shape[0] - 1, *shape[1:])}",
        "user 3": "weight by success must be finite and > 0, got 0.0",
        "user 4": "said that it is user 0",
        "user 5": "`user` must be an integer in [0, 9], got None",
        "user 6": "error 1",
        "user 7": "ValueError: disk full",
        "user 8": "`user` must be an integer in [0, 9], got 10",
        "user 9": f"`{name}` must have numbers like torch.float32, got torch.complex64",
        "node 40": "a second reply of user 0",
        "node 41": "`node-config` must have a 'user'",
    }
    left_out = _left_out(caplog)
    assert len(left_out) == metrics["rejected"] == len(reasons)
    for message, (client, reason) in zip(left_out, reasons.items(), strict=True):
        assert message.startswith(f"round 2: {client} was left out: {reason}")
    assert strategy.num_averaged == 2
    for key, value in first.items():
        assert torch.equal(found[key], value)


def test_arrays_that_are_no_model() -> None:
    content = _sent(_strategy(), 2)
    name = next(iter(content["arrays"]))
    kinds = [("float32", "numpy.ndarray", b"no array"), ("float32", "pickle", b""), ("", "", b"")]
    for dtype, kind, data in kinds:
        content["arrays"][name] = Array(dtype, (1,), kind, data)
        update = update_in(content, "user 2")
        assert update.model is None
        assert update.fault is not None
        assert update.fault.startswith("`arrays` must hold a model, got ")
    content["arrays"] = content["metrics"]
    fault = update_in(content, "user 2").fault
    assert str(fault).startswith("`arrays` must hold a model, got MetricRecord")


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.0, -1, 2**63, [1], "1", True])
def test_samples_that_are_no_count(value: object) -> None:
    content = _sent(_strategy(), 2)
    content["metrics"] = ConfigRecord({"user": 2, "samples": 1, "success-rate": 1})
    assert update_in(content, "user 2").fault is None
    content["metrics"].__dict__["_data"]["samples"] = value
    fault = update_in(content, "user 2").fault
    assert fault == f"`samples` must be an integer in [0, 2^63), got {value!r}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.1, 2, [0.5], "1", True])
def test_success_rates_that_are_none(value: object) -> None:
    content = _sent(_strategy(), 2)
    content["metrics"] = ConfigRecord({"user": 2, "samples": 1, "success-rate": value})
    fault = update_in(content, "user 2").fault
    assert fault == f"`success-rate` must be a number in [0, 1], got {value!r}"


@pytest.mark.parametrize("value", [math.nan, 1.0, -1, 3, [1], "1", True])
def test_users_that_are_none(value: object) -> None:
    content = RecordDict({"metrics": ConfigRecord({"user": value})})
    with pytest.raises(ValueError, match=r"`user` must be an integer in \[0, 2\], got "):
        user_in(content, 3)
