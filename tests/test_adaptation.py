from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn.adaptation import (
    WARM_UP_STEPS,
    Adaptation,
    Adapted,
    adapt,
    learned_policy,
    learned_rollout,
    warmed_up_rollout,
)
from metagnn.adaptation_task import Problem
from metagnn.graphs.channel import Configuration
from metagnn.graphs.dataset import NetworkSamples
from metagnn.graphs.interference import EDGE_KINDS, EdgeKind, interference_graph
from metagnn.graphs.neighbours import NeighbourGain, strongest
from metagnn.graphs.randomness import generator
from metagnn.graphs.rates import full_power_rate, rate
from metagnn.learner import Learner, flatten
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.network_score import run_network, score_network
from metagnn.rollout import Policy
from metagnn.update_rule import UpdateRule

PROBLEM = Problem(power_max_w=1.0, noise_w=0.1, minimum_rate_threshold=0.6, window=0.2)
SHAPE = NetworkShape(hidden_channels=4, config_hidden_channels=4, head="softplus")
RULE = UpdateRule({"power": 0.5, "slack": 0.1, "mu": 0.1})
ADAPTATION = Adaptation(RULE, num_epochs=3, steps_per_epoch=4, num_sequences=3)
NUM_LINKS = 3


def _networks(edges: EdgeKind = "normalised_log") -> PrimalDualNetworks:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return PrimalDualNetworks(replace(SHAPE, edges=edges))


def _gain(num_samples: int, part: str) -> Tensor:
    gain = torch.rand((num_samples, NUM_LINKS, NUM_LINKS), generator=generator(0, part))
    return gain + 2.0 * torch.eye(NUM_LINKS) * gain


def _network(num_samples: int = 24, num_test_samples: int = 6) -> NetworkSamples:
    gain = _gain(num_samples, "adapt")
    place = torch.zeros(NUM_LINKS, 2)
    configuration = Configuration(gain.mean(0), place, place)
    return NetworkSamples(configuration, gain, _gain(num_test_samples, "test"))


def _adapt(networks: PrimalDualNetworks, adaptation: Adaptation = ADAPTATION) -> Adapted:
    gain = _gain(24, "adapt")
    return adapt(networks, gain.mean(0), gain, PROBLEM, adaptation)


def test_no_epoch_leaves_the_parameters() -> None:
    networks = _networks()
    adapted = _adapt(networks, replace(ADAPTATION, num_epochs=0))
    for name, vector in adapted.learner.flat().items():
        assert torch.equal(vector, flatten(networks)[name])
    assert adapted.lagrangian == []


def test_adaptation_moves_the_learner_and_not_the_networks() -> None:
    networks = _networks()
    before = deepcopy(networks.state_dict())
    adapted = _adapt(networks)
    for name, vector in adapted.learner.flat().items():
        assert not torch.equal(vector, flatten(networks)[name])
    assert all(torch.equal(before[key], value) for key, value in networks.state_dict().items())
    assert all(p.grad is None for p in networks.parameters())
    assert len(adapted.lagrangian) == 3


def test_slack_and_multipliers_are_those_after_the_last_epoch() -> None:
    adapted = _adapt(_networks())
    gain = _gain(24, "adapt")
    initial_rate = full_power_rate(gain, 1.0, 0.1).mean(0)
    graph = interference_graph(gain.mean(0), 1.0, 0.1, "normalised_log")
    with torch.no_grad():
        for name in ("slack", "mu"):
            wanted = adapted.learner.call(name, initial_rate, graph)
            assert torch.equal(getattr(adapted, name), wanted)
            assert not getattr(adapted, name).requires_grad
    assert adapted.minimum_rate == pytest.approx(0.6)


def test_without_its_network_the_slack_is_the_multiplier_over_alpha() -> None:
    networks = PrimalDualNetworks(replace(SHAPE, num_networks=2))
    rule = UpdateRule({"power": 0.5, "mu": 0.1})
    adapted = _adapt(networks, replace(ADAPTATION, rule=rule))
    assert torch.equal(adapted.slack, adapted.mu / PROBLEM.alpha)
    assert adapted.mu.min() > 0.0


def test_primal_steps_raise_the_lagrangian_and_dual_steps_lower_it() -> None:
    still = 1e-9
    long = replace(ADAPTATION, num_epochs=30, steps_per_epoch=8)
    rates = {
        "up": {"power": 0.5, "slack": 0.5, "mu": still},
        "down": {"power": still, "slack": still, "mu": 0.5},
    }
    history = {
        name: _adapt(_networks(), replace(long, rule=UpdateRule(value))).lagrangian
        for name, value in rates.items()
    }
    assert history["up"][-1] > history["up"][0] + 0.01
    assert history["down"][-1] < history["down"][0] - 0.01


