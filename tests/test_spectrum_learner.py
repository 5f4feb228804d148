"""Agents of spectrum allocation: they learn, go on bit for bit, and adapt to unseen scenarios."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trainers import quiet_trainer

from metagnn.checkpoint import read_checkpoint
from metagnn.cli import main
from metagnn.configs import config_path
from metagnn.experiment import read_section
from metagnn.graphs.iab_deployment import new_york_trees
from metagnn.graphs.randomness import generator
from metagnn.meta_rl import InnerSettings, VectorizedLearners
from metagnn.models.action_heads import Choice
from metagnn.models.spectrum import Memory, PolicyShape
from metagnn.plain_values import from_plain
from metagnn.ppo import PPOSettings
from metagnn.progress import EpochProgress
from metagnn.spectrum_adaptation import (
    Finetuning,
    GradientSteps,
    ProximalSteps,
    Remembering,
    adapt_to,
    unseen_scenarios,
)
from metagnn.spectrum_comparison import (
    FROZEN,
    SCRATCH,
    TrainedSpectrum,
    compare_spectrum,
    find_spectrum,
    run_baseline,
)
from metagnn.spectrum_episode import collect, see
from metagnn.spectrum_learner import MEMORY_OF, Agent, SpectrumLearner, initial_policy
from metagnn.spectrum_lesson import Credit, lesson
from metagnn.spectrum_place import SpectrumPlace
from metagnn.tasks.spectrum_allocation.baselines import BASELINES
from metagnn.tasks.spectrum_allocation.observation import Edges
from metagnn.tasks.spectrum_allocation.radio import Radio
from metagnn.tasks.spectrum_allocation.scenario import ScenarioFamily, Scenarios

PLACE = SpectrumPlace(ScenarioFamily(num_nodes=2, num_users=2), Radio(num_bands=2), num_steps=3)
PPO = PPOSettings(num_batches=2)
SHAPE = PolicyShape(hidden_channels=(8,), num_heads=2)
INIT = "--model.init_args"
SMALL = [
    f"{INIT}.num_networks=2",
    f"{INIT}.num_validation_networks=2",
    f"{INIT}.ppo.num_batches=2",
    f"{INIT}.place.num_steps=3",
    f"{INIT}.place.radio.num_bands=2",
    f"{INIT}.place.family.num_users=2",
]


def _unseen(place: SpectrumPlace, seed: int, split: str) -> Scenarios:
    return unseen_scenarios(place, 2, seed, split, torch.device("cpu"))


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
    assert logged | {"validation_throughput_mbit_s_5", "validation_jain_0"} <= set(rows[0])


def test_a_killed_run_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = EpochProgress.on_train_epoch_end

    def kill_in_the_second(self: EpochProgress, trainer: Any, pl_module: Any) -> None:
        ended(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(EpochProgress, "on_train_epoch_end", kill_in_the_second)
        with pytest.raises(SystemExit) as stop:
            _fit("ppo", 4)
    assert stop.value.code == 143
    assert "metagnn: terminated" in capsys.readouterr().err
    (last,) = Path("runs/ppo").glob("version_0/checkpoints/last.ckpt")
    assert read_checkpoint(last, name="run")["epoch"] < 3
    again = _fit("ppo", 4, f"--ckpt_path={last}")
    assert read_checkpoint(again / "checkpoints/last.ckpt", name="run")["epoch"] == 3


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
    assert "P(attention > ppo without adaptation) in throughput" in shown
    assert "P(attention > reported max weight) in throughput" in shown
    main([*words, "--json", "--out", "out"])
    document = json.loads(capsys.readouterr().out)
    assert json.loads(Path("out/comparison.json").read_text()) == document
    policies = document["after_episodes"]["1"]
    during = [len(document["while_adapting"][name]) for name in ("ppo", "maml", FROZEN, "random")]
    assert during == [1, 1, 0, 0]
    assert "maml, mean of its 1 episodes of adaptation: SINR violations" in shown
    assert set(policies) == {"ppo", SCRATCH, FROZEN, "maml", "attention", *BASELINES}
    assert policies[FROZEN] == document["after_episodes"]["0"]["ppo"]
    for metrics in policies.values():
        assert 0.0 <= metrics["sinr_violation"] <= 1.0
    # How PPO goes on stands in the configuration.
    fast_text = text.replace("    rate: 3.0e-4", "    rate: 0.3")
    fast_text = fast_text.replace("scratch:\n    rate: 1.0e-2", "scratch:\n    rate: 0.3")
    Path("fast.yaml").write_text(fast_text)
    capsys.readouterr()
    main([*words[:1], "--config", "fast.yaml", "--networks", "2", "--runs", "runs/ppo", "--json"])
    fast = json.loads(capsys.readouterr().out)["after_episodes"]
    same = [name for name, found in fast["0"].items() if found == fast["1"][name]]
    assert same == [FROZEN, *BASELINES]
    assert fast["0"]["ppo"] == document["after_episodes"]["0"]["ppo"] == fast["1"][FROZEN]
    assert fast["1"]["ppo"] != policies["ppo"]
    main([*words[:5], "--network", "nycmesh", "--json"])
    alone = json.loads(capsys.readouterr().out)
    assert alone["network"] == "nycmesh"
    assert list(alone["after_episodes"]) == ["0"]
    for options, message in (
        (["--network", "mars"], "`--network` must be nycmesh, got 'mars'"),
        (["--num-links", "3"], "`--num-links` must be left out"),
        (["--networks", "0"], "`networks` must be"),
    ):
        with pytest.raises(SystemExit):
            main(["compare", "--config", "short.yaml", *options])
        assert message in capsys.readouterr().err
    Path("odd.yaml").write_text(text.replace("    rate: 3.0e-4", "    speed: 3.0e-4"))
    with pytest.raises(SystemExit):
        main(["compare", "--config", "odd.yaml"])
    assert "`compare.finetuning` must have the keys" in capsys.readouterr().err
    odd_text = text.replace("scratch:\n    rate: 1.0e-2", "scratch:\n    speed: 1.0e-2")
    Path("odd.yaml").write_text(odd_text)
    with pytest.raises(SystemExit):
        main(["compare", "--config", "odd.yaml"])
    assert "`compare.scratch` must have the keys" in capsys.readouterr().err
    wide = text.replace("num_nodes: 3", "num_nodes: 6").replace("num_users: 2", "num_users: 20")
    Path("wide.yaml").write_text(wide)
    main(["compare", "--config", "wide.yaml", "--networks", "1"])
    shown = capsys.readouterr().out
    assert "exhaustive is left out: too many combinations of levels" in shown
    assert "max weight" in shown


def _adapter(kind: str, batch: int, credit: Credit = "band") -> Any:
    policy = initial_policy(PLACE, SHAPE, 0)
    if kind == "maml":
        return GradientSteps(policy, batch, InnerSettings(), PPO, credit)
    if kind == "ppo":
        return ProximalSteps(policy, batch, Finetuning(num_epochs=2), PPO, credit)
    return Remembering(policy)


@pytest.mark.parametrize("kind", ["maml", "ppo"])
def test_adapters_learn_of_the_rewards_that_they_are_told_to(kind: str) -> None:
    environment = PLACE.environment()
    seen = see(environment, environment.reset(2, generator(0)), torch.zeros(2), True)
    policy = _adapter("none", 2).policy
    episode, _ = collect(policy, environment, seen, policy.start(seen), generator(1))
    other = replace(episode, band_reward=episode.band_reward.flip(0))
    learned: dict[Credit, list[Any]] = {"band": [], "shared": []}
    for credit, found in learned.items():
        for one in (episode, other):
            adapter = _adapter(kind, 2, credit)
            adapter.learn(one)
            found.append(adapter.parameters()["powers.weight"])
    assert torch.equal(*learned["shared"])
    assert not torch.equal(*learned["band"])


def test_scratch_begins_with_random_parameters_in_every_scenario() -> None:
    policy: Any = initial_policy(PLACE, SHAPE, 3)
    own = {name: value.clone() for name, value in policy.state_dict().items()}
    torch.nn.init.constant_(policy.off.bias, 99.0)
    silent = TrainedSpectrum("ppo", 3, policy, SHAPE, PPO, "band", InnerSettings())
    found = compare_spectrum([silent], PLACE, 2, (0, 1), 0, Finetuning(), Finetuning(), [])
    first = {name: scores[3].after[0].throughput_mbit_s for name, scores in found.items()}
    assert float(first["ppo"].sum()) == float(first[FROZEN].sum()) == 0.0
    policy.load_state_dict(own)
    wanted = adapt_to(Remembering(policy), PLACE, _unseen(PLACE, 0, "test"), (0,), 0).after[0]
    assert torch.equal(first[SCRATCH], wanted.throughput_mbit_s)
    assert float(first[SCRATCH].sum()) > 0.0


def test_what_was_trained_goes_on_without_a_reward_of_entropy() -> None:
    policy = initial_policy(PLACE, SHAPE, 3)
    one = TrainedSpectrum("ppo", 3, policy, SHAPE, PPO, "band", InnerSettings())
    calm = replace(PPO, entropy_weight=0.0)
    assert PPO.entropy_weight > 0.0
    wanted = ProximalSteps(policy, 2, Finetuning(1e-2), calm, "band")
    adapters = [one.adapter(2, Finetuning(1e-2)), wanted]
    for adapter in adapters:
        adapt_to(adapter, PLACE, _unseen(PLACE, 0, "test"), (0, 1), 0)
    first, second = (adapter.parameters() for adapter in adapters)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_scratch_learns_at_a_rate_of_its_own() -> None:
    one = TrainedSpectrum(
        "ppo", 3, initial_policy(PLACE, SHAPE, 3), SHAPE, PPO, "band", InnerSettings()
    )
    slow, fast = (
        compare_spectrum([one], PLACE, 2, (0, 1), 0, Finetuning(1e-9), Finetuning(rate), [])
        for rate in (1e-9, 1.0)
    )
    for policy, alike in (("ppo", True), (FROZEN, True), (SCRATCH, False)):
        rewards = [found[policy][3].after[1].reward for found in (slow, fast)]
        assert torch.equal(*rewards) == alike, policy


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


class _Counting(torch.nn.Module):
    """Remembers how many slots it has thought of, and notes with what episodes begin."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.begun: list[tuple[float, list[float]]] = []

    def start(self, seen: Any) -> Memory:
        return Memory(torch.zeros(len(seen.feedback), 1), torch.zeros(len(seen.feedback), 0, 1))

    def think(self, seen: Any, memory: Memory, parameters: Any = None) -> Any:
        if bool(seen.feedback[0, 1] > 0.0):
            self.begun.append((float(memory.state[0]), seen.feedback[:, 0].tolist()))
        return seen.feedback, Memory(memory.state + 1.0, memory.history)

    def decide(self, x: Any, seen: Any, bands: slice = slice(None), parameters: Any = None) -> Any:
        batch, _, num_bands = seen.offer[..., bands].shape
        logits = torch.zeros(batch, 2, num_bands, 9) + self.weight
        return Choice(logits), self.weight.expand(batch, 2, num_bands)

    def sequence(self, seen: Any, memory: Any, parameters: Any = None) -> Any:
        times, batch, _, num_bands = seen.offer.shape
        logits = torch.zeros(times, batch, 2, num_bands, 9) + self.weight
        return Choice(logits), self.weight.expand(times, batch, 2, num_bands)


