"""What both trainings share of their optimizers: which parameters decay, and rates that change by step."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for AdamW: matrices decay, vectors and biases do not.

    Args:
        parameters: Parameters; those without a gradient are left out.
        weight_decay: Decay of the matrices.
    """
    learned = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]


def by_step(
    optimizer: Optimizer, factor: Callable[[int], float] | list[Callable[[int], float]]
) -> OptimizerLRScheduler:
    """The optimizer with a learning rate that is multiplied by `factor(step)`, in Lightning's terms.

    Args:
        optimizer: The optimizer.
        factor: One function for all groups, or one for each.
    """
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


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
