"""Weights in 4, 5 or 6 bits with one scale for every 32 or fewer columns of a row.

A scale of its own for a short group keeps one large weight from coarsening a whole row, as the block formats of
Dettmers and Zettlemoyer (The case for 4-bit precision, ICML 2023) do; the scale that is stored is the one of a few
candidates with the least squared error of its group. Where it is known what a layer meets, columns are rounded one
after the other, and what each loses is made good in those behind it: GPTQ (Frantar et al., ICLR 2023).
"""

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Float, UInt8
from torch import Tensor

from litetext.models.text.stored import StoredEmbedding, StoredLinear

GROUP = 32
"""Most columns that share a scale."""
_CANDIDATES = tuple(0.7 + 0.05 * i for i in range(9))
"""Scales that are tried, as shares of the one under which the largest magnitude becomes the largest number."""
_DAMPING = 0.01
"""Added to the variance of every input, as a share of their mean: inputs that were not met may come."""


def quantize_groups(
    weight: Float[Tensor, "rows columns"], bits: int = 4, covariance: Float[Tensor, "columns columns"] | None = None
) -> tuple[UInt8[Tensor, "rows bytes"], BFloat16[Tensor, "rows groups"]]:
    """Numbers of few bits, and one scale for every G columns of a row, 16 to 32 where there are so many.

    Args:
        weight: Any matrix (R, C).
        bits: 4, 5 or 6; numbers lie in -2^(bits - 1) to below 2^(bits - 1).
        covariance: Of the inputs that the matrix will be multiplied with, (C, C); None rounds to the nearest number.

    Returns:
        Numbers, see `pack_codes`, and scales (R, C' / G), where C' is C filled with zeros to whole groups.
    """
    weight = weight.detach().float()
    group = _group(weight.shape[1])
    filled = F.pad(weight, (0, -weight.shape[1] % group))
    if covariance is None or weight.is_meta:
        parts = filled.unflatten(1, (-1, group))
        scales = _scales(parts, bits)
        numbers = _round(parts, scales[:, :, None], bits).flatten(1)
    else:
        whole = F.pad(covariance.float(), (0, -len(covariance) % group, 0, -len(covariance) % group))
        numbers, scales = _with_feedback(filled, bits, group, whole)
    return pack_codes((numbers + 2 ** (bits - 1)).to(torch.uint8), bits), scales.to(torch.bfloat16)


def _scales(parts: Float[Tensor, "*n group"], bits: int) -> Float[Tensor, "*n"]:
    """The candidate of each group with the least squared error, as bfloat16 holds it."""
    largest = parts.abs().amax(-1)
    best, scales = torch.full_like(largest, float("inf")), torch.ones_like(largest)
    for share in _CANDIDATES:
        scale = (share * largest / (2 ** (bits - 1) - 1)).to(torch.bfloat16).float()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        error = (_round(parts, scale.unsqueeze(-1), bits) * scale.unsqueeze(-1) - parts).square().sum(-1)
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
    return scales


