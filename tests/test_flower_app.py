"""Rounds over a grid of Flower whose SuperNodes are functions of this process."""

from collections.abc import Callable, Container, Iterable
from pathlib import Path

import pytest
import torch

pytest.importorskip("flwr", reason="the extra `federated` is not installed")

from federation import SETTINGS, in_one_process, write_config, write_start
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from metagnn import flower_app
from metagnn.checkpoint import read_checkpoint
from metagnn.federated_ppo import models_in

Node = Callable[[Message], Message | None]


class _Grid:
    """SuperNodes by number, all connected, some of which give no answer."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        self.nodes = nodes

    def get_node_ids(self) -> list[int]:
        return list(self.nodes)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> list[Message]:
        assert timeout == SETTINGS["timeout-s"]
        replies = []
        for message in messages:
            node = message.metadata.dst_node_id
            message.metadata.__dict__["_message_id"] = f"to {node}"
            reply = self.nodes[node](message)
            if reply is not None:
                replies.append(reply)
        return replies


class _User:
    """The client app of a user, silent in some rounds."""

    def __init__(
        self, user: int, folder: Path, settings: dict[str, object], silent: Container[int] = ()
    ) -> None:
        self.silent = silent
        node = {"user": user, "folder": str(folder)}
        self.context = Context(7, 100 + user, node, RecordDict(), settings)

    def __call__(self, message: Message) -> Message | None:
        if message.content["config"]["server-round"] in self.silent:
            return None
        return flower_app.client(message, self.context)


@pytest.fixture
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_run_id", "_node_id", "_task_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def _settings(folder: Path, num_rounds: int) -> dict[str, object]:
    config = write_config(folder / "tiny.yaml")
    return {**SETTINGS, "config": config, "num-rounds": num_rounds, "out": str(folder / "out")}


@pytest.mark.usefixtures("_task")
@pytest.mark.parametrize("gone", [None, 1])
def test_the_global_model_is_that_of_one_process(
    tmp_path: Path,
    gone: int | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(flower_app._LOG, "propagate", True)
    settings = _settings(tmp_path, 3)
    silent = {gone: (2, 3)}
    users = {100 + i: _User(i, tmp_path, settings, silent.get(i, ())) for i in (2, 0, 1)}
    flower_app.server(_Grid(users), Context(7, 1, {}, RecordDict(), settings))
    found = read_checkpoint(str(tmp_path / "out" / "last.ckpt"), name="out")
    if gone is None:
        wanted = in_one_process(3)
        assert "was left out" not in caplog.text
    else:
        with pytest.warns(UserWarning, match=f"user {gone} was left out .*: did not answer"):
            wanted = in_one_process(3, gone)
        for number in (2, 3):
            assert f"round {number}: user {gone} was left out: did not answer" in caplog.text
        assert caplog.text.count("was left out") == 2
    models = models_in(found["state_dict"])
    assert models.keys() == wanted.keys()
    for name, value in wanted.items():
        for user in range(3):
            assert torch.equal(models[name][user], value)


@pytest.mark.usefixtures("_task")
def test_the_global_model_says_from_what_it_began(tmp_path: Path) -> None:
    settings = {**_settings(tmp_path, 1), "start-from": write_start(tmp_path / "meta.ckpt")}
    users = {100 + i: _User(i, tmp_path, settings) for i in range(3)}
    flower_app.server(_Grid(users), Context(7, 1, {}, RecordDict(), settings))
    run = read_checkpoint(str(tmp_path / "out" / "last.ckpt"), name="out")["run"]
    assert run["scheme"] == "mfrl"
    assert run["start"]["kind"] == "MetaPPO"
    assert run["start"]["num_users"] == [2, 4]
    assert "seed" not in run["start"]


@pytest.mark.usefixtures("_task")
def test_a_user_who_missed_a_round_takes_part_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flower_app._LOG, "propagate", True)
    settings = _settings(tmp_path, 3)
    users = {100 + i: _User(i, tmp_path, settings, (2,) if i == 1 else ()) for i in range(3)}
    flower_app.server(_Grid(users), Context(7, 1, {}, RecordDict(), settings))
    assert caplog.text.count("was left out") == 1
    assert "round 2: user 1 was left out: did not answer" in caplog.text


@pytest.mark.usefixtures("_task")
def test_without_enough_users_no_model_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flower_app._LOG, "propagate", True)
    settings = _settings(tmp_path, 2)
    bad = {**settings, "config": str(tmp_path / "none.yaml")}
    users = {100 + i: _User(i, tmp_path, bad if i else settings, (2,)) for i in range(3)}
    with pytest.raises(ValueError, match="`num-rounds` must hold one in which enough users"):
        flower_app.server(_Grid(users), Context(7, 1, {}, RecordDict(), settings))
    assert not (tmp_path / "out").exists()
    # The users' own errors reach the server.
    for user in (1, 2):
        assert f"round 1: user {user} was left out: ValueError: `config` must" in caplog.text
    for user in range(3):
        assert f"round 2: user {user} was left out: did not answer" in caplog.text
    for number in (1, 2):
        assert f"round {number}: below the quorum, the global model stays" in caplog.text


@pytest.mark.usefixtures("_task")
def test_bad_settings(tmp_path: Path) -> None:
    settings = {**_settings(tmp_path, 1), "timeout-s": 0}
    with pytest.raises(ValueError, match=r"`timeout-s` must be finite and > 0, got 0\.0"):
        flower_app.server(_Grid({}), Context(7, 1, {}, RecordDict(), settings))
    message = Message(RecordDict(), 100, "train")
    with pytest.raises(ValueError, match="`node-config` must have a 'folder', got 'none'"):
        flower_app.client(message, Context(7, 100, {"user": 0}, RecordDict(), settings))
