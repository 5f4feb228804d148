"""PPO by hand and against torchrl: advantages, clipped loss, rollouts."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.models.action_heads import BoundedGaussian, Choice, HybridAction, HybridPolicy
from metagnn.ppo import (
    PPOSettings,
    Trajectories,
    clipped_objective,
    collect,
    expected_objective,
    generalised_advantage,
    make_batch,
    ppo_loss,
)
from metagnn.tasks.environment import Step


def _returns(steps: int, seed: int) -> tuple[Tensor, ...]:
    """Rewards, values, following values ``[T, B]`` and both kinds of ends."""
    source = generator(seed, "returns")
    numbers = torch.randn(3, steps, 6, generator=source, dtype=torch.float64)
    ends = torch.rand(2, steps, 6, generator=source) < 0.2
    return (*numbers, *ends)


def test_advantages_by_hand() -> None:
    # Two steps, discount 1/2, lambda 1/2: errors 1 + 4/2 - 2 = 1 and 3 + 6/2 - 4 = 2.
    reward, value, following = (
        torch.tensor([[a], [b]]) for a, b in ((1.0, 3.0), (2.0, 4.0), (4.0, 6.0))
    )
    none = torch.zeros(2, 1, dtype=torch.bool)
    found = generalised_advantage(reward, value, following, none, none, 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([[1.5], [2.0]]))
    first = torch.tensor([[True], [False]])
    # Truncated after the first step: its value still counts, the later error does not.
    found = generalised_advantage(reward, value, following, none, first, 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([[1.0], [2.0]]))
    # Terminated: its value does not count either.
    found = generalised_advantage(reward, value, following, first, none, 0.5, 0.5)
    torch.testing.assert_close(found, torch.tensor([[-1.0], [2.0]]))


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.9, 0.98), (0.0, 0.5), (1.0, 1.0)])
def test_advantages_are_torchrls(discount: float, gae_lambda: float) -> None:
    from torchrl.objectives.value.functional import generalized_advantage_estimate

    reward, value, following, terminated, truncated = _returns(20, 0)
    found = generalised_advantage(
        reward, value, following, terminated, truncated, discount, gae_lambda
    )
    columns = [v.T.unsqueeze(-1) for v in (value, following, reward)]
    done, terminal = (v.T.unsqueeze(-1) for v in (terminated | truncated, terminated))
    wanted, _ = generalized_advantage_estimate(
        discount, gae_lambda, *columns, done=done, terminated=terminal
    )
    # torchrl holds the discounts in single precision.
    torch.testing.assert_close(found, wanted.squeeze(-1).T, atol=1e-5, rtol=1e-5)


def test_agents_of_a_copy_end_together() -> None:
    reward, value, following, terminated, truncated = _returns(9, 1)
    agents = [torch.stack([v, 2 * v], dim=-1) for v in (reward, value, following)]
    found = generalised_advantage(*agents, terminated, truncated, 0.9, 0.8)
    one = generalised_advantage(reward, value, following, terminated, truncated, 0.9, 0.8)
    torch.testing.assert_close(found, torch.stack([one, 2 * one], dim=-1))


@pytest.mark.parametrize(
    ("ratio", "advantage", "wanted"),
    [(1.5, 2.0, 2.4), (1.1, 2.0, 2.2), (0.5, 2.0, 1.0), (1.5, -2.0, -3.0), (0.5, -2.0, -1.6)],
)
def test_clipped_objective_by_hand(ratio: float, advantage: float, wanted: float) -> None:
    found = clipped_objective(
        torch.tensor(ratio).log(), torch.tensor(0.0), torch.tensor(advantage), 0.2
    )
    assert float(found) == pytest.approx(wanted)


def test_the_expected_objective_is_the_mean_over_all_choices() -> None:
    source = generator(5)
    old = torch.randn(40, 3, generator=source).log_softmax(-1)
    logits = torch.randn(40, 3, generator=source, requires_grad=True)
    advantage = torch.randn(40, 3, generator=source)
    found = expected_objective(logits.log_softmax(-1), old, advantage, 0.2)
    for row in range(40):
        share, new = old[row].exp(), logits[row].detach().softmax(-1)
        wanted = 0.0
        for q, p, a in zip(share.tolist(), new.tolist(), advantage[row].tolist(), strict=True):
            wanted += q * min(p / q * a, min(max(p / q, 0.8), 1.2) * a)
        assert float(found[row].detach()) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_the_expected_objective_rises_with_the_mean_advantage_and_knows_what_is_left_out() -> None:
    logits = torch.tensor([0.3, -0.2, -1e9], requires_grad=True)
    advantage = torch.tensor([1.0, -2.0, 50.0])
    log_share = logits.log_softmax(-1)
    expected_objective(log_share, log_share.detach(), advantage, 0.2).backward()
    assert logits.grad is not None
    found = logits.grad.clone()
    logits.grad = None
    (logits.softmax(-1) * advantage).sum().backward()
    torch.testing.assert_close(found, logits.grad)
    assert float(found[2]) == 0.0


@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_choices_that_were_all_but_impossible_give_finite_gradients(advantage: float) -> None:
    """Their ratio, e^95, is no number of single precision."""
    logits = torch.tensor([5.0, 0.0], requires_grad=True)
    old = torch.tensor([-95.0, 0.0])
    found = expected_objective(
        logits.log_softmax(-1), old, torch.tensor([advantage, 0.0]), clip=0.2
    )
    found.backward()
    share = float(logits.detach().softmax(-1)[0])
    # A choice that gains is clipped, one that loses is pulled back.
    assert float(found.detach()) == pytest.approx(0.0 if advantage > 0 else advantage * share)
    assert logits.grad is not None
    slope = 0.0 if advantage > 0 else advantage * share * (1.0 - share)
    assert float(logits.grad[0]) == pytest.approx(slope, rel=1e-5)


class _Linear(torch.nn.Module):
    """Network with few parameters on graphs of three agents and two alternatives."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(0.3 * torch.randn(4, 7, generator=generator(0)))

    def forward(self, graph: DenseGraph) -> tuple[HybridPolicy, Tensor]:
        out = graph.node @ self.weight
        number = BoundedGaussian(out[..., 2:4], out[..., 4:6], 0.0, 24.0)
        return HybridPolicy(Choice(out[..., :2]), number), out[..., 6]


