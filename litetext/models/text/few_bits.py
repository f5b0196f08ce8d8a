"""Weights in 4, 5 or 6 bits with one scale for every 32 or fewer columns of a row.

A scale of its own for a short group keeps one large weight from coarsening a whole row, as the block formats of
Dettmers and Zettlemoyer (The case for 4-bit precision, ICML 2023) do; the scale that is stored is the one of a few
candidates with the least squared error of its group. Where it is known what a layer meets, columns are rounded one
after the other, and what each loses is made good in those behind it: GPTQ (Frantar et al., ICLR 2023).

Scales of numbers of fewer than 6 bits are bfloat16. Those of 6 bits are bytes, powers of 2^(-1/32) times a base of the
row: half the size, and as close, since the numbers are finer than the scales are coarse (with 5 and 4 bits they are
not). In a row of one or two scales the base takes what bytes save, and they are bfloat16 too.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from litetext.models.text.stored import Stored, StoredEmbedding, StoredLinear, fixed

GROUP = 32
"""Most columns that share a scale."""
_BYTES_FROM = 6
"""Fewest bits of numbers whose scales are bytes, in rows of more than two; `_scales_are_bytes` decides."""
_STEPS = 32
"""Scales that are bytes are their row's base times powers of 2^(-1/32): 256 of them span eight halvings."""
_ROOM = 2
"""The base beside the scale of a row's largest magnitude: numbers grow where they make good what others lost."""
_CANDIDATES = tuple(0.7 + 0.05 * i for i in range(9))
"""Scales that are tried, as shares of the one under which the largest magnitude becomes the largest number."""
_DAMPING = 0.01
"""Added to the variance of every input, as a share of their mean: inputs that were not met may come."""


