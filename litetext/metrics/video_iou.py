"""How much masklets overlap, frame by frame and over a whole video.

Overlaps are counted in pixels as 64-bit integers, so that neither the number of frames nor the version of numpy can
make them wrap; boxes are judged in float32, as the public VEval evaluator of SAM 3 (arXiv 2511.16719) does.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from litetext.metrics.assess import IouType
from litetext.metrics.matching import rle
from litetext.saco.mask_ious import image_ious
from litetext.saco.videos import Masklets

_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Overlaps:
    """How m true and n predicted masklets of T frames overlap.

    Attributes:
        frames: IoU in each frame, (T, m, n): float64 for masks, float32 for boxes; 0 where one is absent.
        tubes: Intersection over union, each summed over all frames, (m, n). Two masklets that are empty throughout
            have 1 for masks (as officially) and 0 for boxes (the official code stops there).
    """

    frames: Float[np.ndarray, "t m n"]
    tubes: Float64[np.ndarray, "m n"]

    def take(self, truth: Int64[np.ndarray, " k"], predicted: Int64[np.ndarray, " l"]) -> "Overlaps":
        """The overlaps of some with some."""
        grid = np.ix_(truth, predicted)
        return Overlaps(self.frames[:, grid[0], grid[1]], self.tubes[grid])


def overlaps(truth: Masklets, predicted: Masklets, iou_type: IouType = "segm") -> Overlaps:
    """Overlaps of all true with all predicted masklets of one video, whatever their categories.

    Args:
        truth: m masklets.
        predicted: n masklets of as many frames.
        iou_type: "segm" for masks, "bbox" for boxes.

    Raises:
        ValueError: They differ in their number of frames.
    """
    if len(truth) and len(predicted) and truth.boxed.shape[1] != predicted.boxed.shape[1]:
        raise ValueError(
            f"ground truth has {truth.boxed.shape[1]} frames and the prediction {predicted.boxed.shape[1]}; "
            "give every frame of the video"
        )
    return _mask_overlaps(truth, predicted) if iou_type == "segm" else _box_overlaps(truth, predicted)


def _mask_overlaps(truth: Masklets, predicted: Masklets) -> Overlaps:
    length = truth.boxed.shape[1] if len(truth) else predicted.boxed.shape[1]
    m, n = len(truth), len(predicted)
    frames = np.zeros((length, m, n))
    shared = np.zeros((m, n), dtype=np.int64)
    true_area, found_area = _pixels(truth), _pixels(predicted)
    true = [{i: mask for i in range(m) if (mask := truth.masks[i][t]) is not None} for t in range(length)]
    found = [{j: mask for j in range(n) if (mask := predicted.masks[j][t]) is not None} for t in range(length)]
    every = image_ious((list(b.values()), list(a.values())) for a, b in zip(true, found, strict=True))
    for t, matrix in enumerate(every):
        if not matrix.size:
            continue
        rows, columns, ious = list(true[t]), list(found[t]), matrix.T
        grid = np.ix_(rows, columns)
        frames[t][grid] = ious
        both = true_area[rows, t][:, None] + found_area[columns, t][None]
        # Masks of different sizes answer -1; they share nothing. The intersection is i = iou * (a + b) / (1 + iou).
        ious = np.maximum(ious, 0)
        shared[grid] += np.rint(ious * both / (1 + ious)).astype(np.int64)
    union = true_area.sum(axis=1)[:, None] + found_area.sum(axis=1)[None] - shared
    return Overlaps(frames, np.where(union > 0, shared / np.maximum(union, 1), 1.0))


def _pixels(masklets: Masklets) -> Int64[np.ndarray, "n t"]:
    """Areas counted from the masks, which the file's own may contradict."""
    areas = np.zeros(masklets.boxed.shape, dtype=np.int64)
    where = [(i, t) for i, track in enumerate(masklets.masks) for t, mask in enumerate(track) if mask is not None]
    for start in range(0, len(where), 255):  # more at once overflow inside pycocotools
        part = where[start : start + 255]
        areas[tuple(np.transpose(part))] = np.asarray(rle.area([masklets.masks[i][t] for i, t in part]), dtype=np.int64)
    return areas


def _box_overlaps(truth: Masklets, predicted: Masklets) -> Overlaps:
    m, n = len(truth), len(predicted)
    if not m or not n:
        length = truth.boxed.shape[1] if m else predicted.boxed.shape[1]
        return Overlaps(np.zeros((length, m, n), dtype=np.float32), np.zeros((m, n)))
    a = truth.boxes.transpose(1, 0, 2)[:, :, None].astype(np.float32)
    b = predicted.boxes.transpose(1, 0, 2)[:, None].astype(np.float32)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.maximum(high - low, 0).prod(axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared
    frames = np.where(union > _EPS, shared / np.where(union > _EPS, union, 1), np.float32(0))
    together = union.sum(axis=0, dtype=np.float64)
    tubes = shared.sum(axis=0, dtype=np.float64).astype(np.float32) / np.maximum(together, 1e-12).astype(np.float32)
    return Overlaps(frames.astype(np.float32), tubes.astype(np.float64))
