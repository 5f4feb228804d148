"""Networks in which spectrum allocation is learned and scored, as configurations name them."""

from dataclasses import dataclass, field

from torch import nn

from metagnn.models.spectrum import GraphPolicy, PolicyShape
from metagnn.models.spectrum_flat import FlatPolicy
from metagnn.tasks.spectrum_allocation.environment import NUM_FEATURES, SpectrumAllocation
from metagnn.tasks.spectrum_allocation.observation import Edges
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily


@dataclass(frozen=True)
class SpectrumPlace:
    """Where episodes take place.

    Attributes:
        family: Scenarios.
        radio: Bands, powers and limits.
        num_steps: Slots of an episode.
        edges: What may be exchanged (see `SpectrumAllocation`).
        failure_weight: What a failure costs in the reward of a band (there too).

    Raises:
        ValueError: If a number is out of range or a word unknown.
    """

    family: ScenarioFamily = field(default_factory=ScenarioFamily)
    radio: Radio = Radio()  # noqa: RUF009 - frozen
    num_steps: int = 100
    edges: Edges = "interference"
    failure_weight: float = 0.12

    def __post_init__(self) -> None:
        self.environment()

    def environment(self) -> SpectrumAllocation:
        """Environment of the scenarios."""
        return SpectrumAllocation(
            self.family,
            self.radio,
            self.num_steps,
            failure_weight=self.failure_weight,
            edges=self.edges,
        )

    def policy(self, shape: PolicyShape) -> nn.Module:
        """A policy with random parameters for these networks."""
        family, powers = self.family, self.radio.num_levels
        if shape.kind == "graph":
            return GraphPolicy(shape, NUM_FEATURES, powers)
        links = family.num_nodes - 1 + family.num_users
        sizes = (links, self.radio.num_bands, 2 * family.num_nodes)
        return FlatPolicy(shape, NUM_FEATURES, powers, sizes)
