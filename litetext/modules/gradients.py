"""Gradients of a distillation: checked once a step, clipped, and traced to the prompt that spoilt them."""

from collections.abc import Sequence
from typing import Any

import torch

from litetext.modules import distill_report


def check_and_clip(
    module: Any, optimizer: Any, most: float | None, algorithm: str | None, recent: Sequence[Any]
) -> None:
    """Clips the student's gradients, and stops before one that is not finite spoils weights and checkpoints.

    Whether the norm is finite is the one value of a step that is read back from the device.

    Args:
        module: The distillation.
        optimizer: Its optimizer.
        most: `gradient_clip_val`.
        algorithm: `gradient_clip_algorithm`.
        recent: The batches that the gradients are of.

    Raises:
        ValueError: If they are not finite; the message names the prompt that was the cause, if there was one. With
            `16-mixed` only for such a prompt: all else the gradient scaler handles.
    """
    learned = [p for p in module.student.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in learned if p.grad is not None])
    module.log("train/grad_norm", norm)
    scaled = module.trainer.precision == "16-mixed"
    if not torch.isfinite(norm):
        _stop(module, recent, scaled)
    if most and not scaled and algorithm in (None, "norm"):
        torch.nn.utils.clip_grads_with_norm_(learned, most, norm)
    else:
        module.clip_gradients(optimizer, most, algorithm)


@torch.no_grad()
def _stop(module: Any, recent: Sequence[Any], only_prompts: bool) -> None:
    module.student.eval()  # in training, BatchNorm of several processes would wait for the others
    totals = [(batch, module.total(module.losses(batch))) for batch in recent]
    module.student.train()
    bad = next(((batch, total) for batch, total in totals if not torch.isfinite(total).all()), None)
    step = module.trainer.global_step
    # The gradients of all processes are the same, so that all come here, and stop together.
    if module.trainer.strategy.reduce_boolean_decision(bad is not None, all=False):
        batch, total = bad or totals[0]
        targets = module.targets(batch.tokens, batch.features)
        fault = distill_report.loss_fault(total, targets, batch.index, module.prompts.prompts, step)
        raise ValueError(f"{fault}; {kept(module)}")
    if not only_prompts:
        cause = "the student diverged: lower the learning rate (model.lr)"
        raise ValueError(f"a gradient is not finite at step {step}; {cause}; {kept(module)}")


def kept(module: Any) -> str:
    """Says where the run's checkpoints lie."""
    return f"the last good checkpoints stay in {getattr(module.trainer.checkpoint_callback, 'dirpath', None)}"
