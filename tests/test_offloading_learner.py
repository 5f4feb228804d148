"""The three algorithms of offloading as Lightning modules: episodes, updates, averages, resume."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor
from trainers import quiet_trainer

from metagnn.checkpoint import write_checkpoint
from metagnn.checkpoint_callback import EndCheckpoint
from metagnn.graphs.interference import DenseGraph
from metagnn.graphs.randomness import generator
from metagnn.maddpg import MADDPGSettings, deviance
from metagnn.models.offloading import JointAction, Wishes
from metagnn.offloading_action import joint_action
from metagnn.offloading_agents import AgentShape, OffloadingAgents, met_error, worth
from metagnn.offloading_comparison import find_sites
from metagnn.offloading_learner import OffloadingLearner
from metagnn.offloading_place import Place
from metagnn.offloading_score import score_offloading, trained_policy
from metagnn.offloading_transitions import Seen, as_transitions, parts_of
from metagnn.tasks.offloading.scenario import Computing, Radio

PLACE = Place(num_cells=3, users_per_cell=3, radio=Radio(num_channels=4), revenue=0.3)
SHAPE = AgentShape(hidden_channels=(8, 8), critic_channels=(16,), num_claims=2)
PERCEPTRON = AgentShape(
    kind="perceptron",
    shared=False,
    hidden_channels=(8,),
    critic_channels=(8,),
    num_claims=0,
    prior=0.0,
)
SETTINGS = MADDPGSettings(
    num_copies=2, num_steps=3, actor_batch=2, critic_batch=4, capacity=20, warm_up=4
)


class _Stop(pl.Callback):
    """Stops after the second epoch, as a signal would."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch == 1


def _learner(**changed: Any) -> OffloadingLearner:
    arguments: dict[str, Any] = {"place": PLACE, "shape": SHAPE, "maddpg": SETTINGS}
    return OffloadingLearner(**{**arguments, "num_validation_networks": 3, **changed})


def _trainer(folder: Path, epochs: int, **changed: Any) -> pl.Trainer:
    settings = {"limit_val_batches": 0, "default_root_dir": folder}
    return quiet_trainer(epochs, **{**settings, **changed})


def _fit(folder: Path, epochs: int, **changed: Any) -> OffloadingLearner:
    learner = _learner(**changed)
    _trainer(folder, epochs).fit(learner)
    return learner


def _state(learner: OffloadingLearner) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.state_dict().items()}


def _models(learner: OffloadingLearner) -> list[Tensor]:
    """All actors' and critics' parameters, a row for each site."""
    pairs = zip(learner.agents.actors, learner.agents.critics, strict=True)
    return [
        torch.cat([p.detach().flatten() for module in pair for p in module.parameters()])
        for pair in pairs
    ]


