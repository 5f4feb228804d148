"""Federated channel assignment over Flower: every user is a SuperNode (extra ``federated``).

``notebooks/federated`` holds the app's settings and says how to run it.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from metagnn.checkpoint import write_checkpoint
from metagnn.federated import Update, federated_round
from metagnn.federated_ppo import Scheme, load_network
from metagnn.federated_user import FederatedUser, federated_user, global_checkpoint, run_round
from metagnn.graphs.checks import require

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
    """A round of one user: ``user`` and ``folder`` are settings of its SuperNode."""
    torch.set_num_threads(1)
    for name in ("user", "folder"):
        require(name in context.node_config, "node-config", f"have a {name!r}", "none")
    user = int(context.node_config["user"])
    folder = Path(str(context.node_config["folder"])) / f"run {context.run_id}" / f"user {user}"
    module, num_rounds = _user(context)
    number = int(message.content["config"]["server-round"])
    received = message.content["arrays"].to_torch_state_dict()
    update = run_round(module, user, received, folder, number, num_rounds)
    return Message(content=reply_of(update, user), reply_to=message)


def reply_of(update: Update, user: int) -> RecordDict:
    """What a user sends, as records."""
    assert update.model is not None
    facts = {"user": user, "samples": update.num_samples, "success-rate": update.success_rate}
    records = {"arrays": ArrayRecord(dict(update.model)), "metrics": MetricRecord(facts)}
    return RecordDict(records)


def updates_of(replies: Iterable[Message], num_users: int) -> list[Update]:
    """What users sent, by user; a reply that is no user's first has no model, and says why."""
    found: dict[str, Update] = {}
    for reply in replies:
        node = f"node {reply.metadata.src_node_id}"
        update = _update_of(reply, num_users)
        if update.model is not None and update.client in found:
            update = Update(node, None, fault=f"a second reply of {update.client}")
        found[update.client] = update
    return [found[name] for name in sorted(found)]


def _update_of(reply: Message, num_users: int) -> Update:
    node = f"node {reply.metadata.src_node_id}"
    if reply.has_error():
        return Update(node, None)
    if not {"arrays", "metrics"} <= set(reply.content):
        return Update(node, None, fault="the reply must have arrays and metrics")
    facts = reply.content["metrics"]
    if not {"user", "samples", "success-rate"} <= set(facts):
        return Update(node, None, fault="the metrics must be user, samples and success-rate")
    user = facts["user"]
    if not (isinstance(user, int) and 0 <= user < num_users):
        rule = f"`user` must be an integer in [0, {num_users - 1}], got {user!r}"
        return Update(node, None, fault=rule)
    model = reply.content["arrays"].to_torch_state_dict()
    return Update(f"user {user}", model, int(facts["samples"]), float(facts["success-rate"]))


class Averaging(FedAvg):
    """`federated_round` as a strategy of Flower: clients at fault are left out by name.

    Every round waits for as many SuperNodes as there are users.

    Args:
        module: Whose weighting, quorum and number of users these are.
        model: The global model.
    """

    def __init__(self, module: FederatedUser, model: dict[str, torch.Tensor]) -> None:
        number = module.num_users
        super().__init__(fraction_evaluate=0.0, min_train_nodes=number, min_available_nodes=number)
        self.module, self.model = module, model
        self.num_averaged = 0

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """The new global model, or the old one below the quorum."""
        module = self.module
        updates = updates_of(replies, module.num_users)
        found = federated_round(self.model, updates, module.weighting, module.quorum)
        for name, reason in found.rejected.items():
            _LOG.warning("round %d: %s was left out: %s", server_round, name, reason)
        self.model = found.model
        self.num_averaged += found.averaged
        facts = {"bytes": found.num_bytes, "rejected": len(found.rejected)}
        return ArrayRecord(found.model), MetricRecord(facts)


@server.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds, from the base station's model or a random one; keeps the last global model.

    ``metagnn compare --config channel_assignment --runs OUT`` scores it.
    """
    module, num_rounds = _user(context)
    start_from, out = str(context.run_config["start-from"]), Path(str(context.run_config["out"]))
    last = out / "last.ckpt"
    require(not last.exists(), "out", "hold no last.ckpt yet", str(out))
    scheme: Scheme = "mfrl" if start_from else "frl"
    model = load_network(start_from, module) if start_from else module.network.state_dict()
    strategy = Averaging(module, model)
    strategy.start(grid=grid, initial_arrays=ArrayRecord(model), num_rounds=num_rounds)
    averaged = strategy.num_averaged
    require(averaged > 0, "num-rounds", "hold one in which enough users answered", num_rounds)
    out.mkdir(parents=True, exist_ok=True)
    write_checkpoint(
        last, global_checkpoint(module, strategy.model, scheme, num_rounds), name="out"
    )
    _LOG.info("global model, averaged in %d of %d rounds: %s", averaged, num_rounds, last)
