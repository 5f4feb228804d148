"""Networks in which offloading is learned and scored, as configurations name them."""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch

from metagnn.graphs.checks import check_count, require
from metagnn.graphs.randomness import generator
from metagnn.graphs.small_cells import (
    SmallCells,
    drop_small_cells,
    melbourne_cells,
    read_small_cells,
)
from metagnn.tasks.offloading.environment import Networks, Offloading
from metagnn.tasks.offloading.scenario import Computing, Radio

Network = Literal["random", "fixed", "melbourne", "deployment"]
NETWORKS: tuple[Network, ...] = ("random", "fixed", "melbourne", "deployment")


@dataclass(frozen=True)
class Place:
    """Where episodes take place; the numbers are those of paper D's Section V-A.

    Attributes:
        network: ``random``: every copy and episode has a network of its own; ``fixed``: one random
            network for all, drawn from ``network_seed``; ``melbourne``: the real sites;
            ``deployment``: those of ``folder``.
        folder: Holds sites.csv and users.csv of a deployment (see `read_small_cells`), which are
            read once, else empty. Runs that learned there need them to be compared.
        num_cells: Number of cells M of random networks.
        users_per_cell: Users of each of their cells: one number for all, or one for each.
        area_m: Sides of their rectangle [m].
        radius_m: Radius of their cells [m].
        radio: Channels, powers and noise.
        computing: Tasks and processors.
        network_seed: Seed of the fixed network.
        revenue: What a deadline that is met is worth (beta of Eq. 13) [J].
        patience: Deadlines after which a transmission is given up (see `cost`).

    Raises:
        ValueError: If a number is out of range, the network unknown, or a file breaks a rule.
        FileNotFoundError: If a deployment lacks a file.
    """

    network: Network = "random"
    folder: str = ""
    num_cells: int = 6
    users_per_cell: int | tuple[int, ...] = 10
    area_m: tuple[float, float] = (1500.0, 1000.0)
    radius_m: float = 250.0
    radio: Radio = Radio()  # noqa: RUF009 - frozen
    computing: Computing = Computing()  # noqa: RUF009 - frozen
    network_seed: int = 0
    revenue: float = 0.3
    patience: float = 1.5

    def __post_init__(self) -> None:
        require(self.network in NETWORKS, "network", f"be one of {NETWORKS}", self.network)
        deployed = self.network == "deployment"
        rule = f"be {'given' if deployed else 'empty'} with the network {self.network}"
        require(bool(self.folder) == deployed, "folder", rule, self.folder)
        if deployed:
            object.__setattr__(self, "folder", str(Path(self.folder).resolve()))
        check_count("network_seed", self.network_seed, minimum=0)
        self.environment(1)
        self.cells()

    def environment(self, num_steps: int) -> Offloading:
        """Environment with episodes of so many slots."""
        return Offloading(
            self.networks(),
            self.radio,
            self.computing,
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

        def same(batch: int, source: torch.Generator) -> SmallCells:
            found, device = self._only, source.device
            return SmallCells(
                found.site_m.to(device), found.user_m.to(device), found.cell.to(device)
            )

        return same

    @cached_property
    def _only(self) -> SmallCells:
        """The network that is the same in all episodes."""
        if self.network == "melbourne":
            return melbourne_cells()
        if self.network == "deployment":
            folder = Path(self.folder)
            return read_small_cells(folder / "sites.csv", folder / "users.csv")
        return self._drop()(1, generator(self.network_seed, "fixed network"))

    def cells(self) -> SmallCells:
        """A network, of which users per cell are those of all."""
        return self.networks()(1, generator(0))
