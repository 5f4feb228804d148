"""Proven upper bounds of the weighted sum rate of a sample, by branch and bound."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, require
from metagnn.tasks.power_control.scaling import (
    check_per_link,
    check_power_control,
    check_weight,
)
from metagnn.tasks.power_control.sinr_boxes import (
    Boxes,
    WeightedProblem,
    chord_bound,
    split_point,
    tightened,
)
from metagnn.tasks.power_control.wmmse import wmmse

# Boxes of a sample that are split in one round at least, and as a share of all it may have.
_SPLIT_AT_ONCE = 24
_SPLIT_SHARE = 4e-3
# Numbers that a portion of samples may hold, if few boxes of each are needed and if all are.
_VALUES_AT_ONCE = 2**24
_VALUES_AT_MOST = 2**27


@dataclass(frozen=True)
class WeightedBound:
    """Largest weighted sum rate of each sample, from below and from above [bit/s/Hz].

    Attributes:
        upper: Proven upper bound ``[...]``.
        value: Weighted sum rate of ``power_w`` ``[...]``.
        power_w: Best powers found ``[..., K]`` [W].
        num_boxes: Boxes whose bound was computed ``[...]``.
        proven: Highest bound of the boxes ``[...]``, which the powers have no part in. Where it
            lies below ``value``, by rounding, ``upper`` is that.
    """

    upper: Tensor
    value: Tensor
    power_w: Tensor
    num_boxes: Tensor
    proven: Tensor

    @property
    def gap(self) -> Tensor:
        """Relative gap reached, ``upper / value - 1`` ``[...]``; 0 where nothing can be had."""
        return torch.where(self.value > 0, self.upper / self.value - 1.0, self.upper)


def is_reached(bound: WeightedBound, tolerance: float) -> bool:
    """Whether all samples' searches ended within a relative gap."""
    return bool((bound.gap <= tolerance * (1.0 + 1e-6)).all())


