"""Networks in bfloat16, everything else in float32."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from metagnn.adaptation import adapt, learned_rollout
from metagnn.cli import main
from metagnn.comparison import LEARNED
from metagnn.graphs.channel import ChannelFamily
from metagnn.graphs.dataset import draw_network
from metagnn.graphs.neighbours import Gain, strongest
from metagnn.graphs.rates import sinr
from metagnn.meta_parameters import load_meta_parameters

NUM_LINKS = 6


def _gains(on_lists: bool) -> tuple[Gain, Gain]:
    network = draw_network(ChannelFamily(), NUM_LINKS, 0, "validation", 0, 48, 8)
    large, gain = network.configuration.large_scale_gain, network.gain
    if not on_lists:
        return large, gain
    assert isinstance(large, torch.Tensor)
    assert isinstance(gain, torch.Tensor)
    lists = strongest(large, 3)
    return lists, lists.samples(gain)


@pytest.mark.parametrize("on_lists", [False, True])
def test_rates_stay_in_single_precision(on_lists: bool) -> None:
    _, gain = _gains(on_lists)
    power_w = torch.rand(48, NUM_LINKS)
    wanted = sinr(gain, power_w, 1e-13)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sinr(gain, power_w, 1e-13), wanted)


@pytest.mark.parametrize("on_lists", [False, True])
def test_adaptation_differs_by_rounding(on_lists: bool) -> None:
    meta, (large, gain) = load_meta_parameters("power_control"), _gains(on_lists)
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            adapted = adapt(meta.networks, large, gain, meta.problem, meta.adaptation)
            run = learned_rollout(adapted.learner, gain, gain[:8], meta.problem)
        assert adapted.mu.dtype == run.rate.dtype == run.power_w.dtype == torch.float32
        found.append(run.rate)
    torch.testing.assert_close(found[1].mean(), found[0].mean(), rtol=0.02, atol=0.0)
    assert not torch.equal(found[1], found[0])


def test_commands_change_the_learned_policy_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, gain = _gains(on_lists=False)
    assert isinstance(gain, torch.Tensor)
    path, out = str(tmp_path / "gain.npz"), str(tmp_path / "out")
    np.savez(path, gain=gain.numpy())
    found = []
    for option in ([], ["--bf16"]):
        main(["compare", path, "--json", *option])
        policies = json.loads(capsys.readouterr().out)["policies"]
        main(["adapt", path, "--test", path, "--steps", "2", "--out", out, "--json", *option])
        policies["adapt"] = {"mean_rate": json.loads(capsys.readouterr().out)["mean_rate"]}
        found.append({name: values["mean_rate"] for name, values in policies.items()})
    for name, value in found[0].items():
        if name in (*LEARNED, "adapt"):
            assert found[1][name] == pytest.approx(value, rel=0.02)
            assert found[1][name] != value
        else:
            assert found[1][name] == value


def test_meta_training_takes_lightnings_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--config", "power_control_quick", "--data.num_links=[3]"]
    words += ["--data.num_samples=16", "--data.tasks_per_batch=2", "--trainer.max_epochs=2"]
    words += ["--trainer.limit_val_batches=0"]
    found = []
    for version, option in enumerate([[], ["--trainer.precision=bf16-mixed"]]):
        main([*words, *option])
        run = Path(f"runs/power_control_quick/version_{version}")
        parameters = load_meta_parameters(str(run / "checkpoints/last.ckpt"))
        found.append(parameters.networks.power.stack.state_dict()["readout.weight"])
    assert found[1].dtype == torch.float32
    torch.testing.assert_close(found[1], found[0], rtol=0.0, atol=0.02)
    assert not torch.equal(found[1], found[0])
