"""Federated averaging by hand, and every reason to leave a client out."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.federated import Update, Weighting, federated_round

GLOBAL = {"w": torch.zeros(2, 3), "b": torch.zeros(3)}


def _model(value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(tensor, value) for name, tensor in GLOBAL.items()}


UPDATES = [
    Update("a", _model(1.0), num_samples=100, success_rate=0.5),
    Update("b", _model(2.0), num_samples=300, success_rate=0.25),
    Update("c", _model(6.0), num_samples=100, success_rate=0.25),
]


@pytest.mark.parametrize(
    ("weighting", "wanted"),
    [("uniform", 3.0), ("samples", 13 / 5), ("success", 2.5)],
)
def test_weighted_means_by_hand(weighting: Weighting, wanted: float) -> None:
    found = federated_round(GLOBAL, UPDATES, weighting)
    assert found.averaged
    assert found.rejected == {}
    for name, value in found.model.items():
        torch.testing.assert_close(value, torch.full_like(GLOBAL[name], wanted))
    # Nine numbers of four bytes, three clients, there and back.
    assert found.num_bytes == 2 * 3 * 9 * 4


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Update("d", None), "did not answer"),
        (Update("d", None, fault="came too late"), "came too late"),
        (Update("d", {**_model(1.0), "b": torch.full((3,), math.nan)}), "`b` must be finite"),
        (
            Update("d", {**_model(1.0), "w": torch.zeros(3, 2)}),
            r"`w` must have the shape (2, 3), got (3, 2)",
        ),
        (
            Update("d", {**_model(1.0), "b": torch.full((3,), 1e300, dtype=torch.float64)}),
            "`b` must be finite",
        ),
        (
            Update("d", {**_model(1.0), "b": torch.zeros(3, dtype=torch.complex64)}),
            "`b` must have numbers like torch.float32, got torch.complex64",
        ),
        (Update("d", _model(1.0), fault="lied"), "lied"),
        (
            Update("d", {"w": torch.zeros(2, 3)}),
            "`model` must have the parameters of the global model, differs in ['b']",
        ),
        (
            Update("d", _model(1.0), success_rate=0.0),
            "weight by success must be finite and > 0, got 0.0",
        ),
        (
            Update("d", _model(1.0), success_rate=math.nan),
            "weight by success must be finite and > 0, got nan",
        ),
    ],
)
def test_a_bad_client_is_left_out_by_name(bad: Update, reason: str) -> None:
    found = federated_round(GLOBAL, [UPDATES[0], bad, *UPDATES[1:]])
    assert found.rejected == {"d": reason}
    wanted = federated_round(GLOBAL, UPDATES).model
    for name, value in found.model.items():
        assert torch.equal(value, wanted[name])
    answered = 3 if bad.model is None else 4
    sent = 0
    if bad.model is not None:
        sent = sum(v.element_size() * v.numel() for v in bad.model.values())
    assert found.num_bytes == (3 + 4) * 36 + (sent if answered == 4 else 0)


def test_below_the_quorum_the_global_model_stays() -> None:
    gone = [replace(update, model=None) for update in UPDATES[1:]]
    found = federated_round(GLOBAL, [UPDATES[0], *gone], quorum=2)
    assert not found.averaged
    # One sent a model, and all get the old one: theirs are no longer the global one.
    assert found.num_bytes == (1 + 3) * 36
    assert set(found.rejected) == {"b", "c"}
    for name, value in found.model.items():
        assert torch.equal(value, GLOBAL[name])
    assert federated_round(GLOBAL, [UPDATES[0], *gone], quorum=1).averaged


def test_bytes_of_those_who_get_the_global_model() -> None:
    assert federated_round(GLOBAL, UPDATES, num_receivers=5).num_bytes == (3 + 5) * 36
    assert federated_round(GLOBAL, UPDATES[:1], quorum=2, num_receivers=0).num_bytes == 36


def test_the_mean_is_taken_in_double_precision() -> None:
    clients = [Update(str(n), _model(1.0 + n * 1e-7)) for n in range(1000)]
    found = federated_round(GLOBAL, clients, "uniform").model["b"]
    wanted = sum(float(c.model["b"][0]) for c in clients if c.model) / 1000
    assert float(found[0]) == pytest.approx(wanted, rel=1e-7)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`weighting` must be one of .*, got 'x'"):
        federated_round(GLOBAL, UPDATES, "x")  # type: ignore[arg-type]
    twice = [replace(UPDATES[0], model={**_model(1.0), "b": torch.full((3,), math.nan)}), *UPDATES]
    with pytest.raises(ValueError, match=r"`updates` must name each client once, got \['a', 'a'"):
        federated_round(GLOBAL, twice)
    with pytest.raises(ValueError, match=r"`quorum` must be an integer >= 1, got 0"):
        federated_round(GLOBAL, UPDATES, quorum=0)
