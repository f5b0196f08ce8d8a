"""CG_F1, IL_MCC and pmF1 as torchmetrics: what `counts.py` computes, gathered over batches and ranks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.utilities import rank_zero_warn

from litetext.metrics.assess import IouType, assess
from litetext.metrics.counts import Counts, headline, official, tally
from litetext.metrics.keyed import once
from litetext.saco.instances import Instances, Truth


class PhraseCounts(Metric):
    """Counts of all datapoints seen so far; `compute` gives the 26 official numbers.

    The states `boxes` and `images` are integer counts and reduce by sum, so the numbers are the same, bit for
    bit, for any batching, order or number of ranks. A padded sampler repeats datapoints, and on another rank
    than the original; a sum alone cannot notice. So a third state, `keyed_rows`, remembers one row of 13 integers
    per datapoint (its id and what it contributed, 104 bytes) and reduces by concatenation. Of ids that occur more
    than once over all ranks `compute` counts the first row, and warns where the others differ from it. With
    `deduplicate=False` there are no keyed rows and the states have a fixed size.

    Every datapoint must be given, also those without predictions: they are the true negatives and the misses.

    Args:
        iou_type: "segm" compares masks, "bbox" compares boxes.
        deduplicate: Count a datapoint id once, however often and on whichever rank it is given.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    boxes: Tensor
    images: Tensor
    keyed_rows: list[Tensor]

    def __init__(self, iou_type: IouType = "segm", deduplicate: bool = True) -> None:
        super().__init__()
        if iou_type not in ("segm", "bbox"):
            raise ValueError(f'iou_type must be "segm" or "bbox", got {iou_type!r}')
        self.iou_type: IouType = iou_type
        self.deduplicate = deduplicate
        self.add_state("boxes", torch.zeros(5, 10, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("keyed_rows", [], dist_reduce_fx="cat")

    def update(
        self,
        ids: Sequence[int] | Tensor,
        detections: Sequence[Instances],
        truths: Sequence[Truth | Sequence[Truth]],
    ) -> None:
        """Add datapoints.

        Args:
            ids: The id of each datapoint, unique in the data set.
            detections: The predictions of each datapoint; `Instances([])` where there are none.
            truths: For each datapoint its Truth, or one per annotator in the order of the files.

        Raises:
            ValueError: The three differ in length, or see `assess`.
        """
        names = ids.tolist() if isinstance(ids, Tensor) else [int(i) for i in ids]
        if not len(names) == len(detections) == len(truths):
            raise ValueError(f"{len(names)} ids, {len(detections)} detections and {len(truths)} truths: give one each")
        rows = assess(detections, [[t] if isinstance(t, Truth) else t for t in truths], self.iou_type)
        self.add_rows(names, rows)

    def add_rows(self, ids: Sequence[int], rows: Int64[np.ndarray, "d 12"]) -> None:
        """Add datapoints that `assess` has matched already."""
        counts = tally(rows)
        # Not in place: spawned processes begin with tensors in shared memory, and would count into one another's.
        self.boxes = self.boxes + torch.from_numpy(counts.boxes).to(self.boxes.device)
        self.images = self.images + torch.from_numpy(counts.images).to(self.images.device)
        if self.deduplicate and len(rows):
            named = np.concatenate([np.asarray(ids, dtype=np.int64)[:, None], rows], axis=1)
            self.keyed_rows.append(torch.from_numpy(named).to(self.boxes.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the ranks. A rank without datapoints takes part with an empty table of the right shape."""
        if isinstance(self.keyed_rows, list) and not self.keyed_rows:
            self.keyed_rows = [torch.zeros(0, 13, dtype=torch.int64, device=self.boxes.device)]
        super().sync(*args, **kwargs)

    def counts(self) -> Counts:
        """The counts of the states as they are (inside `compute`: of all ranks), each datapoint once."""
        total = Counts(self.boxes.cpu().numpy(), self.images.cpu().numpy())
        parts: Any = self.keyed_rows  # a list of tensors, and one tensor while ranks are in sync
        if not len(parts):
            return total
        keyed_rows = (parts if isinstance(parts, Tensor) else torch.cat(parts)).cpu().numpy()
        _, rows = once(keyed_rows[:, :1], keyed_rows[:, 1:])
        return tally(rows) if len(rows) < len(keyed_rows) else total

    def rows(self) -> tuple[Int64[np.ndarray, " d"], Int64[np.ndarray, "d 12"]]:
        """Ids of the datapoints, and what each gave (see `assess`), each once; as `counts`.

        Raises:
            ValueError: Without keyed rows nobody knows what each datapoint gave.
        """
        if not self.deduplicate:
            raise ValueError("rows of datapoints need the keyed rows; make the metric with deduplicate=True")
        parts: Any = self.keyed_rows
        keyed_rows = np.zeros((0, 13), dtype=np.int64)
        if len(parts):
            keyed_rows = (parts if isinstance(parts, Tensor) else torch.cat(parts)).cpu().numpy()
        ids, rows = once(keyed_rows[:, :1], keyed_rows[:, 1:])
        return ids[:, 0], rows

    def compute(self) -> Any:
        """The 26 official numbers (see `official`)."""
        return official(self.counts(), self.iou_type)


class _Headline(PhraseCounts):
    column = ""
    both = True
    """It needs positives and negatives."""

    def compute(self) -> Tensor:
        """The number as a float64 scalar."""
        counts = self.counts()
        found, false, rejected, missed = counts.images.tolist()
        if self.both and found + missed and not false + rejected:
            rank_zero_warn(
                f"{self.column} is 0, as officially, since no datapoint is a negative: give some, or take PMF1"
            )
        device = "cpu" if self.boxes.device.type == "mps" else self.boxes.device
        return torch.tensor(headline(counts)[self.column], dtype=torch.float64, device=device)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draws the number, or several over steps, as the metrics of torchmetrics do."""
        return self._plot(val, ax)


class CGF1(_Headline):
    """CG_F1 in percent (negative if presence is worse than chance). See `PhraseCounts`.

    Examples:
        >>> from litetext.saco import Instances, Truth
        >>> metric = CGF1("bbox")
        >>> hit = Instances(scores=[0.9], boxes=[[0.1, 0.1, 0.5, 0.5]])
        >>> nothing = Instances(scores=[], boxes=[])
        >>> truth = Truth(boxes=[[0.1, 0.1, 0.5, 0.5]])
        >>> metric.update([1, 2], [hit, nothing], [truth, Truth(boxes=[])])  # a positive and a negative
        >>> round(float(metric.compute()), 1)  # the official formula has small constants in its denominators
        100.0
    """

    column = "CG_F1"


class ILMCC(_Headline):
    """IL_MCC: Matthews correlation of predicted and true presence, in [-1, 1]. See `PhraseCounts`."""

    column = "IL_MCC"


class PMF1(_Headline):
    """pmF1: positive micro F1, mean over ten IoU thresholds, in percent. See `PhraseCounts`."""

    column = "pmF1"
    both = False


def phrase_metrics(iou_type: IouType = "segm", prefix: str | None = None) -> MetricCollection:
    """CG_F1, IL_MCC and pmF1 as one collection that matches each datapoint once for all three.

    Args:
        iou_type: "segm" compares masks, "bbox" compares boxes.
        prefix: Put before the three names, for example "val/".
    """
    parts: dict[str, Metric | MetricCollection] = {
        "CG_F1": CGF1(iou_type),
        "IL_MCC": ILMCC(iou_type),
        "pmF1": PMF1(iou_type),
    }
    return MetricCollection(parts, prefix=prefix, compute_groups=[["CG_F1", "IL_MCC", "pmF1"]])