@torch.no_grad()
def weighted_bound(
    gain: Tensor,
    power_max_w: float,
    noise_w: float,
    weight: Tensor | None = None,
    tolerance: float = 1e-3,
    max_boxes: int = 10_000,
    initial_power_w: Tensor | None = None,
) -> WeightedBound:
    r"""Bounds of :math:`\max_p \sum_k w_k \log_2(1 + \mathrm{SINR}_k(p))` over the power box.

    Branch and bound in the log-SINRs. A box holds an interval of every power and of every SINR;
    the two tighten each other (`tightened`), and the chords of the rates over the intervals of
    log-SINR give a concave bound (`chord_bound`). The link whose weighted chord lies furthest above
    its rate at its worst point is split in two where the larger error of both parts is least. The
    boxes with the highest bounds are split first, many of each sample side by side.

    Why the bound is proven: the boxes that are left always cover an optimum, and the highest of
    their bounds is returned, whether the tolerance was met or boxes ran out. Powers below
    :math:`\epsilon_i`, at which transmitter i causes less than a share :math:`\delta` of the noise
    at every receiver, are not searched: raising all powers to at least these multiplies noise and
    interference by at most :math:`1 + (K - 1) \delta` and thereby a rate by no less than its
    inverse, as :math:`-\mathrm{d} \log R / \mathrm{d} \log I \le 1`; the bound is raised by that
    factor, with :math:`\delta = \text{tolerance} / 5 K`. Rounding (float64) is met by outward
    margins of 1e-9.

    A box costs about K squared. On networks of `ChannelFamily` tens of boxes of a sample give a gap
    of 0.1 % at K = 4, hundreds at K = 8, thousands one of 1 % at K = 12; at K = 16 more than
    100,000 are needed: see `relaxation.tightest_bound` for fewer. A sample's search holds 20 * K
    bytes for each of its boxes, twice that while it grows; many boxes are searched in portions of
    samples of about 1 GiB.

    Args:
        gain: Channel power gains [1], transmitter (row) to receiver (column).
        power_max_w: Largest transmit power [W].
        noise_w: Noise power over the band [W].
        weight: Weights of the links' rates [1]; none stands for equal ones.
        tolerance: Relative gap at which the search of a sample ends.
        max_boxes: Boxes of one sample at which it ends at the latest.
        initial_power_w: Powers to start from [W], beside those of WMMSE; they only save time.

    Shapes:
        gain ``[..., K, K]``, weight and initial_power_w ``[..., K]``; the result ``[...]``.

    Raises:
        ValueError: If ``tolerance`` is not within 1e-6 to 1, or an argument is out of range or
            has a shape that does not fit.
    """
    require(isinstance(gain, Tensor), "gain", "be dense, without neighbour lists", type(gain))
    check_power_control(gain, power_max_w, noise_w)
    require(1e-6 <= tolerance <= 1.0, "tolerance", "lie in [1e-6, 1]", tolerance)
    check_count("max_boxes", max_boxes)
    num_links = gain.shape[-1]
    wide = gain.double().reshape(-1, num_links, num_links)
    share = check_weight(weight, gain.double()).reshape(-1, num_links)
    unit = torch.ones_like(share[:, 0])
    if weight is not None:
        unit = weight.double().expand(gain.shape[:-1]).reshape(-1, num_links).amax(-1)
    starts = [
        wmmse(wide, power_max_w, noise_w, share),
        wmmse(
            wide, power_max_w, noise_w, share, initial_power_w=torch.ones_like(share) * power_max_w
        ),
    ]
    if initial_power_w is not None:
        initial = check_per_link("initial_power_w", initial_power_w, gain)
        starts.append(initial.double().reshape(-1, num_links))
    problem = _normalised(wide, power_max_w, noise_w, share)
    log_power = (torch.stack(starts, 1) / power_max_w).clamp(0.0, 1.0).log()

    slots = (max_boxes + 1) // 2
    few, all_ = (6 * num_links * number for number in (min(slots, 2048), slots))
    portion = max(1, min(_VALUES_AT_ONCE // few, _VALUES_AT_MOST // all_))
    portions = []
    for index in torch.arange(len(wide)).split(portion):
        search = _Search(problem[index], log_power[index], tolerance, slots)
        search.run()
        # The boxes themselves go.
        found = (search.upper(), search.value, search.best, search.num_boxes, search.proven())
        portions.append(found)
    upper, value, best, num_boxes, proven = (
        torch.cat(each) for each in zip(*portions, strict=True)
    )
    scale = unit / math.log(2.0)
    shape = gain.shape[:-2]
    return WeightedBound(
        (upper * scale).reshape(shape),
        (value * scale).reshape(shape),
        (best.exp() * power_max_w).reshape(gain.shape[:-1]),
        num_boxes.reshape(shape),
        (proven * scale).reshape(shape),
    )


def _normalised(
    gain: Tensor, power_max_w: float, noise_w: float, weight: Tensor
) -> WeightedProblem:
    """The problem with noise and largest powers 1, in float64 without any limit."""
    received = gain * (power_max_w / noise_w)
    # Sums of what is received stay finite then.
    rule = "sum up to less than 1e300 times the noise over the largest power at each receiver"
    require(bool((received.sum(-2) < 1e300).all()), "gain", rule, float(gain.sum(-2).max()))
    snr = torch.diagonal(received, dim1=-2, dim2=-1)
    tiny = torch.finfo(gain.dtype).tiny
    weight = torch.where(snr > 0, weight, 0.0)
    crossed = received - torch.diag_embed(snr)
    return WeightedProblem(snr.clamp(min=tiny).log().unsqueeze(1), crossed, weight.unsqueeze(1))


class _Search:
    """Best-first branch and bound of A samples side by side.

    Args:
        problem: The samples.
        start: Log-powers to start from ``[A, N, K]``.
        tolerance: Relative gap at which a sample's search ends.
        slots: Boxes that may be left of each sample; every split takes one.
    """

    def __init__(
        self, problem: WeightedProblem, start: Tensor, tolerance: float, slots: int
    ) -> None:
        num_samples, _, num_links = problem.weight.shape
        self.problem, self.tolerance, self.slots = problem, tolerance, slots
        delta = tolerance / (5 * num_links)
        self._raised = 1.0 + (num_links - 1) * delta
        self.value = problem.weight.new_zeros(num_samples)
        self.best = problem.weight.new_full((num_samples, num_links), -torch.inf)
        every = torch.arange(num_samples, device=start.device)
        self._offer(every, problem, start)

        lowest = math.log(delta) - problem.crossed.amax(-1).clamp(min=1.0).log().unsqueeze(1)
        unbounded = torch.full_like(lowest, torch.inf)
        highest = torch.zeros_like(lowest)
        root = Boxes(lowest, highest, -unbounded, unbounded, highest)
        boxes, bound, link = self._bounded(problem, root)
        self._offer(every, problem, boxes.power)
        self._boxes, self._bound, self._link = boxes.stacked(), bound, link
        self._used = torch.ones_like(every)
        self.num_boxes = torch.ones_like(every)

    def proven(self) -> Tensor:
        """Highest bound of the boxes left ``[A]``."""
        return self._bound.amax(-1)

    def upper(self) -> Tensor:
        """The same, or the best value found where all boxes lie below ``[A]``."""
        return torch.maximum(self.proven(), self.value)

    def run(self) -> None:
        """Split boxes until every sample's gap or number of boxes is reached."""
        while True:
            open_ = self._bound > (self.value * (1.0 + self.tolerance)).unsqueeze(-1)
            active = (open_.any(-1) & (self._used < self.slots)).nonzero().squeeze(-1)
            if len(active) == 0:
                return
            self._split(active, open_[active])

    def _split(self, active: Tensor, open_: Tensor) -> None:
        """Replace the highest open boxes of the active samples by their halves."""
        at_once = max(_SPLIT_AT_ONCE, int(2 * self.slots * _SPLIT_SHARE))
        count = min(at_once, int(open_.sum(-1).amax()))
        bound, slot = self._bound[active].topk(count, dim=-1)  # [A', N]
        room = (self.slots - self._used[active]).unsqueeze(-1)
        chosen = open_.gather(-1, slot) & (torch.arange(count, device=slot.device) < room)
        sample = active.unsqueeze(-1)
        parents = Boxes(*self._boxes[:, sample, slot])
        link = self._link[sample, slot].unsqueeze(-1)
        cut = split_point(parents.sinr_low.gather(-1, link), parents.sinr_high.gather(-1, link))
        below = parents.sinr_high.scatter(-1, link, cut)
        above = parents.sinr_low.scatter(-1, link, cut)
        children = Boxes(
            torch.cat([parents.power_low] * 2, 1),
            torch.cat([parents.power_high] * 2, 1),
            torch.cat([parents.sinr_low, above], 1),
            torch.cat([below, parents.sinr_high], 1),
            torch.cat([parents.power] * 2, 1),
        )
        problem = self.problem[active]
        boxes, new_bound, new_link = self._bounded(problem, children)
        new_bound = torch.minimum(new_bound, torch.cat([bound] * 2, 1))
        self._offer(active, problem, boxes.power)

        # The lower half takes its parent's slot, the upper half the next free one.
        number = chosen.long().cumsum(-1)
        free = self._used[active].unsqueeze(-1) + number - 1
        self._reserve(int(free[chosen].amax()) + 1)
        stacked = boxes.stacked()
        rows = sample.expand_as(slot)[chosen]
        for half, places in enumerate((slot, free)):
            here = slice(half * count, (half + 1) * count)
            at = places[chosen]
            self._boxes[:, rows, at] = stacked[:, :, here][:, chosen]
            self._bound[rows, at] = new_bound[:, here][chosen]
            self._link[rows, at] = new_link[:, here][chosen]
        self._used[active] += number[:, -1]
        self.num_boxes[active] += 2 * number[:, -1]

    def _bounded(self, problem: WeightedProblem, boxes: Boxes) -> tuple[Boxes, Tensor, Tensor]:
        """Tightened boxes, their bounds (none if empty), and the link to be split next."""
        boxes, holds = tightened(problem, boxes)
        bound, boxes, error = chord_bound(problem, boxes)
        return boxes, torch.where(holds, bound * self._raised, -torch.inf), error.argmax(-1)

    def _offer(self, samples: Tensor, problem: WeightedProblem, log_power: Tensor) -> None:
        """Keep the best of the candidates ``[A', N, K]`` where it beats the best so far."""
        log_power = log_power.clamp(max=0.0)  # of an empty box powers may lie above the largest
        found, place = problem.value(log_power).max(-1)
        candidate = log_power[torch.arange(len(place), device=place.device), place]
        better = found > self.value[samples]
        self.value[samples] = torch.where(better, found, self.value[samples])
        self.best[samples] = torch.where(better.unsqueeze(-1), candidate, self.best[samples])

    def _reserve(self, slots: int) -> None:
        """Make room for so many boxes of each sample."""
        missing = slots - self._bound.shape[-1]
        if missing <= 0:
            return
        missing = min(max(missing, self._bound.shape[-1]), self.slots - self._bound.shape[-1])
        five, samples, _, links = self._boxes.shape
        self._boxes = torch.cat(
            [self._boxes, self._boxes.new_zeros(five, samples, missing, links)], 2
        )
        self._bound = torch.cat(
            [self._bound, self._bound.new_full((samples, missing), -torch.inf)], 1
        )
        self._link = torch.cat([self._link, self._link.new_zeros(samples, missing)], 1)
