"""One copy of a batched environment behind PettingZoo's parallel API (extra ``pettingzoo``)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.graphs.units import dbm_to_w
from metagnn.tasks.channel_assignment.environment import Action, ChannelAssignment
from metagnn.tasks.environment import Step
from metagnn.tasks.offloading.construction import MAX_LOG_NEED, construct, members
from metagnn.tasks.offloading.environment import NUM_FEATURES, Offloading
from metagnn.tasks.spectrum_allocation import environment as spectrum

Answers = dict[str, Any]
# Scores of channels are compared with each other only.
MAX_SCORE = 10.0


class _Parallel(ParallelEnv):  # type: ignore[misc]
    """What the adapters share: episodes by seed, actions that are checked, answers by agent.

    Without a seed, `reset` goes on to the next episode of the seed before.
    """

    render_mode = None

    def __init__(self, environment: Any, observed: Answers, allowed: Answers) -> None:
        self.environment = environment
        self.possible_agents = list(allowed)
        self.agents: list[str] = []
        self._seed, self._episode = 0, 0
        self._observation_spaces: dict[str, spaces.Dict] = observed
        self._action_spaces: dict[str, spaces.Dict] = allowed

    def observation_space(self, agent: str) -> spaces.Dict:
        """What an agent sees."""
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Dict:
        """What an agent does."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Answers, Answers]:
        """Begin an episode; ``options`` are not used."""
        self._seed, self._episode = (
            (self._seed, self._episode + 1) if seed is None else (int(seed), 0)
        )
        source = generator(self._seed, "pettingzoo", self._episode)
        self.agents = list(self.possible_agents)
        observation = self.environment.reset(1, source)
        return self._observations(observation), {agent: {} for agent in self.agents}

    def step(self, actions: Answers) -> tuple[Answers, Answers, Answers, Answers, Answers]:
        """Observations, rewards, terminations, truncations and infos of all agents.

        Raises:
            ValueError: If an agent's action is missing or not in its space, or there is one of an
                agent that is not there.
        """
        require(bool(self.agents), "step", "follow a reset", actions)
        require(isinstance(actions, Mapping), "actions", "be actions by agent", actions)
        unknown = [agent for agent in actions if agent not in self.agents]
        require(not unknown, "actions", f"be of agents among {self.agents}", unknown)
        for agent in self.agents:
            action = actions.get(agent)
            space = self.action_space(agent)
            require(space.contains(action), f"actions[{agent!r}]", f"lie in {space}", action)
        step = self.environment.step(self._action(actions))
        observations = self._observations(step.observation)
        rewards = dict(zip(self.agents, self._rewards(step), strict=True))
        terminations, truncations = (
            dict.fromkeys(self.agents, bool(value[0]))
            for value in (step.terminated, step.truncated)
        )
        infos = dict(zip(self.agents, self._infos(step), strict=True))
        if any(terminations.values()) or any(truncations.values()):
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def _action(self, actions: Answers) -> Any:
        """Action of the environment for those of its agents."""
        raise NotImplementedError

    def _observations(self, graph: DenseGraph) -> Answers:
        """What each agent sees."""
        raise NotImplementedError

    def _rewards(self, step: Step[Any]) -> list[float]:
        """Rewards of the agents."""
        rewards: list[float] = step.reward[0].tolist()
        return rewards

    def _infos(self, step: Step[Any]) -> list[Answers]:
        """What else is known, agent by agent."""
        raise NotImplementedError


