"""Networks of real links: coordinates and frequencies, under a stated link budget, to gains."""

import math
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from metagnn.graphs.antenna import off_boresight_deg, parabolic_gain_dbi
from metagnn.graphs.channel import Configuration
from metagnn.graphs.checks import (
    check_crossed_gain,
    check_direct_gain,
    check_gain,
    check_non_negative,
    check_positive,
    require,
)
from metagnn.graphs.link_table import LinkTable, read_link_table
from metagnn.graphs.neighbours import (
    Gain,
    NeighbourGain,
    neighbours_for,
    strongest_by_receiver,
)
from metagnn.graphs.pathloss import free_space_db


@dataclass(frozen=True)
class LinkBudget:
    """What a table of links does not say: antennas, isolation, and who shares a channel.

    The defaults are general engineering figures for outdoor 5 GHz point-to-point radios, not
    measurements of any network. The antenna is a reflector of 0.42 m at 5.5 GHz: its beam is
    70 wavelengths / diameter = 9 degrees wide and its gain 0.55 (pi diameter / wavelength)^2
    = 25 dBi, which agrees with ITU-R F.699 (20 log10(D / lambda) = G - 7.7 dB). Floors 30 to
    40 dB below the main lobe and 20 dB between polarisations are usual in data sheets of such
    antennas; 20 dB between radios of a roof is what a mast and a few metres give.

    Attributes:
        antenna_gain_dbi: Gain of every antenna on its boresight [dBi].
        beam_width_deg: Half-power beam width [deg].
        front_to_back_db: Attenuation outside the main lobe [dB].
        min_distance_m: Shorter distances count as this [m].
        site_radius_m: Radios at most this far apart share a roof [m].
        same_site_isolation_db: Extra loss between radios of one roof [dB].
        cross_polar_discrimination_db: Extra loss between h and v [dB]; none where unknown.
        co_channel_span_hz: Links interfere if their carriers differ by at most this [Hz]. With
            600 MHz the whole 5 GHz band is one channel, the worst case (reuse one) that power
            control is asked to handle, while 5, 24 and 60 GHz do not disturb one another.

    Raises:
        ValueError: If an attribute is out of range.
    """

    antenna_gain_dbi: float = 25.0
    beam_width_deg: float = 9.0
    front_to_back_db: float = 35.0
    min_distance_m: float = 10.0
    site_radius_m: float = 50.0
    same_site_isolation_db: float = 20.0
    cross_polar_discrimination_db: float = 20.0
    co_channel_span_hz: float = 600e6

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.antenna_gain_dbi),
            "antenna_gain_dbi",
            "be finite",
            self.antenna_gain_dbi,
        )
        check_positive("beam_width_deg", self.beam_width_deg)
        require(self.beam_width_deg <= 360.0, "beam_width_deg", "be <= 360", self.beam_width_deg)
        check_positive("min_distance_m", self.min_distance_m)
        for name in (
            "front_to_back_db",
            "site_radius_m",
            "same_site_isolation_db",
            "cross_polar_discrimination_db",
            "co_channel_span_hz",
        ):
            check_non_negative(name, getattr(self, name))


def link_gain(
    table: LinkTable, budget: LinkBudget | None = None, receivers: Tensor | None = None
) -> Tensor:
    r"""Large-scale power gains between the links of a table.

    .. math:: g_{ik} = G(\varphi_{ik}) + G(\psi_{ik}) - L(\max(d_{ik}, d_{\min}), f_k) - X_{ik}
              \quad \text{[dB]}

    with the free-space loss L at the receiver's frequency, the angles off the boresights of
    transmitter i and receiver k (each points at its own link's other end), and the extra losses
    X of the budget. Radios of one roof see each other outside the main lobe: coordinates do not
    tell a bearing over a few metres. Gains are 0 between links that are not co-channel, and
    between the two directions of a link (opposite, and of one ``cml_id`` or with swapped ends
    on the same roofs), which alternate in time.

    Left out: terrain, buildings, heights, oxygen and rain (they matter at 60 GHz), adjacent
    channels, synchronised timing of different links. Rates are per active time of a link.

    Args:
        table: The links.
        budget: Antennas and assumptions; None for the defaults.
        receivers: Links at whose receivers gains are wanted ``[R]``; all if None.

    Shapes:
        Returns ``[K, R]`` [1], transmitter (row) to receiver (column), float64.
    """
    budget = LinkBudget() if budget is None else budget
    links = torch.arange(table.num_links)
    receivers = links if receivers is None else receivers
    boresight = table.receiver_m - table.transmitter_m
    crossed = table.receiver_m[receivers] - table.transmitter_m.unsqueeze(1)  # [i, k, 2]
    distance_m = crossed.norm(dim=-1)
    own = links.unsqueeze(1) == receivers
    same_site = (distance_m <= budget.site_radius_m) & ~own

    angle_deg = torch.stack(
        [
            off_boresight_deg(boresight.unsqueeze(1), crossed),
            off_boresight_deg(-boresight[receivers], -crossed),
        ]
    )
    angle_deg = torch.where(same_site, torch.full_like(angle_deg, 180.0), angle_deg)
    antennas_dbi = parabolic_gain_dbi(
        angle_deg, budget.antenna_gain_dbi, budget.beam_width_deg, budget.front_to_back_db
    ).sum(dim=0)

    carrier_hz = table.frequency_hz[receivers]
    loss_db = free_space_db(distance_m.clamp(min=budget.min_distance_m), carrier_hz)
    loss_db = loss_db + budget.same_site_isolation_db * same_site
    loss_db = loss_db + budget.cross_polar_discrimination_db * _crossed_polarization(
        table, receivers
    )
    spacing_hz = (table.frequency_hz.unsqueeze(1) - carrier_hz).abs()
    disturbs = (spacing_hz <= budget.co_channel_span_hz) & ~duplex_pairs(
        table, budget.site_radius_m, receivers
    )
    gain = torch.pow(10.0, (antennas_dbi - loss_db) / 10.0)
    return torch.where(disturbs, gain, torch.zeros_like(gain))


