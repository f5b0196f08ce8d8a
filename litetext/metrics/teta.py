"""TETA of masklets, as the public VEval evaluator of SAM 3 computes it (exhaustive, masks, no suppression).

TETA: Li et al., ECCV 2022 ("Tracking Every Thing in the Wild"): the mean of localisation, association and
classification accuracy, here over 20 thresholds from 0 (classification: the 10 from 0.5). Its quirks are kept, since
the published numbers have them: frames without any ground truth are dropped; a class whose turn comes without
overlapping predictions has its false classifications set, not added, so that the order of the categories matters;
numbers are in percent with five significant digits.

Nothing predicted, nothing above the threshold or no ground truth gives 0, where the official code stops.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from litetext.metrics.hota import EPS, alignment, assign, association

ALPHAS = np.arange(0.0, 0.99, 0.05)
"""Localisation thresholds, 0 to 0.95; the last 10 judge classification too."""
OVERLAP = 0.5
"""A prediction with this IoU concerns the instance, whatever its class."""
WIDTH = 6 * 20 + 3 * 10
NAMES = ("teta", "loc_a", "assoc_a", "cls_a", "loc_re", "loc_pr", "assoc_re", "assoc_pr", "cls_re", "cls_pr")


def teta_rows(
    similarity: Float64[np.ndarray, "t m n"],
    truth: Bool[np.ndarray, "m t"],
    predicted: Bool[np.ndarray, "n t"],
    true_class: Int64[np.ndarray, " m"],
    found_class: Int64[np.ndarray, " n"],
    classes: Sequence[int],
) -> dict[int, Float64[np.ndarray, " 150"]]:
    """What one video adds, per class.

    Args:
        similarity: Mask IoU of all true with all predicted masklets in each frame.
        truth: Presence of the true ones.
        predicted: Presence of the predicted ones.
        true_class: Categories of the true ones.
        found_class: Categories of the predicted ones.
        classes: Categories that have ground truth anywhere in the data set, in the order of its `categories`.

    Returns:
        By class that has something to add: LocTP, LocFN, LocFP, and sums of association accuracy, recall, precision
        (20 thresholds each), then ClsTP, ClsFN, ClsFP (10 each).
    """
    kept = truth.any(axis=0)
    truth, predicted = truth[:, kept], predicted[:, kept]
    present = truth.T[:, :, None] & predicted.T[:, None]
    similarity = np.where(present, similarity[kept], 0.0)
    near = present & (similarity >= OVERLAP)  # (t, m, n)
    owner = _assignment(similarity, truth, predicted, near)
    labelled = {c: predicted[found_class == c] for c in np.unique(found_class).tolist()}
    here = set(true_class.tolist())
    false = {c: np.zeros(10) for c in classes}
    rows: dict[int, np.ndarray] = {}
    for c in classes:
        if c not in here:  # nothing of this class to find: all that is called so is wrong
            false[c] = np.full(10, float(labelled[c].sum()) if c in labelled else 0.0)
            continue
        rows[c] = _class_row(c, similarity, truth, predicted, true_class, found_class, near, owner, false)
    for c, wrong in false.items():
        if c in rows or wrong.any():
            rows.setdefault(c, np.zeros(WIDTH))[140:] += wrong
    return rows


def _assignment(similarity: np.ndarray, truth: np.ndarray, predicted: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Which true masklet holds each predicted one in each frame, classes aside; -1 for none, (t, n)."""
    owner = np.full((similarity.shape[0], similarity.shape[2]), -1)
    tracks = np.flatnonzero(near.any(axis=(0, 1)))
    if not len(tracks):
        return owner
    similarity, predicted = similarity[:, :, tracks], predicted[tracks]
    aligned = alignment(similarity, predicted.sum(axis=1), truth.sum(axis=1))
    for t in range(len(similarity)):
        rows, columns = np.flatnonzero(truth[:, t]), np.flatnonzero(predicted[:, t])
        if not len(rows) or not len(columns):
            continue
        grid = np.ix_(rows, columns)
        i, j = assign(aligned[grid] * similarity[t][grid])
        good = similarity[t][rows[i], columns[j]] >= OVERLAP - EPS
        owner[t, tracks[columns[j[good]]]] = rows[i[good]]
    return owner


