from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from trainers import quiet_trainer

from metagnn.adaptation import Adaptation
from metagnn.adaptation_task import Problem, make_task
from metagnn.checkpoint import read_checkpoint
from metagnn.checkpoint_callback import EndCheckpoint
from metagnn.data import ConfigurationData
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import NetworkSamples, draw_network
from metagnn.inner_loop import run_epoch
from metagnn.meta_gradient import InnerLoop
from metagnn.meta_training import MetaGNN, share_out
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.network_score import run_network, score_network
from metagnn.update_rule import UpdateRule

SHAPE = NetworkShape(
    edges="rate_loss", hidden_channels=4, config_hidden_channels=4, head="softplus"
)
INNER = InnerLoop(UpdateRule({"power": 0.1, "slack": 0.05, "mu": 0.02}), 2, 3)
OUTER = UpdateRule({"power": 0.01, "slack": 0.02, "mu": 0.03})
ADAM = UpdateRule(OUTER.learning_rates, "adam")
ADAPTATION = Adaptation(INNER.rule, num_epochs=2, steps_per_epoch=4, num_sequences=2)


def _module(**changed: Any) -> MetaGNN:
    arguments: dict[str, Any] = {
        "shape": SHAPE,
        "problem": Problem(minimum_rate_threshold=3.0),
        "inner": INNER,
        "outer": OUTER,
        "adaptation": ADAPTATION,
        "num_sequences": 2,
    }
    return MetaGNN(**{**arguments, **changed})


def _data(**changed: Any) -> ConfigurationData:
    arguments: dict[str, Any] = {
        "num_links": (2, 3),
        "tasks_per_batch": 2,
        "num_samples": 12,
        "num_adaptation_samples": 12,
        "num_test_samples": 3,
        "num_validation_networks": 1,
        "num_test_networks": 1,
    }
    return ConfigurationData(**{**arguments, **changed})


def _trainer(folder: Path, *callbacks: pl.Callback, **changed: Any) -> pl.Trainer:
    arguments: dict[str, Any] = {
        "max_epochs": 1,
        "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks),
        "limit_val_batches": 0,
        "default_root_dir": folder,
        "callbacks": list(callbacks),
    }
    return quiet_trainer(**{**arguments, **changed})


def _every_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "{epoch}", every_n_epochs=1, save_top_k=-1)


def _fit(folder: Path, module: MetaGNN, num_epochs: int, **changed: Any) -> MetaGNN:
    _trainer(folder, max_epochs=num_epochs).fit(module, datamodule=_data(**changed))
    return module


def _equal(a: Any, b: Any) -> bool:
    """Equality bit for bit of trees of tensors and plain values."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _differ(a: PrimalDualNetworks, b: PrimalDualNetworks) -> set[str]:
    """Names of the networks that are not the same."""
    return {
        name
        for name in a.shape.names
        if not _equal(getattr(a, name).state_dict(), getattr(b, name).state_dict())
    }


def test_one_reptile_epoch_is_equation_33_by_hand(tmp_path: Path) -> None:
    module, data = _module(algorithm="reptile"), _data(tasks_per_batch=3)
    start = deepcopy(module.networks)
    batch = data.training_set.batch(0, 3)
    ways: dict[str, list[Tensor]] = {}
    for network in batch:
        networks = deepcopy(start)
        groups = [
            {"params": list(getattr(networks, name).parameters()), "lr": lr}
            for name, lr in INNER.rule.learning_rates.items()
        ]
        optimizer = torch.optim.SGD(groups)
        gain = network.configuration.large_scale_gain
        task = make_task(gain, network.gain, module.problem, "rate_loss", 2)
        average = task.average_rate()
        for epoch in range(2):
            result = run_epoch(networks, task, module.problem, epoch, average, 3)
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
            average = result.average_rate
        pairs = zip(networks.named_parameters(), start.parameters(), strict=True)
        for (key, adapted), meta in pairs:
            ways.setdefault(key, []).append((adapted - meta).detach())
    _trainer(tmp_path).fit(module, datamodule=data)
    for (key, found), meta in zip(
        module.networks.named_parameters(), start.parameters(), strict=True
    ):
        name = key.split(".")[0]
        epsilon, eta = OUTER.learning_rates[name], INNER.rule.learning_rates[name]
        wanted = meta + epsilon / 3 * torch.stack(ways[key]).sum(0) / eta
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert _differ(module.networks, start) == set(SHAPE.names)


class _Rates(pl.Callback):
    """Outer step sizes of the power network, epoch by epoch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        groups = {g["name"]: g["lr"] for g in trainer.optimizers[0].param_groups}
        assert groups["mu"] == pytest.approx(3.0 * groups["power"])
        self.seen.append(groups["power"])


