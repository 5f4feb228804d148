"""Learning to offload (paper D): MA-DRL, F-DRL and IL-DRL as one Lightning module."""

import copy
import warnings
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from metagnn.agent_module import AgentModule
from metagnn.federated import Update, federated_round
from metagnn.graphs.checks import check_count, require
from metagnn.graphs.randomness import generator
from metagnn.maddpg import (
    MADDPGSettings,
    Targets,
    Transitions,
    deviance,
    soft_update,
    squared_error,
    target_value,
)
from metagnn.models.offloading import JointAction, Wishes
from metagnn.offloading_action import as_decision, joint_action
from metagnn.offloading_agents import AgentShape, OffloadingAgents, met_error, worth
from metagnn.offloading_place import Place
from metagnn.offloading_score import score_offloading, trained_policy
from metagnn.offloading_transitions import Seen, as_entry, as_transitions, entries, parts_of
from metagnn.plain_values import plain
from metagnn.replay import Replay
from metagnn.site_clusters import clusters_of_sites
from metagnn.tasks.offloading.environment import Offloading

Algorithm = Literal["maddpg", "federated", "independent"]
ALGORITHMS: tuple[Algorithm, ...] = ("maddpg", "federated", "independent")
# Absolute precision of the parts but the first: 0.1 s, 0.1 mJ and 10 mJ.
_FLOORS = (0.1, 1e-4, 1e-2)
# Rewards of so many sites are logged one by one.
_MOST_SITES = 12


