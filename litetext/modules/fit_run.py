"""One `litetext fit` in its folders: alone, over nothing that another left there, and readable on a terminal."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    LearningRateMonitor,
    StochasticWeightAveraging,
)
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from litetext.checkpoints.lightning import read_checkpoint
from litetext.files import write_text
from litetext.modules.checkpointing import CheckpointFile, best_of
from litetext.modules.results_files import BOARDS
from litetext.modules.resume import RunOptions
from litetext.modules.run_folder import MARK, read_mark, sole_writer

EXPORT = "model"
"""Folder beside the checkpoints that a trained model is exported to."""
_OURS = (MARK, "fit.json")
_UNFIT: dict[type, str] = {
    StochasticWeightAveraging: "its averages come after the last validation, so that none is scored or the best "
    "checkpoint; lightning.pytorch.callbacks.EMAWeightAveraging averages from the start",
    GradientAccumulationScheduler: "rates and schedule are made for one trainer.accumulate_grad_batches; give that",
}
"""Callbacks of Lightning's that would leave no trace, or something else than they say."""


@contextmanager
def fit_run(
    trainer: Trainer, run: str, folder: Path, resumed: Path | None, overwrite: bool, options: Mapping[str, Any]
) -> Iterator[None]:
    """Prepares a trainer for a fit and holds the run's folders until it ends.

    Args:
        trainer: The trainer, before it runs.
        run: The run's name.
        folder: Its checkpoints.
        resumed: The checkpoint from which it goes on.
        overwrite: Whether an earlier run of this name may be replaced.
        options: What decides the training, see `litetext.modules.resume`.

    Raises:
        ValueError: The folder holds an earlier run or something else, or another process writes there; or nothing
            would be trained.
    """
    if trainer.max_epochs == 0 or trainer.max_steps == 0:
        raise ValueError("trainer.max_epochs or trainer.max_steps is 0: nothing would be trained")
    if trainer.limit_train_batches == 0:  # type: ignore[attr-defined]
        raise ValueError("trainer.limit_train_batches is 0: nothing would be trained")
    first = getattr(rank_zero_only, "rank", 0) == 0
    if first:
        _refuse_foreign(folder, run)
    board = next((logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
    log = None if board is None else Path(board.log_dir)
    owner = read_mark(folder)
    trainer.strategy.checkpoint_io = CheckpointFile()
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    with sole_writer([folder, *([log] if log is not None else [])], "litetext fit", run):
        own = resumed is not None and resumed.resolve().parent == folder.resolve()
        earlier = [] if own or not first else _written(folder)
        if earlier and not overwrite:
            raise ValueError(_refusal(run, earlier, owner))
        events = _curves(log) if log is not None and first else []
        if board is not None:
            # TensorBoard then leaves out what an earlier process logged from this step on.
            board._kwargs["purge_step"] = _step(resumed) if own else 0
            callbacks.insert(0, LearningRateMonitor(logging_interval="step"))
        callbacks.insert(0, RunOptions(options, None if own else resumed))
        begin = _Begin([*earlier, *events] if overwrite and not own else [], resumed)
        callbacks.insert(0, begin)
        try:
            yield
        finally:
            if first and log is not None and not begin.done:  # its empty curves would hide those of before
                for path in set(_curves(log)) - set(events):
                    path.unlink(missing_ok=True)


def _written(folder: Path) -> list[Path]:
    """What an earlier fit left in its folder."""
    kept = [*folder.glob("*.ckpt"), folder / "fit.json", folder / EXPORT]
    return sorted(path for path in kept if path.exists())


def _curves(log: Path) -> list[Path]:
    """The event files of a training; those of evaluations stay."""
    try:
        theirs = json.loads((log / BOARDS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        theirs = {}
    return [path for path in sorted(log.glob("events.*")) if path.name not in theirs]


def _refuse_foreign(folder: Path, run: str) -> None:
    if (folder / MARK).is_file() or any((folder / name).is_file() for name in ("last.ckpt", "best.ckpt")):
        return
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    other = [e.name for e in entries if e.is_file() and not e.name.startswith(".") and e.name not in _OURS]
    if other:
        raise ValueError(f"--run {run}: {folder} holds {other[0]}, which no run wrote; choose another name")


def _refusal(run: str, earlier: list[Path], owner: dict[str, Any]) -> str:
    found = next((path for path in earlier if path.name == "last.ckpt"), earlier[0])
    when = datetime.fromtimestamp(found.stat().st_mtime).isoformat(" ", "minutes")
    ways = ["--run NAME for a run beside it", "--overwrite to replace it"]
    if found.name == "last.ckpt":
        ways.insert(0, "--ckpt_path last to go on with it")
    by = f", by {owner['command']}" if owner.get("command") else ""
    return f"the run {run} is there already ({found}, written {when}{by}); give {', '.join(ways[:-1])}, or {ways[-1]}"


def _step(resumed: Path | None) -> int:
    return int(read_checkpoint(str(resumed))["global_step"])


class _Begin(Callback):
    """Removes an earlier run at the last moment: when data, teacher and model of the new one are there.

    Args:
        paths: What is removed.
        spared: The checkpoint that the new run goes on from.
    """

    def __init__(self, paths: list[Path], spared: Path | None) -> None:
        self.paths, self.spared, self.done = paths, spared, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes it, and notes that the training began."""
        self.done = True
        if not trainer.is_global_zero:
            return
        for path in self.paths:
            if self.spared is not None and path.exists() and path.samefile(self.spared):
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


class SaveConfig(SaveConfigCallback):
    """Writes the run's config.yaml when training begins: a run that could not begin leaves the old one alone.

    The file describes the run from its start; how it was started, resumed or over what, is left out. Its first line
    names the other run's checkpoint from which the run went on, if there was one.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Nothing yet."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file; a trial of the options (`trainer.fast_dev_run`) leaves the run alone."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        self.config = self.config.clone()
        self.config["ckpt_path"], self.config["overwrite"] = None, False
        super().setup(trainer, pl_module, "fit")
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        origin = next((c.origin for c in callbacks if isinstance(c, RunOptions)), "")
        if origin and trainer.is_global_zero and trainer.log_dir is not None:
            path = Path(trainer.log_dir, self.config_filename)
            write_text(path, f"# This run went on from {origin} (--ckpt_path).\n{path.read_text(encoding='utf-8')}")


def check_export(output: str | None) -> None:
    """Checks before a training that the export of its model will not write over anything.

    Args:
        output: The folder that the user named.

    Raises:
        ValueError: Something is there.
    """
    if output is not None and any(Path(output).glob("*")):
        raise ValueError(f"model.output {output} is there already; name another folder, or remove it first")


def export_folder(trainer: Trainer, output: str | None) -> Path | None:
    """Where a trained model is exported to: the folder that the user named, or `model` beside the run's checkpoints.

    Args:
        trainer: The run's trainer.
        output: The folder that the user named.

    Returns:
        The folder, or None where the run keeps no checkpoints either, or is a trial (`trainer.fast_dev_run`).
    """
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return None
    beside = getattr(best_of(trainer), "dirpath", None)
    if output is not None or beside is None:
        return None if output is None else Path(output)
    return Path(os.path.relpath(Path(beside) / EXPORT))


def check_trainer(trainer: Trainer, data: Any = None) -> None:
    """Refuses what Lightning would take and stumble over.

    More processes than the CPU has cores are refused too: each would load everything and wait for the others.

    Args:
        trainer: Built from the options.
        data: The datamodule; those of litetext spread their items over processes themselves.

    Raises:
        ValueError: Naming the option.
    """
    if trainer.accumulate_grad_batches < 1:
        raise ValueError(f"trainer.accumulate_grad_batches is {trainer.accumulate_grad_batches}; it must be at least 1")
    if trainer.gradient_clip_val is not None and not trainer.gradient_clip_val >= 0:
        raise ValueError(f"trainer.gradient_clip_val is {trainer.gradient_clip_val}; it must be 0 or more")
    every, epochs = trainer.val_check_interval, trainer.check_val_every_n_epoch  # type: ignore[attr-defined]
    if isinstance(every, (int, float)) and every <= 0:
        raise ValueError(f"trainer.val_check_interval is {every}; give a number above 0 (limit_val_batches 0: never)")
    if epochs is not None and epochs < 1:
        raise ValueError(
            f"trainer.check_val_every_n_epoch is {epochs}; it must be at least 1 (limit_val_batches 0: never)"
        )
    if (steps := trainer.log_every_n_steps) < 0:  # type: ignore[attr-defined]
        raise ValueError(f"trainer.log_every_n_steps is {steps}; it must be 0 (nothing is logged) or more")
    spreads = trainer._accelerator_connector.use_distributed_sampler and trainer.world_size > 1
    if spreads and type(data).__module__.startswith("litetext."):
        raise ValueError(
            f"trainer.use_distributed_sampler is true, and {type(data).__name__} spreads its items over the "
            f"{trainer.world_size} processes itself: each would take a part of its part; give "
            "--trainer.use_distributed_sampler false"
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if why := next((why for kind, why in _UNFIT.items() if isinstance(callback, kind)), None):
            raise ValueError(f"trainer.callbacks holds {type(callback).__name__}: {why}")
    held_out: Any = trainer.limit_val_batches  # type: ignore[attr-defined]
    if (held_out != 0 and held_out != 1.0) or (held_out == 1 and isinstance(held_out, int)):
        rank_zero_info(
            f"trainer.limit_val_batches is {held_out}: what is held out is scored in part, which other runs do not "
            "compare with"
        )
    cores = max(2, os.cpu_count() or 1)
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > cores:
        raise ValueError(f"trainer.devices is {trainer.num_devices}, but the CPU has {cores} cores; lower it")
