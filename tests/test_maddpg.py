"""Parts of MADDPG by hand, and convex toys whose optima are known."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trainers import quiet_trainer

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
from metagnn.offloading_agents import AgentShape
from metagnn.offloading_learner import OffloadingLearner
from metagnn.offloading_place import Place
from metagnn.offloading_transitions import Seen
from metagnn.replay import Replay
from metagnn.tasks.offloading.scenario import Radio

# Two states, 0 and 1, and two agents. What follows state s is state 1 - s.
VALUES = torch.tensor([[10.0, 20.0], [30.0, 40.0]])


def _delayed() -> Targets[Tensor, Tensor]:
    return Targets(
        actor=lambda state: torch.where(state == 0, 1.0, 2.0),
        critic=lambda state, action: VALUES[state] * action.unsqueeze(-1),
    )


def _batch() -> Transitions[Tensor, Tensor]:
    state = torch.tensor([0, 1])
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    return Transitions(state, torch.zeros(2), reward, 1 - state)


def test_targets_by_hand_on_two_states() -> None:
    # In state 1 the delayed actors do 2, so it is worth 60 and 80; state 0 is worth 10 and 20.
    found = target_value(_batch(), _delayed(), 0.5)
    assert found.tolist() == [[1.0 + 30.0, 2.0 + 40.0], [3.0 + 5.0, 4.0 + 10.0]]


def test_targets_as_printed_are_those_of_the_state_itself() -> None:
    found = target_value(_batch(), _delayed(), 0.5, "as_printed")
    assert found.tolist() == [[1.0 + 5.0, 2.0 + 10.0], [3.0 + 30.0, 4.0 + 40.0]]


def test_without_a_discount_nothing_that_follows_counts() -> None:
    assert target_value(_batch(), _delayed(), 0.0).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_targets_carry_no_gradient() -> None:
    weight = torch.ones((), requires_grad=True)
    delayed = Targets(
        actor=lambda state: weight * state,
        critic=lambda state, action: (weight * action).unsqueeze(-1).expand(-1, 2),
    )
    assert not target_value(_batch(), delayed, 0.5).requires_grad


def test_soft_update_by_hand() -> None:
    target, source = [torch.tensor([1.0, 2.0])], [torch.tensor([5.0, -2.0])]
    soft_update(target, source, 0.25)
    assert target[0].tolist() == [2.0, 1.0]
    assert source[0].tolist() == [5.0, -2.0]


def test_the_delayed_weights_follow_geometrically() -> None:
    target, source = nn.Linear(2, 1), nn.Linear(2, 1)
    first = copy.deepcopy(target)
    for _ in range(7):
        soft_update(target.parameters(), source.parameters(), 0.1)
    share = 1.0 - 0.9**7
    wanted = first.weight + share * (source.weight - first.weight)
    torch.testing.assert_close(target.weight, wanted)


def test_errors_are_zero_where_both_agree_and_positive_elsewhere() -> None:
    value = torch.tensor([0.0, 1e-3, 2.0, 5.0])
    floor = torch.tensor(0.1)
    assert deviance(value, value, floor).abs().max() < 1e-6
    assert squared_error(value, value).tolist() == [0.0] * 4
    assert (deviance(value + 0.5, value, floor) > 0).all()
    # (2 + 1) / (0 + 1) - 1 - ln 3
    hand = deviance(torch.tensor(0.0), torch.tensor(2.0), torch.tensor(1.0))
    assert hand.item() == pytest.approx(2.0 - 1.0986123)


def test_the_mean_minimises_the_deviance() -> None:
    target = torch.tensor([0.0, 0.2, 3.0, 8.0], dtype=torch.float64)
    tried = torch.linspace(0.5, 6.0, 1101, dtype=torch.float64)
    floor = torch.tensor(0.1, dtype=torch.float64)
    found = deviance(tried.unsqueeze(-1), target, floor).mean(-1)
    assert tried[found.argmin()].item() == pytest.approx(2.8, abs=5e-3)


class _Perceptrons(nn.Module):
    """Ten perceptrons side by side, each with weights of its own: [10, N, F] to [10, N, 1]."""

    def __init__(self, width: int, in_channels: int, source: torch.Generator) -> None:
        super().__init__()
        sizes = ((10, in_channels, width), (10, 1, width), (10, width, 1), (10, 1, 1))
        scales = (1.0, 1.0, width**-0.5, 0.0)
        self.weights = nn.ParameterList(
            scale * torch.randn(size, generator=source)
            for size, scale in zip(sizes, scales, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, bias, second, offset = self.weights
        return torch.tanh(x @ first + bias) @ second + offset


@pytest.mark.parametrize("discount", [0.0, 0.5])
def test_a_convex_toy_is_solved_ten_times_of_ten(discount: float) -> None:
    """The reward is -(a - 0.6 s)^2, and the next state is random."""
    source = generator(0, "toy")
    actor, critic = _Perceptrons(16, 1, source), _Perceptrons(32, 2, source)
    target = copy.deepcopy(nn.ModuleList([actor, critic])).requires_grad_(False)

    def value(of: nn.Module, state: Tensor, action: Tensor) -> Tensor:
        found: Tensor = of(torch.cat([state, action], dim=-1))
        return found

    delayed: Targets[Tensor, Tensor] = Targets(target[0], partial(value, target[1]))
    of_actor = torch.optim.Adam(actor.parameters(), lr=3e-3)
    of_critic = torch.optim.Adam(critic.parameters(), lr=3e-3)

    def uniform() -> Tensor:
        return 2.0 * torch.rand(10, 64, 1, generator=source) - 1.0

    for _ in range(1500):
        state = uniform()
        with torch.no_grad():
            action = actor(state) + 0.4 * torch.randn(10, 64, 1, generator=source)
        reward = -(action - 0.6 * state).square()
        batch = Transitions(state, action, (1.0 - discount) * reward, uniform())
        wanted = target_value(batch, delayed, discount)
        # Sums, so that the ten learn as if each were alone.
        of_critic.zero_grad()
        squared_error(value(critic, state, action), wanted).mean((1, 2)).sum().backward()
        of_critic.step()
        of_actor.zero_grad()
        (-value(critic, state, actor(state)).mean((1, 2)).sum()).backward()
        of_actor.step()
        soft_update(target[0].parameters(), actor.parameters(), 0.05)
        soft_update(target[1].parameters(), critic.parameters(), 0.05)
    states = torch.linspace(-1.0, 1.0, 21).view(1, -1, 1)
    with torch.no_grad():
        worst = (actor(states) - 0.6 * states).abs().amax((1, 2))
    assert len(worst) == 10
    assert float(worst.max()) < 0.15, worst


class _Pairs(nn.Module):
    """Ten pairs of agents: actors a = w s + b, and values of both that are any quadratic."""

    def __init__(self) -> None:
        super().__init__()
        source = generator(0, "pairs")
        self.actors = nn.ParameterList(torch.randn(2, 10, 2, generator=source).unbind())
        self.critics = nn.ParameterList([0.1 * torch.randn(10, 15, 2, generator=source)])

    def wishes(self, state: Tensor) -> Tensor:
        """Actions ``[N, 10, 2]``: each agent sees its own number of the state only."""
        slope, offset = self.actors
        return slope * state + offset

    def values(self, state: Tensor, action: Tensor) -> Tensor:
        """Values ``[N, 10, 2]`` of what both see and do."""
        one = torch.ones_like(state[..., :1])
        given = torch.cat([one, state, action], dim=-1)
        first, second = torch.triu_indices(5, 5)
        products = given[..., first] * given[..., second]
        return torch.einsum("npf,pfa->npa", products, self.critics[0])


class _TwoAgents(OffloadingLearner):
    """The learner's own updates, of ten pairs of agents side by side.

    What the first one does is good for itself and bad for the second: the rewards are
    -(a - s)^2 and -(b - t + a)^2, and the next states are random.
    """

    num_updates = 300

    def __init__(self) -> None:
        settings = MADDPGSettings(
            discount=0.5,
            soft_rate=0.05,
            actor_batch=64,
            critic_updates=1,
            actor_rate=0.1,
            critic_rate=0.1,
            credit="site",
        )
        place = Place(num_cells=1, users_per_cell=1, radio=Radio(num_channels=1))
        super().__init__(place, AgentShape(), settings)
        self.agents: Any = _Pairs()
        self.target: Any = copy.deepcopy(self.agents).requires_grad_(False)
        names = ("state", "action", "reward", "after")
        self.replay = Replay(10_000, dict.fromkeys(names, (10, 2)))

    def training_step(self, batch: int, batch_index: int) -> None:
        """Updates on random transitions."""
        source = generator(0, "transitions")
        state, action, after = 2.0 * torch.rand(3, 10_000, 10, 2, generator=source) - 1.0
        wanted = torch.stack([state[..., 0], state[..., 1] - action[..., 0]], dim=-1)
        reward = -(action - wanted).square()
        self.replay.add({"state": state, "action": action, "reward": reward, "after": after})
        for number in range(self.num_updates):
            self._update(number, 1.0 - number / self.num_updates)

    def _act(self, wishes: Any) -> Any:
        return wishes

    def _value(self, agents: Any, seen: Any, action: Any) -> Tensor:
        found: Tensor = agents.values(seen.graph, action)
        return found

    def _transitions(self, kept: Any) -> Any:
        before, after = (Seen(kept[name], kept[name]) for name in ("state", "after"))
        return Transitions(before, kept["action"], 0.5 * kept["reward"], after)


def test_two_agents_reach_their_joint_optimum_ten_times_of_ten(tmp_path: Path) -> None:
    """The sum is least at a = s / 2 and b = t; each for itself would do a = s and b = t."""
    learner = _TwoAgents()
    trainer = quiet_trainer(1, limit_val_batches=0, default_root_dir=tmp_path)
    trainer.fit(learner)
    slope, offset = (parameter.detach() for parameter in learner.agents.actors)
    assert slope.shape == (10, 2)
    torch.testing.assert_close(slope, torch.tensor([0.5, 1.0]).expand(10, 2), atol=0.06, rtol=0)
    torch.testing.assert_close(offset, torch.zeros(10, 2), atol=0.06, rtol=0)
