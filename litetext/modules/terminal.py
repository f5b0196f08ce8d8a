"""What a run shows on a terminal of any width: one bar a line, and sizes without made-up operations."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, RichModelSummary, RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import BatchesProcessedColumn, MetricsTextColumn
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text


def fit_to_terminal(trainer: Trainer) -> None:
    """Puts bar and summary of this module in the place of Lightning's own; the user's stay."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for place, callback in enumerate(callbacks):
        if type(callback) is RichProgressBar:
            callbacks[place] = OneLineBar()
        elif type(callback) is RichModelSummary:
            callbacks[place] = Sizes(callback._max_depth)


class OneLineBar(RichProgressBar):
    """A bar that stays on one line: what does not fit is cut at its end, never wrapped."""

    def configure_columns(self, trainer: Trainer) -> list:
        """Name, bar, batches and time left; the values come behind."""
        batches = BatchesProcessedColumn(style=self.theme.batch_progress)
        batches._table_column = Column(no_wrap=True)
        return [TextColumn("{task.description}"), BarColumn(bar_width=16), batches, TimeRemainingColumn(compact=True)]

    def _init_progress(self, trainer: Trainer) -> None:
        super()._init_progress(trainer)
        if self.progress is not None and isinstance(self._metric_component, MetricsTextColumn):
            self._metric_component._table_column = Column(no_wrap=True, overflow="ellipsis")

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Values under the last part of their names; the version of the logger is no value."""
        items = super().get_metrics(trainer, pl_module)
        return {name.rpartition("/")[2]: value for name, value in items.items() if name != "v_num"}


class Sizes(ModelSummary):
    """Names, kinds and parameters of a module's parts, one line each."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        *_: Any,
        **__: Any,
    ) -> None:
        """Prints them."""
        columns = dict(summary_data)
        rows = [
            *zip(columns["Name"], columns["Type"], columns["Params"], strict=True),
            ("all", "", f"{total_parameters:,}, of which {trainable_parameters:,} are trained"),
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        for name, kind, count in rows:
            if count.strip() != "0":
                print(Text(f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {count.strip()}"))
