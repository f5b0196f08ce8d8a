"""CG_F1, IL_MCC and pmF1: how well phrases are grounded, as the official SA-Co image evaluator counts it.

SAM 3 (arXiv 2511.16719, section on metrics) and its public evaluator define the numbers. A *datapoint* is one
pair (image, noun phrase). Predictions with a score of at least 0.5 are assigned one to one to the instances
of an annotator (largest sum of IoU), the pairs are judged at ten IoU thresholds, and with several annotators
the one who agrees best with the predictions counts (oracle rule). Everything after that is sums over
datapoints:

    pmF1_t  = micro F1 over datapoints that have the phrase      (localisation)
    IL_MCC  = Matthews correlation of "the phrase is in the image" (presence)
    CG_F1   = 100 * mean_t(pmF1_t) * IL_MCC

`assess.py` holds the first part, up to the choice of the annotator. The first half of this file is pure
(numpy in, numpy out); the classes below add what torchmetrics gives.

Values that other evaluators leave open, where none of these raises:

    nothing evaluated   all numbers are 0, positive_macro_F1 is -1 (the official code raises)
    no predictions      the same
    no positives        the same but for IL_FPR, the share of datapoints with predictions
    no negatives        IL_MCC, CG_F1 and IL_FPR are 0, the rest is what the positives give

That is: IL_MCC is 0 as soon as one of its four margins is empty, hence CG_F1 is 0; F1, precision and recall are 0
without true positives; positive_macro_F1 is -1 where no datapoint has both instances and predictions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from litetext.metrics.assess import BOX_EPS, Detections, GroundTruth, IouType, assess, local_f1

_IMAGE_EPS = 1e-6
_ONE = 1 << 40
"""Local F1 is summed in units of 2^-40: integer sums do not depend on their order."""


class Counts(NamedTuple):
    """Sums over datapoints: all that the metrics need. Counts of disjoint sets of datapoints add up.

    Attributes:
        boxes: int64 (5, 10): per threshold true positives, false positives, false negatives, false positives
            on datapoints that have the phrase, and the sum of local F1 in units of 2^-40.
        images: int64 (4,): datapoints that are true positive, false positive, true negative, false negative.
    """

    boxes: Int64[np.ndarray, "5 10"]
    images: Int64[np.ndarray, " 4"]

    def __add__(self, other: "Counts") -> "Counts":  # type: ignore[override]
        return Counts(self.boxes + other.boxes, self.images + other.images)

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.boxes - other.boxes, self.images - other.images)


def tally(rows: Int64[np.ndarray, "d 12"]) -> Counts:
    """Sum the rows of `assess` into counts."""
    n, m, hits = rows[:, 0], rows[:, 1], rows[:, 2:]
    positive = m > 0
    extra = n[:, None] - hits
    local = np.rint(local_f1(n, m, hits) * _ONE).astype(np.int64)
    missed = m[:, None] - hits
    boxes = np.stack([part.sum(axis=0) for part in (hits, extra, missed, extra[positive], local[positive])])
    outcomes = (positive & (n > 0), ~positive & (n > 0), ~positive & (n == 0), positive & (n == 0))
    return Counts(boxes, np.asarray([outcome.sum() for outcome in outcomes], dtype=np.int64))


def per_threshold(counts: Counts) -> dict[str, Float64[np.ndarray, " 10"]]:
    """The seven box-level metrics at each of the 10 IoU thresholds, under their official names, in [0, 1].

    `positive_micro_F1` is the pmF1 of the paper and `cgF1` its product with IL_MCC (which may be negative).
    """
    tp, fp, fn, positive_fp, local = counts.boxes.astype(np.float64)
    precision, positive_precision = tp / (tp + fp + BOX_EPS), tp / (tp + positive_fp + BOX_EPS)
    recall = tp / (tp + fn + BOX_EPS)
    micro = 2 * positive_precision * recall / (positive_precision + recall + BOX_EPS)
    found = int(counts.images[0])
    return {
        "cgF1": micro * image_level(counts)["IL_MCC"],
        "precision": precision,
        "recall": recall,
        "F1": 2 * precision * recall / (precision + recall + BOX_EPS),
        "positive_macro_F1": local / _ONE / found if found else np.full(10, -1.0),
        "positive_micro_F1": micro,
        "positive_micro_precision": positive_precision,
    }


def image_level(counts: Counts) -> dict[str, float]:
    """The five metrics of presence: IL_precision, IL_recall, IL_F1, IL_FPR in [0, 1], IL_MCC in [-1, 1]."""
    tp, fp, tn, fn = counts.images.tolist()
    precision, recall = tp / (tp + fp + _IMAGE_EPS), tp / (tp + fn + _IMAGE_EPS)
    margins = float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn)
    return {
        "IL_precision": precision,
        "IL_recall": recall,
        "IL_F1": 2 * precision * recall / (precision + recall + _IMAGE_EPS),
        "IL_FPR": fp / (fp + tn + _IMAGE_EPS),
        "IL_MCC": (tp * tn - fp * fn) / (margins**0.5 + _IMAGE_EPS),
    }


def official(counts: Counts, iou_type: IouType = "segm") -> dict[str, float]:
    """The 26 numbers of the official evaluator under its names, as fractions (not the paper's percent).

    Box-level metrics come as the plain mean over thresholds and at 0.5 and 0.75; -1 stands for "undefined".
    """
    prefix = f"cgF1_eval_{iou_type}_"
    numbers = {}
    for name, values in per_threshold(counts).items():
        defined = values[values > -1]
        numbers[prefix + name] = float(defined.mean()) if len(defined) else -1.0
        numbers[prefix + name + "@0.5"] = float(values[0])
        numbers[prefix + name + "@0.75"] = float(values[5])
    return numbers | {prefix + name: value for name, value in image_level(counts).items()}


def headline(counts: Counts) -> dict[str, float]:
    """CG_F1 (percent), IL_MCC and pmF1 (percent): the three columns of the paper's tables."""
    numbers = official(counts, "segm")
    return {
        "CG_F1": 100 * numbers["cgF1_eval_segm_cgF1"],
        "IL_MCC": numbers["cgF1_eval_segm_IL_MCC"],
        "pmF1": 100 * numbers["cgF1_eval_segm_positive_micro_F1"],
    }


class PhraseCounts(Metric):
    """Counts of all datapoints seen so far; `compute` gives the 26 official numbers.

    The states `boxes` and `images` are integer counts and reduce by sum, so the numbers are the same, bit for
    bit, for any batching, order or number of ranks. A padded sampler repeats datapoints, and on another rank
    than the original; a sum alone cannot notice. So a third state, `ledger`, remembers one row of 13 integers
    per datapoint (its id and what it contributed, 104 bytes) and reduces by concatenation. `compute` looks
    for ids that occur more than once over all ranks and takes the repeated contributions out of the sums
    again; the first one stays. With `deduplicate=False` there is no ledger and the states have a fixed size.

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
    ledger: list[Tensor]

    def __init__(self, iou_type: IouType = "segm", deduplicate: bool = True) -> None:
        super().__init__()
        if iou_type not in ("segm", "bbox"):
            raise ValueError(f'iou_type must be "segm" or "bbox", got {iou_type!r}')
        self.iou_type: IouType = iou_type
        self.deduplicate = deduplicate
        self.add_state("boxes", torch.zeros(5, 10, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(4, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("ledger", [], dist_reduce_fx="cat")

    def update(
        self,
        ids: Sequence[int] | Tensor,
        detections: Sequence[Detections],
        truths: Sequence[GroundTruth | Sequence[GroundTruth]],
    ) -> None:
        """Add datapoints.

        Args:
            ids: The id of each datapoint, unique in the data set.
            detections: The predictions of each datapoint; `Detections([])` where there are none.
            truths: For each datapoint its GroundTruth, or one per annotator in the order of the files.

        Raises:
            ValueError: The three differ in length, or see `assess`.
        """
        names = ids.tolist() if isinstance(ids, Tensor) else [int(i) for i in ids]
        if not len(names) == len(detections) == len(truths):
            raise ValueError(f"{len(names)} ids, {len(detections)} detections and {len(truths)} truths: give one each")
        rows = assess(detections, [[t] if isinstance(t, GroundTruth) else t for t in truths], self.iou_type)
        self.add_rows(names, rows)

    def add_rows(self, ids: Sequence[int], rows: Int64[np.ndarray, "d 12"]) -> None:
        """Add datapoints that `assess` has matched already."""
        counts = tally(rows)
        # Not in place: spawned processes begin with tensors in shared memory, and would count into one another's.
        self.boxes = self.boxes + torch.from_numpy(counts.boxes).to(self.boxes.device)
        self.images = self.images + torch.from_numpy(counts.images).to(self.images.device)
        if self.deduplicate and len(rows):
            named = np.concatenate([np.asarray(ids, dtype=np.int64)[:, None], rows], axis=1)
            self.ledger.append(torch.from_numpy(named).to(self.boxes.device))

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the ranks. A rank without datapoints takes part with an empty ledger of the right shape."""
        if isinstance(self.ledger, list) and not self.ledger:
            self.ledger = [torch.zeros(0, 13, dtype=torch.int64, device=self.boxes.device)]
        super().sync(*args, **kwargs)

    def counts(self) -> Counts:
        """The counts of the states as they are (inside `compute`: of all ranks), each datapoint once."""
        total = Counts(self.boxes.cpu().numpy(), self.images.cpu().numpy())
        parts: Any = self.ledger  # a list of tensors, and one tensor while ranks are in sync
        if not len(parts):
            return total
        ledger = (parts if isinstance(parts, Tensor) else torch.cat(parts)).cpu().numpy()
        repeated = np.ones(len(ledger), dtype=bool)
        repeated[np.unique(ledger[:, 0], return_index=True)[1]] = False
        return total - tally(ledger[repeated, 1:]) if repeated.any() else total

    def compute(self) -> Any:
        """The 26 official numbers (see `official`)."""
        return official(self.counts(), self.iou_type)


class _Headline(PhraseCounts):
    column = ""

    def compute(self) -> Tensor:
        """The number as a float64 scalar."""
        device = "cpu" if self.boxes.device.type == "mps" else self.boxes.device
        return torch.tensor(headline(self.counts())[self.column], dtype=torch.float64, device=device)


class CGF1(_Headline):
    """CG_F1 in percent (negative if presence is worse than chance). See `PhraseCounts`.

    Examples:
        >>> from litetext.metrics import Detections, GroundTruth
        >>> metric = CGF1("bbox")
        >>> hit = Detections(scores=[0.9], boxes=[[0.1, 0.1, 0.5, 0.5]])
        >>> nothing = Detections(scores=[], boxes=[])
        >>> truth = GroundTruth(boxes=[[0.1, 0.1, 0.5, 0.5]])
        >>> metric.update([1, 2], [hit, nothing], [truth, GroundTruth(boxes=[])])  # a positive and a negative
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
