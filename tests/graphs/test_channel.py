import math
from collections.abc import Callable

import pytest
import torch

from metagnn.graphs.channel import ChannelFamily, Configuration
from metagnn.graphs.fading import rayleigh_power
from metagnn.graphs.pathloss import dual_slope_db, short_range_itu_db
from metagnn.graphs.randomness import generator


def test_powers_are_those_of_the_paper() -> None:
    family = ChannelFamily()
    assert family.power_max_w == pytest.approx(0.01)
    assert family.noise_w == pytest.approx(3.981e-14, rel=1e-4)
    assert 10 * math.log10(family.power_max_w / family.noise_w) == pytest.approx(114.0)


def test_configuration_is_a_function_of_its_arguments() -> None:
    family = ChannelFamily()
    first = family.configuration(5, seed=3, split="train", index=2)
    torch.rand(10)  # the global generator does not matter
    again = ChannelFamily().configuration(5, seed=3, split="train", index=2)
    assert first.num_links == 5
    assert torch.equal(first.large_scale_gain, again.large_scale_gain)
    assert torch.equal(first.transmitter_m, again.transmitter_m)


def test_splits_seeds_and_indices_never_share_a_draw() -> None:
    family = ChannelFamily()
    draws = {
        tuple(family.configuration(4, seed, split, index).large_scale_gain.flatten().tolist())
        for seed in (0, 1)
        for split in ("train", "validation", "test")
        for index in range(4)
    }
    assert len(draws) == 2 * 3 * 4


def test_larger_networks_do_not_contain_the_smaller_ones() -> None:
    family = ChannelFamily()
    small = family.configuration(4, 0, "test", 0).transmitter_m
    large = family.configuration(8, 0, "test", 0).transmitter_m
    assert not torch.equal(small[0], large[0])


@pytest.mark.parametrize(
    ("path_loss", "law"), [("dual_slope", dual_slope_db), ("short_range_itu", short_range_itu_db)]
)
def test_without_shadowing_the_gain_is_the_path_loss(
    path_loss: str, law: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    family = ChannelFamily(path_loss=path_loss, shadowing_std_db=0.0)
    configuration = family.configuration(6, 0, "train", 0)
    for i in range(6):
        for k in range(6):
            distance = math.dist(
                configuration.transmitter_m[i].tolist(), configuration.receiver_m[k].tolist()
            )
            gain_db = 10 * math.log10(configuration.large_scale_gain[i, k].item())
            assert gain_db == pytest.approx(-law(torch.tensor(distance)).item(), abs=1e-3)


def test_shadowing_deviation_shows_in_the_gains() -> None:
    plain, shadowed = ChannelFamily(shadowing_std_db=0.0), ChannelFamily()
    deviation_db = torch.cat(
        [
            10.0
            * torch.log10(
                shadowed.configuration(20, 0, "train", n).large_scale_gain
                / plain.configuration(20, 0, "train", n).large_scale_gain
            ).flatten()
            for n in range(10)
        ]
    )
    # 4,000 pairs, five standard errors
    assert deviation_db.std().item() == pytest.approx(7.0, abs=5 * 7.0 / math.sqrt(8000))
    assert abs(deviation_db.mean().item()) < 5 * 7.0 / math.sqrt(4000)


def test_samples_are_the_large_scale_gain_times_the_fading() -> None:
    configuration = ChannelFamily().configuration(3, 0, "train", 0)
    gain = configuration.sample(7, generator(4, "samples"))
    assert gain.shape == (7, 3, 3)
    fading = rayleigh_power((7, 3, 3), generator(4, "samples"))
    torch.testing.assert_close(gain, configuration.large_scale_gain * fading)
    mean = configuration.sample(20_000, generator(5, "samples")).mean(dim=0)
    ratio = mean / configuration.large_scale_gain
    torch.testing.assert_close(ratio, torch.ones(3, 3), atol=5 / math.sqrt(2e4), rtol=0.0)


def test_doppler_correlates_consecutive_samples() -> None:
    still = Configuration(torch.ones(20, 20), torch.zeros(20, 2), torch.zeros(20, 2))
    moving = Configuration(
        torch.ones(20, 20), torch.zeros(20, 2), torch.zeros(20, 2), doppler_hz=8.0
    )
    slow = moving.sample(50, generator(0, "time"))
    fast = still.sample(50, generator(0, "time"))
    assert slow.shape == fast.shape == (50, 20, 20)
    pair = torch.stack([slow[0].flatten(), slow[1].flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.99
    pair = torch.stack([fast[0].flatten(), fast[1].flatten()])
    assert torch.corrcoef(pair)[0, 1].abs() < 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path_loss": "free"}, r"`path_loss` must be one of \['dual_slope', .*got 'free'"),
        ({"shadowing_std_db": -1.0}, "`shadowing_std_db` must be finite and >= 0, got -1"),
        ({"doppler_hz": math.nan}, "`doppler_hz` must be finite and >= 0"),
        ({"step_s": 0.0}, "`step_s` must be finite and > 0"),
        ({"bandwidth_hz": 0.0}, "`bandwidth_hz` must be finite and > 0"),
        ({"power_max_dbm": math.nan}, "`power_max_w` must be finite and > 0"),
    ],
)
def test_family_rejects(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChannelFamily(**arguments)  # type: ignore[arg-type]


def test_configuration_rejects() -> None:
    with pytest.raises(ValueError, match="`num_links` must be an integer >= 1, got 0"):
        ChannelFamily().configuration(0, 0, "train", 0)
    with pytest.raises(ValueError, match="`index` must be an integer >= 0, got -1"):
        ChannelFamily().configuration(2, 0, "train", -1)
    with pytest.raises(ValueError, match="`seed` must be >= 0, got -5"):
        ChannelFamily().configuration(2, -5, "train", 0)


def test_direct_links_alone_have_the_antenna_gain() -> None:
    plain = ChannelFamily().configuration(4, 0, "train", 0).large_scale_gain
    with_antenna = ChannelFamily(direct_antenna_gain_db=3.0).configuration(4, 0, "train", 0)
    ratio_db = 10 * torch.log10(with_antenna.large_scale_gain / plain)
    assert torch.allclose(ratio_db, 3.0 * torch.eye(4), atol=1e-4)