def test_what_is_remembered_in_a_scenario_stays_but_for_what_scoring_adds() -> None:
    policy, scenarios = _Counting(), _unseen(PLACE, 0, "test")
    adapt_to(Remembering(policy), PLACE, scenarios, (0, 1, 3), 0)
    slots = [count for count, _ in policy.begun]
    # Scored, then an episode to learn from; scored again, two episodes, and scored.
    assert slots == [0.0, 0.0, 3.0, 3.0, 6.0, 9.0]
    rewards = [reward for _, reward in policy.begun]
    assert rewards[:2] == [[0.0, 0.0]] * 2
    # The last reward of the episode before, the same for scoring and for the next episode.
    assert rewards[2] == rewards[3] != [0.0, 0.0]
    assert len({tuple(reward) for reward in rewards}) == 4


def test_a_learner_remembers_over_the_episodes_of_its_scenarios_and_no_further(
    tmp_path: Path,
) -> None:
    learner = SpectrumLearner(PLACE, SHAPE, PPO, "recurrent", num_networks=2, num_episodes=3)
    learner.policy = _Counting()
    quiet_trainer(2, limit_val_batches=0, default_root_dir=tmp_path).fit(learner)
    assert [count for count, _ in learner.policy.begun] == [0.0, 3.0, 6.0] * 2
    for number, (_, reward) in enumerate(learner.policy.begun):
        assert (reward == [0.0, 0.0]) == (number % 3 == 0)


