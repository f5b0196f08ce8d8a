"""What every training of a student does alike: a step, its gradients, its optimizer, its closing lines."""

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import MetricCollection

from litetext.models.text.student import Student
from litetext.modules.callbacks import Throughput
from litetext.modules.distill_optim import configure
from litetext.modules.distill_report import means
from litetext.modules.gradients import GradientCheck
from litetext.modules.monitors import score_directions


class StudentTraining(LightningModule, ABC):
    """Trains a student by the weighted sum of some losses.

    A subclass sets `student` and the options of the optimizer.

    Args:
        parts: Names of the losses.
        higher: Names of the scores of a validation that are better the higher they are.
        lower: Those that are better the lower they are, losses aside.
        neither: Those that say nothing of the student.
    """

    student: Student

    def __init__(
        self,
        parts: tuple[str, ...],
        higher: tuple[str, ...] = (),
        lower: tuple[str, ...] = (),
        neither: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.val_losses: MetricCollection = means((*parts, "loss"))
        self.score_directions = score_directions(higher, (*parts, "loss", *lower), neither)
        self.scores: dict[str, float] = {}
        self.scored_step: int | None = None  # whose weights they are of
        self._recent: list[Any] = []
        self._gradients = GradientCheck()
        self._finished = False

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of each prompt of a batch, (B,) each, before their weights."""

    @abstractmethod
    def total(self, parts: dict[str, Tensor]) -> Tensor:
        """Their weighted sum, (B,)."""

    @abstractmethod
    def targets_of(self, batch: Any) -> Tensor:
        """The teacher's features of a batch's prompts, (B, L, D)."""

    @abstractmethod
    def summary(self) -> str:
        """The closing lines of a fit."""

    def configure_callbacks(self) -> list[Callback]:
        """Measures how fast the run trains, which its closing lines say, and checks gradients."""
        return [Throughput(), self._gradients]

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The student's token features, (B, L, D)."""
        return self.student(ids, lengths)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean loss of a batch. Whether it is finite shows in the gradient, once a step."""
        self._recent.append(batch)
        parts = self.losses(batch)
        total = self.total(parts)
        loss = total.mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(total))
        self.log_dict({f"train/{name}": part.mean() for name, part in parts.items()}, batch_size=len(total))
        return loss

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips, and stops at a gradient that is not finite, see `GradientCheck`."""
        recent, self._recent = self._recent, []
        self._gradients.check_and_clip(self, optimizer, gradient_clip_val, gradient_clip_algorithm, recent)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with warm-up and cosine, or what `optimizer` and `lr_scheduler` name."""
        return configure(self)

    def keep_scores(self, scores: dict[str, float]) -> None:
        """Keeps the scores of a whole validation, and of which weights they are.

        Args:
            scores: By name; a trial of the loop before the training (`num_sanity_val_steps`) changes nothing.
        """
        if not self.trainer.sanity_checking:
            self.scores, self.scored_step = dict(scores), self.trainer.global_step

    def on_fit_end(self) -> None:
        """Notes that the fit came to its end."""
        self._finished = True

    def teardown(self, stage: str) -> None:
        """Prints where everything lies and what to run next: now, when no progress bar wraps the lines any more."""
        if self._finished and self.trainer.is_global_zero:
            print(self.summary())
        self._finished = False
