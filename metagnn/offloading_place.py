"""Networks in which offloading is learned and scored, as configurations name them."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import SmallCells, drop_small_cells, melbourne_cells
from metagnn.tasks.offloading.environment import Networks, Offloading
from metagnn.tasks.offloading.scenario import Radio

Network = Literal["random", "fixed", "melbourne"]
NETWORKS: tuple[Network, ...] = ("random", "fixed", "melbourne")


@dataclass(frozen=True)
class Place:
    """Where episodes take place; the numbers are those of paper D's Section V-A.

    Attributes:
        network: ``random``: every copy and episode has a network of its own; ``fixed``: one random
            network for all, drawn from ``network_seed``; ``melbourne``: the real sites.
        num_cells: Number of cells M of random networks.
        users_per_cell: Users of each of their cells.
        area_m: Sides of their rectangle [m].
        radius_m: Radius of their cells [m].
        num_channels: Number of channels K.
        network_seed: Seed of the fixed network.
        revenue: What a deadline that is met is worth (beta of Eq. 13) [J].
        patience: Deadlines after which a transmission is given up (see `cost`).

    Raises:
        ValueError: If a number is out of range or the network unknown.
    """

    network: Network = "random"
    num_cells: int = 6
    users_per_cell: int = 10
    area_m: tuple[float, float] = (1500.0, 1000.0)
    radius_m: float = 250.0
    num_channels: int = 16
    network_seed: int = 0
    revenue: float = 0.3
    patience: float = 1.5

    def __post_init__(self) -> None:
        require(self.network in NETWORKS, "network", f"be one of {NETWORKS}", self.network)
        check_count("network_seed", self.network_seed, minimum=0)
        self.environment(1)
        if self.network != "melbourne":
            self._drop()(1, generator(0))

    def environment(self, num_steps: int) -> Offloading:
        """Environment with episodes of so many slots."""
        return Offloading(
            self.networks(),
            Radio(num_channels=self.num_channels),
            num_steps=num_steps,
            revenue=self.revenue,
            patience=self.patience,
        )

    def _drop(self) -> Networks:
        return partial(
            drop_small_cells,
            num_cells=self.num_cells,
            users_per_cell=self.users_per_cell,
            area_m=self.area_m,
            radius_m=self.radius_m,
        )

    def networks(self) -> Networks:
        """Source of networks."""
        if self.network == "random":
            return self._drop()
        drop, seed, real = self._drop(), self.network_seed, self.network == "melbourne"

        def same(batch: int, source: torch.Generator) -> SmallCells:
            device = source.device
            found = melbourne_cells() if real else drop(1, generator(seed, "fixed network"))
            return SmallCells(
                found.site_m.to(device), found.user_m.to(device), found.cell.to(device)
            )

        return same

    def cells(self) -> SmallCells:
        """A network, of which users per cell are those of all."""
        return self.networks()(1, generator(0))
