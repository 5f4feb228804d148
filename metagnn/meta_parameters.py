"""Meta-parameters with everything needed to use them: shipped, in a file, or in a checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from metagnn.adaptation import Adaptation
from metagnn.adaptation_task import Problem
from metagnn.checkpoint import MAGIC, load_weights, read_checkpoint, save_weights
from metagnn.graphs.checks import require
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.pretrained import pretrained_path
from metagnn.update_rule import UpdateRule


@dataclass(frozen=True)
class MetaParameters:
    """Networks at their meta-parameters, the problem they were trained for, and how they adapt.

    Attributes:
        networks: The networks.
        problem: Constants of the problem.
        adaptation: How to adapt to one configuration.

    Raises:
        ValueError: If the adaptation names other networks.
    """

    networks: PrimalDualNetworks
    problem: Problem
    adaptation: Adaptation

    def __post_init__(self) -> None:
        self.adaptation.rule.require_names("adaptation.rule", self.networks.shape.names)

    def settings(self) -> dict[str, Any]:
        """Everything but the weights, as plain values."""
        return {
            "shape": asdict(self.networks.shape),
            "problem": asdict(self.problem),
            "adaptation": asdict(self.adaptation),
        }

    def for_powers(self, power_max_w: float, noise_w: float) -> "MetaParameters":
        """The same for another largest power and noise power [W]."""
        problem = replace(self.problem, power_max_w=power_max_w, noise_w=noise_w)
        return replace(self, problem=problem)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, atomically and with a SHA-256."""
        save_weights(path, self.networks.state_dict(), self.settings())


def load_meta_parameters(name_or_path: str) -> MetaParameters:
    """Meta-parameters by the name of a shipped set, or from a safetensors or checkpoint file.

    Args:
        name_or_path: Shipped name, file of `MetaParameters.save`, or checkpoint of a training run.

    Raises:
        ValueError: If there is no such set or file, or the file is damaged, foreign or of another
            kind of model.
    """
    path = pretrained_path(name_or_path)
    with path.open("rb") as file:
        is_checkpoint = file.read(len(MAGIC)) == MAGIC
    if not is_checkpoint:
        state, settings = load_weights(path)
    else:
        content = read_checkpoint(path)
        settings = content.get("metagnn_settings", {})
        prefix = "networks."
        state = {
            key.removeprefix(prefix): value
            for key, value in content.get("state_dict", {}).items()
            if key.startswith(prefix)
        }
    try:
        loaded = from_settings(settings)
        for name in loaded.networks.shape.names:
            missing = not any(key.startswith(f"{name}.") for key in state)
            require(not missing, "weights", f"hold the network `{name}`", sorted(state)[:3])
        loaded.networks.load_state_dict(dict(state))
        require(_finite(state), "weights", "be finite", "NaN or infinity")
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"`checkpoint` must hold meta-parameters of metagnn ({error}), got {str(path)!r}"
        ) from error
    return loaded


def _finite(state: Mapping[str, Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in state.values())


def from_settings(settings: Mapping[str, Any]) -> MetaParameters:
    """Freshly initialised networks with the given settings."""
    adaptation = dict(settings["adaptation"])
    adaptation["rule"] = UpdateRule(**adaptation["rule"])
    return MetaParameters(
        PrimalDualNetworks(NetworkShape(**settings["shape"])),
        Problem(**settings["problem"]),
        Adaptation(**adaptation),
    )