class ParallelChannelAssignment(_Parallel):
    """`ChannelAssignment` with a PettingZoo agent per user.

    An agent sees its own features (``node``) and the weights of the edges into it (``incoming``);
    it chooses a ``channel`` and a ``power_dbm``.

    Args:
        environment: The environment, of which one copy is run.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "channel_assignment_v0", "render_modes": []}

    def __init__(self, environment: ChannelAssignment) -> None:
        uplink = environment.uplink
        shape: tuple[int, ...] = (environment.num_features,)
        if environment.layout == "channel":
            shape = (uplink.num_channels, *shape)
        seen = spaces.Dict(
            {
                "node": spaces.Box(-np.inf, np.inf, shape, np.float32),
                "incoming": spaces.Box(0.0, 1.0, (environment.num_users,), np.float32),
            }
        )
        power = spaces.Box(uplink.power_min_dbm, uplink.power_max_dbm, (1,), np.float32)
        channel = spaces.Discrete(uplink.num_channels)
        agents = [f"user_{i}" for i in range(environment.num_users)]
        allowed = {a: spaces.Dict({"channel": channel, "power_dbm": power}) for a in agents}
        super().__init__(environment, dict.fromkeys(agents, seen), allowed)

    def _action(self, actions: Answers) -> Action:
        channel = torch.tensor([[int(actions[a]["channel"]) for a in self.agents]])
        power_dbm = torch.tensor([[float(actions[a]["power_dbm"][0]) for a in self.agents]])
        return Action(channel, dbm_to_w(power_dbm))

    def _infos(self, step: Step[Any]) -> list[Answers]:
        efficiency = step.info.energy_efficiency[0].tolist()
        return [{"energy_efficiency": value} for value in efficiency]

    def _observations(self, graph: DenseGraph) -> Answers:
        node, incoming = graph.node[0], graph.edge_weight[0].mT
        return {
            agent: {"node": _array(node[i]), "incoming": _array(incoming[i])}
            for i, agent in enumerate(self.agents)
        }


class ParallelOffloading(_Parallel):
    """`Offloading` with a PettingZoo agent per site that has users.

    A site sees its users' features (``node``) and the edges between them (``edges``). It says of
    each user an offloading ``ratio``, ``score`` of the channels, ``power_dbm`` and ``need`` of the
    server (a logarithm), of which `construct` makes a decision.

    Args:
        environment: The environment, of which one copy is run.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "offloading_v0", "render_modes": []}

    def __init__(self, environment: Offloading) -> None:
        cells = environment.networks(1, generator(0))
        table = members(cells.cell, cells.num_cells)
        self._users = {f"site_{m}": row[row >= 0] for m, row in enumerate(table) if row[0] >= 0}
        radio = environment.radio
        observed, allowed = {}, {}
        for agent, users in self._users.items():
            size, channels = len(users), radio.num_channels
            observed[agent] = spaces.Dict(
                {
                    "node": _box(-np.inf, np.inf, size, channels, NUM_FEATURES),
                    "edges": _box(0.0, 1.0, size, size),
                }
            )
            allowed[agent] = spaces.Dict(
                {
                    "ratio": _box(0.0, 1.0, size),
                    "score": _box(-MAX_SCORE, MAX_SCORE, size, channels),
                    "power_dbm": _box(radio.power_min_dbm, radio.power_max_dbm, size),
                    "need": _box(-MAX_LOG_NEED, MAX_LOG_NEED, size),
                }
            )
        super().__init__(environment, observed, allowed)

    def _action(self, actions: Answers) -> Any:
        cells, radio = self.environment.cells, self.environment.radio
        shape = (1, cells.num_users)

        def gather(name: str, *trailing: int) -> Tensor:
            found = torch.zeros(*shape, *trailing)
            for agent in self.agents:
                found[0, self._users[agent]] = torch.from_numpy(np.array(actions[agent][name]))
            return found

        power_w = dbm_to_w(gather("power_dbm")).clamp(radio.power_min_w, radio.power_max_w)
        return construct(
            gather("ratio"),
            gather("score", radio.num_channels),
            power_w.unsqueeze(-1),
            gather("need"),
            cells.cell,
            cells.num_cells,
        )

    def _rewards(self, step: Step[Any]) -> list[float]:
        return [float(step.reward[0, int(a.removeprefix("site_"))]) for a in self.agents]

    def _infos(self, step: Step[Any]) -> list[Answers]:
        cost = step.info.cost
        return [
            {
                "deadlines_met": float(cost.met[0, users].float().mean()),
                "energy_j": float(cost.energy_j[0, users].sum()),
            }
            for users in (self._users[agent] for agent in self.agents)
        ]

    def _observations(self, graph: DenseGraph) -> Answers:
        node, weight = graph.node[0], graph.edge_weight[0]
        return {
            agent: {"node": _array(node[users]), "edges": _array(weight[users][:, users])}
            for agent, users in self._users.items()
        }


class ParallelSpectrumAllocation(_Parallel):
    """`SpectrumAllocation` with a PettingZoo agent per node.

    Every reset draws a new scenario, so a node may serve other links than before. It sees which
    links it sends or receives on (``links``), their features (``node``) and the edges between
    them (``edges``), where those of all other links are 0. It chooses a ``level`` for each
    role (access, backhaul) and band.

    Args:
        environment: The environment, of which one copy is run.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "spectrum_allocation_v0", "render_modes": []}

    def __init__(self, environment: spectrum.SpectrumAllocation) -> None:
        family, radio = environment.family, environment.radio
        num_links = family.num_nodes - 1 + family.num_users
        seen = spaces.Dict(
            {
                "node": _box(-np.inf, np.inf, num_links, radio.num_bands, spectrum.NUM_FEATURES),
                "links": spaces.MultiBinary(num_links),
                "edges": _box(0.0, 1.0, num_links, num_links),
            }
        )
        choices = np.full((2, radio.num_bands), radio.num_levels + 1)
        agents = [f"node_{m}" for m in range(family.num_nodes)]
        allowed = {a: spaces.Dict({"level": spaces.MultiDiscrete(choices)}) for a in agents}
        super().__init__(environment, dict.fromkeys(agents, seen), allowed)

    def _action(self, actions: Answers) -> spectrum.Action:
        levels = np.stack([actions[agent]["level"] for agent in self.agents])
        return spectrum.Action(torch.from_numpy(levels).long().unsqueeze(0))

    def _infos(self, step: Step[Any]) -> list[Answers]:
        outcome = step.info
        shared = {
            "delivered_bit": float(outcome.delivered_bit.sum()),
            "dropped_bit": float(outcome.dropped_bit.sum()),
            "sinr_violation": float(outcome.sinr_violation.mean()),
            "latency_violation": float(outcome.latency_violation.float().mean()),
        }
        return [dict(shared) for _ in self.agents]

    def _observations(self, graph: DenseGraph) -> Answers:
        networks = self.environment.state.networks
        found = {}
        for number, agent in enumerate(self.possible_agents):
            mine = (networks.transmitter[0] == number) | (networks.receiver == number)
            both = mine.unsqueeze(1) & mine
            found[agent] = {
                "node": _array(graph.node[0] * mine.view(-1, 1, 1)),
                "links": mine.numpy().astype(np.int8),
                "edges": _array(graph.edge_weight[0] * both),
            }
        return found


def _box(low: float, high: float, *shape: int) -> spaces.Box:
    return spaces.Box(low, high, shape, np.float32)


def _array(value: Tensor) -> np.ndarray:
    return value.contiguous().numpy().astype(np.float32)
