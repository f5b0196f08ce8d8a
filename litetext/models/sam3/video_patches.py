"""The two operations that SAM3's video model takes from a downloaded GPU kernel: NMS, and areas of components.

Without that kernel transformers leaves out NMS, the filling of holes and the removal of sprinkles, and duplicate
detections become objects. These do the same offline, on every device alike.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64, UInt8
from scipy import ndimage
from torch import Tensor
from transformers.models.sam3_video import modeling_sam3_video

_AROUND = np.ones((3, 3))  # the eight neighbours


@contextmanager
def patch_kernels() -> Iterator[None]:
    """Gives transformers these operations for as long as the block runs, and then back what it had."""
    module: Any = modeling_sam3_video
    before = module.cv_utils_kernel
    module.cv_utils_kernel = SimpleNamespace(generic_nms=generic_nms, cc_2d=cc_2d)
    try:
        yield
    finally:
        module.cv_utils_kernel = before


def generic_nms(
    ious: Float[Tensor, "n n"], scores: Float[Tensor, " n"], threshold: float, use_iou_matrix: bool = True
) -> Int64[Tensor, " k"]:
    """Greedy non-maximum suppression on a matrix of IoU.

    Args:
        ious: IoU of every pair, (N, N).
        scores: Scores, (N,).
        threshold: IoU above which of two the one with the lower score is dropped.
        use_iou_matrix: `ious` is such a matrix; nothing else is asked for.

    Returns:
        The numbers of those kept, highest score first.
    """
    overlap = (ious > threshold).cpu().numpy()
    kept: list[int] = []
    for n in torch.sort(scores, descending=True, stable=True).indices.tolist():
        if not overlap[n, kept].any():
            kept.append(n)
    return torch.tensor(kept, dtype=torch.int64, device=ious.device)


def cc_2d(
    masks: UInt8[Tensor, "b 1 h w"], get_counts: bool = True
) -> tuple[Int32[Tensor, "b 1 h w"], Int32[Tensor, "b 1 h w"]]:
    """Connected components, eight neighbours a pixel.

    Args:
        masks: 0 or 1, (B, 1, H, W).
        get_counts: Their areas are wanted; they always come.

    Returns:
        At every pixel the number of its component, 0 for none, and the pixels of that component.
    """
    labels = np.zeros(tuple(masks.shape), dtype=np.int32)
    areas = np.zeros_like(labels)
    for b, one in enumerate(masks[:, 0].cpu().numpy()):
        found: Any = ndimage.label(one, _AROUND)
        labels[b, 0] = found[0]
        sizes = np.bincount(labels[b, 0].ravel())
        sizes[0] = 0
        areas[b, 0] = sizes[labels[b, 0]]
    return torch.from_numpy(labels).to(masks.device), torch.from_numpy(areas).to(masks.device)
