"""CG_F1, IL_MCC and pmF1: how well phrases are grounded, as the official SA-Co image evaluator counts it.

SAM 3 (arXiv 2511.16719, section on metrics) and its public evaluator define the numbers. A *datapoint* is one
pair (image, noun phrase). Predictions with a score of at least 0.5 are assigned one to one to the instances
of an annotator (largest sum of IoU), the pairs are judged at ten IoU thresholds, and with several annotators
the one who agrees best with the predictions counts (oracle rule). Everything after that is sums over
datapoints:

    pmF1_t  = micro F1 over datapoints that have the phrase      (localisation)
    IL_MCC  = Matthews correlation of "the phrase is in the image" (presence)
    CG_F1   = 100 * mean_t(pmF1_t) * IL_MCC

`assess.py` holds the first part, up to the choice of the annotator. This file is pure (numpy in, numpy out) and does
without torch, whose import would cost a command on files more than its work; the metrics are in `cgf1.py`.

Values that other evaluators leave open, where none of these raises:

    nothing evaluated   all numbers are 0, positive_macro_F1 is -1 (the official code raises)
    no predictions      the same
    no positives        the same but for IL_FPR, the share of datapoints with predictions
    no negatives        IL_MCC, CG_F1 and IL_FPR are 0, the rest is what the positives give

That is: IL_MCC is 0 as soon as one of its four margins is empty, hence CG_F1 is 0; F1, precision and recall are 0
without true positives; positive_macro_F1 is -1 where no datapoint has both instances and predictions.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from litetext.metrics.assess import BOX_EPS, IouType, local_f1

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
