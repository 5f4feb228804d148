"""One copy of a batched environment behind PettingZoo's parallel API (extra ``pettingzoo``)."""

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from pettingzoo import ParallelEnv
from torch import Tensor

from metagnn.graphs.checks import require
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.tasks.channel_assignment.energy_efficiency import level_to_w
from metagnn.tasks.channel_assignment.environment import Action, ChannelAssignment

Answers = dict[str, Any]


class ParallelChannelAssignment(ParallelEnv):  # type: ignore[misc]
    """`ChannelAssignment` with a PettingZoo agent per user.

    An agent sees its own features (``node``) and the weights of the edges into it (``incoming``);
    it chooses a ``channel`` and a ``power_dbm``. Without a seed, `reset` goes on to the next
    episode of the seed before.

    Args:
        environment: The environment, of which one copy is run.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "channel_assignment_v0", "render_modes": []}
    render_mode = None

    def __init__(self, environment: ChannelAssignment) -> None:
        self.environment = environment
        self.possible_agents = [f"user_{i}" for i in range(environment.num_users)]
        self.agents: list[str] = []
        self._seed, self._episode = 0, 0
        uplink = environment.uplink
        shape: tuple[int, ...] = (environment.num_features,)
        if environment.layout == "channel":
            shape = (uplink.num_channels, *shape)
        self._observation_space = spaces.Dict(
            {
                "node": spaces.Box(-np.inf, np.inf, shape, np.float32),
                "incoming": spaces.Box(0.0, 1.0, (environment.num_users,), np.float32),
            }
        )
        power = spaces.Box(uplink.power_min_dbm, uplink.power_max_dbm, (1,), np.float32)
        channel = spaces.Discrete(uplink.num_channels)
        self._action_spaces = {
            agent: spaces.Dict({"channel": channel, "power_dbm": power})
            for agent in self.possible_agents
        }

    def observation_space(self, agent: str) -> spaces.Dict:
        """What an agent sees."""
        return self._observation_space

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
            ValueError: If an agent's action is missing or not in its space.
        """
        require(bool(self.agents), "step", "follow a reset", actions)
        for agent in self.agents:
            action = actions.get(agent)
            space = self.action_space(agent)
            require(space.contains(action), f"actions[{agent!r}]", f"lie in {space}", action)
        channel = torch.tensor([[int(actions[a]["channel"]) for a in self.agents]])
        power_dbm = torch.tensor([[float(actions[a]["power_dbm"][0]) for a in self.agents]])
        step = self.environment.step(Action(channel, level_to_w(power_dbm)))
        observations = self._observations(step.observation)
        rewards = dict(zip(self.agents, step.reward[0].tolist(), strict=True))
        terminations, truncations = (
            dict.fromkeys(self.agents, bool(value[0]))
            for value in (step.terminated, step.truncated)
        )
        efficiency = step.info.energy_efficiency[0].tolist()
        infos = {
            agent: {"energy_efficiency": value}
            for agent, value in zip(self.agents, efficiency, strict=True)
        }
        if any(terminations.values()) or any(truncations.values()):
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def _observations(self, graph: DenseGraph) -> Answers:
        node, incoming = graph.node[0], graph.edge_weight[0].mT
        return {
            agent: {"node": _array(node[i]), "incoming": _array(incoming[i])}
            for i, agent in enumerate(self.agents)
        }


def _array(value: Tensor) -> np.ndarray:
    return value.contiguous().numpy().astype(np.float32)
