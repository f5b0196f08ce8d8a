"""IoU of boolean mask tensors, computed where they are, bit for bit as of run-length masks."""

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

_NUMBERS_AT_ONCE = 1 << 22


def tensor_ious(predicted: Bool[Tensor, "n h w"], truth: Bool[Tensor, "m h w"]) -> Float64[np.ndarray, "n m"]:
    """IoU of every predicted with every true boolean mask, computed where the tensors are.

    Intersections are products of 0/1 matrices in float64, a block of pixels at a time: exact on every device,
    whatever is allowed for float32 products (TF32). Devices without float64 are left for the CPU.

    Args:
        predicted: n masks of h x w pixels.
        truth: m masks of h x w pixels, on any device.

    Returns:
        The matrix (n, m), on the CPU.

    Raises:
        ValueError: The masks differ in height or width.
    """
    if predicted.shape[1:] != truth.shape[1:]:
        raise ValueError(
            f"predicted masks are {tuple(predicted.shape[1:])}, true masks {tuple(truth.shape[1:])} pixels: "
            "resize the predictions to the ground truth first"
        )
    device = torch.device("cpu") if predicted.device.type == "mps" else predicted.device
    a, b = predicted.to(device).flatten(1), truth.to(device).flatten(1)
    step = max(1, _NUMBERS_AT_ONCE // max(1, len(a) + len(b)))
    shared = torch.zeros(len(a), len(b), dtype=torch.float64, device=device)
    for start in range(0, a.shape[1], step):
        block = slice(start, start + step)
        shared += a[:, block].double() @ b[:, block].double().T
    union = a.sum(1, dtype=torch.int64)[:, None] + b.sum(1, dtype=torch.int64)[None] - shared
    return (shared / union.clamp(min=1)).cpu().numpy()