@dataclass
class _Walk:
    """Environment whose rewards and ends follow from actions and a generator."""

    source: torch.Generator
    count: int = 0

    def observe(self) -> DenseGraph:
        node = torch.randn(5, 3, 4, generator=self.source)
        return DenseGraph(node, torch.zeros(5, 3, 3))

    def step(self, policy: HybridPolicy, action: HybridAction) -> Step[int]:
        self.count += 1
        reward = action.choice + torch.sigmoid(action.z)
        ends = torch.rand(2, 5, generator=self.source) < 0.3
        return Step(self.observe(), reward, ends[0], ends[1], self.count)


def _trajectories(network: _Linear, looks_ahead: bool = True) -> Trajectories:
    walk = _Walk(generator(1))
    return collect(network, walk, walk.observe(), 8, generator(2), looks_ahead)


def test_without_a_look_ahead_only_the_last_value_is_missing() -> None:
    full, short = (_trajectories(_Linear(), ahead) for ahead in (True, False))
    assert bool((full.next_value[-1] != 0).all())
    assert bool((short.next_value[-1] == 0).all())
    for name in ("reward", "value", "log_prob"):
        assert torch.equal(getattr(short, name), getattr(full, name))
    assert torch.equal(short.next_value[:-1], full.next_value[:-1])


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (PPOSettings(), True),
        (PPOSettings(discount=0.0), False),
        (PPOSettings(discount=0.0, value_target="as_printed"), True),
    ],
)
def test_values_ahead_are_wanted_where_they_count(settings: PPOSettings, wanted: bool) -> None:
    assert settings.looks_ahead == wanted
    full, short = (
        make_batch(_trajectories(_Linear(), ahead), torch.arange(5), settings)
        for ahead in (True, False)
    )
    same = torch.equal(full.target, short.target) and torch.equal(full.advantage, short.advantage)
    assert same == (not wanted)


def test_a_rollout_keeps_what_was_seen_done_and_said() -> None:
    network = _Linear()
    seen = _trajectories(network)
    assert seen.graph.node.shape == (8, 5, 3, 4)
    assert seen.reward.shape == seen.log_prob.shape == seen.next_value.shape == (8, 5, 3)
    assert seen.terminated.shape == (8, 5)
    assert seen.info == list(range(1, 9))
    with torch.no_grad():
        policy, value = network(seen.graph)
    torch.testing.assert_close(seen.value, value)
    torch.testing.assert_close(seen.next_value[:-1], value[1:])
    torch.testing.assert_close(seen.log_prob, policy.log_prob(seen.action))
    torch.testing.assert_close(seen.reward, seen.action.choice + torch.sigmoid(seen.action.z))


