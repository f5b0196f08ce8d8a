"""Weights in 4 bits: two numbers a byte, one scale for every 32 or fewer columns of a row.

A scale of its own for a short group keeps one large weight from coarsening a whole row, as the block formats of
Dettmers and Zettlemoyer (The case for 4-bit precision, ICML 2023) do; the scale that is stored is the one of a few
candidates with the least squared error of its group.
"""

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Float, UInt8
from torch import Tensor

from litetext.models.text.stored import StoredEmbedding, StoredLinear

GROUP = 32
"""Most columns that share a scale."""
_CANDIDATES = tuple(0.7 + 0.05 * i for i in range(9))
"""Scales that are tried, as shares of the one under which the largest magnitude becomes 7."""


def quantize_groups(
    weight: Float[Tensor, "rows columns"],
) -> tuple[UInt8[Tensor, "rows half"], BFloat16[Tensor, "rows groups"]]:
    """4-bit numbers in -8..7, and one scale for every G columns of a row, 16 to 32 where there are so many.

    Args:
        weight: Any matrix (R, C).

    Returns:
        Pairs of numbers, the even column in the low half of a byte and both with 8 added, uint8 (R, C' / 2), and
        scales (R, C' / G), where C' is C filled with zeros to whole groups.
    """
    weight = weight.detach().float()
    group = _group(weight.shape[1])
    filled = F.pad(weight, (0, -weight.shape[1] % group)).unflatten(1, (-1, group))
    largest = filled.abs().amax(2)
    best = torch.full_like(largest, float("inf"))
    values, scales = torch.zeros_like(filled), torch.ones_like(largest)
    for share in _CANDIDATES:
        scale = (share * largest / 7).to(torch.bfloat16).float()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        rounded = torch.round(filled / scale[:, :, None]).clamp_(-8, 7)
        error = (rounded * scale[:, :, None] - filled).square().sum(2)
        better = error < best
        best = torch.where(better, error, best)
        scales = torch.where(better, scale, scales)
        values = torch.where(better[:, :, None], rounded, values)
    codes = (values + 8).to(torch.uint8).flatten(1)
    return codes[:, 0::2] | (codes[:, 1::2] << 4), scales.to(torch.bfloat16)


def widen_groups(packed: UInt8[Tensor, "*n half"], scale: BFloat16[Tensor, "*n groups"]) -> Float[Tensor, "*n columns"]:
    """The numbers that `quantize_groups` stored, float32 (..., C'); columns that it filled up are zero.

    Args:
        packed: Pairs of numbers (..., C' / 2).
        scale: Scales (..., C' / G).
    """
    codes = torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)
    numbers = (codes.to(torch.float32) - 8).unflatten(-1, (scale.shape[-1], -1))
    return (numbers * scale.float().unsqueeze(-1)).flatten(-2)


def _group(columns: int) -> int:
    if columns < GROUP:
        return columns + columns % 2  # two numbers make a byte
    return next((size for size in range(GROUP, GROUP // 2 - 1, -2) if columns % size == 0), GROUP)


class _FourBits:
    """Numbers of `quantize_groups`."""

    columns: int

    @staticmethod
    def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
        """As `quantize_groups`."""
        return quantize_groups(weight)

    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """As `widen_groups`, without what was filled up."""
        return widen_groups(weight, scale)[..., : self.columns].contiguous()


class Int4Linear(_FourBits, StoredLinear):
    """A linear layer whose weight is stored in 4 bits."""


class Int4Embedding(_FourBits, StoredEmbedding):
    """A token table stored in 4 bits with one scale for every few columns of a token."""