DISCOUNTED = replace(SETTINGS, discount=0.5)
OF_SITES = replace(DISCOUNTED, credit="site")
CASES: dict[str, dict[str, Any]] = {
    "maddpg": {},
    "maddpg, models of their own": {"shape": replace(SHAPE, shared=False)},
    "maddpg, discounted": {"maddpg": DISCOUNTED},
    "maddpg, credit of sites": {"maddpg": OF_SITES},
    "federated": {"algorithm": "federated", "average_every": 2},
    "independent, discounted": {"algorithm": "independent", "maddpg": DISCOUNTED},
    "perceptrons": {
        "shape": PERCEPTRON,
        "maddpg": OF_SITES,
    },
    "local perceptrons": {
        "shape": PERCEPTRON,
        "algorithm": "independent",
        "maddpg": replace(DISCOUNTED, credit="site", target="as_printed"),
    },
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_run_that_stops_and_goes_on_is_the_same_bit_for_bit(case: str, tmp_path: Path) -> None:
    changed = CASES[case]
    whole = _fit(tmp_path, 4, **changed)
    half = _learner(**changed)
    trainer = _trainer(tmp_path, 4, callbacks=[_Stop()])
    trainer.fit(half)
    assert int(half.num_done) == 2
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    again = _learner(**changed)
    _trainer(tmp_path, 4).fit(again, ckpt_path=str(tmp_path / "half.ckpt"), weights_only=True)
    assert int(again.num_done) == 4
    for name, value in _state(whole).items():
        assert value.equal(_state(again)[name]), name


@pytest.mark.parametrize("case", list(CASES))
def test_every_parameter_learns(case: str, tmp_path: Path) -> None:
    changed = CASES[case]
    before, after = _state(_learner(**changed)), _state(_fit(tmp_path, 2, **changed))
    still = [
        name
        for name, value in before.items()
        if name.startswith("agents.") and value.equal(after[name])
    ]
    assert still == []
    assert all(bool(value.isfinite().all()) for value in after.values())


def test_sites_learn_to_meet_deadlines(tmp_path: Path) -> None:
    """Thirty episodes of small networks; scored on networks that nobody learned on."""
    settings = MADDPGSettings(
        num_copies=8, num_steps=8, actor_batch=8, critic_batch=16, capacity=400, warm_up=16
    )
    changed = {"maddpg": settings, "shape": AgentShape()}
    learners = (_learner(**changed), _fit(tmp_path, 30, **changed))
    policies = {str(n): trained_policy(one.agents) for n, one in enumerate(learners)}
    found = score_offloading(policies, PLACE.environment(8), 20, 0, "validation", with_bound=False)
    before, after = found["0"], found["1"]
    assert float(after.met.mean()) > 0.95 > float(before.met.mean()) + 0.2
    assert float(after.reward.mean()) > float(before.reward.mean()) + 0.5


def test_a_seed_decides_all_of_it(tmp_path: Path) -> None:
    one, same, other = (_state(_fit(tmp_path, 2, seed=seed)) for seed in (0, 0, 1))
    assert all(value.equal(same[name]) for name, value in one.items())
    assert not one["replay.gain"].equal(other["replay.gain"])


def test_federated_sites_are_alike_after_an_average_and_only_then(tmp_path: Path) -> None:
    alike = _models(_fit(tmp_path, 2, algorithm="federated", average_every=2))
    assert all(row.equal(alike[0]) for row in alike)
    # Three episodes end with an average too.
    ended = _models(_fit(tmp_path, 3, algorithm="federated", average_every=2))
    assert all(row.equal(ended[0]) for row in ended)
    half = _learner(algorithm="federated", average_every=3)
    _trainer(tmp_path, 4, callbacks=[_Stop()]).fit(half)
    alone = _models(_fit(tmp_path, 2, algorithm="independent"))
    for rows in (_models(half), alone):
        assert not rows[0].equal(rows[1])
    # The first episode of both is the same, and the average is the mean.
    before = _models(_fit(tmp_path, 1, algorithm="independent"))
    averaged = _models(_fit(tmp_path, 1, algorithm="federated", average_every=1))
    torch.testing.assert_close(averaged[0], torch.stack(before).mean(0))


def test_sites_without_users_get_the_mean_of_those_that_have_some(tmp_path: Path) -> None:
    (tmp_path / "city").mkdir()
    sites = ["48.00,8.00", "48.00,8.01", "48.01,8.00"]
    users = ["48.0001,8.0", "48.0,8.0101", "48.0,8.0102"]
    for name, rows in (("sites", sites), ("users", users)):
        text = "\n".join(["latitude,longitude", *rows, ""])
        (tmp_path / f"city/{name}.csv").write_text(text)
    place = Place("deployment", str(tmp_path / "city"), radio=Radio(num_channels=4))
    assert place.cells().cell.tolist() == [0, 1, 1]
    learner = _fit(tmp_path, 1, place=place, algorithm="federated", average_every=5)
    # Different models, of which the third learned nothing.
    for number, actor in enumerate(learner.agents.actors):
        for parameter in actor.parameters():
            parameter.data.fill_(float(number))
    learner.average()
    for actor in learner.agents.actors:
        assert all(bool((parameter == 0.5).all()) for parameter in actor.parameters())


def test_clusters_average_among_themselves(tmp_path: Path) -> None:
    place = replace(PLACE, network="fixed")
    found = _fit(tmp_path, 2, place=place, algorithm="federated", average_every=2, num_clusters=2)
    rows = _models(found)
    assert sorted(site for cluster in found.clusters for site in cluster) == [0, 1, 2]
    for cluster in found.clusters:
        assert all(rows[site].equal(rows[cluster[0]]) for site in cluster)
    first, second = (cluster[0] for cluster in found.clusters)
    assert not rows[first].equal(rows[second])


def test_signalling_by_hand(tmp_path: Path) -> None:
    # 9 users' gains on 4 channels, 3 sites' interference on 4, 3 numbers of each task and 4 of each
    # action in 3 slots of 2 episodes, and once in each their mean gains to 3 sites, 4 bytes each,
    # however many copies there are.
    numbers = 3 * (9 * 4 + 3 * 4 + 9 * 3 + 9 * 4) + 9 * 3
    assert float(_fit(tmp_path, 2).signalling_bytes) == 4 * numbers * 2
    alone = replace(SETTINGS, num_copies=1)
    assert float(_fit(tmp_path, 2, maddpg=alone).signalling_bytes) == 4 * numbers * 2
    assert float(_fit(tmp_path, 2, algorithm="independent").signalling_bytes) == 0
    found = _fit(tmp_path, 2, algorithm="federated", average_every=1)
    size = sum(p.numel() for p in found.agents.parameters())
    # All models to the server and back, in each of two rounds.
    assert float(found.signalling_bytes) == 4 * size * 2 * 2
    single = _fit(tmp_path, 2, algorithm="federated", average_every=1, maddpg=alone)
    assert float(single.signalling_bytes) == 4 * size * 2 * 2


def test_the_replay_holds_what_happened(tmp_path: Path) -> None:
    learner = _fit(tmp_path, 1, maddpg=replace(SETTINGS, warm_up=20))
    assert len(learner.replay) == 6
    kept = {name: learner.replay.get_buffer(name)[:6] for name in learner.replay.names}
    seen = learner._transitions(kept)
    # The networks of a copy stay, and what it held is what it had the step before.
    gain = kept["gain"].view(3, 2, 9, 3)
    assert gain[0].equal(gain[2])
    held = seen.observation.graph.node[..., 3].view(3, 2, 9, 4)
    assert held[0].sum() == 0
    assert held[1:].equal(seen.action.place.view(3, 2, 9, 4)[:2])
    assert seen.reward.shape == (6, 9, 4)
    assert seen.reward[..., 1:].min() >= 0


def test_the_parts_sum_up_to_the_reward() -> None:
    environment = PLACE.environment(2)
    learner = _learner()
    generator = torch.Generator().manual_seed(0)
    environment.reset(4, generator)
    policy = learner.agents
    for _ in range(3):
        slot = environment.slot
        outcome = environment.step(trained_policy(policy)(slot, environment.radio, generator)).info
        parts = parts_of(outcome.cost, slot)
        torch.testing.assert_close(worth(parts, PLACE.revenue), outcome.value)
    of_sites = learner._of_sites(parts)
    wanted = outcome.value.sum(-1, keepdim=True).expand(-1, 3)
    torch.testing.assert_close(of_sites, wanted)
    local = _learner(algorithm="independent")._of_sites(parts)
    torch.testing.assert_close(local, outcome.value.view(4, 3, 3).sum(-1))


def test_a_central_critic_moves_an_actor_by_what_others_suffer() -> None:
    graph = PLACE.environment(1).reset(2, torch.Generator().manual_seed(0))
    edges = torch.full((2, 9, 9), 1e4)
    for algorithm, wanted in (("maddpg", True), ("independent", False)):
        learner = _learner(algorithm=algorithm)
        wishes = learner.agents.wishes(DenseGraph(graph.node, graph.edge_weight))
        action = joint_action(wishes, learner.agents.cell, 3)
        parts = learner.agents.parts(graph, edges, action)
        (gradient,) = torch.autograd.grad(parts[:, 3:].sum(), wishes.level, allow_unused=True)
        assert bool(gradient[:, :3].abs().sum() > 0) == wanted


def test_checkpoints_of_another_run_are_refused(tmp_path: Path) -> None:
    learner = _learner()
    trainer = _trainer(tmp_path, 2)
    trainer.fit(learner)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    other = _learner(maddpg=replace(SETTINGS, discount=0.0, noise=(0.3, 0.1)))
    with pytest.raises(ValueError, match="`ckpt_path` must be of a run with maddpg = "):
        _trainer(tmp_path, 3).fit(other, ckpt_path=str(tmp_path / "run.ckpt"), weights_only=True)
    with pytest.raises(ValueError, match="`ckpt_path` must be of a run with num_episodes = 3"):
        _trainer(tmp_path, 3).fit(
            _learner(), ckpt_path=str(tmp_path / "run.ckpt"), weights_only=True
        )


def test_runs_are_found_and_their_policies_run_elsewhere(tmp_path: Path) -> None:
    for algorithm in ("maddpg", "federated"):
        learner = _learner(algorithm=algorithm, average_every=2)
        trainer = _trainer(tmp_path, 2)
        trainer.fit(learner)
        trainer.save_checkpoint(tmp_path / algorithm / "last.ckpt")
    sites = find_sites(tmp_path)
    assert [one.algorithm for one in sites] == ["federated", "maddpg"]
    assert all(len(one.actors) == 1 for one in sites)
    for one in sites:
        unequal = replace(PLACE, users_per_cell=(1, 4, 2))
        for place in (PLACE, unequal, replace(PLACE, num_cells=5, users_per_cell=2)):
            environment = place.environment(1)
            environment.reset(2, torch.Generator().manual_seed(0))
            decision = one.policy(place)(
                environment.slot, environment.radio, torch.Generator().manual_seed(0)
            )
            environment.step(decision)
    own = _learner(algorithm="independent")
    trainer = _trainer(tmp_path, 1)
    trainer.fit(own)
    trainer.save_checkpoint(tmp_path / "own" / "last.ckpt")
    (alone,) = find_sites(tmp_path / "own")
    with pytest.raises(ValueError, match="`network` must fit the models of independent 0"):
        alone.policy(replace(PLACE, num_cells=4))


def test_deadlines_that_nobody_can_meet_leave_finite_numbers(tmp_path: Path) -> None:
    place = replace(PLACE, computing=Computing(deadline_share=1e-6))
    learner = _fit(tmp_path, 2, place=place)
    assert len(learner.replay) > 0
    assert all(bool(value.isfinite().all()) for value in _state(learner).values())
    assert float(learner.trainer.logged_metrics["met"]) == 0.0


def test_sites_learn_in_cells_of_other_sizes_too(tmp_path: Path) -> None:
    place = replace(PLACE, users_per_cell=(1, 5, 2))
    _kept(tmp_path, place=place)
    (one,) = find_sites(tmp_path)
    assert one.place == place
    for elsewhere in (place, PLACE):
        environment = elsewhere.environment(1)
        environment.reset(2, torch.Generator().manual_seed(0))
        source = torch.Generator().manual_seed(0)
        decision = one.policy(elsewhere)(environment.slot, environment.radio, source)
        assert environment.step(decision).info.value.shape == (2, elsewhere.cells().num_users)


def _kept(folder: Path, epochs: int = 1, **changed: Any) -> None:
    trainer = _trainer(folder, epochs)
    trainer.fit(_learner(**changed))
    trainer.save_checkpoint(folder / "last.ckpt")


def test_a_run_that_ends_before_its_first_update_is_saved(tmp_path: Path) -> None:
    learner = _learner(maddpg=replace(SETTINGS, warm_up=20))
    saved = EndCheckpoint(tmp_path, every_n_epochs=50, save_last=True)
    trainer = _trainer(tmp_path, 1, callbacks=[saved], enable_checkpointing=True)
    trainer.fit(learner)
    assert trainer.global_step == 0
    assert [one.seed for one in find_sites(tmp_path)] == [0]


def test_runs_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`runs` must hold a last.ckpt of a run"):
        find_sites(tmp_path)
    for name in ("a", "b"):
        _kept(tmp_path / name)
    with pytest.raises(ValueError, match=r"`runs` must hold one run of \('maddpg', 0\)"):
        find_sites(tmp_path)
    write_checkpoint(tmp_path / "a" / "last.ckpt", {"run": {"kind": "MetaPPO"}})
    with pytest.raises(ValueError, match="`runs` must hold runs of OffloadingLearner only"):
        find_sites(tmp_path)


@pytest.mark.parametrize(
    ("epochs", "changed", "name"),
    [
        (2, {}, "num_episodes"),
        (1, {"place": replace(PLACE, patience=2.0)}, "place"),
        (1, {"shape": replace(SHAPE, shared=False)}, "shape"),
        (1, {"maddpg": replace(SETTINGS, num_steps=4)}, "maddpg"),
        (1, {"average_every": 3}, "average_every"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused(
    epochs: int, changed: dict[str, Any], name: str, tmp_path: Path
) -> None:
    _kept(tmp_path / "0")
    _kept(tmp_path / "1", seed=1)
    assert [one.seed for one in find_sites(tmp_path / "0", tmp_path / "1")] == [0, 1]
    _kept(tmp_path / "2", epochs, seed=2, **changed)
    # Another algorithm may learn otherwise.
    _kept(tmp_path / "3", epochs, seed=2, algorithm="independent", **changed)
    assert len(find_sites(tmp_path / "1", tmp_path / "3")) == 2
    message = rf"`runs` must hold runs of \('maddpg',\) with one {name}, "
    with pytest.raises(ValueError, match=message):
        find_sites(tmp_path)


def test_unfinished_runs_are_refused_unless_they_went_on_elsewhere(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, 3, callbacks=[_Stop()])
    trainer.fit(_learner())
    trainer.save_checkpoint(tmp_path / "version_0" / "last.ckpt")
    message = r"`runs` must hold finished runs \(2 of 3 episodes are done\)"
    with pytest.raises(ValueError, match=message):
        find_sites(tmp_path)
    _kept(tmp_path / "other", 3, seed=1)
    with pytest.raises(ValueError, match=message):
        find_sites(tmp_path)
    _kept(tmp_path / "version_1", 3)
    assert sorted(one.seed for one in find_sites(tmp_path)) == [0, 1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"algorithm": "dqn"}, "`algorithm` must be one of"),
        ({"shape": PERCEPTRON}, "`maddpg.credit` must be 'site' for perceptrons"),
        ({"num_clusters": 2}, "`num_clusters` must be 1 where every episode has other networks"),
        ({"place": replace(PLACE, network="fixed"), "num_clusters": 4}, "`num_clusters` must lie"),
        ({"average_every": 0}, "`average_every` must be an integer >= 1"),
        ({"seed": -1}, "`seed` must be an integer >= 0"),
        ({"maddpg": replace(SETTINGS, target="as_printed")}, "`maddpg.discount` must be > 0"),
    ],
)
def test_arguments_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _learner(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"discount": 1.0}, "`discount` must be < 1, got 1.0"),
        ({"discount": -0.1}, r"`discount` must lie in \[0, 1\]"),
        ({"soft_rate": 1.5}, r"`soft_rate` must lie in \[0, 1\]"),
        ({"actor_batch": 65}, "`actor_batch` must be at most critic_batch = 64"),
        ({"warm_up": 3}, r"`warm_up` must lie in \[num_copies, capacity\] = \[8, 2000\], got 3"),
        ({"noise": (-0.1, 0.1)}, "`noise` must be finite and >= 0"),
        ({"noise": (0.1,)}, r"`noise` must be two scales .*, got \(0.1,\)"),
        ({"noise": 0.1}, "`noise` must be two scales .*, got 0.1"),
        ({"actor_rate": float("nan")}, "`actor_rate` must be"),
        ({"credit": "all"}, "`credit` must be 'user' or 'site'"),
        ({"schedule": "cosine"}, "`schedule` must be one of"),
        ({"target": "later"}, "`target` must be one of"),
        ({"num_copies": 0}, "`num_copies` must be an integer >= 1"),
    ],
)
def test_constants_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MADDPGSettings(**changed)


