"""Two processes give what one gives: meta-training, validation and prediction over gloo."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metagnn.meta_parameters import load_meta_parameters

SMALL = [
    "--config",
    "power_control_quick",
    "--data.num_links=[2,3]",
    "--data.test_num_links=[2,3,4]",
    "--data.num_samples=16",
    "--data.num_adaptation_samples=16",
    "--data.num_test_samples=5",
    "--data.num_validation_networks=1",
    "--data.num_test_networks=1",
    "--data.tasks_per_batch=3",
    "--trainer.enable_progress_bar=false",
]
TWO = ["--trainer.strategy=ddp", "--trainer.devices=2"]


def _run(folder: Path, *words: str) -> Path:
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "metagnn", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "runs/power_control_quick/version_0"


def _last_values(run: Path) -> dict[str, float]:
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: float(value) for row in rows for name, value in row.items() if value}


def test_two_processes_train_and_validate_as_one_does(tmp_path: Path) -> None:
    words = ["fit", *SMALL, "--trainer.max_epochs=2", "--trainer.check_val_every_n_epoch=2"]
    one, two = _run(tmp_path / "one", *words), _run(tmp_path / "two", *words, *TWO)
    parameters = [
        load_meta_parameters(str(run / "checkpoints/last.ckpt")).networks.state_dict()
        for run in (one, two)
    ]
    for name, value in parameters[0].items():
        np.testing.assert_allclose(parameters[1][name], value, rtol=2e-3, atol=2e-5, err_msg=name)
    wanted, found = _last_values(one), _last_values(two)
    assert set(found) == set(wanted)
    assert {"validation_mean_rate_0", "lagrangian", "mean_mu", "mean_slack"} <= set(wanted)
    for name, number in wanted.items():
        assert found[name] == pytest.approx(number, rel=1e-3), name


def test_two_processes_predict_each_network_once(tmp_path: Path) -> None:
    one = _run(tmp_path / "one", "predict", *SMALL)
    two = _run(tmp_path / "two", "predict", *SMALL, *TWO)
    names = sorted(file.name for file in (one / "predictions").iterdir())
    assert names == ["power_0.npz", "power_1.npz", "power_2.npz"]
    assert sorted(file.name for file in (two / "predictions").iterdir()) == names
    for name in names:
        wanted, found = (np.load(run / "predictions" / name)["power_w"] for run in (one, two))
        np.testing.assert_array_equal(found, wanted)


def test_more_processes_than_tasks_are_refused(tmp_path: Path) -> None:
    words = ["fit", *SMALL, "--data.tasks_per_batch=1", *TWO]
    done = subprocess.run(
        [sys.executable, "-m", "metagnn", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "`devices` must be at most the 1 tasks of a batch, got 2" in done.stderr
