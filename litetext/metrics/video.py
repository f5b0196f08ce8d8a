"""The SA-Co VEval metrics of one video: CG_F1, VL_MCC and pmF1, phrase HOTA and TETA, from one set of overlaps.

A *pair* is one (video, noun phrase). SAM 3 (arXiv 2511.16719) and its public evaluator define the numbers; the three
parts do not agree on details, and the published numbers rest on that: scores count from 0.5 on for CG_F1 and TETA but
only above 0.5 for HOTA; crowd masklets are left out by CG_F1 and are ordinary ones for the others.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from litetext.metrics.assess import MIN_SCORE, THRESHOLDS, IouType
from litetext.metrics.counts import image_level, per_threshold, tally
from litetext.metrics.hota import hota_sums
from litetext.metrics.matching import assigned_ious
from litetext.metrics.teta import teta_rows
from litetext.metrics.video_iou import Overlaps, overlaps
from litetext.saco.videos import Masklets

KINDS: dict[IouType, str] = {"segm": "mask", "bbox": "bbox"}
"""The official words for what is compared."""
PLACES = {"50_95": slice(None), "50": slice(0, 1), "75": slice(5, 6)}
"""Thresholds behind the official suffixes: the mean of all ten, 0.5, 0.75."""


class VideoRows(NamedTuple):
    """What one video adds.

    Attributes:
        phrases: Per queried category, predictions n, true masklets m, true positives at 10 IoU thresholds, (p, 12):
            rows of `PhraseCounts.add_rows`.
        hota: Per category with anything in it, `hota_sums`.
        teta: Per class, `teta_rows`; empty for boxes.
    """

    phrases: Int64[np.ndarray, "p 12"]
    hota: dict[int, Float64[np.ndarray, "7 19"]]
    teta: dict[int, Any]


def assess_video(
    truth: Masklets, predicted: Masklets, categories: Sequence[int], classes: Sequence[int], iou_type: IouType = "segm"
) -> VideoRows:
    """Compares the masklets of one video.

    Args:
        truth: True masklets of all its phrases.
        predicted: Predicted ones, of any score.
        categories: Those that count as pairs: the queried ones, and those that ground truth or predictions (of any
            score) name.
        classes: Categories with ground truth anywhere in the data set, in the order of its file (for TETA).
        iou_type: "segm" or "bbox".

    Raises:
        ValueError: Numbers of frames differ.
    """
    predicted = predicted.take(predicted.scores >= MIN_SCORE)
    shared = overlaps(truth, predicted, iou_type)
    # HOTA takes a true detection as it is written, a predicted one only with pixels and a box.
    true_there = truth.masked() if iou_type == "segm" else truth.boxed
    found_there = predicted.shown() & (predicted.areas > 0)
    phrases, hota = np.zeros((len(categories), 12), dtype=np.int64), {}
    for row, category in enumerate(categories):
        own, found = (np.flatnonzero(part.categories == category) for part in (truth, predicted))
        phrases[row] = _phrase_row(shared, own[~truth.crowd[own]], found)
        strict = found[predicted.scores[found] > MIN_SCORE]
        if len(own) or len(strict):
            part = shared.take(own, strict)
            hota[category] = hota_sums(part.frames, true_there[own], found_there[strict])
    if iou_type == "bbox":
        return VideoRows(phrases, hota, {})
    teta = teta_rows(shared.frames, truth.boxed, predicted.shown(), truth.categories, predicted.categories, classes)
    return VideoRows(phrases, hota, teta)


def _phrase_row(shared: Overlaps, truth: np.ndarray, found: np.ndarray) -> Int64[np.ndarray, " 12"]:
    row = np.zeros(12, dtype=np.int64)
    row[:2] = len(found), len(truth)
    if len(found) and len(truth):
        ious = assigned_ious(shared.take(truth, found).tubes.T)
        row[2:] = (ious[:, None] >= THRESHOLDS).sum(axis=0)
    return row


def phrase_numbers(rows: np.ndarray) -> dict[str, float]:
    """CG_F1, VL_MCC and pmF1 under the suffixes of the official names, fractions."""
    counts = tally(rows)
    curves, numbers = per_threshold(counts), {}
    for suffix, place in PLACES.items():
        pmf1, cgf1 = (float(curves[key][place].mean()) for key in ("positive_micro_F1", "cgF1"))
        numbers[f"cgf1_micro_{suffix}"] = cgf1
        quotient = cgf1 / pmf1 if pmf1 else 0.0
        numbers[f"ilmcc_{suffix}"] = image_level(counts)["IL_MCC"] if suffix == "50_95" else quotient
        numbers[f"positive_micro_f1_{suffix}"] = pmf1
    return numbers
