"""Comparison of trained schemes and baselines of channel assignment, per scenario."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metagnn.assignment_score import AssignmentScore, Decide, deterministic, score_assignment
from metagnn.checkpoint import read_checkpoint
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import HybridPolicy
from metagnn.models.actor_critic import ActorCritic, ActorCriticShape
from metagnn.seed_statistics import interquartile_mean
from metagnn.tasks.channel_assignment.baselines import BASELINES
from metagnn.tasks.channel_assignment.environment import ChannelAssignment
from metagnn.tasks.channel_assignment.scenario import scenario
from metagnn.tasks.power_control.metrics import Estimate, network_average, ratio_of_means


@dataclass(frozen=True)
class TrainedUsers:
    """Models of the users of one run.

    Attributes:
        scheme: Name of the scheme; ``mfrl_early`` for MFRL at half of its training.
        scenario: Scenario in which they adapted.
        num_users: Number of users.
        seed: Seed of the run.
        decide: Their likeliest actions.
    """

    scheme: str
    scenario: str
    num_users: int
    seed: int
    decide: Decide


def load_users(path: Path) -> TrainedUsers:
    """Users of a checkpoint of `FederatedPPO`.

    Raises:
        ValueError: If the file is no such checkpoint.
    """
    checkpoint = read_checkpoint(path, name="runs")
    facts: dict[str, Any] = checkpoint.get("users", {})
    require("scheme" in facts, "runs", "hold checkpoints of FederatedPPO", str(path))
    shape = dict(facts["shape"])
    shape["hidden_channels"] = tuple(shape["hidden_channels"])
    network = ActorCritic(ActorCriticShape(**shape))
    models = {
        name.removeprefix("local.").replace("/", "."): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith("local.")
    }

    def users(graph: DenseGraph) -> tuple[HybridPolicy, Tensor]:
        policy: tuple[HybridPolicy, Tensor] = network(graph, models)
        return policy

    done, total = int(checkpoint["epoch"]), int(facts["num_episodes"])
    scheme = str(facts["scheme"])
    if scheme == "mfrl" and 2 * done <= total:
        scheme = "mfrl_early"
    decide = deterministic(users, facts["cell"]["layout"], facts["cell"]["edges"])
    return TrainedUsers(
        scheme, facts["cell"]["scenario"], int(facts["num_users"]), int(facts["seed"]), decide
    )


def compare_assignment(
    runs: Sequence[TrainedUsers],
    scenarios: Sequence[str],
    num_users: int,
    num_cells: int,
    num_steps: int,
    seed: int,
) -> dict[str, dict[str, list[AssignmentScore]]]:
    """Scores per scenario and policy: one of each baseline, one per seed of each scheme.

    Args:
        runs: Trained users; those of other scenarios or numbers of users are left out.
        scenarios: Names of scenarios.
        num_users: Number of users.
        num_cells: Test cells per scenario.
        num_steps: Steps in each cell.
        seed: Seed of the test cells.
    """
    check_count("num_cells", num_cells)
    found: dict[str, dict[str, list[AssignmentScore]]] = {}
    for name in scenarios:
        environment = ChannelAssignment(scenario(name), num_users, num_steps=num_steps)
        mine = [r for r in runs if (r.scenario, r.num_users) == (name, num_users)]
        policies: dict[str, Decide] = dict(BASELINES)
        policies |= {f"{number}": run.decide for number, run in enumerate(mine)}
        scores = score_assignment(policies, environment, num_cells, seed, "test")
        grouped: defaultdict[str, list[AssignmentScore]] = defaultdict(list)
        for baseline in BASELINES:
            grouped[baseline].append(scores[baseline])
        for number, run in enumerate(mine):
            grouped[run.scheme].append(scores[f"{number}"])
        found[name] = dict(grouped)
    return found


def assignment_metrics(
    scores: Mapping[str, Sequence[AssignmentScore]],
) -> dict[str, dict[str, Estimate]]:
    """Metrics of each policy with 95 % intervals.

    With several seeds: the inter-quartile mean over the seeds' means over cells, its interval
    over seeds. With one: the mean over cells, its interval over cells.
    """
    return {name: _metrics(list(of_seeds)) for name, of_seeds in scores.items()}


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
