"""What the trainings of the small SAM3s that ship with litetext share: their end, where the model is exported."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from transformers import Sam3Model

from litetext.models.finite import check_tensors, check_weights
from litetext.modules.fit_run import check_export, export_folder
from litetext.modules.monitors import score_directions

SCORES = ("CG_F1", "IL_MCC", "pmF1", "F1_50", "F1_75")
"""Scores of a validation, by the names of the logs without `val/`."""


class Sam3FitModule(LightningModule, ABC):
    """A training of a small SAM3 whose averaged weights are exported at the end of `fit`.

    Args:
        output: Folder to export to, one that is not there yet; None for `model` beside the run's checkpoints.

    Attributes:
        scores: The last validation's scores by name; empty before the first.
    """

    def __init__(self, output: str | None) -> None:
        super().__init__()
        self.output = output
        self.scores: dict[str, float] = {}
        self.score_directions = score_directions(SCORES)
        self._exported: Path | None = None

    def setup(self, stage: str) -> None:
        """Checks before the training that the export will not write over anything.

        Raises:
            ValueError: Something is there.
        """
        if stage == "fit":
            check_export(self.output)

    @abstractmethod
    def trained(self) -> Sam3Model:
        """The model with averaged weights, which is validated and exported."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Writes the averaged weights and the model's card.

        Args:
            folder: A folder that is not there yet.
        """

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses weights that are not finite.

        Raises:
            ValueError: Naming the first.
        """
        check_tensors(checkpoint["state_dict"].items(), "--ckpt_path")

    def on_fit_end(self) -> None:
        """Exports the averaged weights.

        Raises:
            ValueError: They are not finite; nothing is written then.
        """
        folder = export_folder(self.trainer, self.output)
        if not self.trainer.is_global_zero or folder is None:
            return
        check_weights(self.trained(), "the trained model, which is not exported")
        self.export(folder)
        self._exported = folder

    def teardown(self, stage: str) -> None:
        """Says where the exported model is: now, when no progress bar wraps the line any more."""
        if self._exported is not None:
            scores = ", ".join(f"{k} {v:.4f}" for k, v in self.scores.items()) or "not scored: no validation was run"
            print(f"tiny SAM3: {self._exported}; {scores}")
        self._exported = None
