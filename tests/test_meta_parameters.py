import json
from pathlib import Path
from typing import Any

import pytest
import torch

import metagnn
from metagnn.checkpoint import save_weights
from metagnn.experiment import read_section
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.models.primal_dual import PrimalDualNetworks
from metagnn.pretrained import pretrained_names


def _saved(path: Path, **changed: Any) -> str:
    parameters = load_meta_parameters("power_control")
    state, settings = parameters.networks.state_dict(), parameters.settings()
    state.update({name: value for name, value in changed.items() if name in state})
    settings.update({name: value for name, value in changed.items() if name in settings})
    save_weights(path, state, settings)
    return str(path)


@pytest.mark.parametrize("name", pretrained_names())
def test_shipped_meta_parameters_come_back_from_their_file(name: str, tmp_path: Path) -> None:
    shipped = load_meta_parameters(name)
    shipped.save(tmp_path / "copy.safetensors")
    loaded = load_meta_parameters(str(tmp_path / "copy.safetensors"))
    assert loaded.settings() == shipped.settings()
    for key, value in shipped.networks.state_dict().items():
        assert torch.equal(loaded.networks.state_dict()[key], value)


def test_an_adaptation_of_other_networks_is_refused(tmp_path: Path) -> None:
    parameters = load_meta_parameters("power_control")
    settings = parameters.settings()["adaptation"]
    settings["rule"]["learning_rates"].pop("mu")
    path = _saved(tmp_path / "a.safetensors", adaptation=settings)
    rule = r"`checkpoint` must hold .* \(`adaptation.rule.learning_rates` must name exactly"
    with pytest.raises(ValueError, match=rule):
        load_meta_parameters(path)
    shape = parameters.networks.shape
    other = PrimalDualNetworks(type(shape)(num_networks=5))
    with pytest.raises(ValueError, match=r"`adaptation\.rule\.learning_rates` must name"):
        MetaParameters(other, parameters.problem, parameters.adaptation)


def test_files_without_multipliers_are_refused(tmp_path: Path) -> None:
    parameters = load_meta_parameters("power_control")
    state = parameters.networks.state_dict()
    state = {name: value for name, value in state.items() if not name.startswith("mu.")}
    save_weights(tmp_path / "a.safetensors", state, parameters.settings())
    rule = r"`checkpoint` must hold .*`weights` must hold the network `mu`"
    with pytest.raises(ValueError, match=rule):
        load_meta_parameters(str(tmp_path / "a.safetensors"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float, tmp_path: Path) -> None:
    key = "power.stack.readout.bias"
    path = _saved(tmp_path / "a.safetensors", **{key: torch.tensor([value])})
    with pytest.raises(ValueError, match=r"`checkpoint` must hold .*`weights` must be finite"):
        load_meta_parameters(path)


def _differences(wanted: object, found: object, name: str) -> list[str]:
    """Where a card lacks a value of a configuration, or has another."""
    if isinstance(wanted, dict):
        known = found if isinstance(found, dict) else {}
        return [d for k, v in wanted.items() for d in _differences(v, known.get(k), f"{name}.{k}")]
    return [] if wanted == found else [name]


def test_the_shipped_card_is_of_the_packaged_configuration() -> None:
    card = json.loads((Path(metagnn.__file__).parent / "pretrained/power_control.json").read_text())
    for section in ("trainer", "model", "data"):
        wanted = read_section("power_control_pretrained", section)
        if section == "trainer":
            wanted = {"max_epochs": wanted["max_epochs"]}
        assert _differences(wanted, card["config"][section], section) == []
    assert _differences({"a": {"b": 1}}, {"a": {"b": 2}}, "x") == ["x.a.b"]
