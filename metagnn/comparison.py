"""Policies and baselines on the same samples: what each link gets, and metrics of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from metagnn.adaptation import Adapted, adapt, learned_rollout, warmed_up_rollout
from metagnn.adaptation_task import Problem
from metagnn.comparison_gap import brackets, values_in
from metagnn.duality import Interval
from metagnn.ergodic_interval import ErgodicInterval
from metagnn.graphs.checks import require
from metagnn.graphs.neighbours import Gain, NeighbourGain
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import rate
from metagnn.meta_parameters import MetaParameters
from metagnn.refinement import NUM_ALONE, refine, refined_power
from metagnn.rollout import Policy, Rollout
from metagnn.tasks.power_control.baselines import BASELINES
from metagnn.tasks.power_control.exact import MAX_LINKS
from metagnn.tasks.power_control.itlinq import itlinq
from metagnn.tasks.power_control.metrics import Estimate, summarize

# The learned policy after adaptation, improved by local search, and at its meta-parameters.
ADAPTED, REFINED, UNADAPTED = "metagnn", "metagnn_refined", "metagnn_unadapted"
LEARNED = (ADAPTED, REFINED, UNADAPTED)
POLICIES = (*LEARNED, *BASELINES)
# Links up to which refinement takes no more than some seconds for each network.
REFINED_LINKS = 20
DEFAULT_POLICIES = (*LEARNED, "itlinq", "wmmse", "fplinq", "full_power", "random")

# Samples that a batched baseline takes at once, times links squared.
_VALUES_AT_ONCE = 2**23


@dataclass(frozen=True)
class Scenario:
    """One network: what may be adapted to, and what is scored.

    Attributes:
        large_scale_gain: ``[K, K]`` [1], or neighbour lists, as then are the samples.
        past_gain: Samples for adaptation, before the scored ones ``[S, K, K]`` [1], or None.
        gain: Scored samples, consecutive in time ``[S_test, K, K]`` [1].
        positions_m: Transmitters and receivers ``[2, K, 2]`` [m], east and north, or None.
    """

    large_scale_gain: Gain
    past_gain: Gain | None
    gain: Gain
    positions_m: Tensor | None = None

    def to(self, device: torch.device | str) -> "Scenario":
        """The same network with its gains on a device."""
        past_gain = None if self.past_gain is None else self.past_gain.to(device)
        return replace(
            self,
            large_scale_gain=self.large_scale_gain.to(device),
            past_gain=past_gain,
            gain=self.gain.to(device),
        )


@dataclass(frozen=True)
class Dual:
    """What the learned policy knows of the minimum rates of one network.

    Attributes:
        minimum_rate: f_min [bit/s/Hz].
        slack: Slacks s ``[K]`` [bit/s/Hz].
        multiplier: Multipliers mu ``[K]``.
        lagrangian: Lagrangian per link before each step of adaptation [bit/s/Hz].
    """

    minimum_rate: float
    slack: Tensor
    multiplier: Tensor
    lagrangian: list[float]


@dataclass(frozen=True)
class Outcome:
    """One policy on the scored samples of one network.

    Attributes:
        rate: Ergodic rates ``[K]`` [bit/s/Hz].
        power_w: Mean transmit powers ``[K]`` [W].
        dual: Slacks and multipliers; None for baselines, which have none.
        interval: What holds the optimum of the samples, where it is wanted.
        value: The policy's value in that interval, with the smallest slack [bit/s/Hz].
        ergodic: The same interval for the channel's distribution.
    """

    rate: Tensor
    power_w: Tensor
    dual: Dual | None = None
    interval: Interval | None = None
    value: float | None = None
    ergodic: ErgodicInterval | None = None


@dataclass(frozen=True)
class Comparison:
    """Outcomes of several policies on the same networks.

    Attributes:
        outcomes: Per policy a list of one per network.
        target: ``f_min - s`` of ``metagnn`` ``[K]`` per network, to which all policies are held;
            None without it.
    """

    outcomes: dict[str, list[Outcome]]
    target: list[Tensor] | None

    @property
    def rates(self) -> dict[str, list[Tensor]]:
        """Ergodic rates: per policy a list of ``[K]`` per network [bit/s/Hz]."""
        return {name: [one.rate for one in found] for name, found in self.outcomes.items()}

    @property
    def intervals(self) -> dict[int, Interval]:
        """What holds the optimum of each network's samples, by the network's number."""
        found = enumerate(self.outcomes.get(ADAPTED, []))
        return {number: one.interval for number, one in found if one.interval is not None}

    @property
    def ergodic_intervals(self) -> dict[int, ErgodicInterval]:
        """What holds the optimum of each channel's distribution, by the network's number."""
        found = enumerate(self.outcomes.get(ADAPTED, []))
        return {number: one.ergodic for number, one in found if one.ergodic is not None}

    @property
    def values(self) -> dict[str, dict[int, float]]:
        """Where policies stand in these intervals, by the network's number [bit/s/Hz]."""
        return {
            name: {n: one.value for n, one in enumerate(found) if one.value is not None}
            for name, found in self.outcomes.items()
        }

    def metrics(self, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """Metrics of each policy with 95 % intervals over networks."""
        return {name: summarize(rates, self.target, seed) for name, rates in self.rates.items()}


def compare(
    scenarios: Sequence[Scenario],
    policies: Sequence[str],
    parameters: MetaParameters,
    num_epochs: int,
    seed: int = 0,
    on_network: Callable[[], None] | None = None,
    bf16: bool = False,
    gap: bool = False,
    max_boxes: int = 2000,
) -> Comparison:
    """Score policies on the same samples of the same networks.

    A policy driven by PF ratios (``metagnn``, ``itlinq``) runs over consecutive samples; its
    averages start settled on the samples before, the same ones for each. The others see one sample
    at a time. Nothing is adapted to scored samples.

    Args:
        scenarios: The networks.
        policies: Names out of `POLICIES`.
        parameters: Meta-parameters of the learned policy.
        num_epochs: Gradient steps of adaptation; 0 where there are no samples to adapt to.
        seed: Seed of the ``random`` policy.
        on_network: Called after each network.
        bf16: Run the learned policy's networks in bfloat16.
        gap: Bracket the optimum of each network by ``metagnn`` (`duality_interval`), say where
            all policies stand in there, and, where there are other samples before the scored ones
            on which to choose multipliers, and at least 32 of these, bracket that of the
            distribution (`ergodic_interval`), which holds if samples are independent in time.
        max_boxes: Boxes of one sample at which a search for the bound ends at the latest, above
            four links.

    Raises:
        ValueError: If there is no network, a policy is unknown or named twice, ``exact`` meets a
            network of too many links, the gap is wanted without ``metagnn``, or it or
            ``metagnn_refined`` of gains on neighbour lists.
    """
    for name in policies:
        if name not in POLICIES:
            raise ValueError(f"`policies` must be among {list(POLICIES)}, got {name!r}")
    if len(set(policies)) < len(policies):
        raise ValueError(f"`policies` must name each policy once, got {list(policies)}")
    if not scenarios:
        raise ValueError("`scenarios` must hold at least one network, got none")
    largest = max(len(s.large_scale_gain) for s in scenarios)
    if "exact" in policies and largest > MAX_LINKS:
        raise ValueError(
            f"`policies` must leave out 'exact' above {MAX_LINKS} links (`--gap` bounds what it "
            f"would find), got {largest} links"
        )
    dense = all(isinstance(scenario.gain, Tensor) for scenario in scenarios)
    if REFINED in policies:
        require(dense, "gain", f"be dense for '{REFINED}', without neighbour lists", "lists")
    if gap:
        require(ADAPTED in policies, "policies", f"hold '{ADAPTED}' for its gap", list(policies))
        require(dense, "gain", "be dense for the gap, without neighbour lists", "lists")
    outcomes: dict[str, list[Outcome]] = {name: [] for name in policies}
    for index, scenario in enumerate(scenarios):
        adapted: dict[int, Adapted] = {}
        refined = _refinement(scenario, parameters.problem)
        for name in policies:
            if name in LEARNED:
                epochs = 0 if name == UNADAPTED or scenario.past_gain is None else num_epochs
                with torch.autocast(scenario.gain.device.type, torch.bfloat16, enabled=bf16):
                    if epochs not in adapted:
                        adapted[epochs] = _adapted(scenario, parameters, epochs)
                    if name == REFINED:
                        outcome = _refined_outcome(
                            scenario, refined(adapted[epochs]), parameters.problem
                        )
                    else:
                        boxes = max_boxes if gap and name == ADAPTED else None
                        outcome = _learned_outcome(
                            scenario, adapted[epochs], parameters.problem, refined, boxes
                        )
            elif name == "itlinq":
                outcome = _itlinq_outcome(scenario, parameters.problem)
            else:
                extra = {}
                if name == "random":
                    extra = {"generator": generator(seed, "random", index)}
                outcome = _sample_outcome(scenario, parameters.problem, BASELINES[name], extra)
            outcomes[name].append(outcome)
        if gap:
            latest = {name: found[-1] for name, found in outcomes.items()}
            for name, outcome in _valued(latest, parameters.problem.alpha).items():
                outcomes[name][-1] = outcome
        if on_network is not None:
            on_network()
    duals = [outcome.dual for outcome in outcomes.get(ADAPTED, [])]
    targets = [dual.minimum_rate - dual.slack for dual in duals if dual is not None]
    return Comparison(outcomes, targets or None)


def _adapted(scenario: Scenario, parameters: MetaParameters, num_epochs: int) -> Adapted:
    # Without a past, r~(0) and f_min can only come from the first scored sample.
    known = scenario.gain[:1] if scenario.past_gain is None else scenario.past_gain
    return adapt(
        parameters.networks,
        scenario.large_scale_gain,
        known,
        parameters.problem,
        replace(parameters.adaptation, num_epochs=num_epochs),
    )


def _refinement(scenario: Scenario, problem: Problem) -> Callable[[Adapted], Adapted]:
    """Multipliers refined on the samples before, once; without these they stay as they are."""
    known: dict[int, Adapted] = {}

    def refined(adapted: Adapted) -> Adapted:
        past = scenario.past_gain
        if not isinstance(past, Tensor):
            return adapted
        if id(adapted) not in known:
            known[id(adapted)] = refine(adapted, past, problem)
        return known[id(adapted)]

    return refined


def _learned_outcome(
    scenario: Scenario,
    adapted: Adapted,
    problem: Problem,
    refined: Callable[[Adapted], Adapted],
    max_boxes: int | None,
) -> Outcome:
    """The learned policy's outcome, with its intervals if a number of boxes is given."""
    past, gain = scenario.past_gain, scenario.gain
    run = learned_rollout(adapted.learner, past, gain, problem)
    outcome = _outcome(run, _dual(adapted))
    if max_boxes is None:
        return outcome
    assert isinstance(gain, Tensor)
    power_w = run.power_w.squeeze(1)
    interval, ergodic = brackets(power_w, past, gain, adapted, refined, problem, max_boxes)
    return replace(outcome, interval=interval, ergodic=ergodic)


def _valued(outcomes: dict[str, Outcome], alpha: float) -> dict[str, Outcome]:
    """Outcomes on one network with their values in its interval, which knows the best of them."""
    interval = outcomes[ADAPTED].interval
    assert interval is not None
    rates = {name: one.rate for name, one in outcomes.items()}
    values, interval = values_in(interval, ADAPTED, rates, alpha)
    found = {name: replace(one, value=values[name]) for name, one in outcomes.items()}
    found[ADAPTED] = replace(found[ADAPTED], interval=interval)
    return found


def _refined_outcome(scenario: Scenario, adapted: Adapted, problem: Problem) -> Outcome:
    past, gain = scenario.past_gain, scenario.gain
    assert past is None or isinstance(past, Tensor)
    assert isinstance(gain, Tensor)
    # Without a past multipliers are not refined.
    num_alone = 0 if past is None else NUM_ALONE
    power_w = refined_power(adapted, past, gain, problem, num_alone)
    rates = rate(gain, power_w.to(gain), problem.noise_w)
    return Outcome(rates.mean(0).cpu(), power_w.to(gain).mean(0).cpu(), _dual(adapted))


def _dual(adapted: Adapted) -> Dual:
    slack, mu = adapted.slack.cpu(), adapted.mu.cpu()
    return Dual(adapted.minimum_rate, slack, mu, adapted.lagrangian)


def _itlinq_outcome(scenario: Scenario, problem: Problem) -> Outcome:
    policy = _itlinq_policy(problem)
    return _outcome(warmed_up_rollout(policy, scenario.past_gain, scenario.gain, problem))


def _outcome(run: Rollout, dual: Dual | None = None) -> Outcome:
    return Outcome(run.rate.mean((0, 1)).cpu(), run.power_w.mean((0, 1)).cpu(), dual)


def _itlinq_policy(problem: Problem) -> Callable[[Gain], Policy]:
    def policy(gain: Gain, ratio: Tensor, step: int) -> Tensor:
        return itlinq(gain, problem.power_max_w, problem.noise_w, priority=ratio)

    return lambda gain: policy


def _sample_outcome(
    scenario: Scenario,
    problem: Problem,
    baseline: Callable[..., Tensor],
    extra: dict[str, Any],
) -> Outcome:
    whole, values = scenario.gain, scenario.large_scale_gain
    if isinstance(values, NeighbourGain):
        values = values.crossed
    size = max(1, _VALUES_AT_ONCE // max(1, values.numel()))
    powers, rates = [], []
    for start in range(0, len(whole), size):
        gain = whole[start : start + size]
        power_w = baseline(gain, problem.power_max_w, problem.noise_w, **extra)
        powers.append(power_w)
        rates.append(rate(gain, power_w, problem.noise_w))
    return Outcome(torch.cat(rates).mean(0).cpu(), torch.cat(powers).mean(0).cpu())
