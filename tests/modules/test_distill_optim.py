"""Optimizers and schedules of a distillation."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.models.text.mobileclip import MobileClipText
from litetext.modules.distill import DistillModule
from litetext.modules.optim import warmup_cosine
from tests.fixtures.runs import Answer, quiet

FIT = ("fit", "--config", "tiny.yaml")


ONE = ("--trainer.max_epochs", "1")


def test_the_references_schedule() -> None:
    base, total, warmup = 5e-3, 1000, 100
    factor = warmup_cosine(total, warmup, 1e-6 / base, 1e-5 / base)
    assert base * factor(0) == pytest.approx(1e-6)
    assert base * factor(50) == pytest.approx((1e-6 + base) / 2)
    assert factor(warmup) == pytest.approx(0.9756, abs=5e-5)  # the peak: onto the cosine, not up to 1
    assert base * factor(550) == pytest.approx(1e-5 + (base - 1e-5) / 2 * (1 + math.cos(math.pi * 0.55)))
    assert base * factor(total) == pytest.approx(1e-5)
    assert base * factor(total + 5) == pytest.approx(1e-5)
    assert warmup_cosine(10, 0, 0.1, 0.1)(0) == 1


class Rates(Callback):
    """Notes the learning rate of every optimizer step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        self.seen.append(optimizer.param_groups[0]["lr"])


def test_rates_of_a_run_are_scaled_and_step_by_step(folder: Path, teacher_file: Path) -> None:
    data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16, val_fraction=0.2)
    module = DistillModule(MobileClipText("nano", layers=1), str(teacher_file), lr=5e-3, warmup_epochs=1)
    rates = Rates()
    quiet(max_epochs=4, accumulate_grad_batches=2, callbacks=[rates], limit_val_batches=0).fit(module, data)
    assert len(rates.seen) == 4 * 3  # 5 batches an epoch make 3 steps
    scale = 16 * 2 / 512
    assert rates.seen[0] == pytest.approx(1e-6 * scale)
    assert rates.seen[3] == pytest.approx(scale * (1e-5 + (5e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * 3 / 12))))
    assert rates.seen[3] == max(rates.seen)
    assert rates.seen[-1] == pytest.approx(scale * (1e-5 + (5e-3 - 1e-5) * 0.5 * (1 + math.cos(math.pi * 11 / 12))))


@pytest.mark.parametrize("tokens", [False, True])
def test_vectors_do_not_decay_and_unseen_token_rows_stay(
    tokens: bool, shapes: tuple[DistillModule, PromptDataModule], teacher_file: Path
) -> None:
    module, data = shapes
    if tokens:
        module = DistillModule(
            module.student, str(teacher_file), lr=0.01, scale_lr=False, warmup_epochs=1, decay_tokens=True
        )
    trainer = quiet(max_epochs=1, limit_val_batches=0)
    table = module.student.embedding.token.weight
    before = table.detach().clone()
    trainer.fit(module, data)
    unseen = sorted(set(range(len(table))) - {token for row in data.rows for token in row})
    assert torch.equal(before[unseen], table[unseen]) is not tokens
    decayed, spared = trainer.optimizers[0].param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"])
    assert any(p is table for p in decayed["params"]) is tokens
    assert all(p.ndim == 1 or (p is table and not tokens) for p in spared["params"])
    learned = [p for p in module.student.parameters() if p.requires_grad]
    assert len(decayed["params"]) + len(spared["params"]) == len(learned)


SGD = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1", "--model.optimizer.momentum", "0.9")


STEPS = ("--model.lr_scheduler", "torch.optim.lr_scheduler.StepLR", "--model.lr_scheduler.step_size", "1")


RECIPE = ("--model.lr", "5e-3", "--model.warmup_epochs", "10")  # the defaults, which tiny.yaml replaces


def optimizer_state(run: str) -> tuple[dict[str, Any], list[Any]]:
    stored = torch.load(f"checkpoints/{run}/last.ckpt", weights_only=True)
    return stored["optimizer_states"][0], stored["lr_schedulers"]


def test_another_optimizer_and_schedule(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = litetext(*FIT, *RECIPE, *SGD, *STEPS, "--run", "own")
    assert answer.code == 0, answer.err
    assert "model.optimizer: SGD of lr 0.1 in place of the recipe's; model.lr, model.weight_decay" in caplog.text
    assert "model.lr_scheduler: StepLR in place of the recipe's; model.warmup_epochs" in caplog.text
    state, schedules = optimizer_state("own")
    (group,) = state["param_groups"]
    assert "momentum_buffer" in state["state"][0]
    assert (group["momentum"], group["lr"]) == (0.9, pytest.approx(0.1 * 0.1**2))  # a step an epoch
    assert schedules[0]["step_size"] == 1
    # It goes on as it was, and not as another.
    more = ("--run", "own", "--ckpt_path", "last", "--trainer.max_epochs", "3")
    assert "model.optimizer.class_path (torch.optim.SGD there, nothing here)" in refused(*FIT, *RECIPE, *STEPS, *more)
    assert litetext(*FIT, *RECIPE, *SGD, *STEPS, *more).code == 0
    assert optimizer_state("own")[0]["param_groups"][0]["lr"] == pytest.approx(0.1 * 0.1**3)
    line = refused(*FIT, *RECIPE, *SGD, "--run", "new", "--ckpt_path", "checkpoints/own/last.ckpt")
    assert "model.lr_scheduler" in line


def test_another_optimizer_follows_the_recipes_schedule(folder: Path, litetext: Callable[..., Answer]) -> None:
    warm = ("--model.lr", "5e-3", "--model.min_lr", "1e-3")
    assert litetext(*FIT, *warm, *SGD).code == 0
    assert optimizer_state("tiny")[0]["param_groups"][0]["lr"] == pytest.approx(1e-3)
    interval = ("--model.lr_scheduler_interval", "step")
    assert litetext(*FIT, "--model.warmup_epochs", "10", *STEPS, *interval, *ONE, "--run", "by_step").code == 0
    assert optimizer_state("by_step")[0]["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.1**5)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((*SGD,), "model.lr is 0.01, but model.optimizer replaces what it belongs to"),
        ((*SGD, "--model.lr", "5e-3", "--model.weight_decay", "0.1"), "model.weight_decay is 0.1, but model.optimizer"),
        ((*STEPS,), "model.warmup_epochs is 1.0, but model.lr_scheduler replaces"),
        ((*RECIPE, *STEPS, "--model.min_lr", "0"), "leave model.min_lr out (its default is 1e-05)"),
    ],
)
def test_options_that_no_longer_apply_are_refused(
    options: tuple[str, ...], told: str, folder: Path, refused: Callable[..., str]
) -> None:
    assert told in refused(*FIT, *options)
