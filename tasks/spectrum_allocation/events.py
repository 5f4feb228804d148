"""What comes from outside in scenarios: loads, failures of nodes, incumbents."""

import torch
from torch import Tensor

from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily, Scenarios


class Events:
    """Packets, failures and incumbents of scenarios, slot by slot.

    A user's load switches between two states; Poisson numbers of packets come to the donor. A node
    that fails is dead for some slots; the donor never fails. An incumbent begins and stops to send
    at random, for its share of the slots in the mean.

    Args:
        scenarios: Mean loads, probabilities of failures, incumbents.
        family: Constants of the states.
        slot_s: Length of a slot [s].
        generator: Source of all randomness; it is on the scenarios' device.

    Attributes:
        load_bit: Mean load of each user ``[B, U]`` [bit/slot].
        incumbent_on: Whether an incumbent sends on a band ``[B, N]``.
    """

    def __init__(
        self,
        scenarios: Scenarios,
        family: ScenarioFamily,
        slot_s: float,
        generator: torch.Generator,
    ) -> None:
        self.scenarios, self.family, self.generator = scenarios, family, generator
        self.load_bit = slot_s * scenarios.load_bit_s
        self._busy = self._uniform(self.load_bit) < 0.5
        self._slots_down = torch.zeros_like(scenarios.networks.parent)
        self.incumbent_on = self._uniform(scenarios.incumbent_duty) < scenarios.incumbent_duty

    @property
    def alive(self) -> Tensor:
        """Whether a node works ``[B, M]``."""
        return self._slots_down == 0

    def arrivals(self) -> Tensor:
        """Bits that come for each user in this slot ``[B, U]``."""
        swing, packet_bit = self.family.load_swing, self.family.packet_bit
        mean_bit = self.load_bit * torch.where(self._busy, 1.0 + swing, 1.0 - swing)
        packets = torch.poisson(mean_bit / packet_bit, generator=self.generator)
        return packet_bit * packets.double()

    def advance(self) -> None:
        """Go on to the next slot."""
        family = self.family
        self._busy = self._busy ^ (self._uniform(self._busy) < family.load_switch)
        fails = self._uniform(self._slots_down) < self.scenarios.failure.unsqueeze(-1)
        fails[:, 0] = False
        fewest, most = family.failure_slots
        shape, draws = tuple(fails.shape), self.generator
        lasts = torch.randint(fewest, most + 1, shape, generator=draws, device=draws.device)
        still = (self._slots_down - 1).clamp(min=0)
        self._slots_down = torch.where(self.alive & fails, lasts, still)
        duty, on = self.scenarios.incumbent_duty, self.incumbent_on
        # Both rates are such that the state is forgotten in so many slots.
        changes = torch.where(on, 1.0 - duty, duty) / family.incumbent_slots
        self.incumbent_on = on ^ (self._uniform(on) < changes)

    def _uniform(self, like: Tensor) -> Tensor:
        return torch.rand(like.shape, generator=self.generator, device=self.generator.device)
