"""Layers whose weight is stored in few bits: what they share, whatever the numbers are."""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


def fixed(values: Tensor) -> nn.Parameter:
    """A parameter that does not learn; numbers of few bits cannot."""
    return nn.Parameter(values, requires_grad=False)


class Stored(nn.Module):
    """A weight (R, C) as numbers of few bits and their scales.

    Args:
        rows: R.
        columns: C.

    Attributes:
        weight: The numbers.
        scale: The scales.
        columns: C.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.columns = columns
        shapes = self.pack(torch.empty(rows, columns, device="meta"))  # nothing is computed there
        self.weight, self.scale = (fixed(torch.zeros(part.shape, dtype=part.dtype)) for part in shapes)

    @staticmethod
    @abstractmethod
    def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
        """A weight (R, C) as numbers and scales, R rows of each."""

    @abstractmethod
    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Rows stored like this one, float32 (..., C).

        Args:
            weight: Numbers of some rows.
            scale: Their scales.
        """

    def take(self, weight: Tensor) -> None:
        """Stores a weight (R, C)."""
        self.weight, self.scale = map(fixed, self.pack(weight))


class StoredLinear(Stored):
    """A linear layer whose weight is stored in few bits; it computes in the type of its input.

    The weight is widened for each call, so the layer is small and slow; `widened` gives a plain one.

    Args:
        in_features: Columns of the weight.
        out_features: Rows of the weight.
        bias: Whether it adds one value an output.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(out_features, in_features)
        self.bias = fixed(torch.zeros(out_features)) if bias else None

    @classmethod
    def of(cls, linear: nn.Linear) -> "StoredLinear":
        """The stored form of a linear layer."""
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        made.take(linear.weight)
        if linear.bias is not None:
            made.bias = fixed(linear.bias.detach().float().clone())
        return made

    def forward(self, rows: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        """Rows (..., in_features) -> rows (..., out_features)."""
        bias = None if self.bias is None else self.bias.to(rows.dtype)
        return F.linear(rows, self.widen(self.weight, self.scale).to(rows.dtype), bias)

    def widened(self) -> nn.Linear:
        """The same map as a plain linear layer."""
        linear = nn.Linear(self.columns, len(self.weight), self.bias is not None, device="meta")
        state = {"weight": self.widen(self.weight, self.scale)} | ({} if self.bias is None else {"bias": self.bias})
        linear.load_state_dict(state, assign=True)
        return linear


class StoredEmbedding(Stored):
    """A token table stored in few bits.

    Args:
        tokens: Rows V.
        width: Columns d.
    """

    @classmethod
    def of(cls, table: nn.Embedding) -> "StoredEmbedding":
        """The stored form of a token table."""
        made = cls(*table.weight.shape)
        made.take(table.weight)
        return made

    def forward(self, ids: Int64[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """Ids (...) -> vectors (..., d)."""
        return self.widen(self.weight[ids], self.scale[ids])
