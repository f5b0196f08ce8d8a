"""Callbacks: randomness that can be resumed, a last checkpoint that survives a signal, throughput."""

import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from litetext.data.options import check_minimum
from litetext.modules.checkpointing import not_finite


class StepSeed(Callback):
    """Makes the randomness of a training step a function of (seed, step, rank), so that nothing need be saved."""

    _seed = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remembers the run's seed."""
        self._seed = torch.initial_seed()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seeds torch for this micro-batch."""
        position = trainer.global_step * trainer.accumulate_grad_batches + batch_idx % trainer.accumulate_grad_batches
        number = self._seed * 1_000_003 + position * trainer.world_size + trainer.global_rank
        torch.manual_seed(number % 2**63)  # the seed of a process that was given none is itself a large number


class Throughput(Callback):
    """Prompts a second of training, all processes together; reading batches counts, validation does not.

    Attributes:
        prompts: Prompts trained on in this process since the run began or was resumed.
        seconds: What they took.
    """

    def __init__(self) -> None:
        self.prompts = 0
        self.seconds = 0.0
        self._since = 0.0
        self._logged = (0, 0.0)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a batch, and logs the rate every `log_every_n_steps` optimizer steps."""
        now = time.perf_counter()
        self.prompts += len(batch.tokens.ids)
        self.seconds, self._since = self.seconds + now - self._since, now
        every = trainer.log_every_n_steps * trainer.accumulate_grad_batches  # type: ignore[attr-defined]
        if every and (batch_idx + 1) % every == 0:  # 0 logs nothing
            prompts, seconds = self.prompts - self._logged[0], self.seconds - self._logged[1]
            pl_module.log("train/prompts_per_s", prompts * trainer.world_size / seconds, batch_size=1)
            self._logged = (self.prompts, self.seconds)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock again."""
        self._since = time.perf_counter()


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which `--ckpt_path last` continues bit for bit.

    It is written every few steps, at the end, and on SIGINT or SIGTERM after the step at hand (and the validation
    that belongs to it: Lightning does not make up for it); then the process ends with 128 + the signal's number.
    """

    def __init__(self, dirpath: str = "checkpoints/run", every_n_steps: int = 500):
        """Args are jsonargparse's.

        Args:
            dirpath: Folder of the checkpoint.
            every_n_steps: Optimizer steps between two writes.
        """
        check_minimum(1, last__every_n_steps=every_n_steps)
        self.path = str(Path(dirpath) / "last.ckpt")
        self.every_n_steps = every_n_steps
        self._signal: int | None = None
        self._old: dict[int, Any] = {}
        self._saved = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over SIGINT and SIGTERM until training ends."""
        self._saved = trainer.global_step
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves when it is time, where no half-accumulated gradient and no validation would be lost."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not _validation_follows(trainer, batch_idx):
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves when it is time; the epoch's validation is done."""
        self._save_if_due(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        stop = trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False)
        if stop or trainer.global_step - self._saved >= self.every_n_steps:
            self._save(trainer)
        if stop:
            raise SystemExit(128 + (self._signal or signal.SIGTERM))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the finished run, and gives the signals back."""
        self._save(trainer)
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Gives the signals back."""
        self._restore()

    def _save(self, trainer: Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # a trial of the options leaves the run alone
            return
        if (name := not_finite(trainer.lightning_module)) is not None:
            raise ValueError(
                f"the weight {name} is not finite at step {trainer.global_step}: the model diverged, lower model.lr; "
                f"{self.path} stays as it was"
            )
        trainer.save_checkpoint(self.path, weights_only=False)  # the optimizer's state too
        self._saved = trainer.global_step

    def _note(self, number: int, frame: Any) -> None:
        self._signal = number

    def _restore(self) -> None:
        # Before the trainer does the same: what was taken over is its own handler, which holds it and the model.
        for number, old in self._old.items():
            signal.signal(number, old)
        self._old.clear()


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    if trainer.is_last_batch:
        return True
    every = trainer.val_check_batch
    if not trainer.enable_validation or every is None or every == float("inf"):
        return False
    if trainer.check_val_every_n_epoch is None:  # then the interval counts through all epochs
        batch_idx = trainer.fit_loop.total_batch_idx
    return (batch_idx + 1) % int(every) == 0