def test_a_choice_has_the_slope_of_what_each_channel_is_worth() -> None:
    """A local value is linear in the choice of the channel: brute force over all choices."""
    learner = _learner(algorithm="independent")
    graph = PLACE.environment(1).reset(2, torch.Generator().manual_seed(3))
    edges = torch.zeros(2, 9, 9)
    action = joint_action(learner.agents.wishes(graph), learner.agents.cell, 3)

    def total(place: Tensor) -> Tensor:
        parts = learner.agents.parts(graph, edges, replace(action, place=place))
        return worth(parts, PLACE.revenue).sum(-1)

    place = action.place.detach().requires_grad_()
    (found,) = torch.autograd.grad(total(place).sum(), place)
    for user in range(9):
        values = []
        for channel in torch.eye(4):
            moved = place.detach().clone()
            moved[:, user] = channel
            values.append(total(moved))
        each = torch.stack(values, dim=-1)
        torch.testing.assert_close(found[:, user] - found[:, user, :1], each - each[:, :1])
    assert found.std() > 1e-4


def test_rewards_of_sites_are_those_of_their_users() -> None:
    value = torch.arange(18.0).view(2, 9)
    found = _learner()._site_rewards(value)
    # Users 0 to 2 are of site 0: (0 + 1 + 2 + 9 + 10 + 11) / 2 copies.
    assert {name: float(v) for name, v in found.items()} == {
        "site_reward_0": 16.5,
        "site_reward_1": 25.5,
        "site_reward_2": 34.5,
    }
    large = _learner(place=replace(PLACE, num_cells=13))
    assert large._site_rewards(torch.zeros(2, 39)) == {}


