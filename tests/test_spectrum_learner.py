"""Agents of spectrum allocation: they learn, go on bit for bit, and adapt to unseen scenarios."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from metagnn.checkpoint import read_checkpoint
from metagnn.cli import main
from metagnn.configs import config_path
from metagnn.graphs.randomness import generator
from metagnn.meta_rl import InnerSettings
from metagnn.models.spectrum import PolicyShape
from metagnn.ppo import PPOSettings
from metagnn.spectrum_adaptation import (
    Finetuning,
    GradientSteps,
    ProximalSteps,
    Remembering,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_comparison import SCRATCH, compare_spectrum, find_spectrum, run_baseline
from metagnn.spectrum_episode import collect, see
from metagnn.spectrum_learner import MEMORY_OF, SpectrumLearner, initial_policy
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.baselines import BASELINES
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily

PLACE = SpectrumPlace(ScenarioFamily(num_nodes=2, num_users=2), num_bands=2, num_steps=3)
PPO = PPOSettings(num_batches=2)
SHAPE = PolicyShape(hidden_channels=(8,), num_heads=2)
INIT = "--model.init_args"
SMALL = [
    f"{INIT}.num_networks=2",
    f"{INIT}.num_validation_networks=2",
    f"{INIT}.ppo.num_batches=2",
    f"{INIT}.place.num_steps=3",
    f"{INIT}.place.num_bands=2",
    f"{INIT}.place.family.num_users=2",
]


def _fit(agent: str, epochs: int, *more: str) -> Path:
    words = ["fit", "--config", "spectrum_allocation", f"{INIT}.agent={agent}", *SMALL]
    words += [f"--trainer.max_epochs={epochs}", "--trainer.check_val_every_n_epoch=2"]
    words += [f"--trainer.logger.init_args.name={agent}", "--checkpoint.every_n_epochs=1", *more]
    main(words)
    return sorted(Path(f"runs/{agent}").glob("version_*"))[-1]


@pytest.mark.parametrize("agent", list(MEMORY_OF))
def test_a_run_that_stops_goes_on_bit_for_bit(
    agent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = _fit(agent, 2, f"{INIT}.schedule=constant", "--checkpoint.save_top_k=-1")
    first = next(whole.glob("checkpoints/epoch=0*.ckpt"))
    more = f"--ckpt_path={first}"
    again = _fit(agent, 2, f"{INIT}.schedule=constant", more)
    states = [
        read_checkpoint(run / "checkpoints/last.ckpt", name="run")["state_dict"]
        for run in (whole, again)
    ]
    assert whole != again
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    with (whole / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logged = {"loss", "reward_1", "explained_variance", "throughput_mbit_s", "sinr_violation"}
    assert logged | {"validation_throughput_mbit_s_2", "validation_jain_0"} <= set(rows[0])


def test_agents_are_compared_after_some_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for agent in ("ppo", "maml", "attention"):
        _fit(agent, 1)
    text = config_path("spectrum_allocation").read_text()
    text = text.replace("[0, 1, 2, 5, 10]", "[0, 1]").replace("num_steps: 100", "num_steps: 3")
    text = text.replace("num_bands: 5", "num_bands: 2").replace("num_users: 10", "num_users: 2")
    Path("short.yaml").write_text(text)
    words = ["compare", "--config", "short.yaml", "--networks", "2", "--runs", "runs"]
    capsys.readouterr()
    main(words)
    shown = capsys.readouterr().out
    assert "after 1 episodes" in shown
    assert "P(maml > ppo from scratch) in throughput" in shown
    main([*words, "--json", "--out", "out"])
    document = json.loads(capsys.readouterr().out)
    assert json.loads(Path("out/comparison.json").read_text()) == document
    policies = document["after_episodes"]["1"]
    assert [len(document["while_adapting"][name]) for name in ("ppo", "maml", "random")] == [
        1,
        1,
        0,
    ]
    assert "maml, mean of its 1 episodes of adaptation: SINR violations" in shown
    assert set(policies) == {"ppo", SCRATCH, "maml", "attention", *BASELINES}
    for metrics in policies.values():
        assert 0.0 <= metrics["sinr_violation"] <= 1.0
    main([*words[:5], "--network", "nycmesh", "--json"])
    alone = json.loads(capsys.readouterr().out)
    assert alone["network"] == "nycmesh"
    assert list(alone["after_episodes"]) == ["0"]
    for changed, message in (
        (["--network", "mars"], "`--network` must be nycmesh, got 'mars'"),
        (["--num-links", "3"], "`--num-links` must be left out"),
        (["--networks", "0"], "`networks` must be"),
    ):
        with pytest.raises(SystemExit):
            main(["compare", "--config", "short.yaml", *changed])
        assert message in capsys.readouterr().err


def _adapter(kind: str, batch: int) -> Any:
    policy = initial_policy(PLACE, SHAPE, 0)
    if kind == "maml":
        return GradientSteps(policy, batch, InnerSettings(), PPO)
    if kind == "ppo":
        return ProximalSteps(policy, batch, Finetuning(num_epochs=2), PPO)
    return Remembering(policy)


@pytest.mark.parametrize("kind", ["maml", "ppo"])
def test_networks_adapt_each_by_itself(kind: str) -> None:
    """What one network learns is what it learns alone, from the same episode."""
    environment, adapter = PLACE.environment(), _adapter(kind, 3)
    graph = environment.reset(3, generator(0))
    seen = see(environment, graph, torch.zeros(3), True)
    start = adapter.policy.start(seen)
    episode, _ = collect(
        adapter.policy, environment, seen, start, generator(1), adapter.parameters()
    )
    before = {name: value.clone() for name, value in adapter.parameters().items()}
    adapter.learn(episode)
    after = adapter.parameters()
    assert any(not torch.equal(before[name][0], after[name][0]) for name in before)
    for network in range(3):
        alone = _adapter(kind, 1)
        alone.learn(episode.of(torch.tensor([network])))
        for name, value in alone.parameters().items():
            torch.testing.assert_close(after[name][network], value[0], atol=1e-6, rtol=1e-4)


def test_a_policy_that_learns_nothing_scores_as_before() -> None:
    scenarios = unseen_scenarios(PLACE, 2, 0, "test")
    found = adapt_to(_adapter("none", 2), PLACE, scenarios, (0, 2), 0)
    assert len(found.during) == 2
    for name, value in vars(found.after[2]).items():
        assert torch.equal(value, vars(found.after[0])[name])


def test_policies_and_baselines_meet_the_same_arrivals() -> None:
    """A policy that is a baseline scores as the baseline does."""
    scenarios = unseen_scenarios(PLACE, 2, 0, "test")

    class Loud(torch.nn.Module):
        """Every node sends on all bands in both roles."""

        def start(self, seen: Any) -> Any:
            return initial_policy(PLACE, SHAPE, 0).start(seen)  # type: ignore[operator]

        def forward(self, seen: Any, memory: Any, parameters: Any = None) -> Any:
            from metagnn.models.action_heads import Choice

            logits = torch.zeros(2, 4, 2, 5)
            logits[..., -1] = 9.0
            return Choice(logits), torch.zeros(2), memory

    def loud(state: Any, radio: Any, generator: Any) -> Any:
        from metagnn.tasks.spectrum_allocation.environment import Action

        return Action(torch.full_like(state.level, radio.num_levels))

    found = adapt_to(Remembering(Loud()), PLACE, scenarios, (0, 3), 0).after[3]
    wanted = run_baseline(loud, PLACE, scenarios, 0)
    for name, value in vars(found).items():
        torch.testing.assert_close(value, vars(wanted)[name])


def test_steps_without_edges_leave_unused_parameters_as_they_are() -> None:
    place = replace(PLACE, edges="none")
    adapter = GradientSteps(initial_policy(place, SHAPE, 0), 2, InnerSettings(), PPO)
    before = adapter.parameters()["convs.0.lin1.weight"].clone()
    adapt_to(adapter, place, unseen_scenarios(place, 2, 0, "test"), (0, 1), 0)
    assert torch.equal(adapter.parameters()["convs.0.lin1.weight"], before)


def test_splits_and_seeds_give_other_scenarios() -> None:
    places = [
        unseen_scenarios(PLACE, 2, seed, split).networks.user_m
        for seed, split in ((0, "test"), (0, "validation"), (1, "test"))
    ]
    assert not torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


def test_bad_arguments() -> None:
    for changed, message in (
        ({"agent": "bandit"}, "`agent` must be one of"),
        ({"num_networks": 0}, "`num_networks` must be"),
        ({"num_networks": 1}, "`ppo.num_batches` must be at most the 1 networks, got 2"),
        ({"num_episodes": 0}, "`num_episodes` must be"),
        ({"agent": "maml", "num_episodes": 1}, "`num_episodes` must be at least 2 for maml"),
        ({"ppo": PPOSettings(value_target="as_printed")}, "`ppo.value_target` must be 'return'"),
        ({"learning_rate": -1.0}, "`learning_rate` must be"),
        ({"schedule": "cosine"}, "`schedule` must be one of"),
        ({"seed": -1}, "`seed` must be"),
    ):
        values: dict[str, Any] = {"place": PLACE, "shape": SHAPE, "ppo": PPO, **changed}
        with pytest.raises(ValueError, match=message):
            SpectrumLearner(**values)
    with pytest.raises(ValueError, match="`num_bands` must be"):
        SpectrumPlace(num_bands=0)
    scenarios = unseen_scenarios(PLACE, 2, 0, "test")
    for points in ((), (2, 1), (-1,)):
        with pytest.raises(ValueError, match="`points` must be ascending"):
            adapt_to(_adapter("none", 2), PLACE, scenarios, points, 0)
    with pytest.raises(ValueError, match="`baselines` must be of"):
        compare_spectrum([], PLACE, 1, (0,), 0, Finetuning(), ["magic"])
    with pytest.raises(ValueError, match="`rate` must be"):
        Finetuning(rate=0.0)


def test_runs_of_other_learners_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`runs` must hold a last\.ckpt of a run"):
        find_spectrum(tmp_path, PLACE)
