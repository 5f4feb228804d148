"""Meta-training and federated adaptation of channel assignment: schemes, resume, bad input."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from trainers import quiet_trainer

from metagnn.assignment_comparison import (
    assignment_metrics,
    compare_assignment,
    find_trained,
    improvements,
)
from metagnn.assignment_module import AssignmentModule, Cell, explained_variance, initial_network
from metagnn.assignment_score import deterministic, score_assignment
from metagnn.checkpoint import read_checkpoint, write_checkpoint
from metagnn.configs import packaged_names
from metagnn.experiment import read_section
from metagnn.federated import Update
from metagnn.federated_ppo import FederatedPPO, load_start
from metagnn.graphs.randomness import generator
from metagnn.meta_ppo import MetaPPO
from metagnn.models.actor_critic import ActorCriticShape
from metagnn.ppo import Batch, Network, PPOSettings, ppo_loss
from metagnn.tasks.channel_assignment.baselines import BASELINES
from metagnn.tasks.channel_assignment.environment import ChannelAssignment
from metagnn.tasks.channel_assignment.scenario import Uplink, scenario

SHAPE = ActorCriticShape(4, 10, hidden_channels=(6,), critic_channels=5)
CELL = Cell(num_copies=8, num_steps=2)
PPO = PPOSettings(num_epochs=2, num_batches=2)


def _meta(**changed: Any) -> MetaPPO:
    settings = {"num_users": (2, 3), "num_validation_cells": 4, **changed}
    return MetaPPO(SHAPE, CELL, PPO, **settings)


def _federated(**changed: Any) -> FederatedPPO:
    settings = {"num_users": 3, "num_validation_cells": 4, "scheme": "frl", **changed}
    return FederatedPPO(SHAPE, CELL, PPO, **settings)


def _trainer(num_epochs: int, **changed: Any) -> pl.Trainer:
    return quiet_trainer(num_epochs, log_every_n_steps=1, **changed)


class _Stop(pl.Callback):
    """Stops after some episodes."""

    def __init__(self, after: int = 2) -> None:
        self.after = after

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == self.after


class _Keep(pl.Callback):
    """Keeps every episode."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name in (f"epoch={trainer.current_epoch}", "last"):
            trainer.save_checkpoint(self.folder / f"{name}.ckpt")


def _fit(module: AssignmentModule, num_epochs: int, **changed: Any) -> pl.Trainer:
    trainer = _trainer(num_epochs, **changed)
    trainer.fit(module, ckpt_path=None)
    return trainer


@pytest.fixture(scope="module")
def meta_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("meta") / "meta.ckpt")
    _fit(_meta(), 2).save_checkpoint(path)
    return path


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_meta_training_logs_what_the_issue_of_learning_needs() -> None:
    trainer = _fit(_meta(), 1, check_val_every_n_epoch=1)
    wanted = {"reward", "entropy", "approximate_kl", "clip_fraction", "explained_variance"}
    wanted |= {"validation_share_2", "validation_share_3", "validation_success_2"}
    assert wanted <= set(trainer.callback_metrics)
    assert all(bool(value.isfinite()) for value in trainer.callback_metrics.values())
    assert float(trainer.callback_metrics["approximate_kl"]) > 0


