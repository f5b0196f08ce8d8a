"""Training on scenes that are drawn while it runs, and that goes on where it stopped."""

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from litetext.data.options import check_minimum
from litetext.data.sampling import ResumableLoader, StepSampler


class DrawnDataModule(LightningDataModule):
    """Training and held-out batches of a drawn world; one epoch is the whole run.

    A subclass sets `steps`, and makes its loader of training with `resumable`.

    Args:
        images: Images a step.
        phrases: Phrases an image.
        val_images: Held-out images.
        val_phrases: Phrases a held-out image.
        seed: Seed of the training scenes.
        num_workers: Processes that paint ahead.

    Raises:
        ValueError: If an option is out of its range.
    """

    steps: int

    def __init__(
        self, images: int, phrases: int, val_images: int, val_phrases: int, seed: int, num_workers: int
    ) -> None:
        super().__init__()
        check_minimum(1, data__images=images, data__phrases=phrases)
        check_minimum(1, data__val_images=val_images, data__val_phrases=val_phrases)
        check_minimum(0, data__num_workers=num_workers, data__seed=seed)
        self.images, self.phrases = images, phrases
        self.val_images, self.val_phrases = val_images, val_phrases
        self.seed, self.num_workers = seed, num_workers
        self._loader: ResumableLoader | None = None
        self._resume = 0

    def check_numbers(self, first_held_out: int) -> None:
        """Refuses more training scenes than there are numbers for them.

        Args:
            first_held_out: Number of the first scene that training does not draw.

        Raises:
            ValueError: Seed, steps and images need more.
        """
        if (self.seed + 1) * self.steps * self.images > first_held_out:
            raise ValueError(
                f"data.seed {self.seed} with {self.steps} steps leaves the numbers of training scenes; lower one"
            )

    def resumable(self, data: Dataset, **options: Any) -> DataLoader:
        """A loader of whole batches by step, from the step at which an interrupted run stopped.

        Args:
            data: Batches by step.
            options: Of `torch.utils.data.DataLoader`.
        """
        self._loader = ResumableLoader(
            data, batch_size=None, sampler=StepSampler(self.steps), num_workers=self.num_workers, **options
        )
        self._loader.skip, self._resume = self._resume % self.steps, 0
        return self._loader

    def state_dict(self) -> dict[str, Any]:
        """Steps that are done."""
        return {"done": self._loader.done if self._loader is not None else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state of an interrupted run."""
        self._resume = int(state_dict["done"])
