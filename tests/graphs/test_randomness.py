import pytest
import torch

from metagnn.graphs.randomness import generator


def _numbers(seed: int, *position: int | str) -> list[float]:
    return torch.rand(4, generator=generator(seed, *position)).tolist()


def test_same_position_same_numbers() -> None:
    assert _numbers(7, "train", 3, 12) == _numbers(7, "train", 3, 12)


def test_any_change_of_seed_or_position_changes_the_numbers() -> None:
    positions: list[tuple[int | str, ...]] = [
        ("train", 3, 12),
        ("test", 3, 12),
        ("train", 12, 3),
        ("train", 3, 13),
        ("train", 4, 12),
        (3, "train", 12),
        ("train", 312),
    ]
    draws = {tuple(_numbers(7, *position)) for position in positions}
    draws.add(tuple(_numbers(8, *positions[0])))
    assert len(draws) == len(positions) + 1


def test_streams_of_neighbouring_positions_are_uncorrelated() -> None:
    streams = torch.stack([torch.randn(4096, generator=generator(0, "x", n)) for n in range(8)])
    correlation = torch.corrcoef(streams) - torch.eye(8)
    assert correlation.abs().max() < 5.0 / 64.0  # five standard errors


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    _numbers(0, "x")
    assert torch.equal(torch.get_rng_state(), before)


def test_rejected() -> None:
    with pytest.raises(ValueError, match="`seed` must be >= 0, got -1"):
        generator(-1, "x")
    with pytest.raises(ValueError, match="`position` must hold no negative number"):
        generator(1, "x", -2)