def test_every_epoch_is_announced() -> None:
    seen: list[tuple[int, Tensor]] = []

    def on_epoch(epoch: int, learner: Learner) -> None:
        seen.append((epoch, learner.flat()["power"].detach().clone()))

    gain = _gain(24, "adapt")
    adapted = adapt(_networks(), gain.mean(0), gain, PROBLEM, ADAPTATION, on_epoch)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert torch.equal(seen[0][1], flatten(_networks())["power"])
    assert torch.equal(seen[-1][1], adapted.learner.flat()["power"])
    assert len({tuple(vector.tolist()) for _, vector in seen}) == 4


@pytest.mark.parametrize("edges", ["normalised_log", "rate_loss"])
def test_learned_policy_equals_the_power_network_on_the_present_sample(edges: EdgeKind) -> None:
    networks, gain = _networks(edges), _gain(5, "test").unsqueeze(1)
    policy = learned_policy(networks, gain, PROBLEM)
    ratio = torch.rand(1, NUM_LINKS)
    for step in range(5):
        graph = interference_graph(gain[step, 0], 1.0, 0.1, edges)
        wanted = networks.call("power", ratio[0], graph)
        torch.testing.assert_close(policy(gain[step], ratio, step)[0], wanted)


class _Recorder:
    """Policy that records every sample and ratio it is shown."""

    def __init__(self) -> None:
        self.gains: list[Tensor] = []
        self.ratios: list[Tensor] = []

    def make(self, gain: Tensor) -> Policy:
        def policy(sample: Tensor, ratio: Tensor, step: int) -> Tensor:
            assert torch.equal(sample, gain[step])
            self.gains.append(sample)
            self.ratios.append(ratio)
            return torch.sigmoid(ratio - sample.sum(-1))

        return policy


def test_warm_up_runs_over_the_newest_samples_before() -> None:
    past, gain = _gain(WARM_UP_STEPS + 7, "adapt"), _gain(4, "test")
    recorder = _Recorder()
    run = warmed_up_rollout(recorder.make, past, gain, PROBLEM)
    past, gain = past.unsqueeze(1), gain.unsqueeze(1)
    assert torch.equal(torch.stack(recorder.gains), torch.cat([past[7:], gain]))
    assert torch.equal(torch.stack(recorder.ratios[WARM_UP_STEPS:]), run.ratio)
    # by hand: the averages start at the mean over the whole past at full power
    average = full_power_rate(past, 1.0, 0.1).mean(0)
    for sample, ratio in zip(torch.cat([past[7:], gain]), recorder.ratios, strict=True):
        torch.testing.assert_close(ratio, full_power_rate(sample, 1.0, 0.1) / average)
        got = rate(sample, torch.sigmoid(ratio - sample.sum(-1)), 0.1)
        average = 0.8 * average + 0.2 * got
    torch.testing.assert_close(run.average_rate, average)


@pytest.mark.parametrize("with_past", [True, False])
def test_no_power_depends_on_later_samples(with_past: bool) -> None:
    past = _gain(10, "adapt") if with_past else None
    gain = _gain(6, "test")
    changed = gain.clone()
    changed[3:] = 5.0 * changed[3:].mT
    runs = []
    for samples in (gain, changed):
        runs.append(learned_rollout(_networks("rate_loss"), past, samples, PROBLEM))
    assert torch.equal(runs[0].power_w[:3], runs[1].power_w[:3])
    assert torch.equal(runs[0].ratio[:3], runs[1].ratio[:3])
    assert (runs[0].power_w[3] != runs[1].power_w[3]).all()


def test_samples_with_another_axis_are_refused() -> None:
    gain = _gain(3, "test")
    with pytest.raises(ValueError, match=r"`gain` must have the shape \[S, K, K\], got \(3, 1, "):
        learned_rollout(_networks(), gain, gain.unsqueeze(1), PROBLEM)
    with pytest.raises(ValueError, match=r"`past_gain` must have the shape \[S, K, K\], got \(3,"):
        learned_rollout(_networks(), gain[:, 0], gain, PROBLEM)


def test_without_a_past_every_first_ratio_is_one() -> None:
    run = warmed_up_rollout(_Recorder().make, None, _gain(3, "test"), PROBLEM)
    torch.testing.assert_close(run.ratio[0], torch.ones(1, NUM_LINKS))


