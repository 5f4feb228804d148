"""Comparison of trained schemes and baselines of channel assignment, per scenario."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metagnn.assignment_module import Cell, fitting_shape
from metagnn.assignment_score import AssignmentScore, deterministic, score_assignment
from metagnn.federated_ppo import models_in, network_in
from metagnn.finished_runs import FinishedRun, Kind, finished_runs
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import HybridPolicy
from metagnn.models.actor_critic import ActorCritic, ActorCriticShape
from metagnn.seed_statistics import interquartile_mean, probability_of_improvement
from metagnn.tasks.channel_assignment.baselines import BASELINES, Decision
from metagnn.tasks.channel_assignment.environment import ChannelAssignment
from metagnn.tasks.channel_assignment.scenario import Uplink, scenario
from metagnn.tasks.power_control.metrics import Estimate, network_average, ratio_of_means

# What the paper claims of its schemes: the first is better than the second.
CLAIMED = (("mfrl", "frl"), ("mfrl", "mrl"), ("mfrl", "marl"), ("mrl", "marl"), ("frl", "marl"))


@dataclass(frozen=True)
class Trained:
    """A trained policy.

    Attributes:
        scheme: Name of the scheme; ``mfrl_early`` for MFRL at half of its training, ``meta`` for
            the model of the base station as it is.
        scenario: Scenario in which its users adapted; None for ``meta``, which runs in any.
        num_users: Number of users in training; None for ``meta``.
        seed: Seed of the run.
        decide: Its likeliest actions.
        shared: All users have one model, as after an average; it takes any number of users.
    """

    scheme: str
    scenario: str | None
    num_users: int | None
    seed: int
    decide: Decision
    shared: bool


def find_trained(folder: Path) -> list[Trained]:
    """Policies of all finished runs under a folder, wherever a run went on after a stop.

    Raises:
        ValueError: If there is none, or one is unfinished, or two are of one kind and seed, or
            runs of one kind differ in more than the seed, or one is of other observations, channels
            or powers than cells have.
    """
    words = "scheme, scenario, users, seed"
    learners = ("MetaPPO", "FederatedPPO")
    return [_policy(one) for one in finished_runs([folder], learners, _kind, words, "*.ckpt")]


def _kind(run: Mapping[str, Any], is_last: bool) -> Kind | None:
    scheme = _scheme(run, is_last)
    return None if scheme is None else (scheme, *_place(run))


def _scheme(run: Mapping[str, Any], is_last: bool) -> str | None:
    """What a checkpoint is of; None for one within a run that is not MFRL at its half."""
    scheme: str = run.get("scheme", "meta")
    if is_last:
        return scheme if run["num_done"] == run["num_episodes"] else None
    half = 2 * run["num_done"] == run["num_episodes"]
    return "mfrl_early" if scheme == "mfrl" and half else None


def _place(run: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """Scenario and number of users to which a run belongs."""
    if run["kind"] == "MetaPPO":
        return None, None
    return run["cell"]["scenario"], run["num_users"]


def _policy(found: FinishedRun) -> Trained:
    run, state = found.facts, found.state
    names = {field.name for field in fields(ActorCriticShape)}
    rule = f"hold networks of this version, whose shape has {sorted(names)}"
    require(set(run["shape"]) <= names, "runs", rule, f"{sorted(run['shape'])} in {found.path}")
    values = {**run["shape"], "hidden_channels": tuple(run["shape"]["hidden_channels"])}
    shape = ActorCriticShape(**values)
    layout, edges = run["cell"]["layout"], run["cell"]["edges"]
    for name, value in fitting_shape(Cell(layout=layout).environment(1)).items():
        had = getattr(shape, name)
        rule = f"hold networks with {name} = {value} for layout {layout!r}"
        require(had == value, "runs", rule, f"{had} in {found.path}")
    network = ActorCritic(shape)
    of_users = run["kind"] == "FederatedPPO"
    parameters = models_in(state) if of_users else network_in(state)
    shared = not of_users or all(bool((v == v[0]).all()) for v in parameters.values())
    if of_users and shared:
        parameters = {name: value[0] for name, value in parameters.items()}

    def call(graph: DenseGraph) -> tuple[HybridPolicy, Tensor]:
        policy: tuple[HybridPolicy, Tensor] = network(graph, parameters)
        return policy

    progress = run["num_done"] / run["num_episodes"]
    decide = deterministic(call, layout, edges, progress)
    return Trained(str(found.kind[0]), *_place(run), run["seed"], decide, shared)


def compare_assignment(
    trained: Sequence[Trained],
    scenarios: Sequence[str],
    num_users: int,
    num_cells: int,
    num_steps: int,
    seed: int,
    line_of_sight: bool = False,
    snr_min_db: float = Uplink.snr_min_db,
) -> dict[str, dict[str, dict[int | None, AssignmentScore]]]:
    """Scores by scenario, policy and seed of training (None for baselines).

    Args:
        trained: Trained policies; those of other scenarios are left out, and those of other
            numbers of users unless all users have one model.
        scenarios: Names of scenarios.
        num_users: Number of users.
        num_cells: Test cells per scenario.
        num_steps: Steps in each cell.
        seed: Seed of the test cells.
        line_of_sight: Draw lines of sight with their probability; the paper has none.
        snr_min_db: Smallest SNR [dB].

    Raises:
        ValueError: If ``trained`` holds policies, but none for the scenarios and users, or some of
            one scheme that learned with several numbers of users, none of which is wanted.
    """
    check_count("num_cells", num_cells)
    uplink = Uplink(snr_min_db=snr_min_db)
    found: dict[str, dict[str, dict[int | None, AssignmentScore]]] = {}
    num_used = 0
    for name in scenarios:
        place = replace(scenario(name), line_of_sight=line_of_sight)
        environment = ChannelAssignment(place, num_users, uplink, num_steps)
        mine = _fitting(trained, name, num_users)
        num_used += len(mine)
        policies: dict[str, Decision] = dict(BASELINES)
        policies |= {f"{t.scheme} {t.seed}": t.decide for t in mine}
        scores = score_assignment(policies, environment, num_cells, seed, "test")
        found[name] = {baseline: {None: scores[baseline]} for baseline in BASELINES}
        for t in mine:
            found[name].setdefault(t.scheme, {})[t.seed] = scores[f"{t.scheme} {t.seed}"]
    rule = f"hold runs with {num_users} users in one of {list(scenarios)}"
    kinds = sorted({f"{t.scheme} {t.scenario} {t.num_users}" for t in trained})
    require(num_used > 0 or not trained, "runs", rule, kinds)
    return found


def _fitting(trained: Sequence[Trained], scenario: str, num_users: int) -> list[Trained]:
    """Policies for a scenario and number of users, of a scheme all with one number in training.

    That is the number wanted if there are such, or else another one, of models that all share.
    """
    fitting: list[Trained] = []
    mine = [t for t in trained if t.scenario in (None, scenario)]
    for scheme in dict.fromkeys(t.scheme for t in mine):
        of_scheme = [t for t in mine if t.scheme == scheme]
        exact = [t for t in of_scheme if t.num_users == num_users]
        others = [t for t in of_scheme if t.shared]
        numbers = sorted({str(t.num_users) for t in others})
        rule = f"hold runs of {scheme} with {num_users} users, or of one other number"
        require(bool(exact) or len(numbers) <= 1, "runs", rule, numbers)
        fitting += exact or others
    return fitting


def improvements(
    scores: Mapping[str, Mapping[int | None, AssignmentScore]],
) -> dict[tuple[str, str], Estimate]:
    """Probabilities that a run of one scheme has a larger sum energy efficiency than another's.

    Of the pairs of which the paper says so and both schemes have runs; with several seeds of both
    come 95 % intervals over seeds.
    """
    means = {
        name: torch.stack([one.efficiency.mean() for one in of_seeds.values()]).unsqueeze(-1)
        for name, of_seeds in scores.items()
    }
    return {
        (better, worse): probability_of_improvement(means[better], means[worse])
        for better, worse in CLAIMED
        if better in means and worse in means
    }


def assignment_metrics(
    scores: Mapping[str, Mapping[int | None, AssignmentScore]],
) -> dict[str, dict[str, Estimate]]:
    """Metrics of each policy with 95 % intervals.

    With several seeds: the inter-quartile mean over the seeds' means over cells, its interval
    over seeds. With one: the mean over cells, its interval over cells.
    """
    return {name: _metrics(list(of_seeds.values())) for name, of_seeds in scores.items()}


def _metrics(of_seeds: list[AssignmentScore]) -> dict[str, Estimate]:
    columns = {
        "sum_efficiency": [s.efficiency for s in of_seeds],
        "success_rate": [s.success_rate for s in of_seeds],
        "snr_rate": [s.snr_rate for s in of_seeds],
    }
    if len(of_seeds) == 1:
        alone = of_seeds[0]
        found = {name: network_average(values[0]) for name, values in columns.items()}
        sums = (alone.efficiency.unsqueeze(-1), alone.optimum.unsqueeze(-1))
        return {**found, "share_of_optimum": ratio_of_means(*sums)}
    means = {name: [v.mean() for v in values] for name, values in columns.items()}
    means["share_of_optimum"] = [torch.tensor(s.share) for s in of_seeds]
    return {
        name: interquartile_mean(torch.stack(values).unsqueeze(-1))
        for name, values in means.items()
    }
