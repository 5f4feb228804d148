"""Users of a federation whose server is elsewhere, against `FederatedPPO` in one process."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from trainers import quiet_trainer

from metagnn.assignment_comparison import find_trained
from metagnn.assignment_module import AssignmentModule
from metagnn.assignment_score import deterministic, score_assignment
from metagnn.checkpoint import write_checkpoint
from metagnn.configs import config_path
from metagnn.federated import federated_round
from metagnn.federated_ppo import FederatedPPO, load_start
from metagnn.federated_user import FederatedUser, federated_user, global_checkpoint, run_round
from metagnn.meta_ppo import MetaPPO

NUM_USERS, NUM_ROUNDS, EVERY, NUM_COPIES = 3, 3, 2, 8


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The packaged configuration with a smaller network and fewer cells."""
    config = yaml.safe_load(config_path("channel_assignment_adapt").read_text())
    arguments = config["model"]["init_args"]
    arguments["shape"] |= {"hidden_channels": [6, 6], "num_claims": 2}
    arguments["cell"] |= {"num_copies": NUM_COPIES}
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def _user(config: str, seed: int = 3) -> FederatedUser:
    changed = {"num_users": NUM_USERS, "average_every": EVERY, "num_validation_cells": 2}
    return federated_user(config, scenario="indoor", seed=seed, **changed)


def _finished(module: AssignmentModule, num_episodes: int, path: Path) -> str:
    """Checkpoint of a run that ended, without the training."""
    ended = {"num_done": num_episodes, "num_episodes": num_episodes}
    run = {"run": {**module.facts(), **ended}, "state_dict": module.state_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_checkpoint(path, run)
    return str(path)


@pytest.fixture
def in_one_process(small: str) -> dict[str, Tensor]:
    user = _user(small)
    module = FederatedPPO(
        user.shape,
        user.cell,
        user.ppo,
        NUM_USERS,
        "frl",
        average_every=EVERY,
        weighting=user.weighting,
        learning_rate=user.learning_rate,
        schedule=user.schedule,
        seed=3,
    )
    quiet_trainer(NUM_ROUNDS * EVERY, limit_val_batches=0).fit(module)
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def test_rounds_of_users_are_those_of_one_process(
    in_one_process: dict[str, Tensor], small: str, tmp_path: Path
) -> None:
    model = {name: value.clone() for name, value in _user(small).network.state_dict().items()}
    first = model
    for number in range(1, NUM_ROUNDS + 1):
        updates = [
            run_round(_user(small), user, model, tmp_path / str(user), number, NUM_ROUNDS)
            for user in range(NUM_USERS)
        ]
        assert [update.client for update in updates] == ["user 0", "user 1", "user 2"]
        assert {update.num_samples for update in updates} == {number * EVERY * NUM_COPIES}
        model = federated_round(model, updates).model
    assert set(model) == set(in_one_process)
    for name, value in model.items():
        assert torch.equal(value, in_one_process[name]), name
    assert not all(torch.equal(first[name], value) for name, value in model.items())


def test_the_global_model_is_scored_as_a_finished_run(small: str, tmp_path: Path) -> None:
    module = _user(small)
    model = module.network.state_dict()
    checkpoint = global_checkpoint(module, model, "mfrl", NUM_ROUNDS)
    write_checkpoint(tmp_path / "last.ckpt", checkpoint)
    (trained,) = find_trained(tmp_path)
    found = (trained.scheme, trained.scenario, trained.num_users, trained.seed, trained.shared)
    assert found == ("mfrl", "indoor", NUM_USERS, 3, True)
    policies = {
        "found": trained.decide,
        "own": deterministic(module.policy(NUM_USERS), "channel", "order", 1.0),
    }
    scores = score_assignment(policies, module.cell.environment(NUM_USERS), 5, 0, "validation")
    assert torch.equal(scores["found"].efficiency, scores["own"].efficiency)


def test_the_global_model_is_of_one_kind_with_runs_of_the_same_start(
    small: str, tmp_path: Path
) -> None:
    user = _user(small, seed=4)
    meta = MetaPPO(user.shape, user.cell, user.ppo, (2,))
    start_from = _finished(meta, 1, tmp_path / "meta.ckpt")
    settings: dict[str, Any] = {"average_every": EVERY, "learning_rate": user.learning_rate}
    settings |= {"scheme": "mfrl", "start_from": start_from, "seed": 3}
    module = FederatedPPO(user.shape, user.cell, user.ppo, NUM_USERS, **settings)
    _finished(module, NUM_ROUNDS * EVERY, tmp_path / "runs/one/last.ckpt")
    user.start, model = load_start(start_from, user)
    checkpoint = global_checkpoint(user, model, "mfrl", NUM_ROUNDS)
    (tmp_path / "runs/global").mkdir()
    write_checkpoint(tmp_path / "runs/global/last.ckpt", checkpoint)
    assert {t.seed for t in find_trained(tmp_path / "runs")} == {3, 4}
    user.start = None
    checkpoint = global_checkpoint(user, model, "mfrl", NUM_ROUNDS)
    write_checkpoint(tmp_path / "runs/global/last.ckpt", checkpoint)
    message = r"`runs` must hold runs of \('mfrl', 'indoor', 3\) with one start, None, got"
    with pytest.raises(ValueError, match=message):
        find_trained(tmp_path / "runs")


def test_a_user_makes_up_for_missed_rounds(small: str, tmp_path: Path) -> None:
    module = _user(small)
    model = module.network.state_dict()
    update = run_round(module, 0, model, tmp_path / "late", 2, NUM_ROUNDS)
    assert int(module.num_done) == 2 * EVERY
    assert update.num_samples == 2 * EVERY * NUM_COPIES
    message = r"`folder` must hold the state of a round before 2, got .*late"
    with pytest.raises(ValueError, match=message):
        run_round(_user(small), 0, model, tmp_path / "late", 2, NUM_ROUNDS)
    message = r"`folder` must hold no last.ckpt in round 1, got .*late"
    with pytest.raises(ValueError, match=message):
        run_round(_user(small), 0, model, tmp_path / "late", 1, NUM_ROUNDS)


def test_configurations_of_other_models_are_refused() -> None:
    message = r"`config` must have the model metagnn.federated_ppo.FederatedPPO, got 'metagnn.meta"
    for name in ("power_control", "channel_assignment_meta"):
        with pytest.raises(ValueError, match=message):
            federated_user(name, scenario="indoor")


def test_unknown_users_are_refused(small: str, tmp_path: Path) -> None:
    module = _user(small)
    with pytest.raises(ValueError, match=r"`user` must lie in \[0, 2\], got 3"):
        run_round(module, 3, module.network.state_dict(), tmp_path, 1, NUM_ROUNDS)
    assert list(tmp_path.iterdir()) == []