# --- Updates, on a replay that is filled and networks of order one. ---


def _ready(
    folder: Path, settings: MADDPGSettings = DISCOUNTED, **changed: Any
) -> OffloadingLearner:
    """A learner before its first update, whose delayed networks are others than its own."""
    learner = _fit(folder, 1, maddpg=replace(settings, warm_up=20), **changed)
    for number, parameter in enumerate(learner.parameters()):
        source = generator(0, "parameters", number + 1)
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=source)
    return learner


LEARNERS: dict[str, tuple[MADDPGSettings, dict[str, Any]]] = {
    "central": (DISCOUNTED, {}),
    "local": (DISCOUNTED, {"algorithm": "independent"}),
    "perceptrons": (OF_SITES, {"shape": PERCEPTRON}),
}


@pytest.mark.parametrize("case", list(LEARNERS))
def test_actors_raise_what_a_frozen_critic_says(case: str, tmp_path: Path) -> None:
    settings, changed = LEARNERS[case]
    frozen = replace(settings, critic_rate=1e-30, actor_rate=3e-3)
    learner = _ready(tmp_path, frozen, **changed)
    critics = copy.deepcopy(learner.agents.critics.state_dict())
    values = [learner._update(0, 1.0)["value"].item() for _ in range(10)]
    assert all(value.equal(critics[n]) for n, value in learner.agents.critics.state_dict().items())
    assert values[-1] > values[0] + 1e-3


