"""A SuperLink and SuperNodes in processes of their own, as ``notebooks/federated`` starts them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import torch
from federation import SETTINGS, in_one_process, write_config

pytest.importorskip("flwr", reason="the extra `federated` is not installed")

from metagnn.checkpoint import read_checkpoint
from metagnn.federated_ppo import models_in

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
NUM_USERS = 3
DEADLINE_S = 600


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _process(log: Path, env: dict[str, str], *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of Flower with all that it starts, ended at the end."""
    with log.open("wb") as file:
        command = [str(BIN / words[0]), *words[1:]]
        process = subprocess.Popen(
            command, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_for(text: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + DEADLINE_S
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("num_rounds", "gone"), [(2, None), (3, 1)])
def test_the_global_model_is_that_of_one_process(
    tmp_path: Path, num_rounds: int, gone: int | None
) -> None:
    """User ``gone`` is killed after the first round."""
    link, address = _free_port(), tmp_path / "flwr"
    address.mkdir()
    (address / "config.toml").write_text(
        '[superlink]\ndefault = "loopback"\n\n'
        f'[superlink.loopback]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    env = os.environ | {
        "FLWR_HOME": str(address),
        "FLWR_TELEMETRY_ENABLED": "0",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    settings = {**SETTINGS, "config": write_config(tmp_path / "tiny.yaml")}
    settings |= {"num-rounds": num_rounds, "out": str(tmp_path / "out")}
    run_config = " ".join(
        f"{name}='{value}'" if isinstance(value, str) else f"{name}={value}"
        for name, value in settings.items()
    )
    with ExitStack() as stack:
        log = tmp_path / "link.log"
        words = ["flower-superlink", "--insecure", "--port", str(link)]
        words.append("--disable-runtime-dependency-installation")
        superlink = stack.enter_context(_process(log, env, *words))
        _wait_for("Uvicorn running", log, superlink)
        nodes = []
        for user in range(NUM_USERS):
            words = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}"]
            words += ["--port", str(_free_port())]
            words += ["--node-config", f"user={user} folder='{tmp_path / 'users'}'"]
            nodes.append(stack.enter_context(_process(tmp_path / f"{user}.log", env, *words)))
        log = tmp_path / "run.log"
        words = ["flwr", "run", str(ROOT / "notebooks/federated"), "--stream"]
        run = stack.enter_context(_process(log, env, *words, "--run-config", run_config))
        if gone is not None:
            _wait_for("[ROUND 2/3]", log, run)
            _kill(nodes[gone])
        assert run.wait(DEADLINE_S) == 0
        told = log.read_text()
    found = read_checkpoint(str(tmp_path / "out" / "last.ckpt"), name="out")
    if gone is None:
        assert "was left out" not in told
        wanted = in_one_process(num_rounds)
    else:
        for number in (2, 3):
            assert f"round {number}: user {gone} was left out: did not answer" in told
        assert told.count("was left out") == 2
        with pytest.warns(UserWarning, match=f"user {gone} was left out"):
            wanted = in_one_process(num_rounds, gone)
    models = models_in(found["state_dict"])
    for name, value in wanted.items():
        for user in range(NUM_USERS):
            assert torch.equal(models[name][user], value), name
