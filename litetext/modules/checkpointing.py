"""Checkpoint files that a crash cannot spoil, and a best one that a NaN cannot become."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from litetext.files import whole_file
from litetext.models.finite import is_finite


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint beside its place, flushes it to the disk and renames it.

    Lightning writes into the system's temporary folder and moves the file; across file systems that is a copy, and a
    kill or a full disk in the middle of it leaves a truncated checkpoint where a good one was.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes the checkpoint; on an error the earlier file stays.

        Raises:
            OSError: Such as on a full disk.
        """
        if "://" in str(path):  # an object store writes whole objects by itself
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with whole_file(path) as file:
            torch.save(checkpoint, file)


class BestCheckpoint(ModelCheckpoint):
    """ModelCheckpoint that passes over scores and weights that are not finite, and over the best of another run.

    A run that goes on from a checkpoint of its own folder takes up its best, also where the folder was moved.
    """

    _from: Path | None = None

    @property
    def state_key(self) -> str:
        """That of ModelCheckpoint, so that older checkpoints can be resumed."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether the score earns a checkpoint; never one that is not finite, nor one of weights that are not."""
        if current is None:
            return False
        bad = not_finite(trainer.lightning_module)
        if not trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(current)) and bad is None):
            why = f"{self.monitor} is {float(current)}" if bad is None else f"the weight {bad} is not finite"
            rank_zero_warn(f"{why} at step {trainer.global_step}: no best checkpoint")
            return False
        return super().check_monitor_top_k(trainer, current)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Notes from which file the run goes on."""
        self._from = None if trainer.ckpt_path is None else Path(trainer.ckpt_path)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the best checkpoint of this run; a run that goes on from another run's checkpoint has none yet."""
        here, there = self.dirpath, state_dict.get("dirpath", self.dirpath)
        own = here == there if self._from is None else here is not None and _same(self._from.parent, Path(here))
        if not own or here is None:
            return
        state = {name: _moved(value, str(there), str(here)) for name, value in state_dict.items()}
        best = state["best_model_path"]
        if best and "://" not in best and not Path(best).is_file():
            rank_zero_warn(f"the best checkpoint so far, {best}, is gone: the next validation begins anew with it")
            return
        super().load_state_dict(state)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _moved(value: Any, there: str, here: str) -> Any:
    """What a state says of files in a folder, of the folder's new place."""
    if isinstance(value, dict):
        return {_moved(name, there, here): part for name, part in value.items()}
    if isinstance(value, str) and Path(value).is_relative_to(there):
        return str(Path(here, Path(value).relative_to(there)))
    return value


def not_finite(module: LightningModule) -> str | None:
    """Name of the first weight that is not finite, as it would be stored; None if all are finite."""
    state: dict[str, Any] = module.state_dict()
    return next((name for name, value in state.items() if isinstance(value, Tensor) and not is_finite(value)), None)


def best_of(trainer: Trainer) -> ModelCheckpoint | None:
    """What keeps the run's best checkpoint: ours, and not one more that a config names; None where there is none."""
    found: list[Any] = trainer.checkpoint_callbacks
    own = [callback for callback in found if isinstance(callback, BestCheckpoint)]
    return next((callback for callback in [*own, *found] if isinstance(callback, ModelCheckpoint)), None)


def checkpoint_of(trainer: Trainer) -> Path | None:
    """The best checkpoint that this run has written; None where it has none."""
    path = Path(getattr(best_of(trainer), "best_model_path", "") or "")
    return path if path.is_file() else None
