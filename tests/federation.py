"""A tiny configuration of federated channel assignment, and its learning in one process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor
from trainers import quiet_trainer

from metagnn.assignment_module import Cell
from metagnn.checkpoint import write_checkpoint
from metagnn.experiment import read_section
from metagnn.federated import Update
from metagnn.federated_ppo import FederatedPPO
from metagnn.meta_ppo import MetaPPO
from metagnn.models.actor_critic import ActorCriticShape
from metagnn.ppo import PPOSettings

SETTINGS = {"scenario": "indoor", "seed": 3, "average-every": 2, "start-from": "", "timeout-s": 600}
_SMALL = {"num_users": 3, "scheme": "frl", "start_from": None, "quorum": 2}
_SHAPE = {"hidden_channels": (6, 6), "critic_channels": 6, "num_claims": 2}


def _arguments() -> dict[str, Any]:
    found = dict(read_section("channel_assignment_adapt", "model")["init_args"]) | _SMALL
    found["shape"] = {**found["shape"], **_SHAPE}
    found["cell"] = {**found["cell"], "num_copies": 4}
    return found


def write_config(path: Path) -> str:
    """The tiny configuration as a file."""
    arguments = _arguments()
    arguments["shape"]["hidden_channels"] = list(arguments["shape"]["hidden_channels"])
    model = {"class_path": "metagnn.federated_ppo.FederatedPPO", "init_args": arguments}
    path.write_text(yaml.safe_dump({"model": model}))
    return str(path)


def write_start(path: Path) -> str:
    """A base station's finished run of the tiny network, without the training."""
    arguments = _arguments()
    shape = ActorCriticShape(**arguments["shape"])
    module = MetaPPO(
        shape, Cell(**arguments["cell"]), PPOSettings(**arguments["ppo"]), num_users=(2, 4)
    )
    run = {**module.facts(), "num_done": 1, "num_episodes": 1}
    write_checkpoint(path, {"run": run, "state_dict": module.state_dict()})
    return str(path)


class _Leaves(FederatedPPO):
    """`FederatedPPO` whose user ``gone`` answers in the first round only."""

    gone: int | None = None

    def update(self, user: int) -> Update:
        sent = super().update(user)
        leaves = user == self.gone and self.current_epoch >= self.average_every
        return replace(sent, model=None) if leaves else sent


def in_one_process(num_rounds: int, gone: int | None = None) -> dict[str, Tensor]:
    """The global model after some rounds, user ``gone`` left out of all but the first."""
    arguments = _arguments()
    shape = ActorCriticShape(**arguments.pop("shape"))
    cell = Cell(**{**arguments.pop("cell"), "scenario": SETTINGS["scenario"]})
    ppo = PPOSettings(**arguments.pop("ppo"))
    arguments |= {"seed": SETTINGS["seed"], "average_every": SETTINGS["average-every"]}
    module = _Leaves(shape, cell, ppo, **arguments)
    module.gone = gone
    quiet_trainer(num_rounds * module.average_every, limit_val_batches=0).fit(module)
    return {name: value[0].detach() for name, value in module.models().items()}
