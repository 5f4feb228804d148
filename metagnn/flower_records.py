"""What a user of a federation sends, as records of Flower, and what the server makes of them."""

from collections.abc import Mapping
from reprlib import repr as shortened

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from metagnn.federated import Update


def reply_of(update: Update, user: int) -> RecordDict:
    """What a user sends: its model and the facts that weigh it, or why it has none."""
    if update.model is None:
        reason = ConfigRecord({"reason": str(update.fault)})
        return RecordDict({"metrics": MetricRecord({"user": user}), "fault": reason})
    facts = MetricRecord(
        {"user": user, "samples": update.num_samples, "success-rate": update.success_rate}
    )
    return RecordDict({"arrays": ArrayRecord(dict(update.model)), "metrics": facts})


def user_in(content: RecordDict, num_users: int) -> int:
    """The user that a reply says it is of.

    Raises:
        ValueError: If it says none.
    """
    user = _record(content, "metrics").get("user")
    if type(user) is not int or not 0 <= user < num_users:
        rule = f"`user` must be an integer in [0, {num_users - 1}]"
        raise ValueError(f"{rule}, got {shortened(user)}")
    return user


def update_in(content: RecordDict, client: str) -> Update:
    """What a reply holds, be it what it should be or not: then the update says what is wrong.

    Args:
        content: The reply.
        client: Name of who sent it.
    """
    if "fault" in content:
        reason = _record(content, "fault").get("reason")
        return Update(client, None, fault=reason if type(reason) is str else shortened(reason))
    arrays = content.get("arrays")
    if not isinstance(arrays, ArrayRecord):
        reason = f"`arrays` must hold a model, got {type(arrays).__name__}"
        return Update(client, None, fault=reason)
    try:
        model = arrays.to_torch_state_dict()
    except Exception as error:  # whatever was sent, the round of the others goes on
        reason = f"`arrays` must hold a model, got {type(error).__name__}: {error}"
        return Update(client, None, fault=reason)
    facts = _record(content, "metrics")
    samples, rate = facts.get("samples"), facts.get("success-rate")
    if type(samples) is not int or not 0 <= samples < 2**63:
        rule = "`samples` must be an integer in [0, 2^63)"
        return Update(client, model, fault=f"{rule}, got {shortened(samples)}")
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0.0 <= rate <= 1.0:
        rule = "`success-rate` must be a number in [0, 1]"
        return Update(client, model, fault=f"{rule}, got {shortened(rate)}")
    return Update(client, model, samples, float(rate))


def _record(content: RecordDict, name: str) -> Mapping[str, object]:
    """A record of any kind, empty if there is none."""
    found: Mapping[str, object] | None = content.get(name)
    return {} if found is None else found
