"""Gradients of a distillation: checked once a step, clipped, and traced to the prompt that spoilt them."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from litetext.modules import distill_report
from litetext.modules.checkpointing import best_of

_BEHIND = 8
"""Steps after which a device's verdict is looked at: it has long been there, so that nobody waits."""


class _Verdict(NamedTuple):
    """Whether the gradients of a step were finite, on its way from the device.

    Attributes:
        step: The step.
        finite: The answer, on the CPU once `there` has happened.
        there: The event of its arrival.
        batches: What the gradients are of.
    """

    step: int
    finite: Tensor
    there: Any
    batches: Sequence[Any]


class GradientCheck(Callback):
    """Clips the gradients of a student, and stops before one that is not finite spoils weights and checkpoints.

    On a CPU each step is judged before it is taken. On another device the host would have to wait for that, so there
    the fused optimizer itself leaves out a step whose gradient norm is not finite, and the verdict is read some steps
    later, or by `settle` before a validation or a checkpoint. On Apple's GPU, where it leaves none out, the host waits.
    """

    def __init__(self) -> None:
        self._open: deque[_Verdict] = deque()

    def check_and_clip(
        self, module: Any, optimizer: Any, most: float | None, algorithm: str | None, recent: Sequence[Any]
    ) -> None:
        """Clips, and judges the gradients or has them judged.

        Args:
            module: The distillation.
            optimizer: Its optimizer.
            most: `gradient_clip_val`.
            algorithm: `gradient_clip_algorithm`.
            recent: The batches that the gradients are of.

        Raises:
            ValueError: If they, or those of an earlier step, are not finite; the message names the prompt that was the
                cause, if there was one. With `16-mixed` only for such a prompt: all else the gradient scaler handles.
        """
        learned = [p for p in module.student.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in learned if p.grad is not None])
        module.log("train/grad_norm", norm)
        scaled = module.trainer.precision == "16-mixed"
        finite = torch.isfinite(norm)
        event = _event(norm.device) if scaled or _leaves_out(optimizer) else None
        if event is None:
            if not finite:
                _stop(module, recent, scaled, module.trainer.global_step)
        else:
            if not scaled:  # else the scaler leaves such steps out
                optimizer.grad_scale, optimizer.found_inf = None, (~finite).float()
            self._open.append(_Verdict(module.trainer.global_step, finite.to("cpu", non_blocking=True), event, recent))
            event.record()
            self.settle(module, _BEHIND)
        if most and not scaled and algorithm in (None, "norm"):
            torch.nn.utils.clip_grads_with_norm_(learned, most, norm)
        else:
            module.clip_gradients(optimizer, most, algorithm)

    def settle(self, module: Any, behind: int = 0) -> None:
        """Looks at the verdicts of all steps but the last few.

        Args:
            module: The distillation.
            behind: How many are left open. All processes look at the same step at the same time.

        Raises:
            ValueError: As `check_and_clip`.
        """
        while len(self._open) > behind:
            verdict = self._open.popleft()
            verdict.there.synchronize()
            if not verdict.finite:
                _stop(module, verdict.batches, module.trainer.precision == "16-mixed", verdict.step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing is validated that is known to be spoilt."""
        self.settle(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """No epoch ends with an open verdict."""
        self.settle(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """No checkpoint is written with an open verdict."""
        self.settle(pl_module)


def _leaves_out(optimizer: Any) -> bool:
    """Whether an optimizer can be told on the device to leave its step out."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    # torch's fused kernels for Apple's GPU take `found_inf` and do not look at it.
    heeded = all(p.device.type != "mps" for group in optimizer.param_groups for p in group["params"])
    return bool(fused and heeded and getattr(optimizer, "_step_supports_amp_scaling", False))


def _event(device: torch.device) -> Any:
    """An event of a device that runs behind the host; None where there is none to wait for."""
    if device.type == "cpu":
        return None
    try:
        event = torch.Event(device.type)
        event.record()  # a device without events says so only here
        return event
    except (RuntimeError, NotImplementedError):
        return None


@torch.no_grad()
def _stop(module: Any, recent: Sequence[Any], only_prompts: bool, step: int) -> None:
    module.student.eval()  # in training, BatchNorm of several processes would wait for the others
    totals = [(batch, module.total(module.losses(batch))) for batch in recent]
    module.student.train()
    bad = next(((batch, total) for batch, total in totals if not torch.isfinite(total).all()), None)
    # The gradients of all processes are the same, so that all come here, and stop together.
    if module.trainer.strategy.reduce_boolean_decision(bad is not None, all=False):
        batch, total = bad or totals[0]
        fault = distill_report.loss_fault(total, module.targets_of(batch), batch.index, module.prompts.prompts, step)
        raise ValueError(f"{fault}; {kept(module)}")
    if not only_prompts:
        cause = "the student diverged: lower the learning rate (model.lr)"
        raise ValueError(f"a gradient is not finite at step {step}; {cause}; {kept(module)}")


def kept(module: Any) -> str:
    """Says where the run's checkpoints lie."""
    return f"the last good checkpoints stay in {getattr(best_of(module.trainer), 'dirpath', None)}"
