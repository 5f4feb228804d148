"""Channel assignment makes everything on the device of its generator."""

from dataclasses import replace

import pytest
import torch

from metagnn.graphs.randomness import generator
from metagnn.graphs.units import dbm_to_w
from metagnn.models.actor_critic import ActorCritic, ActorCriticShape
from metagnn.tasks.channel_assignment.baselines import BASELINES
from metagnn.tasks.channel_assignment.environment import (
    STEPS_PER_MOVE,
    Action,
    ChannelAssignment,
    sum_reward,
)
from metagnn.tasks.channel_assignment.scenario import scenario


@pytest.mark.parametrize("layout", ["user", "channel"])
@torch.no_grad()
def test_everything_is_made_where_the_generator_draws(layout: str) -> None:
    """With another default device, which holds no numbers, nothing is made there."""
    place = replace(scenario("urban_macro"), line_of_sight=True)
    environment, elsewhere = (
        ChannelAssignment(
            place, 3, num_steps=STEPS_PER_MOVE + 1, layout=layout, reward="difference"
        )
        for _ in range(2)
    )
    shape = ActorCriticShape(environment.num_features, 10, per_choice=layout == "channel")
    network = ActorCritic(shape)
    graph = environment.reset(4, generator(0))
    with torch.device("meta"):
        other = elsewhere.reset(4, generator(0))
        for number in range(STEPS_PER_MOVE + 1):
            policy, _ = network(other)
            action = policy.sample(generator(2, number))
            log_prob = policy.log_prob(action) + policy.entropy()
            assert log_prob.device.type == "cpu"
            power_w = dbm_to_w(policy.bounded(action))
            step = elsewhere.step(Action(action.choice, power_w))
            other = step.observation
        decisions = {
            name: decide(elsewhere.gain_to_noise, elsewhere.uplink, generator(3))
            for name, decide in BASELINES.items()
        }
        assert sum_reward(step.info, 1e-9).device.type == "cpu"
    for value in (other.node, other.edge_weight, step.reward, step.terminated, step.truncated):
        assert value.device.type == "cpu"
    assert {d.channel.device.type for d in decisions.values()} == {"cpu"}
    # The numbers are those without it.
    for number in range(STEPS_PER_MOVE + 1):
        policy, _ = network(graph)
        action = policy.sample(generator(2, number))
        step = environment.step(Action(action.choice, dbm_to_w(policy.bounded(action))))
        graph = step.observation
    assert torch.equal(graph.node, other.node)
