"""Weights in 4 bits: two numbers a byte, one scale for every 32 or fewer columns of a row.

A scale of its own for a short group keeps one large weight from coarsening a whole row, as the block formats of
Dettmers and Zettlemoyer (The case for 4-bit precision, ICML 2023) do; the scale that is stored is the one of a few
candidates with the least squared error of its group.
"""

import torch
import torch.nn.functional as F
from jaxtyping import BFloat16, Float, Int64, UInt8
from torch import Tensor, nn

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


def _fixed(values: Tensor) -> nn.Parameter:
    """A parameter that does not learn; 4-bit numbers cannot."""
    return nn.Parameter(values, requires_grad=False)


def _empty(rows: int, columns: int) -> tuple[nn.Parameter, nn.Parameter]:
    group = _group(columns)
    groups = -(-columns // group)
    packed = torch.zeros(rows, groups * group // 2, dtype=torch.uint8)
    return _fixed(packed), _fixed(torch.ones(rows, groups, dtype=torch.bfloat16))


class Int4Linear(nn.Module):
    """A linear layer whose weight is stored in 4 bits; it computes in the type of its input.

    The weight is widened for each call, so the layer is small and slow; `widened` gives a plain one.

    Args:
        in_features: Columns of the weight.
        out_features: Rows of the weight.
        bias: Whether it adds one value an output.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = in_features
        self.weight, self.scale = _empty(out_features, in_features)
        self.bias = _fixed(torch.zeros(out_features)) if bias else None

    @classmethod
    def of(cls, linear: nn.Linear) -> "Int4Linear":
        """The 4-bit form of a linear layer."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        made.weight, made.scale = map(_fixed, quantize_groups(linear.weight))
        if linear.bias is not None:
            made.bias = _fixed(linear.bias.detach().float().clone())
        return made

    def forward(self, rows: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        """Rows (..., in_features) -> rows (..., out_features)."""
        bias = None if self.bias is None else self.bias.to(rows.dtype)
        return F.linear(rows, self._plain().to(rows.dtype), bias)

    def widened(self) -> nn.Linear:
        """The same map as a plain linear layer."""
        linear = nn.Linear(self.in_features, len(self.weight), self.bias is not None, device="meta")
        state = {"weight": self._plain()} | ({} if self.bias is None else {"bias": self.bias})
        linear.load_state_dict(state, assign=True)
        return linear

    def _plain(self) -> Tensor:
        return widen_groups(self.weight, self.scale)[:, : self.in_features].contiguous()


class Int4Embedding(nn.Module):
    """A token table stored in 4 bits with one scale for every few columns of a token.

    Args:
        tokens: Rows V.
        width: Columns d.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight, self.scale = _empty(tokens, width)

    @classmethod
    def of(cls, table: nn.Embedding) -> "Int4Embedding":
        """The 4-bit form of a token table."""
        made = cls(*table.weight.shape)
        made.weight, made.scale = map(_fixed, quantize_groups(table.weight))
        return made

    def forward(self, ids: Int64[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """Ids (...) -> vectors (..., d)."""
        return self.widen(self.weight[ids], self.scale[ids])

    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Rows of a table stored like this one, as float32 (..., d)."""
        return widen_groups(weight, scale)[..., : self.width]
