"""Configurations: large-scale gains of one network, and the samples drawn from them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, check_positive
from metagnn.graphs.fading import rayleigh_power, rayleigh_power_sequence, shadowing_db
from metagnn.graphs.geometry import cross_distance_m, drop_links
from metagnn.graphs.neighbours import DENSE_LINKS, NUM_NEIGHBOURS, Gain
from metagnn.graphs.pathloss import dual_slope_db, short_range_itu_db
from metagnn.graphs.randomness import generator
from metagnn.graphs.units import dbm_to_w, thermal_noise_w

PATH_LOSS: dict[str, Callable[[Tensor], Tensor]] = {
    "dual_slope": dual_slope_db,
    "short_range_itu": short_range_itu_db,
}


@dataclass(frozen=True)
class Configuration:
    """One network drop with its fading law (a *task* of the meta-learning papers).

    Attributes:
        large_scale_gain: Path loss and shadowing as power gains ``[K, K]`` [1], or neighbour lists.
        transmitter_m: Positions of the transmitters ``[K, 2]`` [m].
        receiver_m: Positions of the receivers ``[K, 2]`` [m].
        doppler_hz: Largest Doppler shift [Hz]; 0 for samples independent in time.
        step_s: Time between samples [s].
    """

    large_scale_gain: Gain
    transmitter_m: Tensor
    receiver_m: Tensor
    doppler_hz: float = 0.0
    step_s: float = 1e-3

    @property
    def num_links(self) -> int:
        """Number of links K."""
        return int(self.large_scale_gain.shape[-1])

    @property
    def positions_m(self) -> Tensor:
        """Transmitters and receivers ``[2, K, 2]`` [m]."""
        return torch.stack([self.transmitter_m, self.receiver_m])

    def sample(self, num_samples: int, generator: torch.Generator) -> Gain:
        """Consecutive channel samples: power gains ``[S, K, K]`` [1]."""

        def faded(gain: Tensor) -> Tensor:
            shape = tuple(gain.shape)
            if self.doppler_hz > 0:
                fading = rayleigh_power_sequence(
                    num_samples, shape, self.doppler_hz, self.step_s, generator
                )
            else:
                fading = rayleigh_power((num_samples, *shape), generator)
            return gain * fading.to(gain.device)

        gain = self.large_scale_gain
        if isinstance(gain, Tensor):
            return faded(gain)
        return replace(gain, direct=faded(gain.direct), crossed=faded(gain.crossed))


@dataclass(frozen=True)
class ChannelFamily:
    """Law from which configurations are drawn; the defaults are those of paper A, Section V.

    Attributes:
        area_m: Side of the square [m].
        min_link_m: Shortest direct link [m].
        max_link_m: Longest direct link [m].
        min_transmitter_spacing_m: Smallest distance between transmitters [m].
        min_cross_m: Smallest distance from a transmitter to another link's receiver [m].
        path_loss: ``dual_slope`` or ``short_range_itu``.
        shadowing_std_db: Standard deviation of the shadowing of each pair [dB].
        direct_antenna_gain_db: Antenna gain of the direct links, over that of crossed pairs [dB].
        power_max_dbm: Largest transmit power [dBm].
        bandwidth_hz: Bandwidth [Hz].
        noise_density_dbm_hz: Noise power spectral density [dBm/Hz].
        doppler_hz: Largest Doppler shift [Hz]; 0 for samples independent in time.
        step_s: Time between samples [s].

    Raises:
        ValueError: If an attribute is out of range.
    """

    area_m: float = 500.0
    min_link_m: float = 10.0
    max_link_m: float = 50.0
    min_transmitter_spacing_m: float = 35.0
    min_cross_m: float = 10.0
    path_loss: str = "dual_slope"
    shadowing_std_db: float = 7.0
    direct_antenna_gain_db: float = 0.0
    power_max_dbm: float = 10.0
    bandwidth_hz: float = 10e6
    noise_density_dbm_hz: float = -174.0
    doppler_hz: float = 0.0
    step_s: float = 1e-3
    power_max_w: float = field(init=False)
    noise_w: float = field(init=False)

    def __post_init__(self) -> None:
        if self.path_loss not in PATH_LOSS:
            raise ValueError(
                f"`path_loss` must be one of {list(PATH_LOSS)}, got {self.path_loss!r}"
            )
        check_non_negative("shadowing_std_db", self.shadowing_std_db)
        check_non_negative("direct_antenna_gain_db", self.direct_antenna_gain_db)
        check_non_negative("doppler_hz", self.doppler_hz)
        check_positive("step_s", self.step_s)
        object.__setattr__(self, "power_max_w", dbm_to_w(self.power_max_dbm))
        object.__setattr__(
            self, "noise_w", thermal_noise_w(self.bandwidth_hz, self.noise_density_dbm_hz)
        )
        check_positive("power_max_w", self.power_max_w)

    def configuration(self, num_links: int, seed: int, split: str, index: int) -> Configuration:
        """Configuration number ``index`` of a split: a function of its arguments alone.

        More than `DENSE_LINKS` links come as lists of `NUM_NEIGHBOURS` neighbours.

        Args:
            num_links: Number of links K.
            seed: Seed of the experiment.
            split: ``train``, ``validation`` or ``test``; different splits never share a draw.
            index: Number within the split, >= 0.

        Raises:
            ValueError: If an argument is out of range, or the links do not fit on the square.
        """
        check_count("num_links", num_links)
        check_count("index", index, minimum=0)
        source = generator(seed, "configuration", split, num_links, index)
        distances = (
            self.area_m,
            self.min_link_m,
            self.max_link_m,
            self.min_transmitter_spacing_m,
            self.min_cross_m,
        )
        if num_links > DENSE_LINKS:
            return self._large(num_links, distances, source)
        transmitter_m, receiver_m = drop_links(num_links, source, *distances)
        loss_db = PATH_LOSS[self.path_loss](cross_distance_m(transmitter_m, receiver_m))
        loss_db = loss_db + shadowing_db((num_links, num_links), self.shadowing_std_db, source)
        loss_db = loss_db - self.direct_antenna_gain_db * torch.eye(num_links)
        return Configuration(
            torch.pow(10.0, -loss_db / 10.0),
            transmitter_m,
            receiver_m,
            self.doppler_hz,
            self.step_s,
        )

    def _large(
        self,
        num_links: int,
        distances: tuple[float, float, float, float, float],
        source: torch.Generator,
    ) -> Configuration:
        from metagnn.graphs.neighbour_search import drop_many_links, nearest_neighbours

        positions = drop_many_links(num_links, source, *distances)
        path_loss, shadowing = PATH_LOSS[self.path_loss], self.shadowing_std_db
        gain = nearest_neighbours(*positions, path_loss, NUM_NEIGHBOURS, shadowing, source)
        gain = replace(gain, direct=gain.direct * 10.0 ** (self.direct_antenna_gain_db / 10.0))
        return Configuration(gain, *positions, self.doppler_hz, self.step_s)
