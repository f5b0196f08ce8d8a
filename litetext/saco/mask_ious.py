"""IoU of run-length masks, those of many images in one call of `pycocotools`.

A call of it costs as much as some dozens of its pairs, and an image has few masks: so images share one. It takes masks
of another size for masks of another image, and passes over a pair of them. A width that no mask reaches says nothing
else to it, so that it can be the mark of an image; `tests/saco/test_mask_ious.py` holds it to that.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from pycocotools import mask

from litetext.saco.fields import LARGEST_SIDE
from litetext.saco.masks import CheckedMask, Rle, checked

_rle: Any = mask  # its type stubs know fewer inputs than it accepts
_PAIRS = 2000
"""Pairs of masks, most of them of two images, from which on a call is full."""

Side = Sequence[Rle]


def rle_ious(predicted: Side, truth: Side) -> Float64[np.ndarray, "n m"]:
    """IoU of every predicted with every true run-length mask.

    Two empty masks have IoU 0. Masks of different sizes have IoU -1 where their bounding boxes overlap and 0
    elsewhere, so they never match (this is what `pycocotools` answers, and the official numbers rest on it).

    Args:
        predicted: n masks.
        truth: m masks.

    Returns:
        The matrix (n, m).

    Raises:
        ValueError: The runs of a mask do not add up to its size.
    """
    return image_ious([(predicted, truth)])[0]


def image_ious(images: Iterable[tuple[Side, Side]]) -> list[Float64[np.ndarray, "n m"]]:
    """`rle_ious` of many images.

    Args:
        images: Predicted and true masks of each.

    Returns:
        A matrix (n, m) each.

    Raises:
        ValueError: As `rle_ious`.
    """
    found: list[np.ndarray] = []
    waiting: list[tuple[int, list[CheckedMask], list[CheckedMask]]] = []
    rows = columns = 0
    for place, (predicted, truth) in enumerate(images):
        found.append(np.zeros((len(predicted), len(truth))))
        if not found[-1].size:
            continue
        if waiting and (rows + len(predicted)) * (columns + len(truth)) > _PAIRS:
            _fill(found, waiting)
            waiting, rows, columns = [], 0, 0
        waiting.append((place, checked(predicted), checked(truth)))
        rows, columns = rows + len(predicted), columns + len(truth)
    if waiting:
        _fill(found, waiting)
    return found


def _fill(found: list[np.ndarray], images: Sequence[tuple[int, list[CheckedMask], list[CheckedMask]]]) -> None:
    """Puts the matrices of some images in their places."""
    a: list[Rle] = []
    b: list[Rle] = []
    marks: dict[tuple[int, int, int], int] = {}  # (place, height, width): an image's sizes stay apart too
    for place, predicted, truth in images:
        for side, masks in ((a, predicted), (b, truth)):
            size, marked = None, (0, 0)
            for one in masks:
                if one["size"] != size:
                    size = one["size"]
                    marked = (size[0], marks.setdefault((place, size[0], size[1]), LARGEST_SIDE + len(marks)))
                side.append({"size": marked, "counts": one["counts"]})  # it takes nothing but plain dicts
    ious = np.asarray(_rle.iou(a, b, [0] * len(b)))
    row = column = 0
    for place, predicted, truth in images:
        found[place] = ious[row : row + len(predicted), column : column + len(truth)]
        row, column = row + len(predicted), column + len(truth)
