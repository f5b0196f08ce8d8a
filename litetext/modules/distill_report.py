"""What a distillation shows: figures in TensorBoard and the closing lines in the terminal."""

import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics import MeanMetric, MetricCollection

from litetext.models.text.encoder import count_parameters
from litetext.modules.callbacks import Throughput
from litetext.modules.checkpointing import checkpoint_of
from litetext.modules.teacher import quoted

_SHOWN = 10  # times the figures are drawn in a run


def means(names: Sequence[str]) -> MetricCollection:
    """Means over the held-out prompts, by name; none reads a value back from the device before it is computed."""
    found = MetricCollection({}, compute_groups=False)
    found.add_metrics({name: MeanMetric(nan_strategy="disable") for name in names})
    return found


def log_figures(trainer: Trainer, seen: dict[str, Tensor]) -> None:
    """Draws cosine and drift of the held-out prompts into TensorBoard, about ten times a run.

    Args:
        trainer: The run's trainer; without a TensorBoard logger nothing is drawn.
        seen: `Agreement.gathered()`.
    """
    epochs = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else _SHOWN
    due = trainer.current_epoch % max(1, epochs // _SHOWN) == 0 or trainer.current_epoch == epochs - 1
    logger = trainer.logger
    if not due or not seen or not trainer.is_global_zero or not isinstance(logger, TensorBoardLogger):
        return
    board, step = logger.experiment, trainer.global_step
    board.add_figure("figures/cosine", cosine_figure(seen), step)
    drift = drift_figure(seen)
    if drift is not None:
        board.add_figure("figures/permutation_drift", drift, step)


def cosine_figure(seen: dict[str, Tensor]) -> Figure:
    """Histogram of the cosine between student and teacher over held-out prompts, per token and pooled."""
    figure = Figure(figsize=(6, 3.5))  # a layout that is computed would take more time than the drawing
    axes = figure.subplots(gridspec_kw={"left": 0.13, "right": 0.97, "bottom": 0.15, "top": 0.9})
    token = seen["cosine"].cpu()
    pooled = cosine_similarity(seen["student"], seen["teacher"], dim=-1).cpu()
    low = float(min(token.min(), pooled.min()))
    bins = torch.linspace(min(low, 0.99), 1, 41).tolist()
    axes.hist(
        token.numpy(), bins=bins, histtype="stepfilled", alpha=0.6, label=f"mean over tokens ({token.mean():.4f})"
    )
    axes.hist(pooled.numpy(), bins=bins, histtype="stepfilled", alpha=0.6, label=f"pooled ({pooled.mean():.4f})")
    axes.set(xlabel="cosine, student to teacher", ylabel="held-out prompts", title=f"{len(token):,} held-out prompts")
    axes.legend()
    return figure


def drift_figure(seen: dict[str, Tensor]) -> Figure | None:
    """Drift under attribute-noun permutation, teacher against student; None where no prompt has a permutation."""
    moved = ~seen["drift"].isnan()
    if not moved.any():
        return None
    student, teacher = seen["drift"][moved].cpu(), seen["teacher_drift"][moved].cpu()
    figure = Figure(figsize=(4.5, 4.5))
    axes = figure.subplots(gridspec_kw={"left": 0.2, "right": 0.94, "bottom": 0.12, "top": 0.88})
    axes.scatter(teacher.numpy(), student.numpy(), s=6, alpha=0.4, linewidths=0)
    top = float(torch.quantile(torch.cat([student, teacher])[:100_000], 0.995)) * 1.05 + 1e-6
    axes.plot([0, top], [0, top], color="0.6", linewidth=1, label="as far as the teacher")
    axes.set(
        xlim=(0, top),
        ylim=(0, top),
        xlabel="teacher: 1 - cosine(prompt, permutation)",
        ylabel="student",
        title=f"{len(student):,} permuted prompts\nmean: teacher {teacher.mean():.4f}, student {student.mean():.4f}",
    )
    axes.legend(loc="lower right")
    return figure


def summary(module: Any, scores_line: Callable[[Any, dict[str, float]], str] | None = None) -> str:
    """The closing lines of a fit: scores of the best checkpoint, parameters, folders, the next command.

    Args:
        module: The distillation.
        scores_line: Formats its scores as a line; by default those of held-out prompts.
    """
    trainer = module.trainer
    best = checkpoint_of(trainer)
    scores, of = module.scores, ""
    if best is not None:
        stored = torch.load(best, map_location="cpu", weights_only=True, mmap=True)
        scores = stored.get("litetext", {}).get("scores") or scores
    elif module.scored_step not in (None, trainer.global_step):
        of = f" at step {module.scored_step:,}; what came after was not validated"
    student = count_parameters(module.student)
    teacher = module.teacher_parameters
    lines = [""]
    if scores:
        lines.append((scores_line or prompt_scores)(module, scores) + of)
    if teacher:
        lines.append(
            f"parameters          {student:,} of the teacher's {teacher:,}: "
            f"{100 * (1 - student / teacher):.1f}% fewer ({teacher / student:.1f}x smaller)"
        )
    lines += _speed(trainer)
    # Not trainer.log_dir: that asks all ranks, and only the first is here.
    folder = None if trainer.fast_dev_run else getattr(trainer.logger, "log_dir", None)  # type: ignore[attr-defined]
    if best is not None:
        lines.append(f"best checkpoint     {_near(best)}")
    else:
        lines.append("best checkpoint     none: no validation of this run earned one")
    if folder is not None:
        board, following = isinstance(trainer.logger, TensorBoardLogger), list[str]()
        lines.append(f"{'TensorBoard run' if board else 'logs':<20}{_near(Path(folder))}")
        if board:
            following.append(f"tensorboard --logdir {quote(_near(Path(folder).parent))}")
        if best is not None:
            config = quote(f"{_near(Path(folder))}/config.yaml")
            following.append(f"litetext validate --config {config} --ckpt_path best")
        lines += [f"{'' if n else 'next':<20}{line}" for n, line in enumerate(following)]
    return "\n".join(lines)


def prompt_scores(module: Any, scores: dict[str, float]) -> str:
    """Cosine and agreement on held-out prompts, in a line."""
    few, all_of_them = len(module.agreement.compared or ()), len(module.prompts.val)
    cosines = f"validation cosine   {scores['cosine']:.4f} per token, {scores['pooled_cosine']:.4f} pooled"
    seen = module.validated or all_of_them
    if seen < all_of_them:
        cosines += f", of {seen:,} of the {all_of_them:,} held-out prompts (trainer.limit_val_batches: the shortest)"
    if "agreement" not in scores:
        return f"{cosines}; agreement is not defined for fewer than 3 prompts"
    which = "these" if seen < all_of_them else f"{few:,} of the {all_of_them:,} held-out prompts"
    if few == all_of_them == seen:
        which = "held-out prompts"
    return f"{cosines}; agreement {scores['agreement']:.4f} (share of {which} with the teacher's nearest neighbour)"


def _speed(trainer: Trainer) -> list[str]:
    clock = next((c for c in trainer.callbacks if isinstance(c, Throughput)), None)  # type: ignore[attr-defined]
    if clock is None or not clock.seconds:
        return []
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = f"{memory / 1e9:.2f} GB"
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        peak += f", {torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the GPU"
    rate = clock.prompts * trainer.world_size / clock.seconds
    return [f"training            {rate:,.1f} prompts/s; peak memory {peak}"]


def _near(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def loss_fault(total: Tensor, targets: Tensor, index: Tensor, prompts: Sequence[str], step: int) -> str:
    """Says which prompt's loss is not finite, and why.

    Args:
        total: The loss of each prompt, (B,).
        targets: The teacher's features, (B, L, D).
        index: Number of each prompt, (B,).
        prompts: All prompts.
        step: Optimizer steps so far.
    """
    if torch.isfinite(total).all():
        return f"the loss of a prompt of another process is not finite at step {step}"
    first = int((~torch.isfinite(total)).nonzero()[0])
    cause = "the student diverged: lower model.lr"
    if not torch.isfinite(targets[first]).all():
        cause = "its teacher features are not finite: check the teacher's weights"
    return f"the loss of the prompt {quoted(prompts[int(index[first])])} is not finite at step {step}; {cause}"