@pytest.mark.parametrize("kind", ["meta", "federated"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    def make() -> AssignmentModule:
        return _meta() if kind == "meta" else _federated(average_every=3)

    straight, first, second = make(), make(), make()
    _fit(straight, 5)

    stopping = _trainer(5, callbacks=[_Stop()])
    stopping.fit(first)
    assert stopping.current_epoch == 2
    stopping.save_checkpoint(tmp_path / "half.ckpt")
    _trainer(5).fit(second, ckpt_path=str(tmp_path / "half.ckpt"))
    assert _same(second.state_dict(), straight.state_dict())
    assert not _same(first.state_dict(), straight.state_dict())


def test_seeds_decide_cells_actions_and_parameters() -> None:
    one, same, other = _meta(), _meta(), _meta(seed=1)
    for module in (one, same, other):
        _fit(module, 1)
    assert _same(one.state_dict(), same.state_dict())
    assert not _same(one.state_dict(), other.state_dict())


def _agree(module: FederatedPPO) -> bool:
    return all(
        torch.equal(value[0], value[user]) for value in module.local.values() for user in (1, 2)
    )


def test_schemes_start_from_what_they_should(meta_checkpoint: str) -> None:
    _, trained = load_start(meta_checkpoint, _federated())
    random = {k: v.detach() for k, v in initial_network(SHAPE, 0).named_parameters()}
    for scheme in ("mfrl", "mrl", "frl", "marl"):
        module = _federated(scheme=scheme, start_from=meta_checkpoint)
        first = {name: value[0].detach() for name, value in module.models().items()}
        assert _same(first, trained if scheme in ("mfrl", "mrl") else random), scheme
        assert _agree(module) == (scheme != "marl")


@pytest.mark.parametrize(("scheme", "agree"), [("frl", True), ("marl", False)])
def test_only_federated_schemes_average(scheme: str, agree: bool) -> None:
    module = _federated(scheme=scheme, average_every=2)
    trainer = _fit(module, 1)
    assert not _agree(module)
    module = _federated(scheme=scheme, average_every=2)
    trainer = _fit(module, 2)
    assert _agree(module) == agree
    assert ("federated_bytes" in trainer.callback_metrics) == agree
    if agree:
        numbers = sum(p.numel() for p in module.network.parameters())
        assert float(trainer.callback_metrics["federated_bytes"]) == 2 * 3 * 4 * numbers


def test_averages_are_weighted_by_success() -> None:
    module = _federated(average_every=100)
    _fit(module, 1)
    assert int(module.num_transmissions) == 2 * 8
    again = _federated(average_every=100)
    again._trainer = _trainer(1)
    steps = again.episode(3).info
    counted = [sum(int(step.alone[b, i]) for step in steps for b in range(8)) for i in range(3)]
    assert module.num_successes.tolist() == counted
    module.num_successes = torch.tensor([2.0, 6.0, 8.0], dtype=torch.float64)
    before = {name: value.detach().double() for name, value in module.models().items()}
    module.log = lambda *words, **settings: None  # type: ignore[method-assign,assignment]
    module.average()
    for name, value in module.models().items():
        wanted = (2 * before[name][0] + 6 * before[name][1] + 8 * before[name][2]) / 16
        torch.testing.assert_close(value[2].detach(), wanted.float())


def test_each_user_learns_from_its_own_loss_where_there_are_no_edges() -> None:
    cell = Cell(num_copies=8, edges="none")
    module = FederatedPPO(SHAPE, cell, PPOSettings(), num_users=3, scheme="frl")
    environment = cell.environment(3)
    graph = environment.reset(8, generator(0))
    policy, value = module.policy(3)(graph)
    for user in range(3):
        loss = policy.choice.logits[:, user].square().mean() + value[:, user].mean()
        gradients = torch.autograd.grad(
            loss, module.learned(), retain_graph=True, allow_unused=True
        )
        moved = torch.stack([g.flatten(1).abs().sum(1) for g in gradients if g is not None]).sum(0)
        assert (moved > 0).nonzero().flatten().tolist() == [user]


def test_gradients_are_bounded_for_each_user() -> None:
    module = _federated()
    for number, parameter in enumerate(module.learned()):
        parameter.grad = torch.randn(parameter.shape, generator=generator(number))
        parameter.grad[0] *= 1e-6
    small = [p.grad[0].clone() for p in module.learned() if p.grad is not None]
    module.shorten_gradients()
    gradients = [p.grad for p in module.learned() if p.grad is not None]
    norms = torch.cat([g.flatten(1) for g in gradients], dim=1).norm(dim=1)
    torch.testing.assert_close(norms[1:], torch.ones(2))
    assert all(torch.equal(g[0], s) for g, s in zip(gradients, small, strict=True))


def test_learning_raises_the_share_of_the_optimum() -> None:
    module = MetaPPO(
        ActorCriticShape(4, 10, hidden_channels=(16, 16, 16, 16), critic_channels=16),
        Cell(num_copies=64),
        PPOSettings(discount=0.0, num_epochs=2),
        num_users=(2,),
        learning_rate=5e-3,
        num_validation_cells=200,
    )
    trainer = _fit(module, 120, check_val_every_n_epoch=120)
    # Random choices reach 0.42 in this setting, each user's own best 0.53.
    assert float(trainer.callback_metrics["validation_share_2"]) > 0.7


def test_scores_of_baselines_and_splits() -> None:
    environment = ChannelAssignment(scenario("indoor"), 6, num_steps=3)
    found = score_assignment(BASELINES, environment, 5, 0, "test")
    best, greedy = found["optimum"], found["greedy"]
    assert best.share == pytest.approx(1.0)
    assert best.success_rate.tolist() == [1.0] * 5
    assert best.snr_rate.tolist() == [1.0] * 5
    assert torch.equal(greedy.optimum, best.optimum)
    assert 0.85 < greedy.share < 1.0
    alone = score_assignment({"greedy": BASELINES["greedy"]}, environment, 5, 0, "test")["greedy"]
    assert torch.equal(alone.efficiency, greedy.efficiency)
    other = score_assignment(BASELINES, environment, 5, 0, "validation")["optimum"]
    assert not torch.equal(other.optimum, best.optimum)


def test_the_likeliest_actions_do_not_depend_on_a_generator() -> None:
    environment = ChannelAssignment(scenario("indoor"), 4)
    environment.reset(3, generator(0))
    decide = deterministic(initial_network(SHAPE, 0), "channel", "order", 1.0)
    first, second = (
        decide(environment.gain_to_noise, environment.uplink, generator(n)) for n in (1, 2)
    )
    assert torch.equal(first.channel, second.channel)
    assert torch.equal(first.power_w, second.power_w)
    assert bool(((first.power_w >= 1e-3) & (first.power_w <= 0.2512)).all())


def test_explained_variance_is_of_the_returns() -> None:
    module = _meta()
    module._trainer = _trainer(1)
    settings = PPOSettings(discount=0.9)
    seen = module.episode(2)
    assert seen.reward.shape == (2, 8, 2)
    last = seen.reward[1] + 0.9 * seen.next_value[1]
    returns = torch.stack([seen.reward[0] + 0.9 * last, last])
    perfect = replace(seen, value=returns, next_value=torch.stack([returns[1], seen.next_value[1]]))
    assert float(explained_variance(perfect, settings)) == pytest.approx(1.0, abs=1e-5)
    wanted = 1 - (returns - seen.value).var(correction=0) / returns.var(correction=0)
    found = explained_variance(seen, settings)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_packaged_settings_make_several_passes() -> None:
    for name in packaged_names():
        if name.startswith("channel_assignment_"):
            assert read_section(name, "model")["init_args"]["ppo"]["num_epochs"] > 1, name


def test_runs_of_several_seeds_are_found_and_compared(meta_checkpoint: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        for scheme in ("mfrl", "frl"):
            module = _federated(scheme=scheme, seed=seed, start_from=meta_checkpoint)
            folder = tmp_path / f"{scheme}-{seed}"
            folder.mkdir()
            keep = ModelCheckpoint(
                folder, save_last=True, save_top_k=-1, save_on_train_epoch_end=True
            )
            trainer = _trainer(4, callbacks=[keep], enable_checkpointing=True)
            trainer.fit(module)
    trained = find_trained(tmp_path)
    kinds = sorted((t.scheme, t.seed) for t in trained)
    assert kinds == sorted((s, n) for s in ("mfrl", "mfrl_early", "frl") for n in (0, 1))
    scores = compare_assignment(trained, ["urban_micro"], 3, 4, 2, 0)["urban_micro"]
    assert {name: set(of) for name, of in scores.items() if name not in BASELINES} == {
        name: {0, 1} for name in ("mfrl", "mfrl_early", "frl")
    }
    assert set(improvements(scores)) == {("mfrl", "frl")}
    # All runs but one of the first are better than all of the second.
    one = scores["frl"][0]
    known = {
        "mfrl": {n: replace(one, efficiency=torch.full((4,), v)) for n, v in ((0, 4.0), (1, 1.0))},
        "frl": {n: replace(one, efficiency=torch.full((4,), v)) for n, v in ((0, 2.0), (1, 0.5))},
    }
    assert improvements(known)["mfrl", "frl"].value == 0.75
    metrics = assignment_metrics(scores)
    share = metrics["frl"]["share_of_optimum"]
    shares = sorted(scores["frl"][seed].share for seed in (0, 1))
    assert share.value == pytest.approx(sum(shares) / 2, rel=1e-5)
    assert (share.low, share.high) == pytest.approx(shares, rel=1e-5)
    assert metrics["optimum"]["share_of_optimum"].low == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"`runs` must hold runs with 3 users in one of"):
        compare_assignment(trained, ["indoor"], 3, 4, 2, 0)
    (tmp_path / "copy").mkdir()
    copied = (tmp_path / "frl-0/last.ckpt").read_bytes()
    (tmp_path / "copy/last.ckpt").write_bytes(copied)
    with pytest.raises(ValueError, match=r"must hold one run of \('frl', 'urban_micro', 3, 0\)"):
        find_trained(tmp_path)


def test_averaged_models_run_for_any_users(meta_checkpoint: str, tmp_path: Path) -> None:
    runs = {"mfrl": 3, "mrl": 3, "frl": 2}
    for scheme, num_users in runs.items():
        module = _federated(
            scheme=scheme, num_users=num_users, start_from=meta_checkpoint, average_every=2
        )
        (tmp_path / scheme).mkdir()
        _fit(module, 4).save_checkpoint(tmp_path / scheme / "last.ckpt")
    trained = find_trained(tmp_path)
    assert {t.scheme: (t.num_users, t.shared) for t in trained} == {
        "mfrl": (3, True),
        "mrl": (3, False),
        "frl": (2, True),
    }
    own = compare_assignment(trained, ["urban_micro"], 3, 4, 2, 0)["urban_micro"]
    others = compare_assignment(trained, ["urban_micro"], 5, 4, 2, 0)["urban_micro"]
    assert set(own) - set(BASELINES) == {"mfrl", "mrl", "frl"}
    assert set(others) - set(BASELINES) == {"mfrl", "frl"}
    # As its users act in training, whose models are stacked.
    _, mfrl, _ = sorted(trained, key=lambda t: t.scheme)
    gain_to_noise = 10.0 ** (12.0 + torch.randn(6, 3, 10, generator=generator(3)))
    found = mfrl.decide(gain_to_noise, Uplink(), generator(4))
    module = _federated(scheme="mfrl", start_from=meta_checkpoint, average_every=2)
    wanted = deterministic(_fit(module, 4).lightning_module.policy(3), "channel", "order", 1.0)(
        gain_to_noise, Uplink(), generator(4)
    )
    assert torch.equal(found.channel, wanted.channel)
    torch.testing.assert_close(found.power_w, wanted.power_w, atol=1e-6, rtol=1e-4)


def test_lines_of_sight_are_a_setting() -> None:
    seen, none = (Cell(line_of_sight=sight).environment(3) for sight in (True, False))
    for environment in (seen, none):
        environment.reset(50, generator(0))
    assert float(seen.gain_to_noise.log().mean()) > float(none.gain_to_noise.log().mean())
    with_sight, without = (
        compare_assignment([], ["urban_macro"], 3, 20, 2, 0, sight)["urban_macro"]
        for sight in (True, False)
    )
    better = with_sight["optimum"][None].efficiency - without["optimum"][None].efficiency
    assert float(better.mean()) > 0


def test_of_several_numbers_of_users_the_right_one_is_taken(tmp_path: Path) -> None:
    for num_users in (2, 3):
        (tmp_path / str(num_users)).mkdir()
        trainer = _fit(_federated(num_users=num_users, average_every=2), 4)
        trainer.save_checkpoint(tmp_path / str(num_users) / "last.ckpt")
    trained = find_trained(tmp_path)
    for number in (2, 3):
        alone = [t for t in trained if t.num_users == number]
        both, wanted = (
            compare_assignment(runs, ["urban_micro"], number, 4, 2, 0)["urban_micro"]["frl"][0]
            for runs in (trained, alone)
        )
        assert torch.equal(both.efficiency, wanted.efficiency)
    message = r"`runs` must hold runs of frl with 5 users, or of one other number, got \['2', '3'\]"
    with pytest.raises(ValueError, match=message):
        compare_assignment(trained, ["urban_micro"], 5, 4, 2, 0)


class _Breaks(FederatedPPO):
    """User 1's gradients are not finite in the second of three updates."""

    num_updates = 0

    def shorten_gradients(self) -> None:
        self.num_updates += 1
        if self.num_updates == 2:
            for parameter in self.learned():
                if parameter.grad is not None:
                    parameter.grad[1] = torch.nan
        super().shorten_gradients()


def test_gradients_that_are_not_finite_are_left_out_by_name() -> None:
    shape, ppo = replace(SHAPE, hidden_channels=(6, 6)), PPOSettings(num_epochs=3)
    module = _Breaks(shape, CELL, ppo, num_users=3, scheme="marl", num_validation_cells=4)
    message = r"episode 0: gradients of users 1 are not finite, and left out"
    with pytest.warns(UserWarning, match=message):
        _fit(module, 3)
    assert module.num_updates == 9
    first = dict(initial_network(shape, 0, 0).named_parameters())
    moved = torch.zeros(3)
    for name, value in module.models().items():
        assert bool(value.isfinite().all())
        moved[0] += (value[0] - first[name]).detach().abs().sum()
        start = dict(initial_network(shape, 0, 2).named_parameters())[name]
        moved[2] += (value[2] - start).detach().abs().sum()
    assert float(moved[0]) > 0
    assert float(moved[2]) > 0


class _MetaBreaks(MetaPPO):
    """The first gradient is not finite."""

    def shorten_gradients(self) -> None:
        if int(self.num_done) == 0:
            self.network.choice.weight.grad = torch.full((1, 6), torch.inf)
        super().shorten_gradients()


def test_a_gradient_of_the_base_station_that_is_not_finite_is_left_out() -> None:
    module = _MetaBreaks(SHAPE, CELL, PPOSettings(), num_users=(2,), num_validation_cells=4)
    with pytest.warns(UserWarning, match="episode 0: the gradient is not finite, and left out"):
        _fit(module, 1)
    first = initial_network(SHAPE, 0).state_dict()
    assert _same(module.network.state_dict(), first)
    _fit(module, 2)
    assert not _same(module.network.state_dict(), first)
    assert all(bool(value.isfinite().all()) for value in module.network.state_dict().values())


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_the_schedule_is_of_learning_rate_and_entropy(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metagnn import assignment_module

    seen: list[tuple[float, float]] = []

    def loss(network: Network, batch: Batch, settings: PPOSettings) -> dict[str, Tensor]:
        optimizer = module.optimizers()
        seen.append((optimizer.param_groups[0]["lr"], settings.entropy_weight))
        return ppo_loss(network, batch, settings)

    monkeypatch.setattr(assignment_module, "ppo_loss", loss)
    module = FederatedPPO(
        SHAPE,
        CELL,
        PPOSettings(entropy_weight=0.08),
        num_users=2,
        scheme="frl",
        learning_rate=4e-3,
        schedule=schedule,
    )
    _fit(module, 4)
    left = (1.0, 0.75, 0.5, 0.25) if schedule == "linear" else (1.0,) * 4
    assert seen == [pytest.approx((4e-3 * x, 0.08 * x)) for x in left]


@pytest.mark.parametrize(
    ("messages", "learning"), [("detached", [1]), ("differentiable", [0, 1, 2])]
)
def test_messages_carry_gradients_or_not(messages: str, learning: list[int]) -> None:
    shape = replace(SHAPE, hidden_channels=(6, 6))
    module = FederatedPPO(shape, CELL, PPO, num_users=3, scheme="frl", messages=messages)
    graph = CELL.environment(3).reset(4, generator(0))
    policy, value = module.policy(3)(graph)
    loss = policy.choice.logits[:, 1].square().sum() + value[:, 1].square().sum()
    gradients = torch.autograd.grad(loss, module.learned(), allow_unused=True)
    moved = torch.stack([g.flatten(1).abs().sum(1) for g in gradients if g is not None]).sum(0)
    assert (moved > 0).nonzero().flatten().tolist() == learning


class _Fails(FederatedPPO):
    """User 1 never succeeds, as far as the server is told."""

    def update(self, user: int) -> Update:
        sent = super().update(user)
        return replace(sent, success_rate=0.0) if user == 1 else sent


@pytest.mark.parametrize(("quorum", "stays"), [(2, False), (3, True)])
def test_a_user_left_out_of_an_average_is_named(quorum: int, stays: bool) -> None:
    module = _Fails(SHAPE, CELL, PPO, num_users=3, scheme="frl", average_every=1, quorum=quorum)
    first = {name: value.clone() for name, value in module.network.state_dict().items()}
    message = r"user 1 was left out of the average of episode 0: weight by success must be"
    with pytest.warns(UserWarning, match=message):
        trainer = _fit(module, 1)
    assert int(trainer.callback_metrics["federated_rejected"]) == 1
    # Below the quorum the global model stays; in both cases all users are sent it and have it.
    size = sum(4 * value.numel() for value in first.values())
    assert float(trainer.callback_metrics["federated_bytes"]) == 2 * 3 * size
    last = module.network.state_dict()
    assert _same(last, first) == stays
    assert all(torch.equal(v, last[n].expand(v.shape)) for n, v in module.models().items())


def test_unfinished_runs_are_refused(tmp_path: Path) -> None:
    trainer = _trainer(4, callbacks=[_Stop()])
    trainer.fit(_federated())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"must hold finished runs \(2 of 4 episodes are done"):
        find_trained(tmp_path)
    with pytest.raises(ValueError, match=r"`runs` must hold a last.ckpt of a run"):
        find_trained(tmp_path / "none")


def test_a_run_that_went_on_elsewhere_is_found(meta_checkpoint: str, tmp_path: Path) -> None:
    """Stopped after three of four episodes: MFRL_early is in the first folder."""
    first, second = tmp_path / "version_0", tmp_path / "version_1"
    trainer = _trainer(4, callbacks=[_Keep(first), _Stop(3)])
    trainer.fit(_federated(scheme="mfrl", start_from=meta_checkpoint))
    with pytest.raises(ValueError, match=r"must hold finished runs \(3 of 4 episodes are done"):
        find_trained(tmp_path)
    again = _trainer(4)
    module = _federated(scheme="mfrl", start_from=meta_checkpoint)
    again.fit(module, ckpt_path=str(first / "last.ckpt"))
    again.save_checkpoint(second / "last.ckpt")
    assert {t.scheme for t in find_trained(tmp_path)} == {"mfrl", "mfrl_early"}


def test_runs_that_differ_in_more_than_the_seed_are_not_pooled(tmp_path: Path) -> None:
    for seed, changed in ((0, {}), (1, {"learning_rate": 0.5})):
        (tmp_path / str(seed)).mkdir()
        trainer = _fit(_federated(seed=seed, **changed), 2)
        trainer.save_checkpoint(tmp_path / f"{seed}/last.ckpt")
    message = r"`runs` must hold runs of \('frl', 'urban_micro', 3\) with one learning_rate, 0.001"
    with pytest.raises(ValueError, match=message):
        find_trained(tmp_path)
    other = read_checkpoint(tmp_path / "1/last.ckpt")
    other["run"]["shape"]["colour"] = 1
    write_checkpoint(tmp_path / "1/last.ckpt", other)
    with pytest.raises(ValueError, match=r"`runs` must hold networks of this version"):
        find_trained(tmp_path / "1")


@pytest.fixture(scope="module")
def other_meta_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of another seed, with another task."""
    path = str(tmp_path_factory.mktemp("meta") / "other.ckpt")
    _fit(_meta(num_users=(2, 8), seed=1), 2).save_checkpoint(path)
    return path


def test_runs_of_other_tasks_are_not_pooled(
    meta_checkpoint: str, other_meta_checkpoint: str, tmp_path: Path
) -> None:
    for number, path in enumerate((meta_checkpoint, other_meta_checkpoint)):
        (tmp_path / str(number)).mkdir()
        (tmp_path / f"{number}/last.ckpt").write_bytes(Path(path).read_bytes())
    message = (
        r"`runs` must hold runs of \('meta', None, None\) with one num_users, \[2, 3\], "
        r"got '\[2, 8\] in "
    )
    with pytest.raises(ValueError, match=message):
        find_trained(tmp_path)
    # Runs from before tasks were a fact are of one kind, and not of that of others.
    for number in (0, 1):
        path = str(tmp_path / f"{number}/last.ckpt")
        older = read_checkpoint(path)
        del older["run"]["num_users"]
        write_checkpoint(path, older)
    assert [t.seed for t in find_trained(tmp_path)] == [0, 1]
    (tmp_path / "1/last.ckpt").write_bytes(Path(other_meta_checkpoint).read_bytes())
    with pytest.raises(ValueError, match=r"with one num_users, None, got '\[2, 8\] in "):
        find_trained(tmp_path)


def test_runs_from_other_starts_are_not_pooled(
    meta_checkpoint: str, other_meta_checkpoint: str, tmp_path: Path
) -> None:
    same_tasks = str(tmp_path / "same.ckpt")
    _fit(_meta(seed=1), 2).save_checkpoint(same_tasks)
    for number, start_from in enumerate((meta_checkpoint, same_tasks, other_meta_checkpoint)):
        module = _federated(scheme="mfrl", seed=number, start_from=start_from)
        (tmp_path / f"runs/{number}").mkdir(parents=True)
        _fit(module, 1).save_checkpoint(tmp_path / f"runs/{number}/last.ckpt")
    message = (
        r"`runs` must hold runs of \('mfrl', 'urban_micro', 3\) with one start, "
        r"\{'num_users': \[2, 3\]\}, got \"\{'num_users': \[2, 8\]\} in "
    )
    with pytest.raises(ValueError, match=message):
        find_trained(tmp_path / "runs")
    # The base station's models of different seeds are of one kind.
    (tmp_path / "runs/2/last.ckpt").unlink()
    assert [t.seed for t in find_trained(tmp_path / "runs")] == [0, 1]
    for number in (0, 1):
        start = read_checkpoint(tmp_path / f"runs/{number}/last.ckpt")["run"]["start"]
        assert start["num_users"] == [2, 3]
        assert start["cell"]["snr_min_db"] == 5.0
        assert not {"seed", "num_done"} & set(start)


def test_random_models_have_no_start(meta_checkpoint: str) -> None:
    for scheme in ("frl", "marl"):
        assert _federated(scheme=scheme, start_from=meta_checkpoint).facts()["start"] is None


@pytest.mark.parametrize(
    ("name", "value"), [("num_choices", 8), ("in_channels", 5), ("low", 10.0), ("high", 30.0)]
)
def test_checkpoints_of_other_actions_or_observations_are_refused(
    name: str, value: float, meta_checkpoint: str, tmp_path: Path
) -> None:
    other = read_checkpoint(meta_checkpoint)
    wanted = other["run"]["shape"][name]
    other["run"]["shape"][name] = value
    path = tmp_path / "last.ckpt"
    write_checkpoint(path, other)
    message = rf"`start_from` must have a network with {name} = {wanted}, got {value}"
    with pytest.raises(ValueError, match=message):
        _federated(scheme="mfrl", start_from=str(path))
    message = rf"`runs` must hold networks with {name} = {wanted} for layout 'channel', "
    with pytest.raises(ValueError, match=rf"{message}got '{value} in .*last.ckpt'"):
        find_trained(tmp_path)


def test_the_base_stations_model_runs_for_any_users(meta_checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(Path(meta_checkpoint).read_bytes())
    trained = find_trained(tmp_path)
    for num_users in (1, 5):
        scores = compare_assignment(trained, ["indoor"], num_users, 3, 2, 0)["indoor"]
        assert set(scores["meta"]) == {0}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "`ckpt_path` must be of a run with seed = 1, got 0"),
        ({"scheme": "marl"}, "`ckpt_path` must be of a run with scheme = marl, got 'frl'"),
        ({"learning_rate": 0.5}, "`ckpt_path` must be of a run with learning_rate = 0.5, got"),
        ({"quorum": 2}, "`ckpt_path` must be of a run with quorum = 2, got 1"),
        ({"messages": "detached"}, "`ckpt_path` must be of a run with messages = detached, got"),
        ({}, "`ckpt_path` must be of a run with num_episodes = 2, got 1"),
    ],
)
def test_a_run_does_not_go_on_from_another(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _fit(_federated(), 1).save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(ValueError, match=message):
        _trainer(2).fit(_federated(**changed), ckpt_path=str(tmp_path / "one.ckpt"))


def test_the_base_station_does_not_go_on_with_other_tasks(
    meta_checkpoint: str, tmp_path: Path
) -> None:
    message = r"`ckpt_path` must be of a run with num_users = \[8\], got \[2, 3\]"
    with pytest.raises(ValueError, match=message):
        _trainer(2).fit(_meta(num_users=(8,)), ckpt_path=meta_checkpoint)
    # What an older checkpoint does not say is not what is wanted.
    older = read_checkpoint(meta_checkpoint)
    del older["run"]["num_users"], older["run"]["cell"]["snr_min_db"]
    path = str(tmp_path / "older.ckpt")
    write_checkpoint(path, older)
    message = r"`ckpt_path` must be of a run with cell = \{'snr_min_db': 5.0\}, got .*: None\}"
    with pytest.raises(ValueError, match=message):
        _trainer(2).fit(_meta(), ckpt_path=path)
    older["run"]["cell"]["snr_min_db"] = 5.0
    write_checkpoint(path, older)
    with pytest.raises(ValueError, match=r"with num_users = \[2, 3\], got None"):
        _trainer(2).fit(_meta(), ckpt_path=path)


def test_users_do_not_go_on_from_another_start(
    meta_checkpoint: str, other_meta_checkpoint: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "one.ckpt")
    _fit(_federated(scheme="mrl", start_from=meta_checkpoint), 1).save_checkpoint(path)
    message = (
        r"`ckpt_path` must be of a run with start = \{'num_users': \[2, 8\]\}, "
        r"got \{'num_users': \[2, 3\]\}"
    )
    with pytest.raises(ValueError, match=message):
        _trainer(1).fit(_federated(scheme="mrl", start_from=other_meta_checkpoint), ckpt_path=path)


def test_users_start_from_the_base_stations_model_only(tmp_path: Path) -> None:
    path = str(tmp_path / "users.ckpt")
    _fit(_federated(), 1).save_checkpoint(path)
    message = r"`start_from` must be a checkpoint of MetaPPO, got 'FederatedPPO'"
    with pytest.raises(ValueError, match=message):
        _federated(scheme="mfrl", start_from=path)


def test_users_start_from_a_finished_and_finite_model_only(
    meta_checkpoint: str, tmp_path: Path
) -> None:
    found = read_checkpoint(meta_checkpoint)
    path = str(tmp_path / "changed.ckpt")
    total = found["run"]["num_episodes"]
    write_checkpoint(path, {**found, "run": {**found["run"], "num_done": total - 1}})
    message = rf"`start_from` must be of a finished run of {total} episodes, got {total - 1}"
    with pytest.raises(ValueError, match=message):
        _federated(scheme="mfrl", start_from=path)
    state = {**found["state_dict"], "network.value.bias": torch.tensor([torch.nan])}
    write_checkpoint(path, {**found, "state_dict": state})
    with pytest.raises(ValueError, match=r"`start_from` must have finite numbers in value.bias"):
        _federated(scheme="mfrl", start_from=path)


def test_checkpoints_of_other_networks_are_refused(meta_checkpoint: str, tmp_path: Path) -> None:
    other = ActorCriticShape(4, 10, hidden_channels=(7,), critic_channels=5)
    message = r"`start_from` must have a network with hidden_channels = \[7\], got \[6\]"
    with pytest.raises(ValueError, match=message):
        FederatedPPO(other, CELL, PPO, start_from=meta_checkpoint)
    message = r"`start_from` must have learned with edges = 'none', got 'order'"
    with pytest.raises(ValueError, match=message):
        FederatedPPO(SHAPE, replace(CELL, edges="none"), PPO, start_from=meta_checkpoint)
    with pytest.raises(ValueError, match=r"`start_from` must"):
        _federated(scheme="mfrl", start_from=str(tmp_path / "none.ckpt"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scheme": "x"}, r"`scheme` must be one of .*, got 'x'"),
        ({"scheme": "mfrl"}, r"`start_from` must be a checkpoint of MetaPPO .* got None"),
        ({"num_users": 11}, r"`num_users` must be at most the 10 subchannels, got 11"),
        ({"average_every": 0}, r"`average_every` must be an integer >= 1, got 0"),
        ({"quorum": 4}, r"`quorum` must be at most the 3 users, got 4"),
        ({"messages": "x"}, r"`messages` must be one of .*, got 'x'"),
        ({"weighting": "x"}, r"`weighting` must be one of .*, got 'x'"),
        ({"learning_rate": float("nan")}, r"`learning_rate` must be finite and > 0, got nan"),
        ({"schedule": "x"}, r"`schedule` must be one of .*, got 'x'"),
        ({"seed": -1}, r"`seed` must be an integer >= 0, got -1"),
    ],
)
def test_arguments_that_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _federated(**changed)


def test_networks_that_do_not_fit_the_observations_are_refused() -> None:
    message = r"`shape.in_channels` must be 12 for layout 'user', got 4"
    with pytest.raises(ValueError, match=message):
        MetaPPO(SHAPE, Cell(layout="user"), PPO)
    for name, wanted, value in (
        ("num_choices", 10, 8),
        ("per_choice", True, False),
        ("low", 0.0, -5.0),
        ("high", 24.0, 30.0),
    ):
        message = rf"`shape.{name}` must be {wanted} for layout 'channel', got {value}"
        with pytest.raises(ValueError, match=message):
            MetaPPO(replace(SHAPE, **{name: value}), CELL, PPO)
    with pytest.raises(ValueError, match=r"`ppo.num_batches` must be at most the 8 .* got 9"):
        MetaPPO(SHAPE, CELL, PPOSettings(num_batches=9))
    message = r"`cell.num_copies` must leave batches of at least 2 transitions.* got 1"
    with pytest.raises(ValueError, match=message):
        MetaPPO(SHAPE, Cell(num_copies=1), PPOSettings())
    with pytest.raises(ValueError, match=r"`num_users` must hold each number once, got \(2, 2\)"):
        _meta(num_users=(2, 2))
    with pytest.raises(ValueError, match=r"`num_users` must hold a number of users, got \(\)"):
        _meta(num_users=())
    with pytest.raises(ValueError, match=r"`scenario` must be one of .*, got 'moon'"):
        Cell(scenario="moon")
    with pytest.raises(ValueError, match=r"`num_copies` must be an integer >= 1, got 0"):
        Cell(num_copies=0)
