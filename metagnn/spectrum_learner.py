"""Policies of spectrum allocation learn over a distribution of scenarios (paper C)."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import reduce
from typing import Any, Literal

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from metagnn.agent_module import AgentModule
from metagnn.graphs.checks import check_count, check_positive, require
from metagnn.graphs.randomness import generator
from metagnn.meta_rl import InnerSettings, learners
from metagnn.models.spectrum import Memory, MemoryKind, PolicyShape
from metagnn.plain_values import plain
from metagnn.ppo import PPOSettings
from metagnn.spectrum_adaptation import (
    Adapter,
    GradientSteps,
    Remembering,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_episode import Episode, Parameters, collect, see
from metagnn.spectrum_lesson import CREDITS, Credit, Lesson, lesson, losses, measured
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.environment import SpectrumAllocation
from metagnn.tasks.spectrum_allocation.metrics import episode_metrics

Agent = Literal["ppo", "maml", "recurrent", "attention"]
# What each agent remembers with.
MEMORY_OF: dict[Agent, MemoryKind] = {
    "ppo": "none",
    "maml": "none",
    "recurrent": "recurrent",
    "attention": "attention",
}


class SpectrumLearner(AgentModule):
    """One policy for all scenarios. One Lightning epoch is one batch of scenarios.

    ``ppo`` learns to act in all of them alike. ``recurrent`` and ``attention`` (after RL^2, Duan et
    al., 2016) do so too, but see their last rewards as well and remember over all episodes of a
    scenario, which they learn from as from one long one: they adapt by remembering (with
    counterfactual credit, which is of the slot alone, they learn what to remember, but not to
    explore). ``maml``
    learns parameters from which gradient steps of one episode each adapt to a scenario.

    Args:
        place: Where episodes take place.
        shape: What the policy looks like; its memory is that of the agent.
        ppo: Constants of the learning.
        agent: ``ppo``, ``maml``, ``recurrent`` or ``attention``.
        inner: Steps of ``maml``.
        credit: What advantages are of (see `lesson`). Of ``counterfactual`` ones only what all
            scenarios share learns; in a scenario by itself policies learn of the ``band``.
        num_networks: Scenarios B in a batch.
        num_episodes: Episodes of each, one after the other. ``maml`` takes steps after each but
            the last, of which the shared parameters learn.
        learning_rate: Learning rate of Adam.
        schedule: ``constant``, or ``linear`` decay of learning rate and entropy weight to zero.
        seed: Seed of scenarios, episodes and initial parameters.
        num_validation_networks: Scenarios per validation.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        place: SpectrumPlace,
        shape: PolicyShape,
        ppo: PPOSettings,
        agent: Agent = "recurrent",
        inner: InnerSettings = InnerSettings(),  # noqa: B008 - frozen
        credit: Credit = "band",
        num_networks: int = 32,
        num_episodes: int = 2,
        learning_rate: float = 1e-3,
        schedule: Literal["constant", "linear"] = "linear",
        seed: int = 0,
        num_validation_networks: int = 32,
    ) -> None:
        super().__init__(seed)
        require(agent in MEMORY_OF, "agent", f"be one of {tuple(MEMORY_OF)}", agent)
        require(credit in CREDITS, "credit", f"be one of {CREDITS}", credit)
        counts = {"num_networks": num_networks, "num_episodes": num_episodes}
        counts |= {"num_validation_networks": num_validation_networks}
        for name, count in counts.items():
            check_count(name, count)
        rule = "be at least 2 for maml, whose steps come before the last"
        require(agent != "maml" or num_episodes > 1, "num_episodes", rule, num_episodes)
        rule = "be 'return' here"
        require(ppo.value_target == "return", "ppo.value_target", rule, ppo.value_target)
        rule = "be 0 with counterfactual credit, which is of the slot alone"
        of_slot = credit != "counterfactual" or ppo.discount == 0.0
        require(of_slot, "ppo.discount", rule, ppo.discount)
        rule = f"be at most the {num_networks} networks"
        require(ppo.num_batches <= num_networks, "ppo.num_batches", rule, ppo.num_batches)
        check_positive("learning_rate", learning_rate)
        schedules = ("constant", "linear")
        require(schedule in schedules, "schedule", f"be one of {schedules}", schedule)
        self.place, self.ppo, self.agent, self.inner = place, ppo, agent, inner
        self.credit: Credit = credit
        self.shape = replace(shape, memory=MEMORY_OF[agent])
        self.num_networks, self.num_episodes = num_networks, num_episodes
        self.learning_rate, self.schedule = learning_rate, schedule
        self.num_validation_networks = num_validation_networks
        self.policy: Any = initial_policy(place, self.shape, seed)

    def facts(self) -> dict[str, Any]:
        """See `AgentModule`."""
        settings = {
            name: asdict(getattr(self, name)) for name in ("place", "shape", "ppo", "inner")
        }
        return {
            "kind": type(self).__name__,
            **plain(settings),
            "agent": self.agent,
            "credit": self.credit,
            "num_networks": self.num_networks,
            "num_episodes_each": self.num_episodes,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            "seed": self.seed,
        }

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the shared parameters."""
        return torch.optim.Adam(self.policy.parameters(), lr=self.learning_rate, fused=True)

    def _share(self) -> float:
        return self.left() if self.schedule == "linear" else 1.0

    def training_step(self, batch: int, batch_index: int) -> None:
        """Episodes in a batch of scenarios, and what is learned from them."""
        environment = self.place.environment()
        source = generator(self.seed, "scenarios", self.current_epoch, device=self.device)
        environment.reset(self.num_networks, source)
        if self.agent == "maml":
            self._learn_to_learn(environment)
        else:
            self._learn(environment)
        self.num_done += 1

    def _episode(
        self,
        environment: SpectrumAllocation,
        number: int,
        before: Episode | None,
        memory: Memory | None,
        parameters: Parameters | None = None,
    ) -> tuple[Episode, Memory]:
        """The next episode of the same scenarios; what comes before it is remembered."""
        position = (self.current_epoch, number)
        graph = environment.reset_episode(
            generator(self.seed, "episode", *position, device=self.device)
        )
        nothing = graph.node.new_zeros(self.num_networks)
        seen = see(environment, graph, nothing if before is None else before.reward[-1], True)
        memory = self.policy.start(seen) if memory is None else memory
        levels = generator(self.seed, "levels", *position, device=self.device)
        # Steps of MAML learn of what can be measured.
        learns = self.agent != "maml" or number == self.num_episodes - 1
        wanted = self.credit == "counterfactual" and learns
        return collect(self.policy, environment, seen, memory, levels, parameters, wanted)

    def _settings(self) -> PPOSettings:
        return replace(self.ppo, entropy_weight=self.ppo.entropy_weight * self._share())

    def _learn(self, environment: SpectrumAllocation) -> None:
        """PPO over all scenarios."""
        settings = self._settings()
        episodes: list[Episode] = []
        memory: Memory | None = None
        logged: dict[str, list[Tensor]] = {}
        for number in range(self.num_episodes):
            before = episodes[-1] if episodes else None
            found, memory = self._episode(environment, number, before, memory)
            episodes.append(found)
        remembers = self.shape.memory != "none"
        learned = [reduce(Episode.then, episodes)] if remembers else episodes
        lessons = [lesson(one, settings, self.credit) for one in learned]
        for networks in self._batches(settings):
            parts = [losses(self.policy, one.of(networks), settings) for one in lessons]
            self._descend(torch.stack([part["loss"].mean() for part in parts]).mean())
            for part in parts:
                for name, value in part.items():
                    logged.setdefault(name, []).append(value.detach().mean())
        self._log(episodes, lessons[-1], logged)

    def _batches(self, settings: PPOSettings) -> Iterator[Tensor]:
        """Networks of each update of an epoch."""
        for number in range(settings.num_epochs):
            source = generator(self.seed, "order", self.current_epoch, number)
            order = torch.randperm(self.num_networks, generator=source)
            yield from order.tensor_split(settings.num_batches)

    def _learn_to_learn(self, environment: SpectrumAllocation) -> None:
        """MAML: steps of each scenario by itself, then one of the shared parameters."""
        settings = self._settings()
        networks = learners(self.policy, self.num_networks, self.inner, settings)
        episodes: list[Episode] = []
        lessons: list[Lesson] = []
        for number in range(self.num_episodes):
            if number > 0:
                networks.learn(lessons[-1])
            found, _ = self._episode(environment, number, None, None, networks.parameters())
            episodes.append(found)
            is_last = number == self.num_episodes - 1
            credit = self.credit if is_last else measured(self.credit)
            lessons.append(lesson(found, settings, credit))
        logged: dict[str, list[Tensor]] = {}
        for some in self._batches(settings):
            networks = learners(self.policy, len(some), self.inner, settings)
            for one in lessons[:-1]:
                networks.learn(one.of(some))
            loss = networks.outer(lessons[-1].of(some))
            self._descend(loss.mean())
            logged.setdefault("loss", []).append(loss.detach().mean())
        self._log(episodes, lessons[-1], logged)

    def _descend(self, loss: Tensor) -> None:
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate * self._share()
        optimizer.zero_grad()
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(
            self.policy.parameters(), self.ppo.max_gradient_norm, error_if_nonfinite=True
        )
        optimizer.step()

    def _log(
        self, episodes: Sequence[Episode], last: Lesson, logged: dict[str, list[Tensor]]
    ) -> None:
        values = {name: torch.stack(column).mean() for name, column in logged.items()}
        for number, one in enumerate(episodes):
            values[f"reward_{number}"] = one.reward.mean()
        left = (last.returns - last.episode.value).var() / last.returns.var().clamp(min=1e-12)
        values["explained_variance"] = 1.0 - left
        metrics = episode_metrics(episodes[-1].steps, self.place.environment().radio.slot_s)
        values |= {name: column.mean().float() for name, column in vars(metrics).items()}
        self.log_dict(values, batch_size=1)

    def adapter(self, num_networks: int) -> Adapter:
        """The policy as it adapts to so many scenarios."""
        if self.agent == "maml":
            return GradientSteps(self.policy, num_networks, self.inner, self.ppo, self.credit)
        return Remembering(self.policy)

    def validation_step(self, batch: int, batch_index: int) -> None:
        """Log metrics on validation scenarios, before and after five episodes of adaptation."""
        self._score("validation", self.num_validation_networks, (0, 5))

    def test_step(self, batch: int, batch_index: int) -> None:
        """Log metrics on test scenarios, after 0, 1, 2, 5 and 10 episodes of adaptation."""
        self._score("test", 100, (0, 1, 2, 5, 10))

    def _score(self, split: str, num_networks: int, points: tuple[int, ...]) -> None:
        scenarios = unseen_scenarios(self.place, num_networks, self.seed, split, self.device)
        # Adaptation may need gradients, which Lightning's evaluation loops switch off.
        with torch.inference_mode(False), torch.enable_grad():
            adapter = self.adapter(num_networks)
            found = adapt_to(adapter, self.place, scenarios, points, self.seed)
        for point, metrics in found.after.items():
            for name, column in vars(metrics).items():
                shown = name == "throughput_mbit_s"
                value = float(column.mean())
                self.log(f"{split}_{name}_{point}", value, prog_bar=shown, batch_size=1)


def initial_policy(place: SpectrumPlace, shape: PolicyShape, seed: int) -> nn.Module:
    """Policy with random parameters, a function of the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(seed, "policy").initial_seed() % 2**63)
        return place.policy(shape)
