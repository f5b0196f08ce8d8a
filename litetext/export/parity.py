"""The gate that an export passes before it gets its name: the same features for real prompts, in figures."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_COSINE = {
    "fp32": 0.99999,
    "fp16": 0.9999,
    "int8": 0.99,
    "compact": 0.999,
    "compact in 6 bits": 0.99,
    "compact in 5 bits": 0.98,
    "compact in 4 bits": 0.97,
}
"""Pooled cosine that a type must reach, the smallest of all prompts."""


class Parity(NamedTuple):
    """How close an export is to its student on valid tokens.

    Attributes:
        prompts: Prompts compared.
        largest: Largest difference of a feature.
        cosine: Smallest cosine of a token's features.
        pooled: Smallest cosine of a prompt's mean feature.
    """

    prompts: int
    largest: float
    cosine: float
    pooled: float

    def line(self, what: str) -> str:
        """One line for people."""
        return (
            f"{what}: on {self.prompts:,} prompts the largest difference is {self.largest:.2g}, the smallest cosine "
            f"{self.cosine:.6f} per token and {self.pooled:.6f} pooled"
        )


def parity_of(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Parity:
    """Compares features of prompts that each program tokenized itself.

    Args:
        ours: Features of each prompt's valid tokens, (n_i, D).
        theirs: The same of the export.

    Raises:
        ValueError: If there is nothing to compare, or a prompt has another number of tokens or of values there.
    """
    if not ours:
        raise ValueError("no prompt to compare on; give --prompts a corpus with prompts that fit the context")
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if mine.shape != other.shape:
            raise ValueError(f"features of prompt {number} are {tuple(other.shape)} there, {tuple(mine.shape)} here")
    a, b = torch.cat(list(ours)).double(), torch.cat(list(theirs)).double()
    gap = float((a - b).abs().max()) if bool(torch.isfinite(b).all()) else float("inf")
    means = (torch.stack([rows.double().mean(0) for rows in side]) for side in (ours, theirs))
    pooled = F.cosine_similarity(*means, dim=1)
    return Parity(len(ours), gap, float(F.cosine_similarity(a, b, dim=1).min()), float(pooled.min()))


def require_parity(what: str, found: Parity, tolerance: float, hint: str = "", min_cosine: float = -1.0) -> None:
    """Refuses an export that computes something else.

    Args:
        what: What was compared.
        found: From `parity_of`.
        tolerance: Largest error that may be.
        hint: What the user can do; ends the line.
        min_cosine: Smallest pooled cosine that is accepted.

    Raises:
        ValueError: With the error, if it is larger, or the pooled cosine smaller.
    """
    if not found.pooled >= min_cosine:
        raise ValueError(f"nothing was written: {found.line(what)}; the pooled cosine must be at least {min_cosine}")
    if not found.largest <= tolerance:
        raise ValueError(
            f"nothing was written, since the export is not equal to the student: {found.line(what)}; the tolerance is "
            f"{tolerance:g}{'; ' + hint if hint else ''}"
        )
