"""Optimizer and schedule of a distillation: the paper's, or those that a config names."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from litetext.models.text.static import StaticText
from litetext.modules.monitors import check_monitor
from litetext.modules.optim import check_rates, count_steps, parameter_groups, shorten_warmup, warmup_cosine

OF_ADAMW = ("lr", "weight_decay", "decay_tokens")
OF_SCHEDULE = ("warmup_epochs", "warmup_lr", "min_lr")


def check_recipe(kind: type, optimizer: Any, lr_scheduler: Any, given: Mapping[str, Any]) -> None:
    """Refuses options that make no sense, and those that an optimizer or schedule of one's own would leave idle.

    Args:
        kind: The module's class; its signature has the defaults.
        optimizer: `model.optimizer`.
        lr_scheduler: `model.lr_scheduler`.
        given: The recipe's options, `OF_ADAMW` and `OF_SCHEDULE`, with their values.

    Raises:
        ValueError: Naming the option.
    """
    check_rates(given["lr"], **{k: v for k, v in given.items() if k not in ("lr", "decay_tokens")})
    defaults = {name: p.default for name, p in inspect.signature(kind).parameters.items()}
    for option, replaced, names in (
        ("optimizer", optimizer, OF_ADAMW),
        ("lr_scheduler", lr_scheduler, OF_SCHEDULE),
    ):
        idle = [n for n in names if replaced is not None and n in given and given[n] != defaults[n]]
        if idle:
            raise ValueError(
                f"model.{idle[0]} is {given[idle[0]]}, but model.{option} replaces what it belongs to: give "
                f"model.{option} its own options, and leave {', '.join('model.' + name for name in idle)} out "
                f"(its default is {defaults[idle[0]]})"
            )


def check_loss_weights(**weights: float) -> None:
    """Refuses loss weights that are negative or not finite.

    Raises:
        ValueError: Naming the option.
    """
    for name, value in weights.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"model.{name}_weight is {value}; a loss weight cannot be negative")


def configure(module: Any) -> OptimizerLRScheduler:
    """The optimizer and the schedule, in Lightning's terms.

    By default AdamW; by step a linear warm-up, then the cosine from step 0 that the reference falls onto.

    Args:
        module: The distillation, attached to its trainer.

    Raises:
        ValueError: If the run has no end for a schedule to follow, or its last rate lies above the optimizer's.
    """
    optimizer = _optimizer(module)
    if isinstance(module.student, StaticText) and not module.student.learn:
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # its means are its weights
    if module.lr_scheduler is not None:
        schedule: Any = module.lr_scheduler(optimizer)
        _say("lr_scheduler", schedule, "", OF_SCHEDULE)
        entry = {"scheduler": schedule, "interval": module.lr_scheduler_interval, "name": "lr"}
        if (monitor := getattr(schedule, "monitor", None)) is not None:
            check_monitor("model.lr_scheduler", monitor, schedule.mode, module)
            entry["monitor"] = monitor
        return {"optimizer": optimizer, "lr_scheduler": entry}  # pyright: ignore[reportReturnType]
    trainer = module.trainer
    total, epoch = count_steps(trainer, module.prompts.batches_per_epoch)
    warmup = shorten_warmup(round(module.warmup_epochs * epoch), total)
    lr = module.lr if module.optimizer is None else float(optimizer.param_groups[0]["lr"] or module.lr)
    check_rates(lr, warmup_lr=module.warmup_lr, min_lr=module.min_lr)
    factor = warmup_cosine(total, warmup, module.warmup_lr / lr, module.min_lr / lr)
    schedule = LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"}}


def _optimizer(module: Any) -> Optimizer:
    if module.optimizer is not None:
        optimizer = module.optimizer([p for p in module.student.parameters() if p.requires_grad])
        _say("optimizer", optimizer, f" of lr {optimizer.param_groups[0]['lr']}", (*OF_ADAMW, "scale_lr"))
        return optimizer
    trainer, data = module.trainer, module.prompts
    prompts = data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
    scale = prompts / 512 if module.scale_lr else 1.0
    spared = [] if module.decay_tokens else [module.student.embedding.token.weight]
    groups = parameter_groups(module.student.parameters(), module.weight_decay, spared)
    fused = trainer.precision != "16-mixed"  # its scaler and a fused step leave no room for clipping
    return torch.optim.AdamW(groups, lr=module.lr * scale, fused=fused)


def _say(option: str, chosen: Any, rate: str, names: tuple[str, ...]) -> None:
    idle = ", ".join(f"model.{name}" for name in names)
    rank_zero_info(f"model.{option}: {type(chosen).__name__}{rate} in place of the recipe's; {idle} do not apply")
