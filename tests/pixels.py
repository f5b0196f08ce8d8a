"""Masks that two ways of computing give: equal, but for pixels that the order of a sum decides.

Processors add numbers in different orders, and a logit moves in its last bits; where a probability lies that close to
the threshold, either side is right. All other pixels are compared exactly.
"""

import math

import numpy as np
from torch import Tensor

CLOSE = 1e-4
"""How far from its threshold a probability decides a pixel on every machine."""


def undecided(logits: Tensor, threshold: float = 0.5) -> np.ndarray:
    """The pixels of mask logits, of any shape, whose probability lies within `CLOSE` of the threshold."""
    return ((logits.double().sigmoid() - threshold).abs() < CLOSE).cpu().numpy()


def undecided_probability(values: Tensor, threshold: float = 0.5) -> np.ndarray:
    """The same of probabilities."""
    return ((values.double() - threshold).abs() < CLOSE).cpu().numpy()


def assert_same_masks(own: np.ndarray | Tensor, wanted: np.ndarray | Tensor, either: np.ndarray) -> None:
    """Compares boolean masks of one shape; `either` marks the pixels that may differ, at most one in a hundred."""
    own, wanted = np.asarray(own, dtype=bool), np.asarray(wanted, dtype=bool)
    assert own.shape == wanted.shape == either.shape
    assert either.sum() <= max(2, math.ceil(either.size / 100)), "too many pixels lie on the threshold to compare"
    np.testing.assert_array_equal(own & ~either, wanted & ~either)