def test_maml_steps_before_every_episode_but_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepped = []
    step = VectorizedLearners.learn

    def count(learners: VectorizedLearners, learned: Any) -> None:
        before = {name: value.detach().clone() for name, value in learners._own.items()}
        step(learners, learned)
        moved = any(not torch.equal(before[name], learners._own[name]) for name in before)
        stepped.append((len(learned.advantage[0]), moved))

    monkeypatch.setattr(VectorizedLearners, "learn", count)
    ppo = replace(PPO, num_epochs=2)
    learner = SpectrumLearner(PLACE, SHAPE, ppo, "maml", num_networks=4, num_episodes=3)
    quiet_trainer(1, limit_val_batches=0, default_root_dir=tmp_path).fit(learner)
    # Of all four networks while they act, then of the two of each batch of two passes.
    assert stepped == [(4, True)] * 2 + [(2, True)] * 2 * 2 * 2


@pytest.mark.parametrize("agent", list(MEMORY_OF))
def test_agents_learn(agent: Agent, tmp_path: Path) -> None:
    """From what a simulator knows; scored in scenarios in which nobody learned."""
    place = replace(PLACE, num_steps=20, edges="interference")
    ppo = replace(PPO, discount=0.0, num_epochs=2, num_batches=2)
    learner = SpectrumLearner(
        place,
        SHAPE,
        ppo,
        agent,
        credit="counterfactual",
        num_networks=12,
        learning_rate=1e-2,
        schedule="constant",
    )
    scenarios = unseen_scenarios(place, 16, 0, "validation", torch.device("cpu"))

    def reward() -> float:
        found = adapt_to(learner.adapter(16), place, scenarios, (1,), 0)
        return float(found.after[1].reward.mean())

    before = reward()
    quiet_trainer(8, limit_val_batches=0, default_root_dir=tmp_path).fit(learner)
    assert reward() > before + 0.04