@pytest.mark.parametrize(
    ("schedule", "decay"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1.0, 0.5 + 0.5 * 0.5**0.5, 0.5, 0.5 - 0.5 * 0.5**0.5]),
    ],
)
def test_outer_step_sizes_decay_with_the_schedule(
    tmp_path: Path, schedule: str, decay: list[float]
) -> None:
    rates = _Rates()
    module = _module(schedule=schedule)
    _trainer(tmp_path, rates, max_epochs=4).fit(module, datamodule=_data(tasks_per_batch=1))
    assert rates.seen == pytest.approx([0.01 * d for d in decay])


# The resumed run keeps its checkpoints in a folder of its own.
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
@pytest.mark.parametrize(
    ("algorithm", "outer", "schedule"),
    [("fomaml", ADAM, "cosine"), ("maml", ADAM, "constant"), ("reptile", OUTER, "linear")],
)
def test_a_resumed_run_goes_on_bit_for_bit(
    tmp_path: Path, algorithm: str, outer: UpdateRule, schedule: str
) -> None:
    def fit(folder: Path, start: Path | None = None) -> MetaGNN:
        module = _module(algorithm=algorithm, outer=outer, schedule=schedule)
        trainer = _trainer(folder, _every_epoch(folder), max_epochs=4)
        trainer.fit(module, datamodule=_data(), ckpt_path=start)
        return module

    straight = fit(tmp_path / "straight")
    resumed = fit(tmp_path / "resumed", tmp_path / "straight" / "epoch=1.ckpt")
    assert _differ(straight.networks, resumed.networks) == set()
    names = [f"epoch={epoch}.ckpt" for epoch in range(4)]
    assert sorted(path.name for path in (tmp_path / "resumed").iterdir()) == names[2:]
    states = [read_checkpoint(tmp_path / run / names[3]) for run in ("straight", "resumed")]
    for key in ("state_dict", "optimizer_states", "torch_random_state", "epoch", "global_step"):
        assert _equal(states[0][key], states[1][key]), key
    moments = states[0]["optimizer_states"][0]["state"]
    assert len(moments) == (len(list(straight.parameters())) if outer is ADAM else 0)
    half = read_checkpoint(tmp_path / "straight" / names[1])
    assert not _equal(half["state_dict"], states[0]["state_dict"])


@pytest.mark.parametrize("outer", [OUTER, ADAM])
def test_weights_and_position_alone_continue_a_run_without_moments_only(
    tmp_path: Path, outer: UpdateRule
) -> None:
    """The comparison above can fail: with Adam the moments belong to the state of a run."""
    folder = tmp_path / "straight"
    straight, resumed = (_module(algorithm="fomaml", outer=outer) for _ in range(2))
    trainer = _trainer(folder, _every_epoch(folder), max_epochs=3)
    trainer.fit(straight, datamodule=_data())
    resumed.load_state_dict(read_checkpoint(folder / "epoch=1.ckpt")["state_dict"])
    trainer = _trainer(tmp_path, max_epochs=3)
    trainer.fit_loop.epoch_progress.current.processed = 2
    trainer.fit_loop.epoch_progress.current.completed = 2
    trainer.fit(resumed, datamodule=_data())
    differing = set(SHAPE.names) if outer is ADAM else set()
    assert _differ(straight.networks, resumed.networks) == differing