def quantize_groups(
    weight: Float[Tensor, "rows columns"], bits: int = 4, covariance: Float[Tensor, "columns columns"] | None = None
) -> tuple[UInt8[Tensor, "rows bytes"], Tensor]:
    """Numbers of few bits, and one scale for every G columns of a row, 16 to 32 where there are so many.

    Args:
        weight: Any matrix (R, C).
        bits: 4, 5 or 6; numbers lie in -2^(bits - 1) to below 2^(bits - 1).
        covariance: Of the inputs that the matrix will be multiplied with, (C, C); None rounds to the nearest number.

    Returns:
        Numbers, see `pack_codes`, and C' / G scales a row, where C' is C filled with zeros to whole groups: bfloat16
        (R, C' / G) or, where `_scales_are_bytes`, bytes (R, C' / G + 2), see `_pack_scales`.
    """
    rows, columns = weight.shape
    group = _group(columns)
    if weight.is_meta:
        return _frame(rows, columns, group, bits)
    weight = weight.detach().float()
    filled = F.pad(weight, (0, -columns % group))
    base = _bases_for(filled, bits) if _scales_are_bytes(bits, filled.shape[1] // group) else None
    if covariance is None:
        parts = filled.unflatten(1, (-1, group))
        scales = _scales(parts, bits, base)
        numbers = _round(parts, scales[:, :, None], bits).flatten(1)
    else:
        whole = F.pad(covariance.float(), (0, -len(covariance) % group, 0, -len(covariance) % group))
        numbers, scales = _with_feedback(filled, bits, group, whole, base)
    packed = scales.to(torch.bfloat16) if base is None else _pack_scales(scales, base)
    return pack_codes((numbers + 2 ** (bits - 1)).to(torch.uint8), bits), packed


def _frame(rows: int, columns: int, group: int, bits: int) -> tuple[Tensor, Tensor]:
    """Of `quantize_groups` the shapes alone, on the meta device, where its many operations would take their time."""
    groups = -(-columns // group)
    size = groups * group // 2 + (bits - 4) * -(-groups * group // 8)
    scales = (groups + 2, torch.uint8) if _scales_are_bytes(bits, groups) else (groups, torch.bfloat16)
    numbers, packed = (
        torch.empty(rows, width, dtype=kind, device="meta") for width, kind in ((size, torch.uint8), scales)
    )
    return numbers, packed


def _scales_are_bytes(bits: int, groups: int) -> bool:
    """Whether that is smaller and no further from the weight."""
    return bits >= _BYTES_FROM and groups > 2


def _bases_for(weight: Float[Tensor, "rows columns"], bits: int) -> Float[Tensor, "rows 1"]:
    """What the scales of each row are told against: the largest that it may need, as bfloat16 holds it."""
    largest = _ROOM * (weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)).to(torch.bfloat16).float()
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def _steps(scales: Float[Tensor, "rows *n"], base: Float[Tensor, "rows 1"]) -> Float[Tensor, "rows *n"]:
    """How many steps below its row's base each scale lies, as a byte holds it; 255 for a group of zeros too."""
    return torch.round(-_STEPS * torch.log2(scales / base)).clamp_(0, 255)


def _widen_steps(steps: Tensor, base: Float[Tensor, "*n 1"]) -> Float[Tensor, "*n groups"]:
    return base * torch.exp2(steps.float() / -_STEPS)


def _pack_scales(
    scales: Float[Tensor, "rows groups"], base: Float[Tensor, "rows 1"]
) -> UInt8[Tensor, "rows scalebytes"]:
    """A byte for each scale, and behind them the two of the row's base, a bfloat16 (R, groups + 2)."""
    return torch.cat((_steps(scales, base).to(torch.uint8), base.to(torch.bfloat16).view(torch.uint8)), 1)


def _bases(packed: UInt8[Tensor, "*n scalebytes"]) -> Float[Tensor, "*n 1"]:
    # A copy: two bytes are read as one number where they begin at an even place alone.
    return packed[..., -2:].clone(memory_format=torch.contiguous_format).view(torch.bfloat16).float()


def _scales(
    parts: Float[Tensor, "rows *n group"], bits: int, base: Float[Tensor, "rows 1"] | None
) -> Float[Tensor, "rows *n"]:
    """The candidate of each group with the least squared error, as it is stored: as bfloat16, or by steps of a base."""
    largest = parts.abs().amax(-1)
    best, scales = torch.full_like(largest, float("inf")), torch.ones_like(largest)
    for share in _CANDIDATES:
        scale = share * largest / (2 ** (bits - 1) - 1)
        if base is None:
            scale = scale.to(torch.bfloat16).float()
            scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        else:
            scale = _widen_steps(_steps(scale, base), base)
        error = (_round(parts, scale.unsqueeze(-1), bits) * scale.unsqueeze(-1) - parts).square().sum(-1)
        better = error < best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
    return scales


def _round(values: Tensor, scale: Tensor, bits: int) -> Tensor:
    return torch.round(values / scale).clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _with_feedback(
    weight: Tensor, bits: int, group: int, covariance: Tensor, base: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Numbers (R, C) and scales (R, C / G) whose products with such inputs are close to those of the weight."""
    rest = weight.clone()
    variance = covariance.diagonal()
    damping = _DAMPING * float(variance.mean()) or 1.0
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance + damping * torch.eye(len(covariance))))
    spread = torch.linalg.cholesky(inverse, upper=True)  # what an error in a column asks of those behind it
    numbers, scales = torch.empty_like(rest), []
    for start in range(0, rest.shape[1], group):
        part = rest[:, start : start + group]
        scale = _scales(part[:, None], bits, base)[:, 0]
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
    packed: UInt8[Tensor, "*n bytes"], scale: Tensor, bits: int, columns: int
) -> Float[Tensor, "*n columns"]:
    """The numbers that `quantize_groups` stored, float32 (..., C).

    Args:
        packed: Of some rows.
        scale: Their scales: bfloat16 (..., C' / G), or bytes (..., C' / G + 2).
        bits: 4, 5 or 6.
        columns: C.
    """
    wide_scale = _widen_steps(scale[..., :-2], _bases(scale)) if scale.dtype == torch.uint8 else scale.float()
    group = _group(columns)
    filled = columns + -columns % group
    numbers = _unpack_codes(packed, bits, filled).to(torch.float32) - 2 ** (bits - 1)
    wide = numbers.unflatten(-1, (-1, group)) * wide_scale.unsqueeze(-1)
    return wide.flatten(-2)[..., :columns].contiguous()


def _group(columns: int) -> int:
    if columns < GROUP:
        return columns + columns % 2  # two numbers make a byte
    return next((size for size in range(GROUP, GROUP // 2 - 1, -2) if columns % size == 0), GROUP)


class FewBits(Stored):
    """Numbers of `quantize_groups`."""

    bits = 4

    @classmethod
    def pack(cls, weight: Tensor, covariance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `quantize_groups`."""
        return quantize_groups(weight, cls.bits, covariance)

    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """As `widen_groups`."""
        return widen_groups(weight, scale, self.bits, self.columns)

    def multiply_rows(self, factors: Tensor) -> None:
        """Multiplies rows, by their scales or the base of these."""
        if self.scale.dtype == torch.uint8:
            bases = (_bases(self.scale) * factors[:, None]).to(torch.bfloat16)
            self.scale[:, -2:] = bases.view(torch.uint8)
        else:
            self.scale.mul_(factors[:, None])

    @property
    def scales(self) -> int:
        """One a group, and one a row where these are bytes: its base."""
        return self.scale.numel() - (len(self.scale) if self.scale.dtype == torch.uint8 else 0)

    def use_bfloat16_scales(self) -> None:
        """Makes room for scales that are bfloat16 whatever the bits, as files of before scales were bytes have them."""
        if self.scale.dtype == torch.uint8:
            self.scale = fixed(self.scale.new_zeros(len(self.scale), self.scale.shape[1] - 2, dtype=torch.bfloat16))


class Int4Linear(FewBits, StoredLinear):
    """A linear layer whose weight is stored in 4 bits."""


class Int4Embedding(FewBits, StoredEmbedding):
    """A token table stored in 4 bits with one scale for every few columns of a token."""


class Int5Linear(FewBits, StoredLinear):
    """A linear layer whose weight is stored in 5 bits."""

    bits = 5


class Int5Embedding(FewBits, StoredEmbedding):
    """A token table stored in 5 bits with one scale for every few columns of a token."""

    bits = 5


class Int6Linear(FewBits, StoredLinear):
    """A linear layer whose weight is stored in 6 bits."""

    bits = 6


class Int6Embedding(FewBits, StoredEmbedding):
    """A token table stored in 6 bits with one scale for every few columns of a token."""

    bits = 6