@pytest.mark.parametrize("case", list(LEARNERS))
def test_critics_come_nearer_to_frozen_targets(case: str, tmp_path: Path) -> None:
    settings, changed = LEARNERS[case]
    frozen = replace(settings, actor_rate=1e-30, critic_rate=3e-3, soft_rate=0.0)
    learner = _ready(tmp_path, frozen, **changed)
    actors = copy.deepcopy(learner.agents.actors.state_dict())
    errors = [learner._update(0, 1.0)["critic_error"].item() for _ in range(10)]
    assert all(value.equal(actors[n]) for n, value in learner.agents.actors.state_dict().items())
    assert errors[-1] < 0.9 * errors[0]


@pytest.mark.parametrize("algorithm", ["maddpg", "independent"])
@pytest.mark.parametrize("target", ["next", "as_printed"])
@pytest.mark.parametrize("credit", ["user", "site"])
def test_an_update_by_a_loop_over_its_transitions(
    credit: Any, target: Any, algorithm: str, tmp_path: Path
) -> None:
    """Critics learn from delayed networks on all of their batch, actors on its first part."""
    settings = replace(DISCOUNTED, credit=credit, target=target, critic_updates=1)
    learner = _ready(tmp_path, settings, algorithm=algorithm)
    agents, delayed = copy.deepcopy(learner.agents), copy.deepcopy(learner.target)
    found = learner._update(7, 1.0)
    source = generator(0, "replay", learner.current_epoch, 7, 1)
    kept = learner.replay.sample(4, source)
    radio = PLACE.environment(1).radio

    def of_sites(parts: Tensor) -> Tensor:
        """Values of the three sites: of all users, or of their own."""
        sites = worth(parts, 0.3).view(3, 3).sum(-1)
        return sites.sum().expand(3) if algorithm == "maddpg" else sites

    def value(of: OffloadingAgents, seen: Seen, action: JointAction) -> Tensor:
        (parts,) = of.parts(seen.graph, seen.edges, action)
        return parts if credit == "user" else of_sites(parts)

    def done(of: OffloadingAgents, seen: Seen) -> JointAction:
        return joint_action(of.wishes(seen.graph), of.cell, 3)

    errors, values = [], []
    for number in range(4):
        row = {name: entry[number : number + 1] for name, entry in kept.items()}
        one = as_transitions(row, agents.cell, radio)
        (reward,) = one.reward if credit == "user" else (of_sites(one.reward[0]),)
        after = one.next_observation if target == "next" else one.observation
        assert after is not None
        wanted = 0.5 * reward + 0.5 * value(delayed, after, done(delayed, after))
        said = value(agents, one.observation, one.action)
        if credit == "user":
            floor = torch.tensor([0.1, 1e-4, 1e-2])
            relative = deviance(said[:, 1:], wanted[:, 1:], floor).sum(-1)
            errors.append((met_error(said[:, 0], wanted[:, 0]) + relative).mean())
        else:
            errors.append((said - wanted).square().mean())
        # The critics as they are now, after their step.
        now = value(learner.agents, one.observation, done(agents, one.observation))
        values.append((worth(now, 0.3) if credit == "user" else now).mean())
    torch.testing.assert_close(found["critic_error"], torch.stack(errors).mean())
    torch.testing.assert_close(found["value"], torch.stack(values[:2]).mean())