def duplex_pairs(table: LinkTable, site_radius_m: float, receivers: Tensor | None = None) -> Tensor:
    """Which links are the two directions of one link, of all and ``receivers [R]``: ``[K, R]``.

    They run in opposite directions, and have the same ``cml_id`` or their ends swapped within
    ``site_radius_m``.
    """
    receivers = torch.arange(table.num_links) if receivers is None else receivers
    transmitter_m, receiver_m = table.transmitter_m, table.receiver_m
    direction = receiver_m - transmitter_m
    opposite = direction @ direction[receivers].T < 0
    # Transmitter i stands on the roof of receiver k, and receiver i on that of transmitter k.
    near = (receiver_m[receivers] - transmitter_m.unsqueeze(1)).norm(dim=-1) <= site_radius_m
    far_end = (receiver_m.unsqueeze(1) - transmitter_m[receivers]).norm(dim=-1) <= site_radius_m
    numbers = {name: number for number, name in enumerate(sorted(set(table.cml_id) - {""}))}
    number = torch.tensor([numbers.get(name, -1) for name in table.cml_id])
    same_name = (number.unsqueeze(1) == number[receivers]) & (number >= 0).unsqueeze(1)
    pairs: Tensor = opposite & (same_name | (near & far_end))
    return pairs


def _crossed_polarization(table: LinkTable, receivers: Tensor) -> Tensor:
    number = torch.tensor([{"": 0, "h": 1, "v": -1}[name] for name in table.polarization])
    return number.unsqueeze(1) * number[receivers] < 0


def load_links(
    path: str | Path,
    budget: LinkBudget | None = None,
    frequency_range_mhz: tuple[float, float] | None = None,
    num_neighbours: int | None = None,
) -> Configuration:
    """Network of the links in a CSV: see `read_link_table` for the file, `link_gain` for the gains.

    Samples of the configuration carry Rayleigh fading on every pair, direct links included; for
    roof-top links with line of sight that is the pessimistic case. Of more than `DENSE_LINKS`
    links only the `NUM_NEIGHBOURS` strongest transmitters at each receiver are kept. Gains of all
    pairs are looked at, a block of receivers at a time.

    Args:
        path: CSV with a row per directed link.
        budget: Antennas and assumptions; None for the defaults.
        frequency_range_mhz: Keep only links within these frequencies, both ends included.
        num_neighbours: Strongest transmitters to keep at each receiver, whatever the size.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file breaks a rule of `read_link_table`, a direct gain is too small
            for float32, or there are not more links than neighbours.
    """
    table = read_link_table(path, frequency_range_mhz)
    return Configuration(
        _large_scale_gain(table, budget, num_neighbours),
        table.transmitter_m.float(),
        table.receiver_m.float(),
    )


def _large_scale_gain(
    table: LinkTable, budget: LinkBudget | None, num_neighbours: int | None
) -> Gain:
    """Gains in float32, on neighbour lists where links are many."""
    name = "large_scale_gain"
    wanted = neighbours_for(table.num_links, num_neighbours)
    if wanted is None:
        return check_gain(name, link_gain(table, budget))
    kept = strongest_by_receiver(
        lambda receivers: link_gain(table, budget, receivers), table.num_links, wanted
    )
    return NeighbourGain(
        kept.neighbours,
        check_direct_gain(name, kept.direct),
        check_crossed_gain(name, kept.crossed),
        kept.neglected.float(),
    )


def new_york_links(budget: LinkBudget | None = None) -> Configuration:
    """Network of 59 real sub-links at 5 GHz in New York (OpenMesh, CC BY 4.0).

    The rows are shipped with the package; ``graphs/data/openmesh_nyc/ATTRIBUTION.md`` says where
    they come from. Positions and carriers are real; powers, antennas and co-channel use are the
    assumptions of `LinkBudget`.

    Args:
        budget: Antennas and assumptions; None for the defaults.
    """
    with as_file(files("metagnn.graphs") / "data" / "openmesh_nyc" / "links_5ghz.csv") as path:
        return load_links(path, budget)
