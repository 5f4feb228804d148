"""Federated channel assignment over Flower: every user is a SuperNode (extra ``federated``).

``notebooks/federated`` holds the app's settings and says how to run it.
"""

import logging
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from metagnn.checkpoint import write_checkpoint
from metagnn.federated import Update
from metagnn.federated_ppo import Scheme, load_start
from metagnn.federated_user import FederatedUser, federated_user, global_checkpoint, run_round
from metagnn.flower_averaging import Averaging
from metagnn.flower_records import reply_of
from metagnn.graphs.checks import check_positive, require

client = ClientApp()
server = ServerApp()
_LOG = logging.getLogger("flwr")


def _user(context: Context) -> tuple[FederatedUser, int]:
    """The module that the run's settings describe, and the number of rounds."""
    settings = context.run_config
    changed = {"seed": int(settings["seed"]), "average_every": int(settings["average-every"])}
    module = federated_user(str(settings["config"]), scenario=str(settings["scenario"]), **changed)
    return module, int(settings["num-rounds"])


@client.train()
def train(message: Message, context: Context) -> Message:
    """A round of one user: ``user`` and ``folder`` are settings of its SuperNode.

    An error is sent with the user's number, which one of Flower's own has not.
    """
    torch.set_num_threads(1)
    for name in ("user", "folder"):
        require(name in context.node_config, "node-config", f"have a {name!r}", "none")
    user = int(context.node_config["user"])
    try:
        update = _update(message, context, user)
    except Exception as error:
        _LOG.exception("user %d", user)
        update = Update(f"user {user}", None, fault=f"{type(error).__name__}: {error}")
    return Message(content=reply_of(update, user), reply_to=message)


def _update(message: Message, context: Context, user: int) -> Update:
    folder = Path(str(context.node_config["folder"])) / f"run {context.run_id}" / f"user {user}"
    module, num_rounds = _user(context)
    records = message.content
    number = int(str(records.config_records["config"]["server-round"]))
    received = records.array_records["arrays"].to_torch_state_dict()
    return run_round(module, user, received, folder, number, num_rounds)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds, from the base station's model or a random one; keeps the last global model.

    A round waits ``timeout-s`` seconds for replies.
    ``metagnn compare --config channel_assignment --runs OUT`` scores it.
    """
    module, num_rounds = _user(context)
    start_from, out = str(context.run_config["start-from"]), Path(str(context.run_config["out"]))
    last = out / "last.ckpt"
    require(not last.exists(), "out", "hold no last.ckpt yet", str(out))
    timeout_s = float(context.run_config["timeout-s"])
    check_positive("timeout-s", timeout_s)
    scheme: Scheme = "mfrl" if start_from else "frl"
    model = module.network.state_dict()
    if start_from:
        module.start, model = load_start(start_from, module)
    strategy = Averaging(module, model)
    strategy.start(grid, ArrayRecord(model), num_rounds, timeout_s)
    averaged = strategy.num_averaged
    require(averaged > 0, "num-rounds", "hold one in which enough users answered", num_rounds)
    out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(
        last, global_checkpoint(module, strategy.model, scheme, num_rounds), name="out"
    )
    _LOG.info("global model, averaged in %d of %d rounds: %s", averaged, num_rounds, last)
