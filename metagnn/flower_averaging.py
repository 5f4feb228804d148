"""Federated averaging as a strategy of Flower: who is asked, who answered, and with what."""

import logging
import time
from collections.abc import Iterable
from dataclasses import replace

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from metagnn.federated import Model, Update, federated_round
from metagnn.federated_user import FederatedUser
from metagnn.flower_records import update_in, user_in

_LOG = logging.getLogger("flwr")


class Averaging(Strategy):
    """`federated_round` as a strategy of Flower: clients at fault are left out by name.

    The first round waits for as many SuperNodes as there are users. Later ones ask those that are
    connected, so that a round goes on without users who are gone and with users who are back. A
    SuperNode is that of the user for whom it first answered.

    Args:
        module: Whose weighting, quorum and number of users these are.
        model: The global model.

    Attributes:
        model: The global model.
        num_averaged: Number of rounds that gave a new one.
    """

    def __init__(self, module: FederatedUser, model: Model) -> None:
        self.module, self.model = module, dict(model)
        self.num_averaged = 0
        self._asked: list[Message] = []
        self._users: dict[int, int] = {}

    def summary(self) -> None:
        """Log what is averaged."""
        module = self.module
        words = "%d users, weighted by %s, quorum %d"
        _LOG.info(words, module.num_users, module.weighting, module.quorum)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The global model to every SuperNode."""
        awaited = self.module.num_users if server_round == 1 else 0
        seen = -1
        while len(nodes := list(grid.get_node_ids())) < awaited:
            if len(nodes) != seen:
                _LOG.info("waiting for users: %d of %d are connected", len(nodes), awaited)
            seen = len(nodes)
            time.sleep(1)
        config["server-round"] = server_round
        content = RecordDict({"arrays": arrays, "config": config})
        self._asked = [Message(content, node, MessageType.TRAIN) for node in nodes]
        return self._asked

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """The new global model, or the old one below the quorum.

        The metrics are the bytes of the models sent to and fro, how many clients were left out and
        whether the model is a new one.
        """
        module, asked = self.module, len(self._asked)
        updates = self.updates(replies)
        found = federated_round(self.model, updates, module.weighting, module.quorum, asked)
        for name, reason in found.rejected.items():
            _LOG.warning("round %d: %s was left out: %s", server_round, name, reason)
        if not found.averaged:
            _LOG.warning("round %d: below the quorum, the global model stays", server_round)
        self.model = found.model
        self.num_averaged += found.averaged
        rejected, averaged = len(found.rejected), int(found.averaged)
        metrics = MetricRecord(
            {"bytes": found.num_bytes, "rejected": rejected, "averaged": averaged}
        )
        return ArrayRecord(found.model), metrics

    def updates(self, replies: Iterable[Message]) -> list[Update]:
        """What all users sent, in their order, and then what others did.

        A user of whom nothing came did not answer.
        """
        nodes = {sent.metadata.message_id: sent.metadata.dst_node_id for sent in self._asked}
        users: dict[int, Update] = {}
        others: dict[str, Update] = {}
        for reply in sorted(replies, key=Message.has_error):
            sender = reply.metadata.src_node_id
            node = nodes.get(reply.metadata.reply_to_message_id, sender)
            user, update = self._answer(reply, node)
            if user is not None and user not in users:
                users[user] = replace(update, client=f"user {user}")
            elif sender == node:
                fault = update.fault or f"a second reply of user {user}"
                others[update.client] = replace(update, fault=fault)
        everyone = range(self.module.num_users)
        return [users.get(i, Update(f"user {i}", None)) for i in everyone] + list(others.values())

    def _answer(self, reply: Message, node: int) -> tuple[int | None, Update]:
        """Whose reply it is, if that is known, and what it holds."""
        name, user = f"node {node}", self._users.get(node)
        if reply.has_error():
            reason = reply.error.reason or f"error {reply.error.code}"
            # For a node that does not answer the SuperLink does.
            own = reply.metadata.src_node_id == node
            return user, Update(name, None, fault=reason if own else f"did not answer: {reason}")
        update = update_in(reply.content, name)
        try:
            said = user_in(reply.content, self.module.num_users)
        except ValueError as error:
            return user, replace(update, fault=str(error))
        if self._users.setdefault(node, said) != said:
            return user, replace(update, fault=f"said that it is user {said}")
        return said, update

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing is asked: ``metagnn compare`` scores the last global model."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> None:
        """Nothing was asked."""