def test_the_loss_and_its_gradient_are_torchrls() -> None:
    from tensordict import TensorDict
    from tensordict.nn import (
        CompositeDistribution,
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
        set_composite_lp_aggregate,
    )
    from torchrl.objectives import ClipPPOLoss

    network = _Linear()
    settings = PPOSettings(clip=0.1, value_weight=0.5, entropy_weight=0.0, normalise=False)
    batch = make_batch(_trajectories(network), torch.arange(5), settings)

    def laws(node: Tensor, choice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Parameters of the choice and of the number that goes with the choice made."""
        policy, _ = network(DenseGraph(node, batch.graph.edge_weight))
        number = policy.number_of(choice)
        return policy.choice.logits, number.mean, number.log_std.exp()

    def critic(node: Tensor) -> Tensor:
        return network(DenseGraph(node, batch.graph.edge_weight))[1].unsqueeze(-1)

    with torch.no_grad():
        logits, mean, std = laws(batch.graph.node, batch.action.choice)
        data = TensorDict(
            {
                "node": batch.graph.node,
                "choice": batch.action.choice,
                "z": batch.action.z,
                "choice_log_prob": Choice(logits).log_prob(batch.action.choice),
                # The density of z, and not of the bounded number: their ratios are the same.
                "z_log_prob": torch.distributions.Normal(mean, std).log_prob(batch.action.z),
                "advantage": batch.advantage.unsqueeze(-1),
                "value_target": batch.target.unsqueeze(-1),
            },
            batch_size=batch.log_prob.shape,
        )
        network.weight += 0.2 * torch.randn(network.weight.shape, generator=generator(3))
    parts = ppo_loss(network, batch, settings)
    (ours,) = torch.autograd.grad(parts["loss"].mean(), network.weight)

    names = [("params", "choice", "logits"), ("params", "z", "loc"), ("params", "z", "scale")]
    kinds = {"choice": torch.distributions.Categorical, "z": torch.distributions.Normal}
    with set_composite_lp_aggregate(False):
        actor = ProbabilisticTensorDictSequential(
            TensorDictModule(laws, in_keys=["node", "choice"], out_keys=names),
            ProbabilisticTensorDictModule(
                in_keys=["params"],
                out_keys=["choice", "z"],
                distribution_class=CompositeDistribution,
                distribution_kwargs={"distribution_map": kinds},
                return_log_prob=True,
            ),
        )
        loss = ClipPPOLoss(
            actor,
            TensorDictModule(critic, in_keys=["node"], out_keys=["state_value"]),
            clip_epsilon=0.1,
            entropy_bonus=False,
            critic_coeff=0.5,
            loss_critic_type="l2",
            normalize_advantage=False,
            functional=False,
        )
        found = loss(data)
    torch.testing.assert_close(-parts["objective"].mean(), found["loss_objective"])
    torch.testing.assert_close(0.5 * parts["value_loss"].mean(), found["loss_critic"])
    total = found["loss_objective"] + found["loss_critic"]
    (theirs,) = torch.autograd.grad(total, network.weight)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    assert float(parts["clip_fraction"].mean()) > 0.1


def test_parts_of_the_loss() -> None:
    network = _Linear()
    seen = _trajectories(network)
    batch = make_batch(seen, torch.tensor([1, 3]), PPOSettings())
    assert batch.log_prob.shape == (8, 2, 3)
    torch.testing.assert_close(batch.advantage.mean((0, 1)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        batch.advantage.std((0, 1), correction=0), torch.ones(3), atol=1e-4, rtol=0
    )
    parts = {
        name: value.detach() for name, value in ppo_loss(network, batch, PPOSettings()).items()
    }
    # Nothing has moved yet: ratio 1, no divergence, the objective is the advantages' mean.
    assert all(value.shape == (3,) for value in parts.values())
    torch.testing.assert_close(parts["approximate_kl"], torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(parts["objective"], torch.zeros(3), atol=1e-6, rtol=0)
    wanted = 0.5 * parts["value_loss"] - parts["objective"] - 0.01 * parts["entropy"]
    torch.testing.assert_close(parts["loss"], wanted)


def test_the_printed_target_has_no_discount() -> None:
    seen = _trajectories(_Linear())
    copies = torch.arange(5)
    settings = PPOSettings(value_target="as_printed")
    printed = make_batch(seen, copies, settings).target
    follows = (~seen.terminated).unsqueeze(-1)
    torch.testing.assert_close(printed, seen.reward + seen.next_value * follows)
    one_step = replace(settings, value_target="return", gae_lambda=0.0)
    correct = make_batch(seen, copies, one_step).target
    torch.testing.assert_close(correct, seen.reward + 0.9 * seen.next_value * follows)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"discount": 1.1}, r"`discount` must lie in \[0, 1\], got 1.1"),
        ({"gae_lambda": -0.1}, r"`gae_lambda` must lie in \[0, 1\], got -0.1"),
        ({"clip": float("nan")}, r"`clip` must lie in \[0, 1\], got nan"),
        ({"value_weight": -1.0}, r"`value_weight` must be finite and >= 0, got -1.0"),
        ({"entropy_weight": float("nan")}, r"`entropy_weight` must be finite and >= 0, got nan"),
        ({"max_gradient_norm": 0.0}, r"`max_gradient_norm` must be > 0, got 0.0"),
        ({"num_epochs": 0}, r"`num_epochs` must be an integer >= 1, got 0"),
        ({"num_batches": 0}, r"`num_batches` must be an integer >= 1, got 0"),
        ({"value_target": "td"}, r"`value_target` must be one of .*, got 'td'"),
    ],
)
def test_settings_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOSettings(**changed)
