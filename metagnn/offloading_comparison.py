"""Comparison of trained algorithms and baselines of offloading on the same networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metagnn.finished_runs import Kind, finished_runs
from metagnn.graphs.checks import check_count, require
from metagnn.offloading_agents import AgentShape, OffloadingAgents
from metagnn.offloading_place import Place
from metagnn.offloading_score import OffloadingScore, score_offloading, trained_policy
from metagnn.plain_values import from_plain
from metagnn.seed_statistics import certain, interquartile_mean, probability_of_improvement
from metagnn.tasks.offloading.baselines import BASELINES, Policy
from metagnn.tasks.power_control.metrics import Estimate, network_average, ratio_of_means

# The first is to meet more deadlines than the second.
CLAIMED = (
    ("maddpg", "full offloading"),
    ("maddpg", "independent"),
    ("maddpg", "federated"),
    ("maddpg", "heuristic"),
    ("federated", "independent"),
)

Scores = Mapping[str, Mapping[int | None, OffloadingScore]]


@dataclass(frozen=True)
class TrainedSites:
    """Actors of a finished run.

    Attributes:
        algorithm: Name of the algorithm.
        seed: Seed of the run.
        shape: What the agents look like; ``shared`` if all sites have one model.
        actors: Parameters of each model.
        place: Where they learned.
        signalling_bytes: Bytes that the sites of a network exchanged in training, per episode.
    """

    algorithm: str
    seed: int
    shape: AgentShape
    actors: tuple[dict[str, Tensor], ...]
    place: Place
    signalling_bytes: float

    def fits(self, place: Place) -> bool:
        """Whether it runs there: models of their own need their sites, perceptrons their users."""
        cells, own = place.cells(), self.place.cells()
        sites = self.shape.shared or cells.num_cells == len(self.actors)
        users = (
            cells.cell.equal(own.cell) and place.radio.num_channels == self.place.radio.num_channels
        )
        return sites and (self.shape.kind == "graph" or users)

    def policy(self, place: Place) -> Policy:
        """Its policy in other networks, or the same.

        Raises:
            ValueError: If it does not fit them.
        """
        rule = f"fit the models of {self.algorithm} {self.seed}, which learned in {self.place}"
        require(self.fits(place), "network", rule, place)
        cells = place.cells()
        shape, actors = self.shape, self.actors
        radio = place.environment(1).radio
        agents = OffloadingAgents(shape, cells.cell, cells.num_cells, radio, False, 0)
        for module, parameters in zip(agents.actors, actors, strict=True):
            module.load_state_dict(parameters)
        return trained_policy(agents)


def find_sites(*folders: Path) -> list[TrainedSites]:
    """Actors of all finished runs under folders.

    Raises:
        ValueError: If there is none, one is unfinished or of something else, two are of one
            algorithm and seed, or runs of one algorithm differ in more than the seed.
    """
    found = finished_runs(folders, ("OffloadingLearner",), _kind, "algorithm, seed")
    return [_sites(one.facts, one.state) for one in found]


def _kind(run: Mapping[str, Any], is_last: bool) -> Kind | None:
    return (run["algorithm"],) if run["num_done"] == run["num_episodes"] else None


def _sites(run: Mapping[str, Any], state: Mapping[str, Tensor]) -> TrainedSites:
    models: dict[int, dict[str, Tensor]] = {}
    prefix = "agents.actors."
    for name, value in state.items():
        if name.startswith(prefix):
            number, _, rest = name.removeprefix(prefix).partition(".")
            models.setdefault(int(number), {})[rest] = value
    actors = tuple(models[number] for number in sorted(models))
    same = all(bool(m[name].equal(actors[0][name])) for m in actors for name in actors[0])
    shape = replace(from_plain(AgentShape, run["shape"], "shape"), shared=same)
    return TrainedSites(
        run["algorithm"],
        run["seed"],
        shape,
        actors[:1] if same else actors,
        from_plain(Place, run["place"], "place"),
        float(state["signalling_bytes"]) / run["num_done"],
    )


def compare_offloading(
    trained: Sequence[TrainedSites],
    place: Place,
    num_networks: int,
    num_steps: int,
    seed: int,
    progress: bool = False,
) -> dict[str, dict[int | None, OffloadingScore]]:
    """Scores by policy and seed of training (None for baselines).

    Args:
        trained: Trained sites, of which those that do not fit the networks are left out.
        place: Networks to be scored on.
        num_networks: Number of test networks.
        num_steps: Slots in each.
        seed: Seed of the test networks.
        progress: Show a bar.

    Raises:
        ValueError: If ``trained`` holds sites, but none that fit.
    """
    check_count("num_networks", num_networks)
    check_count("num_steps", num_steps)
    fitting = [one for one in trained if one.fits(place)]
    rule = f"hold models that run in {place}"
    require(bool(fitting) or not trained, "runs", rule, sorted({t.algorithm for t in trained}))
    policies: dict[str, Policy] = dict(BASELINES)
    policies |= {f"{one.algorithm} {one.seed}": one.policy(place) for one in fitting}
    environment = place.environment(num_steps)
    scores = score_offloading(policies, environment, num_networks, seed, "test", progress=progress)
    found: dict[str, dict[int | None, OffloadingScore]]
    found = {baseline: {None: scores[baseline]} for baseline in BASELINES}
    for one in fitting:
        score = scores[f"{one.algorithm} {one.seed}"]
        found.setdefault(one.algorithm, {})[one.seed] = score
    return found


def offloading_metrics(scores: Scores) -> dict[str, dict[str, Estimate]]:
    """Metrics of each policy with 95 % intervals.

    With several seeds: the inter-quartile mean over the seeds' means over networks, its interval
    over seeds. With one: the mean over networks, its interval over networks. ``met_of_allowed`` is
    the share of the deadlines that the relaxation can meet, ``energy_over_bound`` the energy over
    the least one with which the relaxation meets them: below 1 only by deadlines that are missed.
    """
    return {name: _metrics(list(of_seeds.values())) for name, of_seeds in scores.items()}


_RATIOS = {"met_of_allowed": ("met", "allowed"), "energy_over_bound": ("energy_j", "bound_j")}


def _metrics(of_seeds: list[OffloadingScore]) -> dict[str, Estimate]:
    names = [field.name for field in fields(OffloadingScore)]
    columns = {name: [getattr(score, name) for score in of_seeds] for name in names}
    if len(of_seeds) == 1:
        found = {name: network_average(values[0]) for name, values in columns.items()}
        for name, (over, under) in _RATIOS.items():
            pair = (columns[over][0].unsqueeze(-1), columns[under][0].unsqueeze(-1))
            found[name] = ratio_of_means(*pair)
        return found
    means = {name: torch.stack([v.mean() for v in values]) for name, values in columns.items()}
    means |= {name: means[over] / means[under] for name, (over, under) in _RATIOS.items()}
    return {name: interquartile_mean(values.unsqueeze(-1)) for name, values in means.items()}


def signalling(trained: Sequence[TrainedSites]) -> dict[str, dict[str, Estimate]]:
    """Bytes that the sites of a network sent per episode of training, by algorithm, over seeds."""
    found: dict[str, list[float]] = {}
    for one in trained:
        found.setdefault(one.algorithm, []).append(one.signalling_bytes)
    return {
        name: {"bytes": interquartile_mean(torch.tensor(sent, dtype=torch.float64).unsqueeze(-1))}
        for name, sent in found.items()
    }


def improvements(scores: Scores) -> dict[tuple[str, str], Estimate]:
    """Probabilities that a run of one policy meets more deadlines than one of another.

    A baseline, which is not trained, counts as a run without a spread over seeds.
    """
    means = {}
    for name, of_seeds in scores.items():
        column = torch.stack([one.met.mean() for one in of_seeds.values()]).unsqueeze(-1)
        means[name] = certain(column) if None in of_seeds else column
    return {
        (better, worse): probability_of_improvement(means[better], means[worse])
        for better, worse in CLAIMED
        if better in means and worse in means
    }
