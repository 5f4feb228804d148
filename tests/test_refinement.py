"""Refinement: it never does worse, knows no future, and finds multipliers that are known."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from metagnn import refinement
from metagnn.adaptation import Adapted, adapt, learned_rollout
from metagnn.comparison import Scenario, compare
from metagnn.cutting_planes import refined_multipliers
from metagnn.duality import primal_value
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.neighbours import NeighbourGain, strongest
from metagnn.graphs.rates import rate
from metagnn.meta_parameters import load_meta_parameters
from metagnn.refinement import (
    NUM_ROUNDS,
    NUM_SAMPLES,
    local_optima,
    raise_lagrangian,
    refine,
    refine_multipliers,
    refined_power,
)
from metagnn.tasks.power_control.coordinate_search import LEVELS, coordinate_search
from metagnn.tasks.power_control.exact import exact
from metagnn.tasks.power_control.wmmse import wmmse

META = load_meta_parameters("power_control")
PROBLEM = META.problem


@pytest.fixture(scope="module")
def network() -> tuple[Tensor, Tensor, Tensor]:
    drawn = draw_network(ChannelFamily(), 4, 11, "validation", 2)
    past, scored = drawn.gain, drawn.test_gain
    assert isinstance(past, Tensor)
    assert isinstance(scored, Tensor)
    large = drawn.configuration.large_scale_gain
    assert isinstance(large, Tensor)
    return large, past[-600:], scored[:40]


@pytest.fixture(scope="module")
def adapted(network: tuple[Tensor, Tensor, Tensor]) -> Adapted:
    large, past, _ = network
    adaptation = replace(META.adaptation, num_epochs=2)
    return adapt(META.networks, large, past, PROBLEM, adaptation)


def lagrangian(gain: Tensor, power_w: Tensor, mu: Tensor) -> Tensor:
    """Of each sample [bit/s/Hz]."""
    return rate(gain.double(), power_w.double(), PROBLEM.noise_w) @ (1 + mu.double())


def _on_lists(gain: Tensor) -> NeighbourGain:
    every = strongest(gain.reshape(-1, 4, 4).mean(0), 3)
    pairs = every.neighbours
    crossed = gain[..., pairs.source, pairs.target]
    return replace(every, direct=gain.diagonal(dim1=-2, dim2=-1), crossed=crossed)


def test_the_lagrangian_of_no_sample_falls_and_most_come_to_its_maximum(
    network: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, _, gain = network
    assert not torch.equal(gain, gain.mT)
    mu = torch.tensor([0.0, 2.0, 0.3, 0.0])
    draws = torch.Generator().manual_seed(0)
    start = torch.rand(len(gain), 4, generator=draws) * PROBLEM.power_max_w
    found = raise_lagrangian(start, gain, mu, PROBLEM)
    before, after = (lagrangian(gain, power_w, mu) for power_w in (start, found))
    assert bool((after >= before).all())
    weight = (1 + mu.double()).expand(len(gain), 4)
    best = exact(gain.double(), PROBLEM.power_max_w, PROBLEM.noise_w, weight)
    share = after / lagrangian(gain, best, mu)
    assert bool((share < 1 + 1e-3).all())
    assert float(share.mean()) > 0.98
    assert float((before / lagrangian(gain, best, mu)).mean()) < 0.92


def test_nothing_is_lost_at_the_optimum_and_silence_is_left_for_any_power(
    network: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, _, gain = network
    mu = torch.tensor([0.0, 2.0, 0.3, 0.0])
    weight = (1 + mu.double()).expand(len(gain), 4)
    best = exact(gain.double(), PROBLEM.power_max_w, PROBLEM.noise_w, weight)
    found = raise_lagrangian(best, gain, mu, PROBLEM)
    assert bool((lagrangian(gain, found, mu) >= lagrangian(gain, best, mu)).all())
    # WMMSE starts from a whisper, else all powers would be levels of the search.
    found = raise_lagrangian(torch.zeros_like(best), gain, mu, PROBLEM)
    levels = torch.tensor(LEVELS, dtype=torch.float64) * PROBLEM.power_max_w
    nearest = (found.unsqueeze(-1) - levels).abs().amin(-1)
    assert float(nearest.max()) > 1e-3 * PROBLEM.power_max_w


def test_a_silent_link_may_speak_and_the_best_is_kept() -> None:
    gain = torch.full((1, 1, 1), 1e-9)
    mu = torch.zeros(1)
    silent = raise_lagrangian(torch.zeros(1, 1), gain, mu, PROBLEM)
    assert float(silent) == pytest.approx(PROBLEM.power_max_w)
    full = torch.full((1, 1), PROBLEM.power_max_w, dtype=torch.float64)
    assert torch.equal(raise_lagrangian(full, gain, mu, PROBLEM), full)


def test_multipliers_without_interference_are_known() -> None:
    """Links alone send all they may: mu is alpha times what their rates lack."""
    direct = torch.tensor([1e-8, 3e-12, 1e-12], dtype=torch.float64)
    gain = torch.diag_embed(direct.expand(20, 3))
    full = torch.full((3,), PROBLEM.power_max_w, dtype=torch.float64)
    lacking = 9.0 - rate(gain[0], full, PROBLEM.noise_w)
    wanted = PROBLEM.alpha * lacking.clamp(min=0)
    assert float(wanted[0]) == 0.0 < float(wanted[1]) < float(wanted[2])
    start = (full / 4).expand(20, 3)
    found = refine_multipliers(start, gain, torch.ones(3), 9.0, PROBLEM)
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


def test_every_round_begins_at_the_best_candidate_so_far(
    network: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, _, gain = network
    mu = torch.zeros(4).double()
    candidates = [torch.full((len(gain), 4), PROBLEM.power_max_w / 4).double()]
    for number in range(NUM_ROUNDS):
        best = torch.stack(
            [
                max((c[n] for c in candidates), key=lambda p, n=n: lagrangian(gain[n], p, mu))
                for n in range(len(gain))
            ]
        )
        # From all starts at first, then from the best alone.
        found = local_optima(best, gain, mu, PROBLEM, 0 if number > 0 else 4)
        candidates += found.unbind(1)
        rates = torch.stack([rate(gain.double(), c, PROBLEM.noise_w) for c in candidates], 1)
        mu = refined_multipliers(rates, 6.0, PROBLEM.alpha, mu)
    assert len(candidates) == 1 + 5 + NUM_ROUNDS - 1
    multipliers = refine_multipliers(candidates[0], gain, torch.zeros(4), 6.0, PROBLEM)
    assert float(multipliers.max()) > 0.1
    torch.testing.assert_close(multipliers, mu)


def test_the_search_starts_from_the_powers_and_from_the_links_that_would_get_most_alone(
    network: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, _, gain = network
    gain, largest = gain[:10].double(), PROBLEM.power_max_w
    # As links differ by orders, weights decide where SNRs are alike.
    mu = torch.tensor([0.0, 9.0, 0.3, 0.0]).double()
    start = torch.full((10, 4), largest / 4).double()
    found = local_optima(start, gain, mu, PROBLEM, 2)
    assert found.shape == (10, 3, 4)
    for n in range(10):
        value = (1 + mu) * torch.log2(1 + gain[n].diagonal() * largest / PROBLEM.noise_w)
        alone = sorted(range(4), key=lambda k: -float(value[k]))[:2]
        starts = [start[n]] + [largest * torch.eye(4).double()[k] for k in alone]
        for j, power_w in enumerate(starts):
            weight, constants = 1 + mu, (largest, PROBLEM.noise_w)
            quiet = power_w.clamp(min=1e-4 * largest)
            expected = wmmse(gain[n], *constants, weight, initial_power_w=quiet)
            expected = coordinate_search(gain[n], *constants, weight, expected)
            torch.testing.assert_close(found[n, j], expected, rtol=1e-6, atol=1e-9 * largest)
    best = raise_lagrangian(start, gain, mu, PROBLEM, 2)
    values = torch.stack([lagrangian(gain, p, mu) for p in (start, *found.unbind(1))])
    torch.testing.assert_close(lagrangian(gain, best, mu), values.amax(0))
    # From one start alone less is found.
    single = raise_lagrangian(start, gain, mu, PROBLEM, 0)
    assert bool((lagrangian(gain, single, mu) < lagrangian(gain, best, mu) * (1 - 1e-3)).any())
    assert local_optima(start, gain, mu, PROBLEM).shape == (10, 5, 4)
    with pytest.raises(ValueError, match=r"`num_alone` must be .*, got -1"):
        local_optima(start, gain, mu, PROBLEM, -1)


def test_it_comes_closer_to_the_optimum(
    network: tuple[Tensor, Tensor, Tensor], adapted: Adapted
) -> None:
    _, past, gain = network
    refined = refine(adapted, past, PROBLEM)
    assert refined.learner is adapted.learner
    assert float(refined.mu.max()) > 0.1
    torch.testing.assert_close(refined.slack, refined.mu / PROBLEM.alpha)
    powers = {
        "learned": learned_rollout(adapted.learner, past, gain, PROBLEM).power_w.squeeze(1),
        "powers": refined_power(adapted, past, gain, PROBLEM),
        "both": refined_power(refined, past, gain, PROBLEM),
    }
    value = {
        name: float(
            primal_value(
                rate(gain.double(), power_w.double(), PROBLEM.noise_w).mean(0),
                adapted.minimum_rate,
                PROBLEM.alpha,
            )
        )
        for name, power_w in powers.items()
    }
    # At multipliers of two steps of adaptation the best powers may favour the wrong links.
    assert max(value["learned"], value["powers"]) < value["both"]


def test_multipliers_are_refined_on_the_last_samples(
    network: tuple[Tensor, Tensor, Tensor], adapted: Adapted, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, past, _ = network
    asked = {}

    def refined(power_w: Tensor, gain: Tensor, mu: Tensor, *rest: object) -> Tensor:
        asked.update(power_w=power_w, gain=gain, mu=mu)
        return torch.ones(4)

    monkeypatch.setattr(refinement, "refine_multipliers", refined)
    assert torch.equal(refine(adapted, past, PROBLEM).mu, torch.ones(4))
    assert torch.equal(asked["gain"], past[-NUM_SAMPLES:])
    assert torch.equal(asked["mu"], adapted.mu)
    run = learned_rollout(adapted.learner, past[:-NUM_SAMPLES], past[-NUM_SAMPLES:], PROBLEM)
    torch.testing.assert_close(asked["power_w"], run.power_w.squeeze(1))


def test_powers_know_no_later_sample(
    network: tuple[Tensor, Tensor, Tensor], adapted: Adapted
) -> None:
    _, past, gain = network
    changed = gain.clone()
    changed[30:] = changed[30:].flip(-1)
    found = refined_power(adapted, past, gain, PROBLEM)
    other = refined_power(adapted, past, changed, PROBLEM)
    assert torch.equal(found[:30], other[:30])
    assert not torch.equal(found[30:], other[30:])


def test_it_is_a_policy_of_compare(network: tuple[Tensor, Tensor, Tensor]) -> None:
    large, past, gain = network
    scenario = Scenario(large, past, gain)
    names = ("metagnn", "metagnn_refined")
    outcomes = compare([scenario], names, META, 2).outcomes
    adaptation = replace(META.adaptation, num_epochs=2)
    refined = refine(adapt(META.networks, large, past, PROBLEM, adaptation), past, PROBLEM)
    power_w = refined_power(refined, past, gain, PROBLEM).to(gain)
    wanted = rate(gain, power_w, PROBLEM.noise_w).mean(0)
    (found,) = outcomes["metagnn_refined"]
    torch.testing.assert_close(found.rate, wanted)
    torch.testing.assert_close(found.power_w, power_w.mean(0))
    assert found.dual is not None
    torch.testing.assert_close(found.dual.multiplier, refined.mu)
    assert not torch.equal(found.rate, outcomes["metagnn"][0].rate)
    # Without samples before, powers alone are refined, near those of the policy.
    outcomes = compare([Scenario(large, None, gain)], names, META, 0).outcomes
    (without,), (plain,) = outcomes["metagnn_refined"], outcomes["metagnn"]
    unadapted = adapt(META.networks, large, gain[:1], PROBLEM, replace(adaptation, num_epochs=0))
    near, far = (refined_power(unadapted, None, gain, PROBLEM, n).to(gain) for n in (0, 4))
    assert not torch.allclose(near, far)
    torch.testing.assert_close(without.rate, rate(gain, near, PROBLEM.noise_w).mean(0))
    assert without.dual is not None
    assert plain.dual is not None
    assert torch.equal(without.dual.multiplier, plain.dual.multiplier)
    assert float((without.rate - plain.rate) @ (1 + plain.dual.multiplier)) > 0.1
    lists = [_on_lists(values) for values in (large, past, gain)]
    with pytest.raises(ValueError, match="`gain` must be dense for 'metagnn_refined'"):
        compare([Scenario(*lists)], names, META, 0)


def test_powers_stay_within_what_is_allowed(network: tuple[Tensor, Tensor, Tensor]) -> None:
    _, _, gain = network
    mu = torch.zeros(4)
    # The largest power in float32 lies above that in float64.
    for power_max_w in (1e-4, 0.1):
        problem = replace(PROBLEM, power_max_w=power_max_w)
        full = torch.full((len(gain), 4), power_max_w)
        found = raise_lagrangian(full, gain, mu, problem)
        assert power_max_w * 0.999 < float(found.max()) <= power_max_w
        found = raise_lagrangian(full[:, :1], gain[:, :1, :1], mu[:1], problem)
        assert bool((found == power_max_w).all())
    assert bool((raise_lagrangian(full, torch.zeros_like(gain), mu, problem) <= 0.1).all())
    with pytest.raises(ValueError, match="`power_w` must lie in"):
        raise_lagrangian(-full, gain, mu, problem)
    with pytest.raises(ValueError, match="`power_w` must lie in"):
        refine_multipliers(full * 2, gain, mu, 5.0, problem)
    with pytest.raises(ValueError, match="`mu` must be finite and >= 0"):
        raise_lagrangian(full, gain, mu - 0.5, problem)
