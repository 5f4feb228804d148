"""Federated averaging: the mean of clients' models, and who is left out of it and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, require

Weighting = Literal["uniform", "samples", "success"]
WEIGHTINGS: tuple[Weighting, ...] = ("uniform", "samples", "success")

Model = Mapping[str, Tensor]


@dataclass(frozen=True)
class Update:
    """What a client sends to the server.

    Attributes:
        client: Name of the client.
        model: Its named parameters, or None if there are none.
        num_samples: Number of samples it learned from, ``|B_i|`` of Eq. 19.
        success_rate: Share of its transmissions without a collision, eta_i of Eq. 20.
        fault: Why it is left out, whatever its model is.
    """

    client: str
    model: Model | None
    num_samples: int = 1
    success_rate: float = 1.0
    fault: str | None = None

    def weight(self, weighting: Weighting) -> float:
        """Weight of the client in the mean."""
        weights = {
            "uniform": 1.0,
            "samples": float(self.num_samples),
            "success": self.success_rate,
        }
        return weights[weighting]


@dataclass(frozen=True)
class Round:
    """What a round of averaging gave.

    Attributes:
        model: The global model, the old one if too few clients were accepted.
        averaged: Whether it is a new one.
        rejected: Clients that were left out, with the reason.
        num_bytes: Bytes of the models sent to the server, and of the global model to clients.
    """

    model: dict[str, Tensor]
    averaged: bool
    rejected: dict[str, str]
    num_bytes: int


def federated_round(
    current: Model,
    updates: Sequence[Update],
    weighting: Weighting = "success",
    quorum: int = 1,
    num_receivers: int | None = None,
) -> Round:
    r"""Weighted mean of the clients' models (paper B, Eq. 19 and 20).

    .. math:: \bar W = \sum_i w_i W_i / \sum_i w_i

    with :math:`w_i = |B_i|` (``samples``), :math:`\eta_i` (``success``) or 1 (``uniform``). A
    client that did not answer, or whose model has other names or shapes or kinds of numbers or
    numbers that are not finite, or whose weight is not positive, is left out.

    Args:
        current: The global model, which is kept if fewer than ``quorum`` clients are accepted.
        updates: What the clients sent.
        weighting: What a client's weight is.
        quorum: Smallest number of accepted clients.
        num_receivers: Number of clients to which the global model, be it new or not, is sent; all
            if left out.

    Raises:
        ValueError: If ``quorum`` is not positive, ``weighting`` is unknown or a client comes twice.
    """
    check_count("quorum", quorum)
    require(weighting in WEIGHTINGS, "weighting", f"be one of {WEIGHTINGS}", weighting)
    names = [u.client for u in updates]
    require(len(set(names)) == len(names), "updates", "name each client once", names)
    reasons = {u.client: _fault(current, u, weighting) for u in updates}
    rejected = {client: reason for client, reason in reasons.items() if reason is not None}
    accepted = [u for u in updates if u.client not in rejected]
    receivers = len(updates) if num_receivers is None else num_receivers
    sent = sum(_num_bytes(u.model) for u in updates if u.model is not None)
    sent += receivers * _num_bytes(current)
    if len(accepted) < quorum:
        return Round(dict(current), False, rejected, sent)
    weights = torch.tensor([u.weight(weighting) for u in accepted], dtype=torch.float64)
    weights = weights / weights.sum()
    mean = {}
    for name, old in current.items():
        stacked = torch.stack([u.model[name].detach().double() for u in accepted if u.model])
        mean[name] = torch.einsum("m,m...->...", weights.to(stacked.device), stacked).to(old)
    return Round(mean, True, rejected, sent)


def _fault(current: Model, update: Update, weighting: Weighting) -> str | None:
    """Why a client cannot be averaged, or None."""
    if update.fault is not None:
        return update.fault
    if update.model is None:
        return "did not answer"
    if set(update.model) != set(current):
        wrong = sorted(set(update.model) ^ set(current))
        return f"`model` must have the parameters of the global model, differs in {wrong}"
    for name, old in current.items():
        value = update.model[name]
        if value.shape != old.shape:
            return f"`{name}` must have the shape {tuple(old.shape)}, got {tuple(value.shape)}"
        if value.is_floating_point() != old.is_floating_point():
            return f"`{name}` must have numbers like {old.dtype}, got {value.dtype}"
        if not bool(value.to(old.dtype).isfinite().all()):
            return f"`{name}` must be finite"
    weight = update.weight(weighting)
    if not 0.0 < weight < float("inf"):
        return f"weight by {weighting} must be finite and > 0, got {weight!r}"
    return None


def _num_bytes(model: Model) -> int:
    return sum(value.numel() * value.element_size() for value in model.values())
