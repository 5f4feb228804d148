import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from metagnn.update_rule import State, UpdateRule

RATES = {"power": 0.05, "mu": 0.01}
Kind = Literal["sgd", "adam"]


def _start() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(3)
    return {name: torch.randn(6, generator=source, dtype=torch.float64) for name in RATES}


def _loss(parameters: dict[str, Tensor]) -> Tensor:
    curvature = torch.arange(1.0, 7.0, dtype=torch.float64)
    power, mu = parameters["power"], parameters["mu"]
    return (curvature * power.square()).sum() + (power * mu).sum() + mu.exp().sum()


def _run(rule: UpdateRule, parameters: dict[str, Tensor], num_steps: int) -> dict[str, Tensor]:
    """Steps that keep the graph."""
    state: State = {}
    for step in range(1, num_steps + 1):
        slopes = torch.autograd.grad(
            _loss(parameters), list(parameters.values()), create_graph=True
        )
        gradients = dict(zip(parameters, slopes, strict=True))
        parameters, state = rule.apply(parameters, gradients, state, step)
    return parameters


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("num_steps", [1, 7])
def test_equals_torchs_optimiser(kind: Kind, num_steps: int) -> None:
    theirs = {name: value.clone().requires_grad_() for name, value in _start().items()}
    groups = [{"params": [value], "lr": RATES[name]} for name, value in theirs.items()]
    optimizer = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(groups)
    for _ in range(num_steps):
        optimizer.zero_grad()
        _loss(theirs).backward()
        optimizer.step()
    start = {name: value.requires_grad_() for name, value in _start().items()}
    ours = _run(UpdateRule(RATES, kind), start, num_steps)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-6, atol=1e-9)
        assert (value - start[name]).abs().max() > 1e-3


def test_first_steps_by_hand() -> None:
    parameters = {"power": torch.tensor([1.0, 2.0]), "mu": torch.tensor([0.0])}
    gradients = {"power": torch.tensor([4.0, -8.0]), "mu": torch.tensor([0.5])}
    moved, state = UpdateRule(RATES).apply(parameters, gradients, {}, 1)
    assert moved["power"].tolist() == pytest.approx([0.8, 2.4])
    assert moved["mu"].tolist() == pytest.approx([-0.005])
    assert state == {}
    moved, state = UpdateRule(RATES, "adam").apply(parameters, gradients, {}, 1)
    # Adam's first step is the learning rate times the sign of the gradient.
    assert moved["power"].tolist() == pytest.approx([0.95, 2.05])
    assert moved["mu"].tolist() == pytest.approx([-0.01])
    assert state["power"][0].tolist() == pytest.approx([0.4, -0.8])
    assert state["power"][1].tolist() == pytest.approx([0.016, 0.064])
    assert parameters["power"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_steps_can_be_differentiated(kind: Kind) -> None:
    rule = UpdateRule(RATES, kind)

    def moved(power: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        out = _run(rule, {"power": power, "mu": mu}, 3)
        return out["power"], out["mu"]

    start = tuple(value.requires_grad_() for value in _start().values())
    assert torch.autograd.gradcheck(moved, start)


def test_adam_stays_differentiable_where_the_gradient_is_zero() -> None:
    start = torch.zeros(2, requires_grad=True)
    rule = UpdateRule({"power": 0.1}, "adam")
    moved, _ = rule.apply({"power": start}, {"power": start.square() * start}, {}, 1)
    assert moved["power"].tolist() == [0.0, 0.0]
    (slope,) = torch.autograd.grad(moved["power"].sum(), start)
    assert slope.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_learning_rates_are_checked(value: float) -> None:
    with pytest.raises(ValueError, match=rf"`learning_rates\['mu'\]` must .* got {value}"):
        UpdateRule({"power": 1.0, "mu": value})


def test_kind_and_names_are_checked() -> None:
    with pytest.raises(ValueError, match="`kind` must be 'sgd' or 'adam', got 'rmsprop'"):
        UpdateRule(RATES, "rmsprop")  # type: ignore[arg-type]
    rule = UpdateRule(RATES)
    rule.require_names("rule", ("mu", "power"))
    for names in (("mu", "power", "slack"), ("mu",)):
        with pytest.raises(ValueError, match=r"`outer.learning_rates` must name exactly .*'mu'"):
            rule.require_names("outer", names)