def test_a_policy_is_scored_on_the_sample_it_saw() -> None:
    networks, network = _networks(), _network()
    run = run_network(networks, network, PROBLEM, ADAPTATION, 0)
    past = network.gain[-WARM_UP_STEPS:]
    average = full_power_rate(network.gain, 1.0, 0.1).mean(0)
    scored = []
    with torch.no_grad():
        for sample in torch.cat([past, network.test_gain]):
            graph = interference_graph(sample, 1.0, 0.1, "normalised_log")
            ratio = full_power_rate(sample, 1.0, 0.1) / average
            got = rate(sample, networks.call("power", ratio, graph), 0.1)
            average = 0.8 * average + 0.2 * got
            scored.append(got)
    wanted = torch.stack(scored[len(past) :])
    torch.testing.assert_close(run.rate[:, 0], wanted)
    score = score_network(networks, network, PROBLEM, ADAPTATION, 0)
    torch.testing.assert_close(score, wanted.mean(0))
    direct = rate(network.test_gain, run.power_w[:, 0], 0.1)
    torch.testing.assert_close(direct, run.rate[:, 0])


def test_scores_follow_the_number_of_epochs_asked_for() -> None:
    networks, network = _networks(), _network()
    scores = [score_network(networks, network, PROBLEM, ADAPTATION, n) for n in (0, 3, 3)]
    assert torch.equal(scores[1], scores[2])
    assert not torch.equal(scores[0], scores[1])
    # samples that are scored play no part in adaptation
    other = replace(network, test_gain=2.0 * network.test_gain.flip(0))
    gain = network.configuration.large_scale_gain
    adapted = adapt(networks, gain, network.gain, PROBLEM, ADAPTATION)
    run = run_network(networks, other, PROBLEM, ADAPTATION, 3)
    wanted = learned_rollout(adapted.learner, network.gain, other.test_gain, PROBLEM)
    assert torch.equal(run.power_w, wanted.power_w)


def test_one_link_adapts_and_keeps_its_power() -> None:
    gain = _gain(12, "adapt")[:, :1, :1]
    for edges in ("normalised_log", "rate_loss"):
        adapted = adapt(_networks(edges), gain.mean(0), gain, PROBLEM, ADAPTATION)
        assert torch.tensor(adapted.lagrangian).isfinite().all()
        policy = learned_policy(adapted.learner, gain.unsqueeze(1), PROBLEM)
        power = policy(gain[0].unsqueeze(0), torch.ones(1, 1), 0)
        assert 0.0 <= power.item() <= 1.0


def test_few_samples_are_cut_into_sequences_of_an_epoch() -> None:
    adaptation = replace(ADAPTATION, num_sequences=32, steps_per_epoch=64)
    assert [adaptation.sequences_of(n) for n in (1, 64, 256, 2048, 4096)] == [1, 1, 4, 32, 32]
    seen: list[Tensor] = []
    gain = _gain(12, "adapt")
    for sequences in (1, 2, 3):
        one = replace(ADAPTATION, steps_per_epoch=6, num_sequences=sequences)
        adapted = adapt(_networks(), gain.mean(0), gain, PROBLEM, one)
        seen.append(adapted.learner.flat()["power"])
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2])


@pytest.mark.parametrize(
    ("name", "value"), [("num_epochs", -1), ("steps_per_epoch", 0), ("num_sequences", 0)]
)
def test_counts_are_checked(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must be an integer .*got {value}"):
        replace(ADAPTATION, **{name: value})


@pytest.mark.parametrize("edges", EDGE_KINDS)
def test_neighbour_lists_of_all_links_adapt_and_decide_as_dense_gains_do(edges: EdgeKind) -> None:
    gain, scored = _gain(24, "adapt").double(), _gain(6, "test").double()
    networks, adaptation = _networks(edges).double(), replace(ADAPTATION, num_sequences=2)
    all_links = strongest(gain.mean(0), NUM_LINKS - 1)

    def listed(samples: Tensor) -> NeighbourGain:
        pairs = all_links.neighbours
        crossed = samples[:, pairs.source, pairs.target]
        return replace(all_links, direct=samples.diagonal(dim1=1, dim2=2), crossed=crossed)

    dense = adapt(networks, gain.mean(0), gain, PROBLEM, adaptation)
    sparse = adapt(networks, all_links, listed(gain), PROBLEM, adaptation)
    assert sparse.lagrangian == pytest.approx(dense.lagrangian)
    for name, vector in dense.learner.flat().items():
        torch.testing.assert_close(sparse.learner.flat()[name], vector)
    wanted = learned_rollout(dense.learner, gain, scored, PROBLEM)
    found = learned_rollout(sparse.learner, listed(gain), listed(scored), PROBLEM)
    torch.testing.assert_close(found.power_w, wanted.power_w)
    torch.testing.assert_close(found.rate, wanted.rate)