@pytest.mark.parametrize("credit", ["user", "site"])
def test_rewards_of_transitions_are_values_per_slot(credit: Any, tmp_path: Path) -> None:
    """With a share of 1 - discount, rewards that stay the same are worth themselves."""
    learner = _ready(tmp_path, replace(SETTINGS, discount=0.75, credit=credit))
    kept = {name: learner.replay.get_buffer(name)[:6] for name in learner.replay.names}
    parts = kept["parts"]
    met, late_s, transmission_j, computing_j = parts.unbind(-1)
    of_all = (0.3 * met - late_s - transmission_j - computing_j).sum(-1, keepdim=True)
    wanted = 0.25 * (parts if credit == "user" else of_all.expand(-1, 3))
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(learner._transitions(kept).reward, wanted)


def test_delayed_networks_follow_by_the_soft_rate(tmp_path: Path) -> None:
    learner = _ready(tmp_path, replace(DISCOUNTED, soft_rate=0.25))
    old = copy.deepcopy(learner.target.state_dict())
    learner._update(0, 1.0)
    new = learner.agents.state_dict()
    for name, value in learner.target.state_dict().items():
        torch.testing.assert_close(value, 0.75 * old[name] + 0.25 * new[name])
        assert not value.equal(old[name])


class _Rates(pl.Callback):
    """Learning rates at each step of the optimizers of actors and of critics."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[set[float], set[float]]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for which, optimizer in enumerate(trainer.optimizers):

            def note(given: torch.optim.Optimizer, *_: Any, which: int = which) -> None:
                found = self.found.setdefault(trainer.current_epoch, (set(), set()))
                found[which].add(given.param_groups[0]["lr"])

            optimizer.register_step_pre_hook(note)


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.25), ("constant", 1.0)])
def test_learning_rates_fall_with_the_share_that_is_left(
    schedule: Any, last: float, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, schedule=schedule, actor_rate=0.01, critic_rate=0.04)
    rates = _Rates()
    _trainer(tmp_path, 4, callbacks=[rates]).fit(_learner(maddpg=settings))
    for epoch in range(4):
        share = 1.0 - (1.0 - last) * epoch / 3
        assert rates.found[epoch] == ({0.01 * share}, {0.04 * share})


def test_exploration_goes_from_the_first_noise_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales, ratios, disturbed = [], [], Wishes.disturbed

    def noted(wishes: Wishes, scale: float, source: torch.Generator) -> Wishes:
        scales.append(scale)
        found = disturbed(wishes, scale, source)
        ratios.append(joint_action(found, learner.agents.cell, 3).ratio)
        return found

    monkeypatch.setattr(Wishes, "disturbed", noted)
    learner = _learner(maddpg=replace(SETTINGS, noise=(0.5, 0.1), capacity=24))
    _trainer(tmp_path, 4).fit(learner)
    # Four episodes of three slots.
    assert scales == pytest.approx([scale for scale in (0.5, 0.4, 0.3, 0.2) for _ in range(3)])
    # What was done is what was disturbed.
    assert learner.replay.get_buffer("ratio").equal(torch.cat(ratios))


@pytest.mark.parametrize("algorithm", ["maddpg", "independent"])
def test_only_a_central_critic_hears_other_cells_change_channels(
    algorithm: str, tmp_path: Path
) -> None:
    learner = _ready(tmp_path, algorithm=algorithm)
    kept = learner.replay.sample(1, generator(0))
    batch = learner._transitions(kept)
    before = learner._value(learner.agents, batch.observation, batch.action)
    # User 0 of site 0 goes to each channel; users 3 to 8 are those of other sites.
    place, heard = batch.action.place, set()
    for channel in torch.eye(4):
        moved = place.clone()
        moved[:, 0] = channel
        action = replace(batch.action, place=moved)
        after = learner._value(learner.agents, batch.observation, action)
        changed = (before != after).any(-1)[0, 3:]
        # Whoever is on the channel that it leaves, or on the one that it comes to.
        there = (place[0, 3:] * (channel != place[0, 0])).sum(-1) > 0
        assert changed.tolist() == (there & (algorithm == "maddpg")).tolist()
        heard.update(there.nonzero().flatten().tolist())
    assert heard


@pytest.mark.parametrize(("split", "number", "steps"), [("validation", 3, 5), ("test", 100, 20)])
def test_what_is_logged_are_the_scores(split: str, number: int, steps: int, tmp_path: Path) -> None:
    place = Place(num_cells=1, users_per_cell=2, radio=Radio(num_channels=1), revenue=0.3)
    learner = _learner(place=place)
    trainer = _trainer(tmp_path, 1, limit_val_batches=1)
    run = trainer.validate if split == "validation" else trainer.test
    (logged,) = run(learner, verbose=False)
    policies = {"own": trained_policy(learner.agents)}
    score = score_offloading(policies, place.environment(steps), number, 0, split, False)["own"]
    met, energy_j = float(score.met.mean()), float(score.energy_j.mean())
    assert 0.1 < met < 0.9
    assert logged == pytest.approx({f"{split}_met": met, f"{split}_energy_mj": 1e3 * energy_j})
