"""IoU of masks and boxes as exact float64 ratios, and the assignment of predictions to ground truth.

Three kinds of input: COCO run-length masks, boolean mask tensors, boxes. All of them give the numbers of
`pycocotools` bit for bit: intersections and unions are counted as integers and divided once in float64, since
an IoU that lies exactly on a threshold must not move with the precision of the hardware.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from pycocotools import mask
from scipy.optimize import linear_sum_assignment

from litetext.saco.mask_ious import image_ious
from litetext.saco.masks import Rle, encode_masks

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import TypeIs

    Masks = Sequence[Rle] | Tensor

    def is_tensor(values: object) -> TypeIs[Tensor]: ...  # noqa: D103

else:
    Masks = Any
    """Masks of one datapoint: run-length masks, or one boolean tensor (n, height, width)."""

    def is_tensor(values: object) -> bool:
        """Whether values are a torch tensor; torch is not imported to tell, since scoring files does without it."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(values, torch.Tensor)


rle: Any = mask  # its type stubs know fewer inputs than it accepts


def mask_ious(predicted: Masks, truth: Masks) -> Float64[np.ndarray, "n m"]:
    """IoU of every predicted with every true mask, run-length masks and tensors in any mixture.

    Args:
        predicted: n masks.
        truth: m masks.

    Returns:
        The matrix (n, m).

    Raises:
        ValueError: Both are tensors and differ in height or width.
    """
    return all_mask_ious([(predicted, truth)])[0]


def all_mask_ious(images: Sequence[tuple[Masks, Masks]]) -> list[Float64[np.ndarray, "n m"]]:
    """`mask_ious` of many images at once, which is faster where they are run-length masks.

    Args:
        images: Predicted and true masks of each.

    Returns:
        A matrix (n, m) each.

    Raises:
        ValueError: As `mask_ious`.
    """
    found: list[Any] = [None] * len(images)
    coded: list[int] = []
    for place, (predicted, truth) in enumerate(images):
        if len(predicted) and len(truth) and is_tensor(predicted) and is_tensor(truth):
            from litetext.metrics.tensor_iou import tensor_ious

            found[place] = tensor_ious(_boolean(predicted), _boolean(truth))
        else:
            coded.append(place)
    sides = ((to_rle(images[place][0]), to_rle(images[place][1])) for place in coded)
    for place, ious in zip(coded, image_ious(sides), strict=True):
        found[place] = ious
    return found


def box_ious(predicted: Any, truth: Any) -> Float64[np.ndarray, "n m"]:
    """IoU of every predicted with every true box.

    Args:
        predicted: n boxes [x, y, width, height] (array, tensor or nested list); read as float64.
        truth: m boxes in the same unit (normalised with normalised, pixels with pixels).

    Returns:
        The matrix (n, m). Boxes that only touch have IoU 0.

    Examples:
        >>> box_ious([[0, 0, 2, 2]], [[0, 0, 2, 1], [2, 0, 1, 1]]).tolist()
        [[0.5, 0.0]]
    """
    a, b = as_boxes(predicted), as_boxes(truth)
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    return np.asarray(rle.iou(a, b, [0] * len(b)))


def as_boxes(boxes: Any) -> Float64[np.ndarray, "n 4"]:
    """Boxes as a float64 array (n, 4) on the CPU, from an array, a tensor or a nested list.

    Raises:
        ValueError: The input is not n rows of four finite numbers, or an extent is negative.
    """
    values = boxes.detach().cpu().double().numpy() if is_tensor(boxes) else boxes
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes must be (n, 4) [x, y, width, height], got shape {array.shape}")
    wrong = ~np.isfinite(array).all(axis=1) | (array[:, 2:] < 0).any(axis=1)
    if wrong.any():
        raise ValueError(f"box {array[wrong][0].tolist()} is not [x, y, width, height] with finite numbers")
    return array


def to_rle(masks: Masks) -> list[Rle]:
    """Masks as run-length masks.

    Args:
        masks: Run-length masks (given back as they are) or a boolean tensor (n, height, width).
    """
    if not is_tensor(masks):
        return list(masks)
    return encode_masks(_boolean(masks).detach().cpu().numpy())


def _boolean(masks: Any) -> Any:
    """Masks of 0 and 1, or 0 and 255, as boolean ones; floats may be probabilities or logits.

    Raises:
        ValueError: They are floats, or not (n, height, width).
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be (n, height, width), got shape {tuple(masks.shape)}")
    if masks.is_floating_point() or masks.is_complex():
        raise ValueError(f"masks are {masks.dtype}: cut them first, as probabilities > 0.5 or logits > 0")
    import torch

    return masks if masks.dtype == torch.bool else masks != 0


def rle_text(mask: Rle) -> Rle:
    """A run-length mask as JSON holds it: counts as text."""
    counts = mask["counts"]
    return {"size": list(mask["size"]), "counts": counts if isinstance(counts, str) else counts.decode("ascii")}


def assigned_ious(ious: Float64[np.ndarray, "n m"]) -> Float64[np.ndarray, " k"]:
    """IoU of each pair in the one-to-one assignment with the largest sum of IoU, k = min(n, m).

    No score and no threshold enters: predictions are assigned once, and thresholds judge the pairs
    afterwards.

    Args:
        ious: Predictions along the rows, ground truth along the columns.
    """
    if 1 in ious.shape:
        return ious.max(keepdims=True)[0]
    return ious[linear_sum_assignment(ious, maximize=True)]