def test_a_policy_that_learns_nothing_scores_as_before() -> None:
    scenarios = _unseen(PLACE, 0, "test")
    found = adapt_to(_adapter("none", 2), PLACE, scenarios, (0, 2), 0)
    assert len(found.during) == 2
    for name, value in vars(found.after[2]).items():
        assert torch.equal(value, vars(found.after[0])[name])


def test_policies_and_baselines_meet_the_same_arrivals() -> None:
    """A policy that is a baseline scores as the baseline does."""
    scenarios = _unseen(PLACE, 0, "test")

    class Loud(torch.nn.Module):
        """Every node serves its users on all bands with the largest power."""

        def start(self, seen: Any) -> Any:
            return initial_policy(PLACE, SHAPE, 0).start(seen)  # type: ignore[operator]

        def think(self, seen: Any, memory: Any, parameters: Any = None) -> Any:
            return seen.feedback, memory

        def decide(
            self, x: Any, seen: Any, bands: slice = slice(None), parameters: Any = None
        ) -> Any:
            num_bands = seen.offer[..., bands].shape[-1]
            logits = torch.zeros(2, 2, num_bands, 9)
            logits[..., 4] = 99.0
            return Choice(logits), torch.zeros(2, 2, num_bands)

    def loud(state: Any, radio: Any, generator: Any) -> Any:
        from metagnn.tasks.spectrum_allocation.environment import Action

        level = torch.zeros_like(state.level)
        level[:, :, 0] = radio.num_levels
        return Action(level)

    found = adapt_to(Remembering(Loud()), PLACE, scenarios, (0, 3), 0).after[3]
    wanted = run_baseline(loud, PLACE, scenarios, 0)
    for name, value in vars(found).items():
        torch.testing.assert_close(value, vars(wanted)[name])


def test_steps_without_edges_leave_unused_parameters_as_they_are() -> None:
    place = replace(PLACE, edges="none")
    adapter = GradientSteps(initial_policy(place, SHAPE, 0), 2, InnerSettings(), PPO, "band")
    before = adapter.parameters()["convs.0.lin1.weight"].clone()
    adapt_to(adapter, place, _unseen(place, 0, "test"), (0, 1), 0)
    assert torch.equal(adapter.parameters()["convs.0.lin1.weight"], before)


def test_splits_and_seeds_give_other_scenarios() -> None:
    places = [
        _unseen(PLACE, seed, split).networks.user_m
        for seed, split in ((0, "test"), (0, "validation"), (1, "test"))
    ]
    assert not torch.equal(places[0], places[1])
    assert not torch.equal(places[0], places[2])


@pytest.mark.parametrize("name", ["spectrum_allocation", "spectrum_allocation_flat"])
def test_configurations_say_how_policies_are_compared(name: str) -> None:
    settings = read_section(name, "compare")
    assert settings["baselines"] == list(BASELINES)
    assert Finetuning(**settings["finetuning"]).num_epochs == 10
    init = read_section(name, "model")["init_args"]
    advised = name == "spectrum_allocation"
    assert init["credit"] == ("counterfactual" if advised else "band")


def test_trees_of_tests_are_of_another_part_of_the_city() -> None:
    place = replace(PLACE, family=replace(PLACE.family, network="nycmesh"))
    for split, part in (("test", "east"), ("validation", "west")):
        drawn = _unseen(place, 0, split).networks.node_m
        trees = new_york_trees(2, part).node_m  # type: ignore[arg-type]
        assert bool((drawn.unsqueeze(1) == trees).all((2, 3)).any(1).all())
    environment = place.environment()
    environment.reset(20, generator(0))
    trees = new_york_trees(2, "west").node_m
    learned_on = environment.scenarios.networks.node_m
    assert bool((learned_on.unsqueeze(1) == trees).all((2, 3)).any(1).all())


