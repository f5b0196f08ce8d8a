"""HOTA of phrases: pHOTA, pDetA and pAssA, as the public VEval evaluator of SAM 3 counts them.

HOTA: Luiten et al., IJCV 2021 (equations 12 to 22). Every pair (video, phrase) is a sequence of its own with one class.
Per frame, detections are assigned by the product of their IoU and the alignment of their tracks; 19 localisation
thresholds alpha judge the assigned pairs. The sums over sequences are all that is kept.

Where a sequence has nothing, or nothing was predicted at all, no number raises: HOTA, DetA and AssA are 0, LocA is 1.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.optimize import linear_sum_assignment

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""Localisation thresholds, 0.05 to 0.95."""
EPS = np.finfo(np.float64).eps
NAMES = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")


def alignment(similarity: Float[np.ndarray, "t m n"], found: Any, there: Any) -> Float64[np.ndarray, "m n"]:
    """How well true and predicted tracks go together over the whole video (Jaccard, weighted by IoU).

    Args:
        similarity: IoU in each frame, 0 where one is absent.
        found: Frames in which each predicted track is present, (n,).
        there: Frames in which each true track is present, (m,).
    """
    total = similarity.sum(axis=1, keepdims=True) + similarity.sum(axis=2, keepdims=True) - similarity
    ratio = np.where(total > EPS, similarity / np.where(total > EPS, total, 1), np.zeros_like(similarity))
    matches = ratio.astype(np.float64).sum(axis=0)
    union = there[:, None] + found[None] - matches
    return matches / np.where(union > 0, union, 1)


def assign(score: Float[np.ndarray, "m n"]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the one-to-one assignment with the largest sum."""
    if score.shape == (1, 1):
        return np.zeros(1, dtype=np.intp), np.zeros(1, dtype=np.intp)
    return linear_sum_assignment(-score)


def association(
    matches: Float64[np.ndarray, "a m n"], there: Float64[np.ndarray, " m"], found: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "3 a"]:
    """Sums of association accuracy, recall and precision over matched detections, per threshold."""
    both = np.maximum(1, there[:, None] + found[None] - matches)
    parts = (both, np.maximum(1, there[:, None]), np.maximum(1, found[None]))
    return np.stack([(matches * (matches / part)).sum(axis=(1, 2)) for part in parts])


def hota_sums(
    similarity: Float[np.ndarray, "t m n"], truth: Bool[np.ndarray, "m t"], predicted: Bool[np.ndarray, "n t"]
) -> Float64[np.ndarray, "7 19"]:
    """What one sequence adds.

    Args:
        similarity: IoU in each frame; float32 (boxes) is compared in float32, whatever the version of numpy.
        truth: Presence of the true tracks.
        predicted: Presence of the predicted tracks.

    Returns:
        Rows: true positives, misses, false positives; sums over true positives of association accuracy, recall,
        precision; sum of their IoU. Columns: the 19 thresholds.
    """
    sums = np.zeros((7, len(ALPHAS)))
    if not predicted.any() or not truth.any():
        sums[1], sums[2] = truth.sum(), predicted.sum()
        return sums
    present = truth.T[:, :, None] & predicted.T[:, None]
    similarity = np.where(present, similarity, similarity.dtype.type(0))
    there, found = truth.sum(axis=1).astype(np.float64), predicted.sum(axis=1).astype(np.float64)
    aligned = alignment(similarity, found, there)
    limits = (ALPHAS - EPS).astype(similarity.dtype)
    matches = np.zeros((len(ALPHAS), len(truth), len(predicted)))
    for t in range(len(similarity)):
        rows, columns = np.flatnonzero(truth[:, t]), np.flatnonzero(predicted[:, t])
        if not len(rows) or not len(columns):
            sums[1] += len(rows)
            sums[2] += len(columns)
            continue
        grid = np.ix_(rows, columns)
        i, j = assign(aligned[grid] * similarity[t][grid])
        ious = similarity[t][rows[i], columns[j]]
        hits = ious[:, None] >= limits
        matches[:, rows[i], columns[j]] += hits.T
        count = hits.sum(axis=0)
        sums[0] += count
        sums[1] += len(rows) - count
        sums[2] += len(columns) - count
        sums[6] += (ious[:, None] * hits).sum(axis=0)
    sums[3:6] = association(matches, there, found)
    return sums


def hota_curves(sums: Float64[np.ndarray, "7 19"]) -> dict[str, Float64[np.ndarray, " 19"]]:
    """The nine metrics at each threshold, fractions, from sums over any number of sequences."""
    tp, fn, fp, accuracy, recall, precision, located = sums
    ass_a, ass_re, ass_pr = (part / np.maximum(1, tp) for part in (accuracy, recall, precision))
    det_a, det_re, det_pr = (tp / np.maximum(1, tp + part) for part in (fn + fp, fn, fp))
    return {
        "HOTA": np.sqrt(det_a * ass_a),
        "DetA": det_a,
        "AssA": ass_a,
        "DetRe": det_re,
        "DetPr": det_pr,
        "AssRe": ass_re,
        "AssPr": ass_pr,
        "LocA": np.maximum(1e-10, located) / np.maximum(1e-10, tp),
        "OWTA": np.sqrt(det_re * ass_a),
    }


def hota_numbers(sums: Float64[np.ndarray, "7 19"]) -> dict[str, float]:
    """The nine metrics as means over the thresholds (of the square roots: HOTA is no root of means)."""
    return {name: float(values.mean()) for name, values in hota_curves(sums).items()}
