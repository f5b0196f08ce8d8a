"""Layers whose weight is stored in few bits: what they share, whatever the numbers are."""

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn


class LayerInputs(NamedTuple):
    """Statistics of a linear layer's inputs.

    Attributes:
        mean: Of its inputs, (C,).
        covariance: Of its inputs, (C, C).
    """

    mean: Float[Tensor, " c"]
    covariance: Float[Tensor, "c c"]


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

    @classmethod
    @abstractmethod
    def pack(cls, weight: Tensor, covariance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A weight (R, C) as numbers and scales, R rows of each.

        Args:
            weight: The weight.
            covariance: Of what it will be multiplied with, (C, C); how numbers are rounded may follow from it.
        """

    @abstractmethod
    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Rows stored like this one, float32 (..., C).

        Args:
            weight: Numbers of some rows.
            scale: Their scales.
        """

    @abstractmethod
    def multiply_rows(self, factors: Tensor) -> None:
        """Multiplies the weight's rows in place.

        Args:
            factors: One a row, (R,).
        """

    def take(self, weight: Tensor, covariance: Tensor | None = None) -> None:
        """Stores a weight (R, C); see `pack`."""
        self.weight, self.scale = map(fixed, self.pack(weight, covariance))

    @property
    def numbers(self) -> int:
        """How many numbers the weight is, however few bytes hold them."""
        return len(self.weight) * self.columns

    @property
    def scales(self) -> int:
        """How many numbers the scales are."""
        return self.scale.numel()


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
    @torch.no_grad()
    def of(cls, linear: nn.Linear, inputs: LayerInputs | None = None) -> "StoredLinear":
        """The stored form of a linear layer.

        Args:
            linear: The layer; it stays as it is.
            inputs: What it meets. Then its numbers are rounded for such inputs, and its bias takes over what that
                loses on their mean.
        """
        made = cls(linear.in_features, linear.out_features, linear.bias is not None)
        if linear.bias is None:  # a mean that no bias can take over counts as spread
            about = None if inputs is None else inputs.covariance + torch.outer(inputs.mean, inputs.mean)
            made.take(linear.weight, about)
            return made
        made.take(linear.weight, None if inputs is None else inputs.covariance)
        made.bias = fixed(linear.bias.detach().float().clone())
        if inputs is not None:
            made.bias += (linear.weight.float() - made.widen(made.weight, made.scale)) @ inputs.mean
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
