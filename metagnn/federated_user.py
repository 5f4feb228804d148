"""One user of a federation whose server is elsewhere: the episodes between two averages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from metagnn.assignment_module import Cell
from metagnn.checkpoint_io import HashedCheckpointIO
from metagnn.experiment import read_section
from metagnn.federated import Update
from metagnn.federated_ppo import FederatedPPO, Scheme, stored
from metagnn.graphs.checks import require
from metagnn.models.actor_critic import ActorCriticShape
from metagnn.ppo import PPOSettings


class FederatedUser(FederatedPPO):
    """`FederatedPPO` that stops where an average is due, which is made elsewhere.

    A user needs the others to transmit, so each simulates the whole cell from the same seed, and
    the numbers are those of `FederatedPPO` in one process, bit for bit.
    """

    received: Mapping[str, Tensor] | None = None
    stop_after: int = 0

    def on_train_start(self) -> None:
        """Begin with the global model that the server sent."""
        if self.received is not None:
            self.receive(self.received)

    def average(self) -> None:
        """Stop after the round; one that missed others makes up for them first."""
        self.trainer.should_stop = int(self.num_done) >= self.stop_after


def federated_user(config: str, **changed: Any) -> FederatedUser:
    """User of a configuration of `FederatedPPO`, which takes its first model from the server.

    Args:
        config: Packaged name or path.
        changed: Arguments of `FederatedPPO` that differ; ``scenario`` is that of its cell.

    Raises:
        ValueError: If the configuration is of another model or of a scheme that does not average,
            or an argument is out of range.
    """
    model = read_section(config, "model")
    rule = "have the model metagnn.federated_ppo.FederatedPPO"
    found = model.get("class_path")
    require(found == "metagnn.federated_ppo.FederatedPPO", "config", rule, found)
    arguments = dict(model["init_args"])
    scheme = arguments.get("scheme", "mfrl")
    require(scheme in ("mfrl", "frl"), "config", "have a scheme that averages", scheme)
    cell = {**arguments.pop("cell"), "scenario": changed.pop("scenario")}
    shape = dict(arguments.pop("shape"))
    shape["hidden_channels"] = tuple(shape["hidden_channels"])
    ppo = PPOSettings(**arguments.pop("ppo"))
    arguments |= {"scheme": "frl", "start_from": None, **changed}
    return FederatedUser(ActorCriticShape(**shape), Cell(**cell), ppo, **arguments)


def global_checkpoint(
    module: FederatedUser, model: Mapping[str, Tensor], scheme: Scheme, num_rounds: int
) -> dict[str, Any]:
    """The global model after all rounds as a checkpoint that ``metagnn compare`` reads.

    Args:
        module: A user, of whose run the model is; for ``mfrl`` its ``start`` says from what.
        model: The global model, which every user has.
        scheme: ``mfrl`` or ``frl``.
        num_rounds: Number of rounds.
    """
    number = num_rounds * module.average_every
    ended = {"num_done": number, "num_episodes": number}
    run = {**module.facts(), "kind": FederatedPPO.__name__, "scheme": scheme, **ended}
    of_users = {
        f"local.{stored(name)}": value.expand(module.num_users, *value.shape).clone()
        for name, value in model.items()
    }
    return {"run": run, "state_dict": of_users}


def run_round(
    module: FederatedUser,
    user: int,
    received: Mapping[str, Tensor],
    folder: Path,
    num_round: int,
    num_rounds: int,
) -> Update:
    """Episodes of a round, from where the folder's checkpoint ends, and what the user sends.

    Args:
        module: The user, newly made.
        user: Its number.
        received: The global model.
        folder: Where it keeps its state between rounds.
        num_round: Number of the round, from 1.
        num_rounds: Number of rounds.

    Raises:
        ValueError: If there is no such user, or the folder holds the state of this round or of a
            later one, or in round 1 any.
    """
    require(0 <= user < module.num_users, "user", f"lie in [0, {module.num_users - 1}]", user)
    checkpoint = folder / "last.ckpt"
    if num_round == 1:
        require(not checkpoint.exists(), "folder", "hold no last.ckpt in round 1", str(folder))
    module.received, module.stop_after = received, num_round * module.average_every
    trainer = pl.Trainer(
        max_epochs=num_rounds * module.average_every,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        plugins=[HashedCheckpointIO()],
    )
    found = str(checkpoint) if checkpoint.exists() else None
    trainer.fit(module, ckpt_path=found, weights_only=True)
    rule = f"hold the state of a round before {num_round}"
    require(int(module.num_done) == module.stop_after, "folder", rule, str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(checkpoint)
    return module.update(user)