@pytest.mark.parametrize("kind", ["maml", "ppo", "none"])
def test_all_is_on_the_device_of_the_scenarios(kind: str) -> None:
    """With another default device, which holds no numbers, nothing is made there."""
    place, adapter = replace(PLACE, edges="interference", num_steps=11), _adapter(kind, 2)
    with torch.device("meta"):
        scenarios = _unseen(place, 0, "test")
        found = [adapt_to(adapter, place, scenarios, (0, 1), 0).after[1]]
        if kind == "none":
            found += [run_baseline(one, place, scenarios, 0) for one in BASELINES.values()]
    for metrics in found:
        assert all(bool(value.isfinite().all()) for value in vars(metrics).values())


def test_steps_of_maml_learn_of_what_can_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def record(episode: Any, settings: Any, credit: Credit) -> Any:
        seen.append((credit, episode.alternatives.shape[-1]))
        return lesson(episode, settings, credit)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metagnn.spectrum_learner.lesson", record)
    _fit("maml", 1, "--trainer.limit_val_batches=0", f"{INIT}.num_episodes=3")
    assert seen == [("band", 0), ("band", 0), ("counterfactual", 9)]


@pytest.mark.parametrize(("agent", "slots"), [("ppo", [3, 3]), ("recurrent", [6])])
def test_memories_learn_of_all_episodes_of_a_scenario_as_of_one(
    agent: Agent, slots: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def record(episode: Any, settings: Any, credit: Credit) -> Any:
        seen.append((len(episode.reward), int(episode.truncated[:, 0].sum()), credit))
        return lesson(episode, settings, credit)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("metagnn.spectrum_learner.lesson", record)
    more = ["--trainer.limit_val_batches=0", f"{INIT}.credit=shared"]
    _fit(agent, 1, *more)
    assert seen == [(count, 1, "shared") for count in slots]


def test_bad_arguments() -> None:
    for changed, message in (
        ({"agent": "bandit"}, "`agent` must be one of"),
        ({"credit": "mine"}, r"`credit` must be one of \('counterfactual', 'band', 'shared'\)"),
        ({"credit": "counterfactual"}, r"`ppo.discount` must be 0 with counterfactual credit"),
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
        SpectrumPlace(radio=Radio(num_bands=0))
    with pytest.raises(ValueError, match="`failure_weight` must be"):
        SpectrumPlace(failure_weight=-1.0)
    assert SpectrumPlace(failure_weight=0.3).environment().failure_weight == 0.3
    scenarios = _unseen(PLACE, 0, "test")
    for points in ((), (2, 1), (-1,)):
        with pytest.raises(ValueError, match="`points` must be ascending"):
            adapt_to(_adapter("none", 2), PLACE, scenarios, points, 0)
    with pytest.raises(ValueError, match="`baselines` must be of"):
        compare_spectrum([], PLACE, 1, (0,), 0, Finetuning(), Finetuning(), ["magic"])
    with pytest.raises(ValueError, match="`rate` must be"):
        Finetuning(rate=0.0)


def test_policies_act_on_the_edges_that_they_learned_with_and_not_where_they_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    city = f"{INIT}.place.family.network=nycmesh"
    quiet = "--trainer.limit_val_batches=0"
    _fit("ppo", 1, quiet, city, f"{INIT}.place.family.part=all")
    place = SpectrumPlace(ScenarioFamily(num_users=2), Radio(num_bands=2), num_steps=3)
    assert len(find_spectrum(Path("runs"), place)) == 1
    match = r"`runs` must have learned with the edges of the comparison \('none'\)"
    with pytest.raises(ValueError, match=match):
        find_spectrum(Path("runs"), replace(place, edges="none"))
    there = replace(place, family=replace(place.family, network="nycmesh"))
    with pytest.raises(ValueError, match="`runs` must not have learned in the east of New York"):
        find_spectrum(Path("runs"), there)


def test_runs_of_other_learners_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`runs` must hold a last\.ckpt of a run"):
        find_spectrum(tmp_path, PLACE)


def test_packaged_runs_learn_where_the_study_scores() -> None:
    edges: dict[str, Edges] = {"": "interference", "_flat": "none"}
    for variant, wanted in edges.items():
        place = read_section(f"spectrum_allocation{variant}", "model")["init_args"]["place"]
        assert from_plain(SpectrumPlace, place, "place") == SpectrumPlace(edges=wanted)
