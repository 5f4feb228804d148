"""Metrics against values by hand and a bootstrap as a plain loop."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from metagnn.graphs.randomness import generator
from metagnn.tasks.power_control.metrics import (
    NUM_RESAMPLES,
    Estimate,
    network_average,
    ratio_of_means,
    share_dominated,
    summarize,
)


def _networks() -> list[Tensor]:
    numbers = torch.Generator().manual_seed(5)
    sizes = (4, 7, 3, 9, 5, 5)
    return [3 * torch.rand(size, generator=numbers, dtype=torch.float64) for size in sizes]


def test_by_hand() -> None:
    rates = [torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0, 2.0, 0.0])]
    target = [torch.tensor([1.0, 4.0]), torch.tensor([2.5, 1.0, 2.0, -0.1])]
    got = {name: estimate.value for name, estimate in summarize(rates, target).items()}
    assert got == pytest.approx(
        {
            "mean_rate": (2.0 + 1.5) / 2,
            "min_rate": (1.0 + 0.0) / 2,
            "p5_rate": 0.25,  # 0, 1, 2, 2, 2, 3: a quarter of the way from 0 to 1
            "jain": (16 / (2 * 10) + 36 / (4 * 12)) / 2,
            "satisfied": 4 / 6,
        }
    )
    assert "satisfied" not in summarize(rates)


def test_networks_of_equal_size_as_one_tensor() -> None:
    rates = torch.rand(6, 4, generator=torch.Generator().manual_seed(1))
    assert summarize(rates, rates) == summarize(list(rates), list(rates))
    assert summarize(rates, rates)["satisfied"].value == 1.0


def test_all_rates_zero_are_equal_rates() -> None:
    assert summarize(torch.zeros(2, 3))["jain"].value == 1.0
    assert summarize(torch.full((2, 3), 1e-200))["jain"].value == 1.0


def test_intervals_equal_a_plain_bootstrap_of_whole_networks() -> None:
    networks = _networks()
    target = [torch.full_like(network, 1.0) for network in networks]
    drawn = torch.randint(6, (NUM_RESAMPLES, 6), generator=generator(3, "bootstrap"))
    values: dict[str, list[float]] = {
        name: [] for name in ("mean_rate", "min_rate", "p5_rate", "jain", "satisfied")
    }
    for resample in drawn.tolist():
        chosen = [networks[index].numpy() for index in resample]
        pooled = np.concatenate(chosen)
        values["mean_rate"].append(np.mean([rate.mean() for rate in chosen]))
        values["min_rate"].append(np.mean([rate.min() for rate in chosen]))
        values["p5_rate"].append(np.percentile(pooled, 5))
        values["jain"].append(
            np.mean([rate.sum() ** 2 / (len(rate) * (rate**2).sum()) for rate in chosen])
        )
        values["satisfied"].append((pooled >= 1.0).mean())
    summary = summarize(networks, target, seed=3)
    assert summary.keys() == values.keys()
    for name, resampled in values.items():
        low, high = np.percentile(resampled, [2.5, 97.5])
        assert summary[name].low == pytest.approx(low, rel=1e-9), name
        assert summary[name].high == pytest.approx(high, rel=1e-9), name
        assert low < summary[name].value < high


def test_the_interval_covers_what_a_normal_law_says() -> None:
    # Means of 400 networks with a spread of 1 around 10: 10 +- 1.96 / 20.
    numbers = torch.Generator().manual_seed(2)
    rates = 10 + torch.randn(400, 1, generator=numbers, dtype=torch.float64)
    estimate = summarize(rates)["mean_rate"]
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 / 20, rel=0.1)


def test_the_seed_decides_the_interval() -> None:
    networks = _networks()
    assert summarize(networks, seed=1) == summarize(networks, seed=1)
    assert summarize(networks, seed=1) != summarize(networks, seed=2)


def test_one_network_has_no_interval() -> None:
    estimate = summarize([torch.tensor([1.0, 2.0])])["mean_rate"]
    assert estimate == Estimate(1.5, None, None)
    assert json.loads(json.dumps(dataclasses.asdict(estimate)))["low"] is None


def test_ratios_are_paired() -> None:
    networks = _networks()
    scaled = [1.25 * network for network in networks]
    for statistic in ("mean_rate", "min_rate"):
        ratio = ratio_of_means(scaled, networks, statistic)
        assert ratio.value == pytest.approx(1.25)
        assert ratio.low == pytest.approx(1.25)  # what the networks share cancels
        assert ratio.high == pytest.approx(1.25)


def test_ratio_by_hand() -> None:
    a = torch.tensor([[1.0, 3.0], [4.0, 6.0]])
    b = torch.tensor([[2.0, 2.0], [1.0, 9.0]])
    assert ratio_of_means(a, b).value == pytest.approx(7.0 / 7.0)
    minimum = ratio_of_means(a, b, "min_rate")
    assert minimum.value == pytest.approx(5.0 / 3.0)
    # Both networks the first, or both the second.
    assert minimum.low == pytest.approx(0.5)
    assert minimum.high == pytest.approx(4.0)
    silent = torch.tensor([[2.0, 0.0], [1.0, 9.0]])
    assert ratio_of_means(a, silent, "min_rate") == Estimate(5.0, None, None)
    assert ratio_of_means(a[:1], b[:1]) == Estimate(1.0, None, None)


def test_share_dominated_asks_for_both() -> None:
    a = [torch.tensor([1.0, 2.0])] * 4
    b = [
        torch.tensor([1.5, 2.0]),  # both
        torch.tensor([1.5, 1.4]),  # only the minimum
        torch.tensor([0.5, 9.0]),  # only the mean
        torch.tensor([1.0, 3.0]),  # equal minimum
    ]
    assert share_dominated(a, b) == 0.25
    assert share_dominated(b, a) == 0.0


def test_bad_arguments_are_named() -> None:
    rates = torch.ones(2, 3)
    with pytest.raises(ValueError, match="`rates` must hold at least one network, got 0"):
        summarize([])
    with pytest.raises(ValueError, match=r"`rates\[1\]` must have the shape .* got \(0,\)"):
        summarize([torch.ones(2), torch.ones(0)])
    with pytest.raises(ValueError, match=r"`rates\[0\]` must have the shape .* got \(2, 3\)"):
        summarize([rates])
    with pytest.raises(ValueError, match=r"`rates\[0\]` must be finite and >= 0, got -1.0"):
        summarize(-rates)
    with pytest.raises(ValueError, match=r"`rates\[0\]` must be finite and >= 0, got nan"):
        summarize([torch.tensor([torch.nan])])
    with pytest.raises(ValueError, match=r"`target\[0\]` must be finite, got inf"):
        summarize(rates, torch.full((2, 3), torch.inf))
    with pytest.raises(ValueError, match=r"`target` must have as many links .* got \[2, 2\]"):
        summarize(rates, torch.ones(2, 2))
    with pytest.raises(ValueError, match="`statistic` must be one of"):
        ratio_of_means(rates, rates, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`rates_b` must have a min_rate > 0, got 0\.0"):
        ratio_of_means(rates, 0 * rates, "min_rate")
    with pytest.raises(ValueError, match="`rates_b` must have as many links"):
        ratio_of_means(rates, rates[:1])
    with pytest.raises(ValueError, match="`rates_b` must have as many links"):
        share_dominated(rates, rates[:, :2])


def test_network_average_is_that_of_one_link_networks() -> None:
    value = torch.tensor([0.5, 2.0, 1.0, 4.0])
    wanted = summarize(value.unsqueeze(-1), seed=3)["mean_rate"]
    assert network_average(value, seed=3) == wanted
    shifted = network_average(value - 3.0, seed=3)
    assert shifted.value == pytest.approx(-1.125)
    assert shifted.low == pytest.approx(wanted.low - 3.0)
    with pytest.raises(ValueError, match=r"`value\[1\]` must be finite, got nan"):
        network_average(torch.tensor([1.0, float("nan")]))