class OffloadingLearner(AgentModule):
    """Sites that learn to offload. One Lightning epoch is one episode of copies side by side.

    ``maddpg`` (MA-DRL, Algorithm 1): critics know what all sites do (see `OffloadingAgents`).
    ``federated`` (F-DRL, Algorithm 2): each site learns from its own users alone, and models are
    averaged every so many episodes. ``independent`` (IL-DRL): they are not averaged.

    Args:
        place: Where episodes take place.
        shape: What the agents look like. Federated and independent sites have models of their
            own, whatever ``shared`` says.
        maddpg: Constants of the learning.
        algorithm: ``maddpg``, ``federated`` or ``independent``.
        average_every: Episodes between averagings, the last of which ends the training.
        num_clusters: Models are averaged within so many clusters of neighbouring sites; more than
            1 need a network that is the same in all episodes.
        seed: Seed of networks, actions and initial parameters.
        num_validation_networks: Networks per validation.

    Raises:
        ValueError: If an argument is out of range, or does not go with another.
    """

    signalling_bytes: Tensor

    def __init__(
        self,
        place: Place,
        shape: AgentShape,
        maddpg: MADDPGSettings,
        algorithm: Algorithm = "maddpg",
        average_every: int = 10,
        num_clusters: int = 1,
        seed: int = 0,
        num_validation_networks: int = 50,
    ) -> None:
        super().__init__(seed)
        require(algorithm in ALGORITHMS, "algorithm", f"be one of {ALGORITHMS}", algorithm)
        check_count("average_every", average_every)
        check_count("num_validation_networks", num_validation_networks)
        printed = maddpg.target == "as_printed"
        rule = "be 'site' for perceptrons, which have one value"
        fits = shape.kind == "graph" or maddpg.credit == "site"
        require(fits, "maddpg.credit", rule, maddpg.credit)
        rule = "be > 0 for the target as printed"
        require(maddpg.discount > 0.0 or not printed, "maddpg.discount", rule, 0.0)
        cells = place.cells()
        rule = "be 1 where every episode has other networks"
        require(num_clusters == 1 or place.network != "random", "num_clusters", rule, num_clusters)
        self.clusters = [list(range(cells.num_cells))]
        if num_clusters > 1:
            self.clusters = clusters_of_sites(cells.site_m.view(-1, 2), num_clusters)
        self.place, self.shape, self.maddpg = place, shape, maddpg
        self.algorithm, self.average_every = algorithm, average_every
        self.num_clusters = num_clusters
        self.num_validation_networks = num_validation_networks
        radio = place.environment(1).radio
        central = algorithm == "maddpg"
        own = AgentShape(**{**asdict(shape), "shared": shape.shared and central})
        self.agents = OffloadingAgents(own, cells.cell, cells.num_cells, radio, central, seed)
        if self.looks_ahead:
            self.target = copy.deepcopy(self.agents).requires_grad_(False)
        sizes = (cells.num_users, cells.num_cells, radio.num_channels)
        self.replay = Replay(maddpg.capacity, entries(*sizes, self.looks_ahead))
        self.register_buffer("signalling_bytes", torch.zeros((), dtype=torch.float64))

    def facts(self) -> dict[str, Any]:
        """See `AgentModule`."""
        settings = {name: asdict(getattr(self, name)) for name in ("place", "shape", "maddpg")}
        return {
            "kind": type(self).__name__,
            **plain(settings),
            "algorithm": self.algorithm,
            "average_every": self.average_every,
            "num_clusters": self.num_clusters,
            "seed": self.seed,
        }

    @property
    def looks_ahead(self) -> bool:
        """Whether values of what follows count."""
        return self.maddpg.discount > 0.0

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Adam on the actors and on the critics."""
        pairs = (
            (self.agents.actors, self.maddpg.actor_rate),
            (self.agents.critics, self.maddpg.critic_rate),
        )
        return [torch.optim.Adam(m.parameters(), lr=rate, fused=True) for m, rate in pairs]

    def training_step(self, batch: int, batch_index: int) -> None:
        """One episode, with an update after each slot (Algorithms 1 and 2)."""
        settings, left = self.maddpg, self.left()
        environment = self.place.environment(settings.num_steps)
        self._count_gains()
        source = generator(self.seed, "networks", self.current_epoch, device=self.device)
        actions = generator(self.seed, "noise", self.current_epoch, device=self.device)
        observation = environment.reset(settings.num_copies, source)
        first, last = settings.noise
        scale = last + (first - last) * left
        logged: dict[str, list[Tensor]] = {}
        for number in range(settings.num_steps):
            with torch.no_grad():
                wishes = self.agents.wishes(observation).disturbed(scale, actions)
                cells = environment.cells
                action = joint_action(wishes, cells.cell, cells.num_cells)
            slot = environment.slot
            step = environment.step(as_decision(action, environment.radio))
            parts = parts_of(step.info.cost, slot)
            after = step.observation if self.looks_ahead else None
            gain = environment.large_scale_gain
            self.replay.add(as_entry(gain, observation, action, parts, after))
            observation = step.observation
            self._count_states(environment)
            values = {
                **self._site_rewards(step.info.value),
                "reward": step.info.value.mean(),
                "met": step.info.cost.met.float().mean(),
                "energy_mj": 1e3 * step.info.cost.energy_j.mean(),
            }
            if len(self.replay) >= settings.warm_up:
                values |= self._update(number, left)
            for name, value in values.items():
                logged.setdefault(name, []).append(value.detach())
        self.num_done += 1
        number = self.current_epoch + 1
        due = number % self.average_every == 0 or number == self.trainer.max_epochs
        if self.algorithm == "federated" and due:
            self.average()
        means = {name: torch.stack(column).mean() for name, column in logged.items()}
        means["signalling_bytes"] = self.signalling_bytes.float()
        self.log_dict(means, batch_size=1)

    def _site_rewards(self, of_users: Tensor) -> dict[str, Tensor]:
        """Rewards of the sites by their own users alone (Eq. 23), where sites are few."""
        if self.agents.num_cells > _MOST_SITES:
            return {}
        sites = self._by_site(of_users).mean(0)
        return {f"site_reward_{site}": value for site, value in enumerate(sites)}

    def _by_site(self, of_users: Tensor) -> Tensor:
        """Sums over the users of each site: ``[N, I]`` to ``[N, M]``."""
        sites = of_users.new_zeros(len(of_users), self.agents.num_cells)
        return sites.index_add(1, self.agents.cell, of_users)

    def _update(self, number: int, left: float) -> dict[str, Tensor]:
        """Updates of critics, actors and targets after a slot, and what is logged of them."""
        settings = self.maddpg
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        of_actors, of_critics = optimizers
        rates = (settings.actor_rate, settings.critic_rate)
        for optimizer, rate in zip(optimizers, rates, strict=True):
            assert isinstance(optimizer, LightningOptimizer)
            for group in optimizer.param_groups:
                group["lr"] = rate * (left if settings.schedule == "linear" else 1.0)
        delayed: Targets[Seen, JointAction] = Targets(
            actor=lambda seen: self._act(self.target.wishes(seen.graph)),
            critic=lambda seen, action: self._value(self.target, seen, action),
        )
        for turn in range(settings.critic_updates):
            source = generator(self.seed, "replay", self.current_epoch, number, turn + 1)
            batch = self._transitions(self.replay.sample(settings.critic_batch, source))
            target = target_value(batch, delayed, settings.discount, settings.target)
            error = self._error(self._value(self.agents, batch.observation, batch.action), target)
            of_critics.zero_grad()
            self.manual_backward(error)
            of_critics.step()
        seen = self._part(batch.observation)
        action = self._act(self.agents.wishes(seen.graph))
        objective = self._worth(self._value(self.agents, seen, action))
        of_actors.zero_grad()
        self.manual_backward(-objective)
        of_actors.step()
        if self.looks_ahead:
            soft_update(self.target.parameters(), self.agents.parameters(), settings.soft_rate)
        return {"critic_error": error, "value": objective}

    def _act(self, wishes: Wishes) -> JointAction:
        return joint_action(wishes, self.agents.cell, self.agents.num_cells)

    def _value(self, agents: OffloadingAgents, seen: Seen, action: JointAction) -> Tensor:
        """Values per slot: parts of users ``[N, I, P]``, or of sites ``[N, M]``."""
        if self.shape.kind == "perceptron":
            return agents.site_values(seen.graph, action)
        parts = agents.parts(seen.graph, seen.edges, action)
        return parts if self.maddpg.credit == "user" else self._of_sites(parts)

    def _of_sites(self, parts: Tensor) -> Tensor:
        """Rewards of the sites ``[N, M]``: of all users (Eq. 12), or of their own (Eq. 23)."""
        sites = self._by_site(worth(parts, self.place.revenue))
        if self.algorithm == "maddpg":
            return sites.sum(-1, keepdim=True).expand_as(sites)
        return sites

    def _error(self, value: Tensor, target: Tensor) -> Tensor:
        if self.maddpg.credit == "site":
            return squared_error(value, target).mean()
        floor = value.new_tensor(_FLOORS)
        errors = [
            met_error(value[..., :1], target[..., :1]),
            deviance(value[..., 1:], target[..., 1:], floor),
        ]
        return torch.cat(errors, dim=-1).sum(-1).mean()

    def _worth(self, value: Tensor) -> Tensor:
        """What the actors raise: the mean value of a user, or of a site."""
        return (worth(value, self.place.revenue) if self.maddpg.credit == "user" else value).mean()

    def _transitions(self, kept: dict[str, Tensor]) -> Transitions[Seen, JointAction]:
        """A batch as the replay kept it, its rewards as values per slot."""
        found = as_transitions(kept, self.agents.cell, self.place.environment(1).radio)
        reward = found.reward if self.maddpg.credit == "user" else self._of_sites(found.reward)
        return replace(found, reward=(1.0 - self.maddpg.discount) * reward)

    def _part(self, seen: Seen) -> Seen:
        """The transitions of the actors' update."""
        number = self.maddpg.actor_batch
        return Seen(seen.graph[:number], seen.edges[:number])

    def _count_gains(self) -> None:
        """Bytes of the mean gains from users to sites, once per episode, if critics know them."""
        if self.algorithm == "maddpg" and self.shape.kind == "graph":
            self.signalling_bytes += 4.0 * len(self.agents.cell) * self.agents.num_cells

    def _count_states(self, environment: Offloading) -> None:
        """Bytes that the sites of a network broadcast in a slot (Section III-C), as float32.

        That is each site's state (a user's gains on all channels and the three numbers of its task;
        the site's interference on all channels) and action (four numbers of a user: ratio, channel,
        power, share), once, as all hear the broadcast and reckon the rewards from it. No models are
        sent: every site trains from what it heard. Of the copies one counts, as of the models of
        F-DRL, which every site sends and gets once per round (Section IV).
        """
        if self.algorithm != "maddpg":
            return
        users, channels = environment.cells.num_users, environment.radio.num_channels
        state = users * channels + channels * environment.cells.num_cells + 3 * users
        self.signalling_bytes += 4.0 * (state + 4 * users)

    @torch.no_grad()
    def average(self) -> None:
        """A round of federated averaging within each cluster (Eq. 26, Section IV).

        All batches are of one size, so all weights are equal; sites without users have learned
        nothing, and get the mean of the others.
        """
        has_users = torch.bincount(self.agents.cell, minlength=self.agents.num_cells) > 0
        pairs = [
            nn.ModuleList(p) for p in zip(self.agents.actors, self.agents.critics, strict=True)
        ]
        for cluster in self.clusters:
            learned = [site for site in cluster if has_users[site]]
            updates = [Update(f"site {site}", pairs[site].state_dict()) for site in learned]
            now = pairs[cluster[0]].state_dict()
            found = federated_round(now, updates, "samples", num_receivers=len(cluster))
            self.signalling_bytes += found.num_bytes
            for client, reason in found.rejected.items():
                message = f"{client} was left out of the average of episode {self.current_epoch}"
                warnings.warn(f"{message}: {reason}", stacklevel=1)
            for site in cluster:
                pairs[site].load_state_dict(found.model)

    def validation_step(self, batch: int, batch_index: int) -> None:
        """Log deadlines and energies on validation networks."""
        self._score("validation", self.num_validation_networks, 5)

    def test_step(self, batch: int, batch_index: int) -> None:
        """Log the same on test networks."""
        self._score("test", 100, 20)

    def _score(self, split: str, num_networks: int, num_steps: int) -> None:
        policies = {"own": trained_policy(self.agents)}
        environment = self.place.environment(num_steps)
        found = score_offloading(
            policies, environment, num_networks, self.seed, split, split == "test", self.device
        )["own"]
        self.log(f"{split}_met", float(found.met.mean()), prog_bar=True, batch_size=1)
        energy_mj = 1e3 * float(found.energy_j.mean())
        self.log(f"{split}_energy_mj", energy_mj, prog_bar=True, batch_size=1)
