"""What all trainings share of their optimizers: which parameters decay, a run's length, rates that change by step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def parameter_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, spared: Iterable[Tensor] = ()
) -> list[dict[str, Any]]:
    """Two groups for AdamW: matrices decay, vectors and biases do not.

    Args:
        parameters: Parameters; those without a gradient are left out.
        weight_decay: Decay of the matrices.
        spared: Matrices that do not decay either.
    """
    kept = {id(parameter) for parameter in spared}
    learned = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1 and id(p) not in kept], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim <= 1 or id(p) in kept], "weight_decay": 0.0},
    ]


def check_rates(lr: float, **others: float) -> None:
    """Refuses rates and lengths of a schedule that make no sense.

    Args:
        lr: The learning rate, `model.lr`.
        others: Options of the model that must not be negative, by name; `min_lr` and `warmup_lr` not above `lr`.

    Raises:
        ValueError: Naming the option.
    """
    if not 0 < lr < math.inf:
        raise ValueError(f"model.lr is {lr}; it must be positive")
    for name, value in others.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"model.{name} is {value}; it must be 0 or more")
        if name in ("min_lr", "warmup_lr") and value > lr:
            raise ValueError(f"model.{name} is {value}, above model.lr {lr}; lower it, or raise model.lr")


def by_step(
    optimizer: Optimizer, factor: Callable[[int], float] | list[Callable[[int], float]]
) -> OptimizerLRScheduler:
    """The optimizer with a learning rate that is multiplied by `factor(step)`, in Lightning's terms.

    Args:
        optimizer: The optimizer.
        factor: One function for all groups, or one for each.
    """
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step", "name": "lr"},
    }


def count_steps(trainer: Trainer, batches: int) -> tuple[int, int]:
    """How long a run is.

    Args:
        trainer: The run's trainer; its limits of batches, epochs and steps count.
        batches: Training batches that an epoch has without limits.

    Returns:
        Optimizer steps of the run and of one epoch, at least 1 each.

    Raises:
        ValueError: If the run has no end: no schedule could follow its length.
    """
    limit = trainer.limit_train_batches
    if limit is not None:
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if (epochs is None or epochs < 0) and steps < 0:
        raise ValueError(
            "the run has no end (trainer.max_epochs is -1), but its learning rate falls along its length; give "
            "--trainer.max_epochs or --trainer.max_steps, also beside --trainer.max_time"
        )
    lengths = [steps] if steps >= 0 else []
    if epochs is not None and epochs >= 0:
        lengths.append(epochs * epoch)
    return max(1, min(lengths)), epoch


def shorten_warmup(warmup: int, total: int) -> int:
    """The steps of warm-up that a run has room for; a line says so where they are fewer than requested.

    Args:
        warmup: Requested steps of warm-up.
        total: Optimizer steps of the run.

    Returns:
        `warmup`, or a tenth of the run where the warm-up would be longer than it.
    """
    if warmup <= total:
        return warmup
    rank_zero_info(
        f"the warm-up of {warmup:,} steps (model.warmup_epochs) is longer than the run of {total:,}; it is shortened "
        f"to {total // 10:,}, a tenth of the run"
    )
    return total // 10


def warmup_cosine(total: int, warmup: int, start: float, floor: float) -> Callable[[int], float]:
    """The reference's schedule as a factor of the learning rate.

    Args:
        total: Optimizer steps of the run.
        warmup: Steps of linear warm-up from `start` to 1.
        start: Factor at step 0.
        floor: Factor at step `total`.

    Returns:
        A function of the step. After the warm-up it joins the cosine that began at step 0, so the peak is a little
        below 1 (0.976 with a tenth of the steps as warm-up).
    """

    def factor(step: int) -> float:
        if step < warmup:
            return start + (1 - start) * step / warmup
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(step, total) / max(1, total)))

    return factor