def test_a_resumed_run_has_the_random_state_of_the_checkpoint() -> None:
    module, checkpoint = _module(), dict[str, Any]()
    with torch.random.fork_rng():
        torch.manual_seed(11)
        module.on_save_checkpoint(checkpoint)
        wanted = torch.rand(3)
        torch.manual_seed(12)
        module.on_load_checkpoint(checkpoint)
        assert torch.equal(torch.rand(3), wanted)


def test_the_same_seeds_give_the_same_run_and_others_another(tmp_path: Path) -> None:
    first, second = (_fit(tmp_path, _module(), 2).networks for _ in range(2))
    assert _differ(first, second) == set()
    other_data = _fit(tmp_path, _module(), 2, seed=1).networks
    assert _differ(first, other_data) == set(SHAPE.names)
    assert _differ(_module().networks, _module(init_seed=1).networks) == set(SHAPE.names)


def test_the_initial_parameters_leave_the_global_random_state() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        wanted = torch.rand(2)
        torch.manual_seed(3)
        _module()
        assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("algorithm", ["reptile", "fomaml", "maml"])
def test_both_engines_train_alike(tmp_path: Path, algorithm: str) -> None:
    dense = _module(algorithm=algorithm)
    sparse = _module(algorithm=algorithm, engine="learn2learn")
    sparse.load_state_dict(dense.state_dict())
    start = deepcopy(dense.networks)
    for module in (dense, sparse):
        _fit(tmp_path, module, 2)
    for (key, ours), theirs in zip(
        dense.state_dict().items(), sparse.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=key)
    assert _differ(dense.networks, start) == set(SHAPE.names)


def test_five_networks_train_as_well(tmp_path: Path) -> None:
    shape = NetworkShape(hidden_channels=4, config_hidden_channels=4, num_networks=5)
    rule = UpdateRule(dict.fromkeys(shape.names, 0.01))
    module = _module(
        shape=shape,
        inner=InnerLoop(rule, 2, 3),
        outer=rule,
        adaptation=Adaptation(rule, 1, 4, 2),
        problem=Problem(minimum_rate_threshold=3.0, reduction="sum"),
    )
    start = deepcopy(module.networks)
    _fit(tmp_path, module, 1)
    assert _differ(module.networks, start) >= {"power", "rate", "lam"}


def test_two_networks_train_as_well(tmp_path: Path) -> None:
    shape = replace(SHAPE, num_networks=2)
    rule = UpdateRule(dict.fromkeys(shape.names, 0.01))
    settings: dict[str, Any] = {
        "shape": shape,
        "inner": InnerLoop(rule, 2, 3),
        "outer": rule,
        "adaptation": Adaptation(rule, 1, 4, 2),
    }
    module = _module(**settings)
    start = deepcopy(module.networks)
    _fit(tmp_path, module, 1)
    assert _differ(module.networks, start) == {"power", "mu"}
    printed = Problem(slack_as_printed=True)
    with pytest.raises(ValueError, match="`slack_as_printed` must be false without a slack net"):
        _module(**settings, problem=printed)


def test_validation_is_logged_before_and_after_adaptation(tmp_path: Path) -> None:
    module = _module()
    data = _data(num_validation_networks=2, test_num_links=(2,))
    trainer = _trainer(tmp_path, limit_val_batches=1.0)
    trainer.fit(module, datamodule=data)
    for epochs in (0, 2):
        rates = [
            score_network(module.networks, network, module.problem, ADAPTATION, epochs)
            for network in data.val_dataloader()
        ]
        mean = sum(float(rate.mean()) for rate in rates) / 2
        lowest = sum(float(rate.min()) for rate in rates) / 2
        metrics = trainer.callback_metrics
        assert metrics[f"validation_mean_rate_{epochs}"].item() == pytest.approx(mean)
        assert metrics[f"validation_min_rate_{epochs}"].item() == pytest.approx(lowest)


