"""Statistics over training seeds: inter-quartile means and probabilities of improvement.

After Agarwal et al., *Deep Reinforcement Learning at the Edge of the Statistical Precipice* (2021).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.graphs.randomness import generator
from metagnn.tasks.power_control.metrics import CONFIDENCE, NUM_RESAMPLES, Estimate


def interquartile_mean(score: Tensor, seed: int = 0) -> Estimate:
    """Mean of the middle half of all scores, with a stratified bootstrap interval.

    A quarter of the scores, rounded down, is left out at either end. The interval lies between
    the 2.5th and 97.5th percentile over 2000 resamples of the seeds within each task.

    Args:
        score: Scores ``[S, M]`` of S seeds on M tasks.
        seed: Seed of the resamples.

    Raises:
        ValueError: If there are no scores or one is not finite.
    """
    scores = _checked("score", score)
    return _estimate(lambda samples: _middle(samples[0]), [scores], seed)


def ratio_of_means(score_a: Tensor, score_b: Tensor, seed: int = 0) -> Estimate:
    """Inter-quartile mean of A over that of B, whose runs are resampled by themselves.

    Args:
        score_a: Scores ``[S_a, M]`` of A.
        score_b: Scores ``[S_b, M]`` of B on the same tasks, above 0.
        seed: Seed of the resamples, which are drawn within each task.

    Raises:
        ValueError: If there are no scores, one is not finite, one of B is not above 0, or the
            numbers of tasks differ.
    """
    a, b = _both(score_a, score_b)
    require(float(b.min()) > 0.0, "score_b", "be above 0", float(b.min()))
    return _estimate(lambda samples: _middle(samples[0]) / _middle(samples[1]), [a, b], seed)


def probability_of_improvement(score_a: Tensor, score_b: Tensor, seed: int = 0) -> Estimate:
    r"""Probability that a run of A scores higher than one of B, averaged over tasks.

    .. math:: \frac{1}{M} \sum_m \frac{1}{S_a S_b} \sum_{i,j}
              \left([a_{im} > b_{jm}] + \tfrac12 [a_{im} = b_{jm}]\right)

    A is *better* only where the whole interval lies above one half.

    Args:
        score_a: Scores ``[S_a, M]`` of A.
        score_b: Scores ``[S_b, M]`` of B on the same tasks.
        seed: Seed of the resamples, which are drawn within each task.

    Raises:
        ValueError: If there are no scores, one is not finite, or the numbers of tasks differ.
    """
    a, b = _both(score_a, score_b)

    def share(samples: list[Tensor]) -> Tensor:
        first, second = samples[0].unsqueeze(-2), samples[1].unsqueeze(-3)
        wins = (first > second).double() + 0.5 * (first == second).double()
        return wins.mean((-3, -2, -1))

    return _estimate(share, [a, b], seed)


def mean_difference(score_a: Tensor, score_b: Tensor, seed: int = 0) -> Estimate:
    """Mean of A less that of B on the same tasks, for other seeds and other tasks alike.

    Runs of A, runs of B and the tasks, which are those of both, are resampled 2000 times.

    Args:
        score_a: Scores ``[S_a, M]`` of A.
        score_b: Scores ``[S_b, M]`` of B on the same tasks.
        seed: Seed of the resamples.

    Raises:
        ValueError: If there are no scores, one is not finite, or the numbers of tasks differ.
    """
    both = _both(score_a, score_b)
    value = float(both[0].mean() - both[1].mean())
    if both[0].shape[1] == 1:
        return Estimate(value, None, None)
    source = generator(seed, "seed statistics")
    means = []
    for scores in both:
        runs = torch.randint(len(scores), (NUM_RESAMPLES, len(scores)), generator=source)
        means.append(scores[runs].mean(1))
    tasks = torch.randint(both[0].shape[1], means[0].shape, generator=source)
    return _interval(value, (means[0] - means[1]).gather(1, tasks).mean(1))


def certain(score: Tensor) -> Tensor:
    """Scores ``[1, M]`` that no seed changes, as those of a baseline: resamples are all alike."""
    return score.expand(2, -1)


def _middle(sample: Tensor) -> Tensor:
    """Means of the middle halves of samples ``[R, S, M]``: ``[R]``."""
    ordered = sample.flatten(1).sort(-1).values
    left_out = ordered.shape[-1] // 4
    return ordered[:, left_out : ordered.shape[-1] - left_out].mean(-1)


def _both(score_a: Tensor, score_b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = _checked("score_a", score_a), _checked("score_b", score_b)
    rule = f"be on the {a.shape[1]} tasks of `score_a`"
    require(a.shape[1] == b.shape[1], "score_b", rule, b.shape[1])
    return a, b


def _checked(name: str, score: Tensor) -> Tensor:
    shape = tuple(score.shape)
    require(score.dim() == 2 and score.numel() > 0, name, "have the shape (S, M), S, M >= 1", shape)
    scores = score.detach().cpu().double()
    finite = scores.isfinite()
    if not bool(finite.all()):
        require(False, name, "be finite", float(scores[~finite][0]))
    return scores


def _estimate(
    statistic: Callable[[list[Tensor]], Tensor], scores: list[Tensor], seed: int
) -> Estimate:
    value = float(statistic([s.unsqueeze(0) for s in scores]))
    if min(len(s) for s in scores) == 1:
        return Estimate(value, None, None)
    source = generator(seed, "seed statistics")
    samples = []
    for s in scores:
        drawn = torch.randint(len(s), (NUM_RESAMPLES, *s.shape), generator=source)
        samples.append(s.expand(NUM_RESAMPLES, *s.shape).gather(1, drawn))
    return _interval(value, statistic(samples))


def _interval(value: float, resampled: Tensor) -> Estimate:
    tail = 0.5 * (1.0 - CONFIDENCE)
    ends = torch.quantile(resampled, torch.tensor([tail, 1.0 - tail]).double())
    return Estimate(value, *ends.tolist())
