"""A run that was killed or stopped, and resumed, ends with the weights of the run left alone, bit for bit."""

import gc
import os
import signal
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from litetext.cli import main
from litetext.modules.callbacks import LastCheckpoint, Throughput
from litetext.modules.distill import DistillModule
from tests.fixtures.copies import begun
from tests.fixtures.runs import Answer, weights

FIT = ("fit", "--config", "tiny.yaml", "--last.every_n_steps", "2")


def same(a: str, b: str) -> bool:
    """Whether two checkpoints hold the same weights, bit for bit."""
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def strike(monkeypatch: pytest.MonkeyPatch, number: int, call: int) -> None:
    """Sends this process a signal from within the `call`-th training step of the next run (counted from 0)."""
    step, seen = DistillModule.training_step, []

    def training_step(self: DistillModule, *args: Any) -> Any:
        seen.append(None)
        if len(seen) == call + 1:
            os.kill(os.getpid(), number)
        return step(self, *args)

    monkeypatch.setattr(DistillModule, "training_step", training_step)


@pytest.mark.parametrize(
    ("number", "call", "options"),
    [
        (signal.SIGTERM, 2, ()),  # in the middle of the first epoch
        (signal.SIGINT, 7, ()),  # in the middle of the second
        (signal.SIGTERM, 4, ()),  # in the last step of an epoch, before its validation
        (signal.SIGTERM, 0, ("--trainer.accumulate_grad_batches", "2")),  # half a step
        (signal.SIGINT, 4, ("--trainer.accumulate_grad_batches", "2")),  # the odd batch that ends an epoch
        (signal.SIGTERM, 2, ("--trainer.limit_train_batches", "3")),  # an epoch shorter than the loader's
        (signal.SIGTERM, 3, ("--trainer.val_check_interval", "2")),  # in a step that a validation follows
    ],
)
def test_stopped_and_resumed(
    number: int, call: int, options: tuple[str, ...], folder: Path, litetext: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert litetext(*FIT, "--run", "alone", *options).code == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    with monkeypatch.context() as patch:
        strike(patch, number, call)
        stopped = litetext(*FIT, "--run", "stopped", *options)
    assert stopped.code == 128 + number
    assert "Traceback" not in stopped.err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not same("checkpoints/alone/last.ckpt", "checkpoints/stopped/last.ckpt")
    assert litetext(*FIT, "--run", "stopped", *options, "--ckpt_path", "last").code == 0
    assert same("checkpoints/alone/last.ckpt", "checkpoints/stopped/last.ckpt")
    assert same("checkpoints/alone/best.ckpt", "checkpoints/stopped/best.ckpt")


def dies(at: int, threads: int, argv: Sequence[str]) -> int:
    """A fit that kills its process at the beginning of a step."""
    torch.set_num_threads(threads)
    step = DistillModule.training_step

    def training_step(self: DistillModule, *args: Any) -> Any:
        if self.trainer.global_step == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args)

    DistillModule.training_step = training_step  # type: ignore[method-assign]
    return main(argv)


@pytest.mark.usefixtures("copied")
def test_killed_and_resumed(folder: Path, litetext: Callable[..., Answer]) -> None:
    options = ("--trainer.max_epochs", "3")
    assert litetext(*FIT, "--run", "alone", *options).code == 0
    every = ("--last.every_n_steps", "3")  # checkpoints at steps 3 and 6: two steps are lost
    killed = begun(dies, 8, torch.get_num_threads(), [*FIT, "--run", "killed", *options, *every], said="said")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, Path("said").read_text()
    assert torch.load("checkpoints/killed/last.ckpt", weights_only=True)["global_step"] == 6
    assert litetext(*FIT, "--run", "killed", *options, "--ckpt_path", "last").code == 0
    assert same("checkpoints/alone/last.ckpt", "checkpoints/killed/last.ckpt")
    assert same("checkpoints/alone/best.ckpt", "checkpoints/killed/best.ckpt")


def test_another_seed_is_another_run(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, "--run", "a", "--trainer.max_epochs", "1").code == 0
    assert litetext(*FIT, "--run", "b", "--trainer.max_epochs", "1", "--seed_everything", "1").code == 0
    assert not same("checkpoints/a/last.ckpt", "checkpoints/b/last.ckpt")


def test_the_runs_seed_reaches_the_order_of_batches_and_a_finished_run_leaves_memory(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[list[list[int]]] = []
    modules: list[weakref.ref[DistillModule]] = []
    step = DistillModule.training_step

    def noted(self: DistillModule, batch: Any, *args: Any) -> Any:
        orders[-1].append(batch.index.tolist())
        modules.append(weakref.ref(self))
        return step(self, batch, *args)

    monkeypatch.setattr(DistillModule, "training_step", noted)
    for number, options in enumerate(("--seed_everything=1", "--seed_everything=2", "--seed_everything=1")):
        orders.append([])
        assert litetext(*FIT, "--run", f"run{number}", "--trainer.max_epochs", "1", options).code == 0
    assert orders[0] == orders[2] != orders[1]
    gc.collect()
    assert modules[0]() is None  # the parser of the last run may keep the last


def test_an_interval_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps is 0"):
        LastCheckpoint(every_n_steps=0)


def test_throughput_counts_prompts_but_not_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 3.0, 53.0, 54.0])
    monkeypatch.setattr("litetext.modules.callbacks.time.perf_counter", lambda: next(clock))
    logged: list[float] = []
    trainer = SimpleNamespace(log_every_n_steps=2, accumulate_grad_batches=1, world_size=3)
    module = SimpleNamespace(log=lambda name, value, batch_size: logged.append(value))
    batch = SimpleNamespace(tokens=SimpleNamespace(ids=torch.zeros(8, 4)))
    callback: Any = Throughput()
    callback.on_train_epoch_start(trainer, module)
    for number in range(2):
        callback.on_train_batch_end(trainer, module, None, batch, number)  # until 2 s and 3 s
    callback.on_validation_end(trainer, module)  # 50 s later
    callback.on_train_batch_end(trainer, module, None, batch, 2)
    assert (callback.prompts, callback.seconds) == (24, 4.0)
    assert logged == [16 * 3 / 3.0]
