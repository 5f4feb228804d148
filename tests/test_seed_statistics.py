"""Inter-quartile means and probabilities of improvement by hand, and coverage of the intervals."""

import pytest
import torch
from scipy.stats import mannwhitneyu, trim_mean

from metagnn.graphs.randomness import generator
from metagnn.seed_statistics import (
    certain,
    interquartile_mean,
    mean_difference,
    probability_of_improvement,
    ratio_of_means,
)


def test_the_middle_half_is_scipys_trimmed_mean() -> None:
    score = torch.randn(11, 3, generator=generator(0), dtype=torch.float64)
    found = interquartile_mean(score)
    assert found.value == pytest.approx(trim_mean(score.flatten().numpy(), 0.25))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_outliers_do_not_move_the_middle() -> None:
    score = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [7.0], [1e9]])
    assert interquartile_mean(score).value == pytest.approx((3 + 4 + 5 + 6) / 4)


def test_improvement_is_the_mann_whitney_share() -> None:
    source = generator(1)
    a, b = torch.randn(10, 1, generator=source) + 0.5, torch.randn(12, 1, generator=source)
    b[0] = a[0]
    wanted = mannwhitneyu(a.flatten().numpy(), b.flatten().numpy()).statistic / 120
    assert probability_of_improvement(a, b).value == pytest.approx(wanted)
    assert probability_of_improvement(b, a).value == pytest.approx(1 - wanted)


def test_improvement_is_averaged_over_tasks_with_plain_loops() -> None:
    source = generator(2)
    a, b = torch.randn(5, 3, generator=source), torch.randn(4, 3, generator=source)
    wins = [float(a[i, m] > b[j, m]) for m in range(3) for i in range(5) for j in range(4)]
    assert probability_of_improvement(a, b).value == pytest.approx(sum(wins) / 60)


def test_what_is_always_better_is_so_for_certain() -> None:
    score = torch.rand(10, 2, generator=generator(3))
    found = probability_of_improvement(score + 2.0, score)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_equal_methods_have_an_interval_around_one_half() -> None:
    source = generator(4)
    covered = 0
    for number in range(100):
        a, b = torch.randn(10, 3, generator=source), torch.randn(10, 3, generator=source)
        found = probability_of_improvement(a, b, number)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.5 <= found.high
    # 95 % nominal; percentile intervals of ten seeds are a little narrow.
    assert 0.88 <= covered / 100 <= 0.99


def test_seeds_are_resampled_within_their_task() -> None:
    # Two tasks far apart, no spread within: no resample may mix them.
    score = torch.tensor([[0.0, 100.0]]).expand(8, 2)
    found = interquartile_mean(score)
    assert found.low == found.high == found.value == 50.0


def test_one_seed_has_no_interval() -> None:
    found = interquartile_mean(torch.tensor([[1.0, 3.0]]))
    assert (found.value, found.low, found.high) == (2.0, None, None)
    alone = probability_of_improvement(torch.tensor([[1.0]]), torch.tensor([[0.0], [2.0]]))
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)


def test_bad_input() -> None:
    good = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"`score` must have the shape \(S, M\).*got \(3,\)"):
        interquartile_mean(torch.zeros(3))
    with pytest.raises(ValueError, match=r"`score` must have the shape .*got \(0, 2\)"):
        interquartile_mean(torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"`score_a` must be finite, got nan"):
        probability_of_improvement(good / 0.0, good)
    with pytest.raises(ValueError, match=r"`score_b` must be on the 2 tasks of `score_a`, got 3"):
        probability_of_improvement(good, torch.zeros(3, 3))


def test_ratios_are_of_the_middle_halves_and_hold_what_both_vary() -> None:
    a = torch.tensor([[8.0], [10.0], [10.0], [13.0]])
    b = torch.tensor([[3.0], [4.0], [4.0], [6.0]])
    found = ratio_of_means(a, b)
    assert found.value == pytest.approx(2.5)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2.5 < found.high
    # Where B is certain, the interval is that of A; where both vary, it is wider.
    of_a, fixed = interquartile_mean(a), ratio_of_means(a, certain(torch.tensor([[4.0]])))
    assert of_a.low is not None
    assert of_a.high is not None
    assert fixed.low == pytest.approx(of_a.low / 4.0)
    assert fixed.high == pytest.approx(of_a.high / 4.0)
    assert found.high > of_a.high / 4.0
    with pytest.raises(ValueError, match="`score_b` must be above 0, got 0"):
        ratio_of_means(a, torch.zeros(2, 1))
    with pytest.raises(ValueError, match="`score_b` must be on the 1 tasks"):
        ratio_of_means(a, torch.ones(2, 3))


def _plain_difference(a: torch.Tensor, b: torch.Tensor, source: torch.Generator) -> list[float]:
    """Differences of means over resampled runs and tasks, one by one."""
    found = []
    for _ in range(2000):
        tasks = [int(torch.randint(a.shape[1], (1,), generator=source)) for _ in range(a.shape[1])]
        means = []
        for scores in (a, b):
            runs = [int(torch.randint(len(scores), (1,), generator=source)) for _ in scores]
            means.append(sum(float(scores[r, t]) for r in runs for t in tasks) / len(runs))
        found.append((means[0] - means[1]) / len(tasks))
    return sorted(found)


def test_differences_hold_what_seeds_and_tasks_vary() -> None:
    source = torch.Generator().manual_seed(0)
    tasks = 3.0 * torch.randn(1, 12, generator=source)
    a = tasks + torch.randn(4, 1, generator=source) + 0.5
    b = (tasks + 0.3 * torch.randn(1, 12, generator=source)).expand(3, -1)
    found = mean_difference(a, b)
    assert found.value == pytest.approx(float(a.mean() - b.mean()))
    wanted = _plain_difference(a, b, source)
    assert found.low == pytest.approx(wanted[50], abs=0.1)
    assert found.high == pytest.approx(wanted[-51], abs=0.1)
    # What the tasks do to both alike does not count; what they do to one does.
    same = mean_difference(tasks + 2.0, tasks)
    assert (same.low, same.high) == (pytest.approx(2.0), pytest.approx(2.0))
    alone = mean_difference(tasks, torch.zeros(1, 12))
    assert alone.low is not None
    half = 1.96 * float(tasks.std(unbiased=False)) / 12**0.5
    assert alone.value - alone.low == pytest.approx(half, rel=0.15)
    assert mean_difference(a[:, :1], b[:, :1]).low is None
    with pytest.raises(ValueError, match="`score_b` must be on the 12 tasks of `score_a`, got 3"):
        mean_difference(a, b[:, :3])
