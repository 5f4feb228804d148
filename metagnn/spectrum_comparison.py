"""Comparison of agents and baselines of spectrum allocation in the same unseen scenarios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from metagnn.finished_runs import Kind, finished_runs
from metagnn.graphs.checks import require
from metagnn.graphs.randomness import generator
from metagnn.meta_rl import InnerSettings
from metagnn.models.spectrum import PolicyShape
from metagnn.plain_values import from_plain
from metagnn.ppo import PPOSettings
from metagnn.seed_statistics import certain, interquartile_mean, probability_of_improvement
from metagnn.spectrum_adaptation import (
    Adaptation,
    Adapter,
    Finetuning,
    GradientSteps,
    ProximalSteps,
    Remembering,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_learner import initial_policy
from metagnn.spectrum_lesson import Credit
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.power_control.metrics import Estimate, network_average
from metagnn.tasks.spectrum_allocation.baselines import BASELINES, Baseline
from metagnn.tasks.spectrum_allocation.exhaustive import MAX_COMBINATIONS, num_combinations
from metagnn.tasks.spectrum_allocation.metrics import Metrics, episode_metrics
from metagnn.tasks.spectrum_allocation.scenario import Scenarios

# PPO that begins anew in every scenario; that was trained before and goes on there; that does not.
SCRATCH, PRETRAINED, FROZEN = "ppo from scratch", "ppo", "ppo without adaptation"
# The first is to have more throughput than the second.
_RIVALS = (SCRATCH, PRETRAINED, FROZEN, "reported max weight", "max weight")
CLAIMED = (
    *((meta, rival) for meta in ("maml", "recurrent", "attention") for rival in _RIVALS),
    ("attention", "recurrent"),
    ("attention", "maml"),
    ("recurrent", "maml"),
)

# By policy and seed; baselines have the seed None.
Scores = Mapping[str, Mapping[int | None, Adaptation]]


@dataclass(frozen=True)
class TrainedSpectrum:
    """A policy of a finished run.

    Attributes:
        agent: Name of the agent.
        seed: Seed of the run.
        policy: What it learned.
        shape: What it looks like.
        ppo: Constants of its learning.
        credit: What its advantages are of.
        inner: Steps of ``maml``.
    """

    agent: str
    seed: int
    policy: nn.Module
    shape: PolicyShape
    ppo: PPOSettings
    credit: Credit
    inner: InnerSettings

    def adapter(self, num_networks: int, finetuning: Finetuning) -> Adapter:
        """The policy as it adapts to so many scenarios."""
        if self.agent == "maml":
            return GradientSteps(self.policy, num_networks, self.inner, self.ppo, self.credit)
        if self.agent == PRETRAINED:
            # Training has ended without a reward of entropy.
            settings = replace(self.ppo, entropy_weight=0.0)
            return ProximalSteps(self.policy, num_networks, finetuning, settings, self.credit)
        return Remembering(self.policy)


def find_spectrum(folder: Path, place: SpectrumPlace) -> list[TrainedSpectrum]:
    """Policies of all finished runs under a folder.

    Args:
        folder: Where the runs are.
        place: Where they are to act; graph policies take any numbers of links and bands.

    Raises:
        ValueError: If there is none, one is unfinished or of something else, two are of one agent
            and seed, runs of one agent differ in more than the seed, one learned with other edges,
            or in the part of New York in which policies are tested.
    """
    found = finished_runs([folder], ("SpectrumLearner",), _kind, "agent, seed")
    return [_policy(one.facts, one.state, place) for one in found]


def _kind(run: Mapping[str, Any], is_last: bool) -> Kind | None:
    return (run["agent"],) if run["num_done"] == run["num_episodes"] else None


def _policy(
    run: Mapping[str, Any], state: Mapping[str, Tensor], place: SpectrumPlace
) -> TrainedSpectrum:
    _check_place(run["place"], place)
    shape = from_plain(PolicyShape, run["shape"], "shape")
    policy = place.policy(shape)
    prefix = "policy."
    policy.load_state_dict(
        {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    )
    ppo = from_plain(PPOSettings, run["ppo"], "ppo")
    inner = from_plain(InnerSettings, run["inner"], "inner")
    return TrainedSpectrum(run["agent"], run["seed"], policy, shape, ppo, run["credit"], inner)


def _check_place(learned: Mapping[str, Any], place: SpectrumPlace) -> None:
    """Refuse a policy that acts on other edges than it learned with, or where it learned."""
    rule = f"have learned with the edges of the comparison ('{place.edges}')"
    require(learned["edges"] == place.edges, "runs", rule, learned["edges"])
    network, part = learned["family"]["network"], learned["family"]["part"]
    seen = (place.family.network, network) == ("nycmesh", "nycmesh") and part != "west"
    rule = "not have learned in the east of New York, where policies are tested"
    require(not seen, "runs", rule, f"part '{part}'")


def compare_spectrum(
    trained: Sequence[TrainedSpectrum],
    place: SpectrumPlace,
    num_networks: int,
    points: Sequence[int],
    seed: int,
    finetuning: Finetuning,
    scratch: Finetuning,
    baselines: Sequence[str],
    progress: bool = False,
) -> dict[str, dict[int | None, Adaptation]]:
    """Adapt every policy to the same test scenarios and score it after some episodes.

    For every policy of ``ppo`` there are two more: one of its shape that begins with random
    parameters, and itself without learning.

    Args:
        trained: Policies.
        place: Where scenarios come from.
        num_networks: Number of test scenarios.
        points: Numbers of episodes after which policies are scored.
        seed: Seed of scenarios and episodes.
        finetuning: How PPO goes on.
        scratch: How PPO learns from scratch, which takes a larger rate to get anywhere.
        baselines: Names of baselines. Exhaustive search is left out where it is not possible (see
            `exhaustive.num_combinations`).
        progress: Show a bar.
    """
    for name in baselines:
        require(name in BASELINES, "baselines", f"be of {list(BASELINES)}", name)
    scenarios = unseen_scenarios(place, num_networks, seed, "test", torch.device("cpu"))
    found: dict[str, dict[int | None, Adaptation]] = {}
    shown = {"leave": False, "disable": not progress}
    for one in tqdm(trained, unit="run", **shown):
        adapter = one.adapter(num_networks, finetuning)
        result = adapt_to(adapter, place, scenarios, points, seed)
        found.setdefault(one.agent, {})[one.seed] = result
        if one.agent == PRETRAINED:
            policy = initial_policy(place, one.shape, one.seed)
            anew = ProximalSteps(policy, num_networks, scratch, one.ppo, one.credit)
            result = adapt_to(anew, place, scenarios, points, seed)
            found.setdefault(SCRATCH, {})[one.seed] = result
            still = adapt_to(Remembering(one.policy), place, scenarios, (0,), seed).after[0]
            same = Adaptation(dict.fromkeys(points, still), [])
            found.setdefault(FROZEN, {})[one.seed] = same
    possible = num_combinations(scenarios.networks, place.radio) <= MAX_COMBINATIONS
    for name in tqdm(baselines, unit="baseline", **shown):
        if name == "exhaustive" and not possible:
            continue
        metrics = run_baseline(BASELINES[name], place, scenarios, seed)
        found[name] = {None: Adaptation(dict.fromkeys(points, metrics), [])}
    return found


def run_baseline(
    baseline: Baseline, place: SpectrumPlace, scenarios: Scenarios, seed: int
) -> Metrics:
    """Metrics of a baseline in the episode in which policies are scored."""
    environment = place.environment()
    environment.begin(scenarios, generator(seed, "evaluation"))
    actions = generator(seed, "baseline")
    steps = [
        environment.step(baseline(environment.state, environment.radio, actions))
        for _ in range(environment.num_steps)
    ]
    return episode_metrics(steps, environment.radio.slot_s)


METRICS = tuple(field.name for field in fields(Metrics))


def spectrum_metrics(scores: Scores, point: int) -> dict[str, dict[str, Estimate]]:
    """Metrics of each policy after ``point`` episodes, with 95 % intervals.

    With several seeds: the inter-quartile mean over the seeds' means over scenarios, its interval
    over seeds. With one: the mean over scenarios, its interval over scenarios.
    """
    found = {}
    for name, of_seeds in scores.items():
        metrics = [one.after[point] for one in of_seeds.values()]
        found[name] = {
            column: network_average(getattr(metrics[0], column))
            if len(metrics) == 1
            else interquartile_mean(_means(metrics, column))
            for column in METRICS
        }
    return found


def while_adapting(scores: Scores) -> dict[str, list[dict[str, float]]]:
    """Metrics of each episode of which a policy learned, means over seeds and scenarios.

    Baselines learn of none: all their episodes are alike.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for name, of_seeds in scores.items():
        episodes = zip(*(one.during for one in of_seeds.values()), strict=True)
        found[name] = [
            {column: float(_means(metrics, column).mean()) for column in METRICS}
            for metrics in episodes
        ]
    return found


def improvements(scores: Scores, point: int) -> dict[tuple[str, str], Estimate]:
    """Probabilities that a run of one policy has more throughput after ``point`` episodes."""
    means = {
        name: _means([one.after[point] for one in of_seeds.values()], "throughput_mbit_s")
        for name, of_seeds in scores.items()
    }
    means |= {name: certain(means[name]) for name, of_seeds in scores.items() if None in of_seeds}
    return {
        (better, worse): probability_of_improvement(means[better], means[worse])
        for better, worse in CLAIMED
        if better in means and worse in means
    }


def _means(metrics: Sequence[Metrics], column: str) -> Tensor:
    return torch.stack([getattr(one, column).mean() for one in metrics]).unsqueeze(-1)