def _round(values: Tensor, scale: Tensor, bits: int) -> Tensor:
    return torch.round(values / scale).clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _with_feedback(weight: Tensor, bits: int, group: int, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (R, C) and scales (R, C / G) whose products with such inputs are close to those of the weight."""
    rest = weight.clone()
    variance = covariance.diagonal()
    damping = _DAMPING * float(variance.mean()) or 1.0
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance + damping * torch.eye(len(covariance))))
    spread = torch.linalg.cholesky(inverse, upper=True)  # what an error in a column asks of those behind it
    numbers, scales = torch.empty_like(rest), []
    for start in range(0, rest.shape[1], group):
        part = rest[:, start : start + group]
        scale = _scales(part, bits)
        errors = torch.empty_like(part)
        for n in range(group):
            here = start + n
            numbers[:, here] = _round(part[:, n], scale, bits)
            errors[:, n] = (part[:, n] - numbers[:, here] * scale) / spread[here, here]
            part[:, n + 1 :] -= errors[:, n, None] * spread[here, here + 1 : start + group]
        rest[:, start + group :] -= errors @ spread[start : start + group, start + group :]
        scales.append(scale)
    return numbers, torch.stack(scales, 1)


def pack_codes(codes: UInt8[Tensor, "rows columns"], bits: int) -> UInt8[Tensor, "rows bytes"]:
    """Codes below 2^bits in bytes: the low four bits two a byte, the even column in the low half; then further bits.

    Args:
        codes: (R, C), C even.
        bits: 4, 5 or 6.

    Returns:
        Bytes (R, C / 2 + (bits - 4) * ceil(C / 8)).
    """
    low = codes & 15
    parts = [low[:, 0::2] | (low[:, 1::2] << 4)]
    for bit in range(4, bits):
        plane = F.pad((codes >> bit) & 1, (0, -codes.shape[1] % 8)).unflatten(1, (-1, 8))
        parts.append((plane << torch.arange(8, dtype=torch.uint8, device=codes.device)).sum(2, dtype=torch.uint8))
    return torch.cat(parts, 1)


def _unpack_codes(packed: UInt8[Tensor, "*n bytes"], bits: int, columns: int) -> UInt8[Tensor, "*n columns"]:
    low = packed[..., : columns // 2]
    codes = torch.stack((low & 15, low >> 4), dim=-1).flatten(-2)
    width = -(-columns // 8)
    for bit in range(4, bits):
        start = columns // 2 + (bit - 4) * width
        plane = packed[..., start : start + width].unsqueeze(-1)
        ones = (plane >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
        codes = codes | (ones.flatten(-2)[..., :columns] << bit)
    return codes


def widen_groups(
    packed: UInt8[Tensor, "*n bytes"], scale: BFloat16[Tensor, "*n groups"], bits: int, columns: int
) -> Float[Tensor, "*n columns"]:
    """The numbers that `quantize_groups` stored, float32 (..., C).

    Args:
        packed: Of some rows.
        scale: Their scales (..., C' / G).
        bits: 4, 5 or 6.
        columns: C.
    """
    group = _group(columns)
    filled = columns + -columns % group
    numbers = _unpack_codes(packed, bits, filled).to(torch.float32) - 2 ** (bits - 1)
    wide = numbers.unflatten(-1, (-1, group)) * scale.float().unsqueeze(-1)
    return wide.flatten(-2)[..., :columns].contiguous()


def _group(columns: int) -> int:
    if columns < GROUP:
        return columns + columns % 2  # two numbers make a byte
    return next((size for size in range(GROUP, GROUP // 2 - 1, -2) if columns % size == 0), GROUP)


class _FewBits:
    """Numbers of `quantize_groups`."""

    bits = 4
    columns: int

    @classmethod
    def pack(cls, weight: Tensor, covariance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `quantize_groups`."""
        return quantize_groups(weight, cls.bits, covariance)

    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """As `widen_groups`."""
        return widen_groups(weight, scale, self.bits, self.columns)


class Int4Linear(_FewBits, StoredLinear):
    """A linear layer whose weight is stored in 4 bits."""


class Int4Embedding(_FewBits, StoredEmbedding):
    """A token table stored in 4 bits with one scale for every few columns of a token."""


class Int5Linear(_FewBits, StoredLinear):
    """A linear layer whose weight is stored in 5 bits."""

    bits = 5


class Int5Embedding(_FewBits, StoredEmbedding):
    """A token table stored in 5 bits with one scale for every few columns of a token."""

    bits = 5


class Int6Linear(_FewBits, StoredLinear):
    """A linear layer whose weight is stored in 6 bits."""

    bits = 6


class Int6Embedding(_FewBits, StoredEmbedding):
    """A token table stored in 6 bits with one scale for every few columns of a token."""

    bits = 6
