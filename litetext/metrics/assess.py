"""One datapoint against its annotators: matched once each, and the annotator who agrees best counts.

A *datapoint* is one pair (image, noun phrase). Rules are those of the public SA-Co image evaluator of SAM 3
(arXiv 2511.16719): predictions from score 0.5 on, one assignment with the largest sum of IoU, ten thresholds,
oracle.
"""

from collections.abc import Sequence
from itertools import accumulate, compress, islice
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from litetext.garbage import no_collection
from litetext.metrics.matching import all_mask_ious, as_boxes, assigned_ious, box_ious, is_tensor, to_rle
from litetext.saco.fields import shown
from litetext.saco.instances import Instances, Truth
from litetext.saco.masks import CheckedMask, checked

IouType = Literal["segm", "bbox"]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds; `linspace` gives 0.8999999999999999 for 0.9, as in the official code (`arange` differs)."""
MIN_SCORE = 0.5
"""Predictions count from this score on (inclusive, in float64)."""

_TOGETHER = 64
"""Datapoints whose instances above the score are held at once: of tensors they are copies."""

_SLACK = 1e-6
"""Scores may leave 0..1 by so much, as rounding makes them."""

BOX_EPS = 1e-4
"""Added to the denominators of precision, recall and F1 of instances, as in the official code."""


@no_collection()
def assess(
    detections: Sequence[Instances],
    truths: Sequence[Sequence[Truth]],
    iou_type: IouType = "segm",
) -> Int64[np.ndarray, "d 12"]:
    """Match every datapoint and choose its annotator.

    Args:
        detections: Predictions of d datapoints. The order within a datapoint only matters between equal sums
            of IoU.
        truths: For each datapoint its annotators (usually 1 or 3), in the order of the files.
        iou_type: "segm" for masks, "bbox" for boxes.

    Returns:
        One row per datapoint: predictions n, instances m of the chosen annotator, true positives at the 10
        IoU thresholds. False positives are n minus true positives, false negatives m minus true positives.

    Raises:
        ValueError: Numbers of scores, masks or boxes that do not belong together, scores outside 0..1, boxes that are
            none, masks of floats, or no annotator.
    """
    if len(detections) != len(truths):
        raise ValueError(f"{len(detections)} detections but {len(truths)} truths: give one of each per datapoint")
    if iou_type not in ("segm", "bbox"):
        raise ValueError(f'iou_type must be "segm" or "bbox", got {iou_type!r}')
    if not len(detections):
        return np.zeros((0, 12), dtype=np.int64)
    if iou_type == "segm":
        detections, truths = _checked(detections, truths)
    if (lacking := next((i for i, annotators in enumerate(truths) if not annotators), None)) is not None:
        raise ValueError(f"datapoint {lacking} has no annotator: a negative is one Truth without instances")
    matched: list[Any] = []
    for first in range(0, len(detections), _TOGETHER):
        marked = truths[first : first + _TOGETHER]
        taken = [_take(*one, iou_type) for one in zip(detections[first : first + _TOGETHER], marked, strict=True)]
        matched += [_match(*one) for one in zip(taken, marked, _ious(taken, iou_type), strict=True)]
    width = max(len(one) for one in matched)
    present = np.arange(width) < np.array([len(one) for one in matched])[:, None]
    flat = [entry for one in matched for entry in one]
    sizes = np.zeros((len(matched), width, 2), dtype=np.int64)
    sizes[present] = [(n, m) for n, m, _ in flat]
    hits = np.zeros((len(matched), width, 10), dtype=np.int64)
    pairs = [ious for _, _, ious in flat if ious is not None]
    if pairs:
        ends = np.cumsum([len(ious) for ious in pairs])
        judged = np.concatenate(pairs)[:, None] >= THRESHOLDS
        counts = np.add.reduceat(judged, np.concatenate([[0], ends[:-1]]), axis=0, dtype=np.int64)
        where = np.flatnonzero(present)[[ious is not None for _, _, ious in flat]]
        hits.reshape(-1, 10)[where] = counts
    return _oracle(sizes, hits, present)


def _checked(
    detections: Sequence[Instances], truths: Sequence[Sequence[Truth]]
) -> tuple[Sequence[Instances], Sequence[Sequence[Truth]]]:
    """The same with run-length masks that have been checked, all in one pass."""
    holders: list[Any] = [*detections, *(one for annotators in truths for one in annotators)]
    listed = [
        masks if isinstance(masks := one.masks, list) else [] if masks is None or is_tensor(masks) else list(masks)
        for one in holders
    ]
    every = [mask for masks in listed for mask in masks]
    as_they_are = all(not masks or masks is one.masks for one, masks in zip(holders, listed, strict=True))
    if as_they_are and all(isinstance(mask, CheckedMask) for mask in every):
        return detections, truths
    try:
        sound = iter(checked(every))
    except ValueError:
        return detections, truths  # where a datapoint is matched, the damaged mask is named
    made = iter(
        [
            one._replace(masks=list(islice(sound, len(masks)))) if masks else one
            for one, masks in zip(holders, listed, strict=True)
        ]
    )
    return list(islice(made, len(detections))), [list(islice(made, len(annotators))) for annotators in truths]


class _Taken(NamedTuple):
    """What counts of a datapoint.

    Attributes:
        keep: Which predictions.
        total: How many they are.
        predicted: Masks or boxes of those.
        marked: Masks or boxes of all annotators, one behind the other.
        counts: How many of them are each annotator's.
    """

    keep: list[bool]
    total: int
    predicted: Any
    marked: Any
    counts: list[int]


def _take(found: Instances, annotators: Sequence[Truth], iou_type: IouType) -> _Taken:
    scores = found.scores
    if is_tensor(scores):
        scores = scores.detach().cpu().double().numpy()
    scores = np.asarray(scores, dtype=np.float64)
    values = scores.tolist()  # few, for which numpy would be slower
    # NaN compares as false, so that this refuses it too.
    if scores.ndim != 1 or not all(-_SLACK <= score <= 1 + _SLACK for score in values):
        raise ValueError(f"scores are {shown(values)}; give one from 0 to 1 for each instance")
    keep = [score >= MIN_SCORE for score in values]
    total = sum(keep)
    predicted = _pick(found, keep, iou_type, "detections") if total else []
    parts = [_instances(annotator, iou_type) for annotator in annotators]
    counts = [len(part) for part in parts]
    return _Taken(keep, total, predicted, _join(parts) if total and any(counts) else [], counts)


def _ious(taken: Sequence[_Taken], iou_type: IouType) -> list[Float64[np.ndarray, "n m"]]:
    """IoU of predictions and marks; one matrix of a datapoint serves all its annotators."""
    sides = [(one.predicted, one.marked) for one in taken]
    return all_mask_ious(sides) if iou_type == "segm" else [box_ious(*both) for both in sides]


def _match(
    one: _Taken, annotators: Sequence[Truth], ious: Float64[np.ndarray, "n m"]
) -> list[tuple[int, int, Float64[np.ndarray, " k"] | None]]:
    """(n, m, IoU of the assigned pairs) of each annotator."""
    matched: list[tuple[int, int, Any]] = []
    for annotator, m, end in zip(annotators, one.counts, accumulate(one.counts), strict=True):
        known = None if annotator.known is None else np.asarray(annotator.known, dtype=bool)[one.keep]
        n = one.total if known is None else int(known.sum())
        if not n or not m:
            matched.append((n, m, None))
            continue
        own = ious[:, end - m : end]
        matched.append((n, m, assigned_ious(own if known is None else own[known])))
    return matched


def _instances(annotator: Truth, iou_type: IouType) -> Any:
    items = annotator.masks if iou_type == "segm" else annotator.boxes
    if items is None or len(items) == 0:
        other = annotator.boxes if iou_type == "segm" else annotator.masks
        if other is not None and len(other):
            raise ValueError(
                f'iou_type "{iou_type}" needs ground truth {_field(iou_type)}, and only the other is given'
            )
        return []
    if annotator.crowd is None:
        return items
    crowd = annotator.crowd.detach().cpu().numpy() if is_tensor(annotator.crowd) else annotator.crowd
    keep = [not one for one in crowd] if isinstance(crowd, list) else (~np.asarray(crowd, dtype=bool)).tolist()
    return _pick(annotator, keep, iou_type, "ground truth")


def _pick(source: Instances | Truth, keep: list[bool], iou_type: IouType, what: str) -> Any:
    items = source.masks if iou_type == "segm" else source.boxes
    if items is None or len(items) != len(keep):
        count = "no" if items is None else len(items)
        raise ValueError(f'{what}: {len(keep)} instances but {count} {_field(iou_type)}, which "{iou_type}" needs')
    if is_tensor(items):
        import torch

        return items if all(keep) else items[torch.tensor(keep, device=items.device)]
    if iou_type == "bbox":
        return as_boxes(items)[np.asarray(keep, dtype=bool)]
    return list(compress(items, keep))


def _field(iou_type: IouType) -> str:
    return "masks" if iou_type == "segm" else "boxes"


def _join(parts: Sequence[Any]) -> Any:
    """Instances of all annotators behind one another."""
    filled = [part for part in parts if len(part)]
    if len(filled) == 1:
        return filled[0]
    tensors = [part for part in filled if is_tensor(part)]
    if len(tensors) == len(filled):
        import torch

        return torch.cat([part.to(tensors[0].device) for part in tensors])
    if any(isinstance(part, list) and isinstance(part[0], dict) for part in filled):
        return [mask for part in filled for mask in to_rle(part)]
    return np.concatenate([as_boxes(part) for part in filled])


def local_f1(n: Int64[np.ndarray, " d"], m: Int64[np.ndarray, " d"], hits: Int64[np.ndarray, "d 10"]) -> Any:
    """Local F1 of each datapoint at each threshold, (d, 10): what the oracle compares."""
    precision = hits / (n[:, None] + BOX_EPS)
    recall = hits / (m[:, None] + BOX_EPS)
    return 2 * precision * recall / (precision + recall + BOX_EPS)


def _oracle(
    sizes: Int64[np.ndarray, "d a 2"], hits: Int64[np.ndarray, "d a 10"], present: Bool[np.ndarray, "d a"]
) -> Int64[np.ndarray, "d 12"]:
    """The annotator who agrees best: strictly larger mean local F1 wins; a true negative beats a miss."""
    best = np.concatenate([sizes[:, 0], hits[:, 0]], axis=1)
    best_f1 = local_f1(sizes[:, 0, 0], sizes[:, 0, 1], hits[:, 0]).mean(axis=1)
    for j in range(1, sizes.shape[1]):
        current = np.concatenate([sizes[:, j], hits[:, j]], axis=1)
        f1 = local_f1(sizes[:, j, 0], sizes[:, j, 1], hits[:, j]).mean(axis=1)
        negative, best_negative = current[:, :2].sum(axis=1) == 0, best[:, :2].sum(axis=1) == 0
        better = present[:, j] & (negative | (~best_negative & (f1 > best_f1)))
        best[better], best_f1[better] = current[better], f1[better]
    return best