@pytest.mark.parametrize("engine", ["vectorized", "learn2learn"])
def test_scoring_and_predicting_outside_of_training(
    tmp_path: Path, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module, data = _module(engine=engine), _data()
    before = deepcopy(module.state_dict())
    networks = list(data.test_dataloader())
    trainer = _trainer(tmp_path, limit_val_batches=1.0)
    (scores,) = trainer.test(module, datamodule=data, verbose=False)
    rates = [score_network(module.networks, n, module.problem, ADAPTATION, 2) for n in networks]
    wanted = sum(float(rate.mean()) for rate in rates) / len(rates)
    assert scores["test_mean_rate_2"] == pytest.approx(wanted)
    (checked,) = trainer.validate(module, datamodule=data, verbose=False)
    assert set(checked) == {f"validation_{m}_rate_{n}" for m in ("mean", "min") for n in (0, 2)}
    powers = trainer.predict(module, datamodule=data)
    assert powers is not None
    for power, network in zip(powers, networks, strict=True):
        assert isinstance(power, Tensor)
        run = run_network(module.networks, network, module.problem, ADAPTATION, 2)
        torch.testing.assert_close(power, run.power_w[:, 0])
        assert power.shape == network.test_gain.shape[:2]
    assert _equal(before, dict(module.state_dict()))


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("algorithm", {"algorithm": "anil"}),
        ("engine", {"engine": "jax"}),
        ("schedule", {"schedule": "step"}),
        ("num_sequences", {"num_sequences": 0}),
        ("inner.num_epochs", {"algorithm": "reptile", "inner": InnerLoop(INNER.rule, 0)}),
        ("inner.rule.learning_rates", {"inner": InnerLoop(UpdateRule({"power": 1.0}))}),
        ("outer.learning_rates", {"outer": UpdateRule({"power": 1.0})}),
        (
            "adaptation.rule.learning_rates",
            {"adaptation": Adaptation(UpdateRule({"power": 1.0, "mu": 1.0}))},
        ),
    ],
)
def test_arguments_are_checked(name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must"):
        _module(**changed)


def test_first_order_maml_without_an_inner_loop_is_allowed() -> None:
    assert _module(algorithm="fomaml", inner=InnerLoop(INNER.rule, 0)).inner.num_epochs == 0


@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
def test_the_last_checkpoint_holds_the_end_of_training(tmp_path: Path) -> None:
    def fit(name: str, num_epochs: int, start: Path | None = None) -> dict[str, Any]:
        folder = tmp_path / name
        saved = EndCheckpoint(folder, "{epoch}", every_n_epochs=2, save_last=True)
        trainer = _trainer(folder, saved, max_epochs=num_epochs)
        trainer.fit(_module(), datamodule=_data(), ckpt_path=start)
        return read_checkpoint(folder / "last.ckpt")

    ends = {number: fit(str(number), number) for number in (1, 2, 3, 5)}
    assert [end["global_step"] for end in ends.values()] == [1, 2, 3, 5]
    resumed = fit("resumed", 5, tmp_path / "3" / "last.ckpt")
    assert _equal(resumed["state_dict"], ends[5]["state_dict"])


@pytest.mark.parametrize("processes", [1, 2, 3, 32])
@pytest.mark.parametrize("num_sizes", [1, 2, 17])
def test_every_process_gets_as_many_links_and_pairs_of_one_size(
    processes: int, num_sizes: int
) -> None:
    batch = [_network(4 + (7 * number) % num_sizes) for number in range(32)]
    shares = share_out(batch, processes)
    dealt = [network for share in shares for network in share]
    assert sorted(map(id, dealt)) == sorted(map(id, batch))
    assert len(shares) == processes
    assert all(shares)
    links = [sum(network.gain.shape[-1] for network in share) for share in shares]
    pair = 2 * max(network.gain.shape[-1] for network in batch)
    assert max(links) - min(links) <= pair
    if processes <= len(batch) // 2:
        # No pair is torn: at most one share holds an odd number of networks of a size.
        torn = Counter(k for share in shares for k, n in _sizes(share).items() if n % 2)
        assert all(torn[k] == n % 2 for k, n in _sizes(batch).items())


def _network(num_links: int) -> NetworkSamples:
    return draw_network(ChannelFamily(), num_links, 0, "train", 0, 1, 1)


def _sizes(networks: list[NetworkSamples]) -> Counter[int]:
    return Counter(network.gain.shape[-1] for network in networks)
