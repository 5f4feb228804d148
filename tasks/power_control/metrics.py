"""Metrics of ergodic rates over several networks, with bootstrap intervals over the networks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.graphs.randomness import generator

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
_VALUES_AT_ONCE = 2**22

# How often each network occurs in each resample [R, N] -> values of the metric [R].
_Resampled = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % percentile-bootstrap interval over networks.

    Attributes:
        value: The metric on the networks given.
        low: Lower end of the interval; None where it is undefined, as for a single network.
        high: Upper end of the interval; None where it is undefined.
    """

    value: float
    low: float | None
    high: float | None


def summarize(
    rates: Sequence[Tensor] | Tensor,
    target: Sequence[Tensor] | Tensor | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    r"""Metrics of the ergodic rates of N networks.

    - ``mean_rate``: mean over links, averaged over networks [bit/s/Hz].
    - ``min_rate``: minimum over links, averaged over networks [bit/s/Hz].
    - ``p5_rate``: 5th percentile of the rates of all links of all networks, linearly interpolated
      [bit/s/Hz].
    - ``jain``: Jain's index :math:`(\sum_k r_k)^2 / (K \sum_k r_k^2)`, averaged over networks; 1
      where all rates are 0, as they are equal.
    - ``satisfied``: share of all links of all networks with a rate of at least their target,
      :math:`r_k \ge f_{\min} - s_k` (paper A, Eq. 4c); only with ``target``.

    The interval of each lies between the 2.5th and the 97.5th percentile over 2000 resamples of
    whole networks.

    Args:
        rates: Ergodic rates of each network [bit/s/Hz].
        target: Rates to be met, such as ``f_min - s`` [bit/s/Hz].
        seed: Seed of the resamples; the same for policies that are to be compared.

    Shapes:
        rates and target: N tensors ``[K_n]``, or one ``[N, K]``.

    Raises:
        ValueError: If there is no network, a network has no link, a rate is negative or not
            finite, or the shapes of ``target`` differ from those of ``rates``.
    """
    networks = _checked("rates", rates)
    metrics: dict[str, _Resampled] = {
        "mean_rate": _average(_mean_rates(networks)),
        "min_rate": _average(_min_rates(networks)),
        "p5_rate": _pooled_quantile(networks, 0.05),
        "jain": _average(torch.stack([_jain(network) for network in networks])),
    }
    if target is not None:
        targets = _checked("target", target, non_negative=False)
        _require_same_sizes("target", targets, networks)
        met = [(r >= t).sum() for r, t in zip(networks, targets, strict=True)]
        size = [torch.tensor(len(network)) for network in networks]
        metrics["satisfied"] = _ratio(torch.stack(met).double(), torch.stack(size).double())
    counts = _resample(len(networks), seed)
    return {name: _estimate(metric, counts) for name, metric in metrics.items()}


def network_average(value: Tensor, seed: int = 0) -> Estimate:
    """Average over networks of anything measured once per network, with its interval.

    Args:
        value: One value per network ``[N]``.
        seed: Seed of the resamples.

    Raises:
        ValueError: If there is no network, or a value is not finite.
    """
    networks = _checked("value", value.unsqueeze(-1), non_negative=False)
    return _estimate(_average(torch.cat(networks)), _resample(len(networks), seed))


def ratio_of_means(
    rates_a: Sequence[Tensor] | Tensor,
    rates_b: Sequence[Tensor] | Tensor,
    statistic: Literal["mean_rate", "min_rate"] = "mean_rate",
    seed: int = 0,
) -> Estimate:
    """Ratio of a metric of policy a to that of policy b, on the same networks.

    Both policies are resampled together, so what the networks have in common cancels. The
    interval is undefined (None) for one network, and where b's metric is 0 in a resample.

    Args:
        rates_a: Ergodic rates of each network under policy a [bit/s/Hz].
        rates_b: The same under policy b.
        statistic: ``mean_rate`` or ``min_rate`` of `summarize`.
        seed: Seed of the resamples.

    Shapes:
        rates_a and rates_b: N tensors ``[K_n]``, or one ``[N, K]``.

    Raises:
        ValueError: If rates are invalid as in `summarize`, the networks differ in number or
            size, ``statistic`` is unknown, or b's metric is 0.
    """
    per_network = {"mean_rate": _mean_rates, "min_rate": _min_rates}
    require(statistic in per_network, "statistic", f"be one of {sorted(per_network)}", statistic)
    networks_a, networks_b = _checked_pair(rates_a, rates_b)
    value_a, value_b = per_network[statistic](networks_a), per_network[statistic](networks_b)
    mean_b = float(value_b.mean())
    require(mean_b > 0, "rates_b", f"have a {statistic} > 0", mean_b)
    return _estimate(_ratio(value_a, value_b), _resample(len(networks_a), seed))


def share_dominated(
    rates_a: Sequence[Tensor] | Tensor, rates_b: Sequence[Tensor] | Tensor
) -> float:
    """Share of networks on which policy b is better than a in both mean and minimum rate.

    Shapes:
        rates_a and rates_b: N tensors ``[K_n]``, or one ``[N, K]``.

    Raises:
        ValueError: If rates are invalid as in `summarize`, or the networks differ in number or
            size.
    """
    networks_a, networks_b = _checked_pair(rates_a, rates_b)
    better_mean = _mean_rates(networks_b) > _mean_rates(networks_a)
    better_min = _min_rates(networks_b) > _min_rates(networks_a)
    return float((better_mean & better_min).double().mean())


def _mean_rates(networks: list[Tensor]) -> Tensor:
    return torch.stack([network.mean() for network in networks])


def _min_rates(networks: list[Tensor]) -> Tensor:
    return torch.stack([network.min() for network in networks])


def _jain(rate: Tensor) -> Tensor:
    largest = rate.max()
    if largest == 0:
        return torch.ones_like(largest)
    share = rate / largest
    return share.sum().square() / (len(share) * share.square().sum())


def _average(value: Tensor) -> _Resampled:
    """Average over networks of one value per network ``[N]``."""
    return lambda counts: counts @ value / len(value)


def _ratio(numerator: Tensor, denominator: Tensor) -> _Resampled:
    """Ratio of sums over networks of two values per network ``[N]``."""
    return lambda counts: (counts @ numerator) / (counts @ denominator)


def _pooled_quantile(networks: list[Tensor], share: float) -> _Resampled:
    """Quantile of the rates of all links of all networks, as many times as each network occurs."""
    sizes = torch.tensor([len(network) for network in networks])
    value, order = torch.cat(networks).sort()
    network_of = torch.repeat_interleave(torch.arange(len(networks)), sizes)[order]

    def quantile(counts: Tensor) -> Tensor:
        results = []
        for block in counts.split(max(1, _VALUES_AT_ONCE // len(value))):
            # Last position of each rate, plus one, among the repeated rates in ascending order.
            end = block[:, network_of].cumsum(-1)
            position = share * (end[:, -1:] - 1)
            below = position.floor()
            first, second = (
                value[torch.searchsorted(end, at, right=True).clamp(max=len(value) - 1)]
                for at in (below, position.ceil())
            )
            results.append((first + (position - below) * (second - first)).squeeze(-1))
        return torch.cat(results)

    return quantile


def _resample(num_networks: int, seed: int) -> Tensor:
    """How often each network occurs in each resample ``[R, N]``."""
    drawn = torch.randint(
        num_networks, (NUM_RESAMPLES, num_networks), generator=generator(seed, "bootstrap")
    )
    counts = torch.zeros(NUM_RESAMPLES, num_networks, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts))


def _estimate(metric: _Resampled, counts: Tensor) -> Estimate:
    num_networks = counts.shape[-1]
    value = float(metric(counts.new_ones(1, num_networks)))
    resampled = metric(counts)
    if num_networks == 1 or not bool(resampled.isfinite().all()):
        return Estimate(value, None, None)
    tail = 0.5 * (1.0 - CONFIDENCE)
    low, high = torch.quantile(resampled, counts.new_tensor([tail, 1.0 - tail])).tolist()
    return Estimate(value, low, high)


def _checked(
    name: str, rates: Sequence[Tensor] | Tensor, non_negative: bool = True
) -> list[Tensor]:
    """One float64 tensor ``[K_n]`` per network."""
    networks = [network.detach().cpu().double() for network in rates]
    require(len(networks) > 0, name, "hold at least one network", len(networks))
    for index, network in enumerate(networks):
        each = f"{name}[{index}]"
        shape = tuple(network.shape)
        require(network.dim() == 1 and len(network) > 0, each, "have the shape (K,), K >= 1", shape)
        valid = network.isfinite() & (network >= 0 if non_negative else True)
        if not bool(valid.all()):
            rule = "be finite and >= 0" if non_negative else "be finite"
            require(False, each, rule, float(network[~valid][0]))
    return networks


def _checked_pair(
    rates_a: Sequence[Tensor] | Tensor, rates_b: Sequence[Tensor] | Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    networks_a, networks_b = _checked("rates_a", rates_a), _checked("rates_b", rates_b)
    _require_same_sizes("rates_b", networks_b, networks_a)
    return networks_a, networks_b


def _require_same_sizes(name: str, networks: list[Tensor], like: list[Tensor]) -> None:
    sizes, expected = [len(network) for network in networks], [len(network) for network in like]
    require(sizes == expected, name, f"have as many links per network as {expected}", sizes)
