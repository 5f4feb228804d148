"""What a comparison writes is what the policies did, and a page can be made of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from metagnn import comparison, comparison_gap
from metagnn.adaptation import Adapted, adapt, learned_rollout
from metagnn.adaptation_task import Problem
from metagnn.commands.compare import gap_table
from metagnn.comparison import Comparison, Outcome, Scenario, _valued, compare
from metagnn.comparison_files import network_links, strongest_interferers, write_comparison
from metagnn.duality import Interval
from metagnn.ergodic_interval import ErgodicInterval
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import NetworkSamples, draw_network
from metagnn.graphs.neighbours import on_neighbours_if_large
from metagnn.meta_parameters import MetaParameters, load_meta_parameters
from metagnn.report import collect
from metagnn.tasks.power_control.wmmse import wmmse

POLICIES = ("metagnn", "wmmse", "full_power")


@pytest.fixture(scope="module")
def parameters() -> MetaParameters:
    return load_meta_parameters("power_control")


@pytest.fixture(scope="module")
def networks() -> list[NetworkSamples]:
    return [draw_network(ChannelFamily(), k, 1, "test", 0, 128, 8) for k in (3, 4)]


@pytest.fixture(scope="module")
def scenarios(networks: list[NetworkSamples]) -> list[Scenario]:
    return [
        Scenario(
            network.configuration.large_scale_gain,
            network.gain,
            network.test_gain,
            network.configuration.positions_m,
        )
        for network in networks
    ]


@pytest.fixture(scope="module")
def result(scenarios: list[Scenario], parameters: MetaParameters) -> Comparison:
    return compare(scenarios, POLICIES, parameters, 2)


def test_outcomes_hold_powers_slacks_and_multipliers(
    networks: list[NetworkSamples], result: Comparison, parameters: MetaParameters
) -> None:
    network, problem = networks[0], parameters.problem
    gain = network.test_gain
    assert isinstance(gain, torch.Tensor)
    adapted = adapt(
        parameters.networks,
        network.configuration.large_scale_gain,
        network.gain,
        problem,
        replace(parameters.adaptation, num_epochs=2),
    )
    run = learned_rollout(adapted.learner, network.gain, gain, problem)
    outcome = result.outcomes["metagnn"][0]
    torch.testing.assert_close(outcome.power_w, run.power_w.mean((0, 1)))
    torch.testing.assert_close(outcome.rate, run.rate.mean((0, 1)))
    assert outcome.dual is not None
    torch.testing.assert_close(outcome.dual.slack, adapted.slack)
    torch.testing.assert_close(outcome.dual.multiplier, adapted.mu)
    assert outcome.dual.minimum_rate == adapted.minimum_rate
    assert outcome.dual.lagrangian == pytest.approx(adapted.lagrangian)
    assert result.target is not None
    torch.testing.assert_close(result.target[0], adapted.minimum_rate - adapted.slack)
    power_w = wmmse(gain, problem.power_max_w, problem.noise_w)
    torch.testing.assert_close(result.outcomes["wmmse"][0].power_w, power_w.mean(0))
    full = result.outcomes["full_power"][1]
    torch.testing.assert_close(full.power_w, torch.full((4,), problem.power_max_w))
    assert full.dual is None


def test_what_is_written_is_shown(
    scenarios: list[Scenario], result: Comparison, parameters: MetaParameters, tmp_path: Path
) -> None:
    metrics = result.metrics()
    document = {
        "policies": {
            name: {
                key: value
                for metric, estimate in values.items()
                for key, value in ((metric, estimate.value), (f"{metric}_ci95", None))
            }
            for name, values in metrics.items()
        }
    }
    write_comparison(tmp_path, document, result, metrics, scenarios, parameters.problem)
    names = ["comparison.json", "comparison.png", "networks.json", "rates.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    found = collect(tmp_path)
    assert (found.power_max_w, found.noise_w) == (0.01, parameters.problem.noise_w)
    for index, network in enumerate(found.networks):
        positions_m = scenarios[index].positions_m
        assert positions_m is not None
        drawn = torch.tensor([network.transmitter, network.receiver])
        torch.testing.assert_close(drawn, positions_m, atol=0.006, rtol=0.0)
        for name, policy in network.policies.items():
            outcome = result.outcomes[name][index]
            assert policy.rate == pytest.approx(outcome.rate.tolist(), abs=1e-6)
            assert policy.power_w == pytest.approx(outcome.power_w.tolist(), rel=1e-5)
            if outcome.dual is None:
                assert (policy.slack, policy.multiplier) == (None, None)
            else:
                dual = outcome.dual
                assert policy.slack == pytest.approx(dual.slack.tolist(), rel=1e-5)
                assert policy.multiplier == pytest.approx(dual.multiplier.tolist(), rel=1e-5)
                assert policy.minimum_rate == dual.minimum_rate


def test_links_without_positions(scenarios: list[Scenario]) -> None:
    links = network_links(scenarios[0].large_scale_gain, None)
    assert (links["transmitter_m"], links["receiver_m"]) == (None, None)
    assert json.loads(json.dumps(links))["direct_gain"] == links["direct_gain"]


def test_strongest_interferers_of_dense_gains_and_of_lists() -> None:
    gain = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    gain[3, 5] = gain[7, 5] = 0.0
    expected = [
        sorted(
            ((i, float(gain[i, k])) for i in range(12) if i != k and gain[i, k] > 0),
            key=lambda pair: -pair[1],
        )[:3]
        for k in range(12)
    ]
    for found in (
        strongest_interferers(gain, 3),
        strongest_interferers(on_neighbours_if_large(gain, 6), 3),
    ):
        assert [[link for link, _ in pairs] for pairs in found] == [
            [link for link, _ in pairs] for pairs in expected
        ]
        for pairs, wanted in zip(found, expected, strict=True):
            values = [value for _, value in pairs]
            assert values == pytest.approx([value for _, value in wanted], rel=1e-5)


def test_one_link_has_no_interferers() -> None:
    assert strongest_interferers(torch.ones(1, 1), 3) == [[]]


def _outcome(*rates: float, interval: Interval | None = None) -> Outcome:
    return Outcome(torch.tensor(rates), torch.ones(len(rates)), interval=interval)


def test_all_policies_stand_in_the_interval_and_the_best_is_known() -> None:
    """Values by hand: sums of rates, less alpha / 2 times the squares of what they lack."""
    rates, required = torch.tensor([2.0, 4.0]), torch.tensor([3.0, 3.0]).double()
    interval = Interval(5.0, 5.1, 6.0, "exact", required, rates, rates, 6.0, 5.9)
    outcomes = {
        "metagnn": _outcome(2.0, 4.0, interval=interval),
        "wmmse": _outcome(1.0, 6.5),
        "itlinq": _outcome(0.0, 1.0),
        "fplinq": _outcome(2.5, 3.0),
    }
    found = _valued(outcomes, 2.0)
    values = {name: one.value for name, one in found.items()}
    assert values == {"metagnn": 5.0, "wmmse": 3.5, "itlinq": -12.0, "fplinq": 5.25}
    best = found["metagnn"].interval
    assert best == replace(interval, best_known=5.25)
    assert all(found[name].interval is None for name in values if name != "metagnn")
    # Rounding may lift a value to just above the bound, but nothing else may.
    outcomes["fplinq"] = _outcome(3.0, 3.00001)
    assert (best := _valued(outcomes, 2.0)["metagnn"].interval) is not None
    assert best.best_known == 6.0
    outcomes["fplinq"] = _outcome(3.0, 3.1)
    with pytest.raises(ValueError, match=r"`policies` must have no value above the certified"):
        _valued(outcomes, 2.0)


@pytest.fixture
def six_links() -> Scenario:
    network = draw_network(ChannelFamily(), 6, 5, "validation", 0, 64, 40)
    assert isinstance(network.test_gain, torch.Tensor)
    return Scenario(network.configuration.large_scale_gain, network.gain, network.test_gain)


def test_more_boxes_make_a_closer_bound(six_links: Scenario) -> None:
    parameters = load_meta_parameters("power_control")
    few = replace(six_links, past_gain=None, gain=six_links.gain[:8])
    found = [
        compare([few], ["metagnn"], parameters, 0, gap=True, max_boxes=boxes).intervals[0]
        for boxes in (1, 2000)
    ]
    assert found[0].primal == found[1].primal
    assert found[0].dual > 1.02 * found[1].dual
    assert found[0].undecided > 10.0 * found[1].undecided


def test_the_interval_of_the_distribution_has_multipliers_of_no_scored_sample(
    six_links: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = load_meta_parameters("power_control")
    refined_on, used = [], []

    def refined(adapted: Adapted, past: torch.Tensor, problem: Problem) -> Adapted:
        refined_on.append(past)
        return replace(adapted, mu=torch.full((6,), 0.25))

    def ergodic(
        power_w: torch.Tensor, gain: torch.Tensor, *rest: Any, max_boxes: int
    ) -> ErgodicInterval:
        used.append((gain, rest[-1], max_boxes))
        return ErgodicInterval(0.0, 1.0, 2.0, 3.0, 0.95)

    monkeypatch.setattr(comparison, "refine", refined)
    monkeypatch.setattr(comparison_gap, "ergodic_interval", ergodic)

    def intervals(scenario: Scenario) -> dict[int, ErgodicInterval]:
        policies = ["metagnn", "metagnn_refined"]
        return compare([scenario], policies, parameters, 0, gap=True, max_boxes=3).ergodic_intervals

    assert set(intervals(six_links)) == {0}
    ((gain, mu, boxes),) = used
    assert torch.equal(gain, six_links.gain)
    assert (mu.tolist(), boxes) == ([0.25] * 6, 3)
    (past,) = refined_on  # once, for both policies
    assert torch.equal(past, six_links.past_gain)
    # Too few samples, none before, or the same ones: no confidence.
    assert intervals(replace(six_links, gain=six_links.gain[:31])) == {}
    assert intervals(replace(six_links, past_gain=None)) == {}
    assert intervals(replace(six_links, past_gain=six_links.gain)) == {}


def test_gaps_are_said_as_medians_over_networks() -> None:
    rates = torch.ones(2)
    intervals = {
        number: Interval(primal, primal, 6.0, "exact", rates, rates, rates, 6.0, 5.9)
        for number, primal in enumerate((3.0, 4.0, 5.0))
    }
    values = {"metagnn": {0: 3.0, 1: 4.0, 2: 5.0}, "itlinq": {0: -1.0, 1: 0.0, 2: 5.0}}
    lines = gap_table(intervals, values, {}).splitlines()
    assert lines[-1] == "Median gap [%]: metagnn 50.00, itlinq inf"
    row = ["2", "2", "5.00", "5.00", "6.00", "20.00", "0.10", "exact"]
    assert lines[-2].split() == row
    ergodic = {2: ErgodicInterval(4.0, 5.0, 6.0, 7.5, 0.95)}
    *_, without, last, _ = gap_table(intervals, values, ergodic).splitlines()
    assert last.split() == [*row, "4.00", "to", "7.50"]
    assert without.split() == ["1", "2", "4.00", "4.00", "6.00", "50.00", "0.10", "exact"]
