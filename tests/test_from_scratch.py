from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from trainers import quiet_trainer

from metagnn.adaptation import Adaptation
from metagnn.adaptation_task import Problem, Task, make_task
from metagnn.checkpoint import read_checkpoint
from metagnn.data import ConfigurationData
from metagnn.inner_loop import run_epoch
from metagnn.lagrangian import lagrangian
from metagnn.models.primal_dual import NetworkShape, PrimalDualNetworks
from metagnn.network_score import score_network
from metagnn.primal_dual import PrimalDual
from metagnn.update_rule import UpdateRule

SHAPE = NetworkShape(
    edges="rate_loss", hidden_channels=4, config_hidden_channels=4, head="softplus"
)
RATES = {"power": 0.05, "slack": 0.02, "mu": 0.01}
PROBLEM = Problem(minimum_rate_threshold=3.0)


def _module(**changed: Any) -> PrimalDual:
    rule = UpdateRule(RATES, "adam")
    arguments: dict[str, Any] = {
        "shape": SHAPE,
        "problem": PROBLEM,
        "rule": rule,
        "adaptation": Adaptation(rule, num_epochs=0),
        "steps_per_epoch": 3,
        "num_sequences": 2,
    }
    return PrimalDual(**{**arguments, **changed})


def _data(**changed: Any) -> ConfigurationData:
    arguments: dict[str, Any] = {
        # batches of later epochs hold other configurations, of other sizes
        "num_links": (2, 3, 4),
        "test_num_links": (5,),
        "tasks_per_batch": 1,
        "num_samples": 12,
        "num_adaptation_samples": 12,
        "num_test_samples": 3,
        "num_validation_networks": 1,
        "num_test_networks": 2,
    }
    return ConfigurationData(**{**arguments, **changed})


def _trainer(folder: Path, *callbacks: pl.Callback, **changed: Any) -> pl.Trainer:
    arguments: dict[str, Any] = {
        "max_epochs": 4,
        "enable_checkpointing": bool(callbacks),
        "limit_val_batches": 0,
        "default_root_dir": folder,
        "callbacks": list(callbacks),
    }
    return quiet_trainer(**{**arguments, **changed})


def _task(data: ConfigurationData) -> Task:
    network = data.training_set.batch(0, 1)[0]
    gain = network.configuration.large_scale_gain
    return make_task(gain, network.gain, PROBLEM, SHAPE.edges, 2)


def _same(a: PrimalDualNetworks, b: PrimalDualNetworks) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_training_makes_primal_dual_steps_on_the_first_configuration(
    tmp_path: Path, kind: str
) -> None:
    rule = UpdateRule(RATES, kind)  # type: ignore[arg-type]
    module, data = _module(rule=rule), _data()
    reference, task = deepcopy(module.networks), _task(data)
    sizes = {data.training_set.batch(epoch, 1)[0].gain.shape[-1] for epoch in range(4)}
    assert len(sizes) > 1, "the batches of this test should differ in size"
    trainer = _trainer(tmp_path)
    trainer.fit(module, datamodule=data)
    groups = [
        {"params": list(getattr(reference, name).parameters()), "lr": lr}
        for name, lr in RATES.items()
    ]
    optimizer = (torch.optim.SGD if kind == "sgd" else torch.optim.Adam)(groups)
    average = task.average_rate()
    for epoch in range(4):
        result = run_epoch(reference, task, PROBLEM, epoch, average, 3)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        average = result.average_rate
    assert _same(module.networks, reference)
    assert not _same(module.networks, _module().networks)
    value = lagrangian(result.variables, task.minimum_rate, PROBLEM.alpha)
    logged = trainer.callback_metrics["lagrangian"].item()
    assert logged == pytest.approx(value.item() / task.initial_rate.shape[0])


# The resumed run keeps its checkpoints in a folder of its own.
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")
@pytest.mark.parametrize("num_networks", [2, 3, 5])
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path, num_networks: int) -> None:
    shape = NetworkShape(
        hidden_channels=4, config_hidden_channels=4, head="softplus", num_networks=num_networks
    )
    rule = UpdateRule(dict.fromkeys(shape.names, 0.02), "adam")

    def fit(folder: Path, start: Path | None = None) -> PrimalDual:
        module = _module(shape=shape, rule=rule, adaptation=Adaptation(rule, 0))
        every = ModelCheckpoint(folder, "{epoch}", every_n_epochs=1, save_top_k=-1)
        _trainer(folder, every).fit(module, datamodule=_data(), ckpt_path=start)
        return module

    straight = fit(tmp_path / "straight")
    resumed = fit(tmp_path / "resumed", tmp_path / "straight" / "epoch=1.ckpt")
    assert _same(straight.networks, resumed.networks)
    states = [read_checkpoint(tmp_path / run / "epoch=3.ckpt") for run in ("straight", "resumed")]
    half = read_checkpoint(tmp_path / "straight" / "epoch=1.ckpt")
    assert torch.equal(states[0]["average_rate"], states[1]["average_rate"])
    assert not torch.equal(states[0]["average_rate"], half["average_rate"])
    moments = [state["optimizer_states"][0]["state"] for state in states]
    assert len(moments[0]) == len(list(straight.parameters()))
    for number, values in moments[0].items():
        for key, value in values.items():
            assert torch.equal(value, moments[1][number][key])
    assert states[0]["epoch"] == states[1]["epoch"] == 3


def test_the_averaged_rates_matter_to_a_resumed_run(tmp_path: Path) -> None:
    """The comparison above can fail: an epoch depends on the averages it starts from."""
    module, task = _module(), _task(_data())
    average = task.average_rate()
    losses = [
        run_epoch(module.networks, task, PROBLEM, 0, scale * average, 3).loss.item()
        for scale in (1.0, 0.5)
    ]
    assert losses[0] != losses[1]


def test_a_checkpoint_before_the_first_step_has_no_configuration_yet() -> None:
    module, checkpoint = _module(), dict[str, Any]()
    with torch.random.fork_rng():
        module.on_save_checkpoint(checkpoint)
        assert checkpoint["network"] is checkpoint["average_rate"] is None
        _module().on_load_checkpoint(checkpoint)


def test_scored_as_they_are_on_networks_of_another_size(tmp_path: Path) -> None:
    """The paper's mismatch baseline: no adaptation, another number of links."""
    module, data = _module(), _data()
    trainer = _trainer(tmp_path)
    trainer.fit(module, datamodule=data)
    (scores,) = trainer.test(module, datamodule=data, verbose=False)
    rates: list[Tensor] = [
        score_network(module.networks, network, PROBLEM, module.adaptation, 0)
        for network in data.test_dataloader()
    ]
    assert rates[0].shape == (5,)
    assert set(scores) == {"test_mean_rate_0", "test_min_rate_0"}
    wanted = sum(float(rate.mean()) for rate in rates) / 2
    assert scores["test_mean_rate_0"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("rule.learning_rates", {"rule": UpdateRule({"power": 1.0})}),
        ("adaptation.rule.learning_rates", {"adaptation": Adaptation(UpdateRule({"mu": 1.0}))}),
        ("steps_per_epoch", {"steps_per_epoch": 0}),
        ("num_sequences", {"num_sequences": 0}),
    ],
)
def test_arguments_are_checked(name: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must"):
        _module(**changed)