def _class_row(
    c: int,
    similarity: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    true_class: np.ndarray,
    found_class: np.ndarray,
    near: np.ndarray,
    owner: np.ndarray,
    false: dict[int, np.ndarray],
) -> np.ndarray:
    """The row of class c, whose false classifications (of other classes too) go into `false`."""
    own = np.flatnonzero(true_class == c)
    taken = (owner >= 0) & (true_class[np.maximum(owner, 0)] != c)
    over = near[:, own].any(axis=1) & ~taken  # (t, n): predictions that concern class c
    any_of_class = over | (predicted.T & (found_class == c))
    row = np.zeros(WIDTH)
    loc, cls = row[:120].reshape(6, 20), row[120:].reshape(3, 10)
    if not over.any():
        loc[1] = truth[own].sum()
        false[c] = np.full(10, float(any_of_class.sum()))
        return row
    tracks = np.flatnonzero(over.any(axis=0))
    there, found = truth[own].sum(axis=1).astype(float), predicted[tracks].sum(axis=1).astype(float)
    ious = similarity[:, own][:, :, tracks]
    aligned = alignment(ious, found, there)
    matches = np.zeros((20, len(own), len(tracks)))
    for t in range(len(ious)):
        rows = np.flatnonzero(truth[own, t])
        if not len(rows):
            false[c] += any_of_class[t].sum()
            continue
        columns = np.flatnonzero(predicted[tracks, t])
        grid = np.ix_(rows, columns)
        i, j = assign(aligned[grid] * ious[t][grid]) if len(columns) else (np.zeros(0, int), np.zeros(0, int))
        at, who = rows[i], tracks[columns[j]]
        hits = ious[t][at, columns[j]][:, None] >= ALPHAS - EPS  # (k, 20)
        false[c] += any_of_class[t].sum() - over[t].sum()
        count = hits.sum(axis=0)
        loc[0] += count
        loc[1] += len(rows) - count
        loc[2] += over[t].sum() - (hits & over[t, who][:, None]).sum(axis=0)
        right = found_class[who] == c
        cls[0] += hits[right, 10:].sum(axis=0)
        cls[1] += hits[~right, 10:].sum(axis=0)
        for k in np.flatnonzero(~right):
            if (other := int(found_class[who[k]])) in false:
                false[other] += hits[k, 10:]
        matches[:, at, columns[j]] += hits.T
    loc[3:] = association(matches, there, found)
    return row


def teta_numbers(rows: Float64[np.ndarray, "c 150"]) -> dict[str, float]:
    """The ten numbers in percent, to five significant digits, averaged over classes that have anything to locate.

    Args:
        rows: One a class, summed over videos.
    """
    loc, cls = rows[:, :120].reshape(-1, 6, 20), rows[:, 120:].reshape(-1, 3, 10)
    some = loc[:, :3].sum(axis=(1, 2)) > EPS
    if not some.any():
        return dict.fromkeys(NAMES, 0.0)
    tp, fn, fp, accuracy, recall, precision = loc[some].transpose(1, 0, 2)
    weight = np.maximum(1, tp)
    right, wrong, extra = cls[some].transpose(1, 0, 2)
    parts = {
        "loc_a": tp / np.maximum(1, tp + fn + fp),
        "assoc_a": accuracy / weight,
        "cls_a": _mean(right / np.maximum(1, right + wrong + extra)),
        "loc_re": tp / np.maximum(1, tp + fn),
        "loc_pr": tp / np.maximum(1, tp + fp),
        "assoc_re": recall / weight,
        "assoc_pr": precision / weight,
        "cls_re": _mean(right / np.maximum(1, right + wrong)),
        "cls_pr": _mean(right / np.maximum(1, right + extra)),
    }
    parts = {"teta": (parts["loc_a"] + parts["assoc_a"] + parts["cls_a"]) / 3} | parts
    return {name: float(f"{100 * values.mean():1.5g}") for name, values in parts.items()}


def _mean(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.mean(axis=1, keepdims=True), 20, axis=1)
