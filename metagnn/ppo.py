"""Proximal policy optimisation of graph actor-critics (paper B, Eq. 8 to 18), top to bottom.

Passes and optimisers are those of the modules that learn (`AssignmentModule`, `SpectrumLearner`).
Departures from the paper, of which the first three are undone by an argument:

- The critic's target is the discounted return, ``A + V`` of generalised advantages. Eq. 17 as
  printed lets the critic descend ``(r + V(o') - V(o))^2``, without the discount: ``value_target``.
- Advantages are normalised per batch and agent (``normalise``); the paper does not say.
- Gradients are shortened (``max_gradient_norm``, ``inf`` for none); the paper does not say.
- A pass learns from all transitions of an episode, cut into ``num_batches``; the paper samples
  batches of 256 from a memory. Meta-training weighs its tasks equally.
- Eq. 18 as printed is an arg min of what must be maximised: its negative is descended.
- Powers are a squashed Gaussian between their limits, with standard deviations in a range; the
  entropy is that of the number before squashing.
- Where choices have features of their own, the value is that of what the policy expects to choose.
- The packaged configurations, but for those of the paper's own setting, reward users for what they
  add, do not discount, and let rates and entropy fall (see ``docs/channel_assignment.md``).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from metagnn.graphs.checks import check_count, check_non_negative, require
from metagnn.graphs.interference import DenseGraph
from metagnn.models.action_heads import HybridAction, HybridPolicy
from metagnn.tasks.environment import Step

ValueTarget = Literal["return", "as_printed"]
Network = Callable[[DenseGraph], tuple[HybridPolicy, Tensor]]


class Environment(Protocol):
    """What a rollout needs of an environment."""

    def step(self, policy: HybridPolicy, action: HybridAction) -> Step[Any]:
        """Answer to an action of all agents of all copies."""


@dataclass(frozen=True)
class PPOSettings:
    """Constants of paper B's Eq. 14 to 18.

    Attributes:
        discount: Discount rate xi of future rewards.
        gae_lambda: Discount lambda of the advantages' multi-step errors (Eq. 14).
        clip: Clip range epsilon (Eq. 16).
        value_weight: Weight c_1 of the critic's loss.
        entropy_weight: Weight c_2 of the entropy; a ``linear`` schedule lets it fall to 0.
        num_epochs: Passes over an episode's transitions.
        num_batches: Batches into which a pass cuts the copies.
        normalise: Advantages of a batch get zero mean and unit deviation.
        max_gradient_norm: Larger gradients are shortened to this, those of MAML's steps too.
        value_target: ``return``, or ``as_printed`` (Eq. 17).

    Raises:
        ValueError: If a constant is out of range.
    """

    discount: float = 0.9
    gae_lambda: float = 0.98
    clip: float = 0.2
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    num_epochs: int = 1
    num_batches: int = 1
    normalise: bool = True
    max_gradient_norm: float = 1.0
    value_target: ValueTarget = "return"

    def __post_init__(self) -> None:
        for name in ("discount", "gae_lambda", "clip"):
            value = getattr(self, name)
            require(0.0 <= value <= 1.0, name, "lie in [0, 1]", value)
        for name in ("value_weight", "entropy_weight"):
            check_non_negative(name, getattr(self, name))
        require(self.max_gradient_norm > 0.0, "max_gradient_norm", "be > 0", self.max_gradient_norm)
        check_count("num_epochs", self.num_epochs)
        check_count("num_batches", self.num_batches)
        targets = ("return", "as_printed")
        known = self.value_target in targets
        require(known, "value_target", f"be one of {targets}", self.value_target)

    @property
    def looks_ahead(self) -> bool:
        """Whether values of what follows count."""
        return self.discount > 0.0 or self.value_target == "as_printed"


@dataclass(frozen=True)
class Trajectories:
    """What B copies of I agents went through in T steps.

    Attributes:
        graph: Observations, axes ``[T, B, ...]``.
        action: Actions ``[T, B, I]``.
        log_prob: Logarithms of their densities when they were drawn ``[T, B, I]``.
        reward: Rewards ``[T, B, I]``.
        value: Values of the observations ``[T, B, I]``.
        next_value: Values of the observations that followed ``[T, B, I]``; of the last step 0 if
            they were not wanted.
        terminated: Ends of episodes after which nothing follows ``[T, B]``.
        truncated: Ends of episodes that were cut off ``[T, B]``.
        info: What the environment said of each step.
    """

    graph: DenseGraph
    action: HybridAction
    log_prob: Tensor
    reward: Tensor
    value: Tensor
    next_value: Tensor
    terminated: Tensor
    truncated: Tensor
    info: list[object] = field(default_factory=list)


@torch.no_grad()
def collect(
    network: Network,
    environment: Environment,
    observation: DenseGraph,
    num_steps: int,
    generator: torch.Generator,
    looks_ahead: bool = True,
) -> Trajectories:
    """Run the policy for ``num_steps`` steps from an observation.

    Args:
        network: Policy and values of observations.
        environment: Answers to actions.
        observation: What the agents see at first.
        num_steps: Number of steps T.
        generator: Source of the actions.
        looks_ahead: Whether the value after the last step is wanted; else it is 0.
    """
    seen, rows = [], []
    infos: list[object] = []
    policy, value = network(observation)
    for number in range(num_steps):
        action = policy.sample(generator)
        log_prob = policy.log_prob(action)
        step = environment.step(policy, action)
        seen.append(observation)
        infos.append(step.info)
        observation, reward, old_value = step.observation, step.reward, value
        if looks_ahead or number < num_steps - 1:
            policy, value = network(observation)
        else:
            value = torch.zeros_like(value)
        ends = (step.terminated, step.truncated)
        rows.append((action.choice, action.z, log_prob, reward, old_value, value, *ends))
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    choice, z, log_prob, reward, old_value, value, terminated, truncated = columns
    graph = DenseGraph(
        torch.stack([one.node for one in seen]), torch.stack([one.edge_weight for one in seen])
    )
    action = HybridAction(choice, z)
    return Trajectories(
        graph, action, log_prob, reward, old_value, value, terminated, truncated, infos
    )


def generalised_advantage(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    discount: float,
    gae_lambda: float,
) -> Tensor:
    r"""Generalised advantages (paper B, Eq. 14).

    .. math:: A_t = \sum_{l \ge 0} (\lambda \xi)^l \delta_{t+l}, \qquad
              \delta_t = r_t + \xi V(o_{t+1}) - V(o_t)

    The sum stops where an episode ends. Where it terminated, nothing follows and
    :math:`V(o_{t+1})` counts as 0; where it was truncated, it counts.

    Shapes:
        reward, value and next_value ``[T, ...]``, terminated and truncated of the leading axes of
        these; returns ``[T, ...]``.
    """
    trailing = [1] * (reward.dim() - terminated.dim())
    follows = (~terminated).to(reward.dtype).view(*terminated.shape, *trailing)
    goes_on = (~(terminated | truncated)).to(reward.dtype).view(*terminated.shape, *trailing)
    error = reward + discount * follows * next_value - value
    advantage = torch.empty_like(error)
    ahead = torch.zeros_like(error[0])
    for t in reversed(range(len(error))):
        ahead = error[t] + discount * gae_lambda * goes_on[t] * ahead
        advantage[t] = ahead
    return advantage


def clipped_objective(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float
) -> Tensor:
    r"""Clipped objective of the actor, to be raised (paper B, Eq. 15 and 16).

    .. math:: \min(\rho A, g(\epsilon, A)), \quad \rho = \pi_\theta(a|o) / \pi_{\theta'}(a|o), \quad
              g(\epsilon, A) = (1 + \epsilon \, \mathrm{sign} A) A

    Shapes:
        All tensors and the result ``[...]``.
    """
    ratio = (log_prob - old_log_prob).exp()
    bound = torch.where(advantage >= 0, 1.0 + clip, 1.0 - clip) * advantage
    return torch.minimum(ratio * advantage, bound)


def expected_objective(
    log_share: Tensor, old_log_share: Tensor, advantage: Tensor, clip: float
) -> Tensor:
    """Mean of `clipped_objective` over the old policy's choices, where all advantages are known.

    Ratios of probabilities, which are beyond all numbers where the old one is tiny, do not appear
    in it: choices that the old policy never made count as in the limit, if they lose.

    Shapes:
        Logarithms of the probabilities of N alternatives and their advantages ``[..., N]``; returns
        ``[...]``.
    """
    bound = torch.where(advantage >= 0, 1.0 + clip, 1.0 - clip) * advantage
    return torch.minimum(log_share.exp() * advantage, old_log_share.exp() * bound).sum(-1)


@dataclass(frozen=True)
class Batch:
    """Transitions to learn from: `Trajectories` of some copies, with advantages and targets."""

    graph: DenseGraph
    action: HybridAction
    log_prob: Tensor
    advantage: Tensor
    target: Tensor


def ppo_loss(network: Network, batch: Batch, settings: PPOSettings) -> dict[str, Tensor]:
    r"""Loss per agent, its parts and what is logged of them (paper B, Eq. 18).

    .. math:: -L = -L^{\mathrm{Clip}} + c_1 L^{\mathrm{CR}} - c_2 E

    Shapes:
        Each value ``[I]``: means over steps and copies.
    """
    policy, value = network(batch.graph)
    log_prob, entropy = policy.log_prob(batch.action), policy.entropy()
    over = tuple(range(log_prob.dim() - 1))
    objective = clipped_objective(log_prob, batch.log_prob, batch.advantage, settings.clip)
    parts = {
        "objective": objective.mean(over),
        "value_loss": (batch.target - value).square().mean(over),
        "entropy": entropy.mean(over),
    }
    parts["loss"] = (
        settings.value_weight * parts["value_loss"]
        - parts["objective"]
        - settings.entropy_weight * parts["entropy"]
    )
    with torch.no_grad():
        log_ratio = log_prob - batch.log_prob
        # Schulman's estimate: unbiased, and never negative.
        parts["approximate_kl"] = (log_ratio.exp() - 1.0 - log_ratio).mean(over)
        outside = (log_ratio.exp() - 1.0).abs() > settings.clip
        parts["clip_fraction"] = outside.to(value.dtype).mean(over)
    return parts


def make_batch(trajectories: Trajectories, copies: Tensor, settings: PPOSettings) -> Batch:
    """Transitions of some copies, with advantages and the critic's targets.

    Advantages are normalised per agent, over steps and the copies of the batch.
    """
    t = trajectories
    value, next_value, reward = t.value[:, copies], t.next_value[:, copies], t.reward[:, copies]
    terminated, truncated = t.terminated[:, copies], t.truncated[:, copies]
    advantage = generalised_advantage(
        reward,
        value,
        next_value,
        terminated,
        truncated,
        settings.discount,
        settings.gae_lambda,
    )
    target = advantage + value
    if settings.value_target == "as_printed":
        target = reward + next_value * (~terminated).unsqueeze(-1)
    if settings.normalise:
        mean, std = advantage.mean((0, 1)), advantage.std((0, 1), correction=0)
        advantage = (advantage - mean) / (std + 1e-8)
    return Batch(
        DenseGraph(t.graph.node[:, copies], t.graph.edge_weight[:, copies]),
        HybridAction(t.action.choice[:, copies], t.action.z[:, copies]),
        t.log_prob[:, copies],
        advantage,
        target,
    )
