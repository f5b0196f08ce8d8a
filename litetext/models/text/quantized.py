"""Students in 8 bits or fewer: weights alone, to be small, or whole linear layers in 8, to be fast on a CPU.

In 8 bits a row of a weight (an output channel, or a token's vector) has one scale: its largest magnitude becomes
127. Rounding then costs at most half a step of 1/127 of that. Symmetric quantisation: Jacob et al., CVPR 2018,
section 2. Fewer bits are in `litetext.models.text.few_bits`.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from torch import Tensor, nn

from litetext.models.text.few_bits import (
    Int4Embedding,
    Int4Linear,
    Int5Embedding,
    Int5Linear,
    Int6Embedding,
    Int6Linear,
)
from litetext.models.text.stored import LayerInputs, Stored, StoredEmbedding, StoredLinear
from litetext.models.text.student import Student

_Module = TypeVar("_Module", bound=nn.Module)
Bits = Literal[32, 8, 6, 5, 4]
"""What a weight is stored in."""
_MOST_MET = 1024
"""Prompts that say what layers meet: some 6,000 tokens, three for each input of S0's widest layer."""


def quantize_rows(
    weight: Float[Tensor, "rows columns"],
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """8-bit numbers and one scale a row: weight = values * scale, up to half a step.

    Args:
        weight: Any matrix (R, C).

    Returns:
        Values int8 (R, C) in -127..127, scales float32 (R,); a row of zeros has scale 1.
    """
    weight = weight.detach().float()
    largest = weight.abs().amax(1)
    scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return torch.round(weight / scale[:, None]).clamp_(-127, 127).to(torch.int8), scale


class _EightBits(Stored):
    """Numbers of `quantize_rows`."""

    @classmethod
    def pack(cls, weight: Tensor, covariance: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `quantize_rows`, whatever the weight meets."""
        return quantize_rows(weight)

    def widen(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Numbers times their row's scale."""
        return weight * scale.unsqueeze(-1)

    def multiply_rows(self, factors: Tensor) -> None:
        """Multiplies rows, by their scales."""
        self.scale.mul_(factors)


class Int8Linear(_EightBits, StoredLinear):
    """A linear layer whose weight is stored in 8 bits."""

    def forward(self, rows: Float[Tensor, "*n i"]) -> Float[Tensor, "*n o"]:
        """Rows (..., in_features) -> rows (..., out_features); the scale comes after the product, which is quicker."""
        product = F.linear(rows, self.weight.to(rows.dtype)) * self.scale.to(rows.dtype)
        return product if self.bias is None else product + self.bias.to(rows.dtype)


class Int8Embedding(_EightBits, StoredEmbedding):
    """A token table stored in 8 bits with one scale a token."""


LINEARS: dict[int, type[StoredLinear]] = {8: Int8Linear, 6: Int6Linear, 5: Int5Linear, 4: Int4Linear}
EMBEDDINGS: dict[int, type[StoredEmbedding]] = {
    8: Int8Embedding,
    6: Int6Embedding,
    5: Int5Embedding,
    4: Int4Embedding,
}


def quantize_weights(
    student: Student, tokens: Bits = 8, linears: Bits = 8, calibration: Sequence[Sequence[int]] = ()
) -> Student:
    """A copy for inference with weights in few bits, computed in 32 bits; RepMixers are folded first.

    The pooled projection that SAM3 never uses is left out. Norms, positions, biases and convolutions, under one
    parameter in a hundred, stay in 32 bits.

    Args:
        student: Any student; it stays as it is.
        tokens: Bits of the token table.
        linears: Bits of the linear layers.
        calibration: Token rows of prompts such as the student will encode, cut to its context. With them, layers in
            fewer than 8 bits are rounded for what they meet. Of more than 1,024, as many evenly spread ones count.

    Returns:
        A student with the same interface.

    Raises:
        ValueError: If numbers of that many bits are not known.
    """
    for name, bits in {"tokens": tokens, "linears": linears}.items():
        if bits not in get_args(Bits):
            raise ValueError(f"{name}={bits!r} bits are not known; choose 32, 8, 6, 5 or 4")
    small = student.reparameterize()
    small.drop_unused()
    some = calibration_rows(calibration)
    met = meet(small, some) if len(some) and linears < 8 else {}
    swap_layers(small, tokens, linears, met)
    return small


def calibration_rows(rows: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    """Those token rows that count of the ones that `quantize_weights` is given."""
    return rows[:: -(-len(rows) // _MOST_MET) or 1]


@torch.no_grad()
def meet(encoder: Student, rows: Sequence[Sequence[int]]) -> dict[nn.Module, LayerInputs]:
    """What the linear layers of an encoder meet on some prompts.

    Args:
        encoder: In eval mode.
        rows: Token ids of each prompt.
    """
    counts: dict[nn.Module, int] = defaultdict(int)
    sums: dict[nn.Module, Tensor] = {}
    products: dict[nn.Module, Tensor] = {}

    def add(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs = given[0].detach().flatten(0, -2).float()
        counts[layer] += len(inputs)
        sums[layer] = inputs.sum(0) + sums.get(layer, 0)
        products[layer] = inputs.T @ inputs + products.get(layer, 0)

    hooks = [part.register_forward_pre_hook(add) for part in encoder.modules() if isinstance(part, nn.Linear)]
    try:
        for length in sorted({len(row) for row in rows}):  # one length at a time: nothing meets padding
            encoder.encode_tokens([row for row in rows if len(row) == length])
    finally:
        for hook in hooks:
            hook.remove()
    means = {layer: total / counts[layer] for layer, total in sums.items()}
    return {
        layer: LayerInputs(mean, products[layer] / counts[layer] - torch.outer(mean, mean))
        for layer, mean in means.items()
    }


def swap_layers(
    module: nn.Module, tokens: Bits = 8, linears: Bits = 8, met: Mapping[nn.Module, LayerInputs] | None = None
) -> None:
    """Puts layers of few bits into the places of linear layers and token tables, in place."""
    for name, child in list(module.named_children()):
        if linears < 32 and isinstance(child, nn.Linear):
            setattr(module, name, LINEARS[linears].of(child, (met or {}).get(child)))
        elif tokens < 32 and isinstance(child, nn.Embedding):
            setattr(module, name, EMBEDDINGS[tokens].of(child))
        else:
            swap_layers(child, tokens, linears, met)


def dynamic_int8(encoder: _Module) -> _Module:
    """Lets a module's linear layers compute in 8 bits on the CPU, in place: weights by output channel, inputs as met.

    Inputs are scaled by batch, so that what a prompt gets depends a little on its neighbours.

    Args:
        encoder: In eval mode, in float32 on the CPU; its linear layers may be stored in few bits.

    Returns:
        The same module.
    """
    from torch.ao.quantization import quantize_dynamic
    from torch.ao.quantization.qconfig import per_channel_dynamic_qconfig

    _widen(encoder)
    chosen: dict[Any, Any] = {nn.Linear: per_channel_dynamic_qconfig}
    with warnings.catch_warnings(), _int8_engine():
        warnings.simplefilter("ignore")  # it says that torchao will take over
        return quantize_dynamic(encoder, chosen, dtype=torch.qint8, inplace=True)  # type: ignore[return-value]


@contextmanager
def _int8_engine() -> Iterator[None]:
    """Layers that are packed here keep the library that multiplies them: oneDNN where it can use tiles (AMX).

    There it took 0.32 ms a prompt of S0 where the default took 0.57; elsewhere PyTorch's choice stands.
    """
    before = torch.backends.quantized.engine
    tiles = torch.cpu._is_amx_tile_supported() and "onednn" in torch.backends.quantized.supported_engines
    if tiles:
        torch.backends.quantized.engine = "onednn"
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _widen(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, StoredLinear):
            setattr(module, name, child.widened())
        else:
            _widen(child)


def resident_bytes(module: nn.Module) -> int:
    """Bytes of all numbers that a module holds in memory: parameters, buffers, and packed 8-bit layers."""
    storages: dict[int, int] = {}

    def add(*tensors: Tensor) -> None:
        storages.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors})

    add(*module.parameters(), *module.buffers())
    packed = 0
    for part in module.modules():
        if isinstance(part, torch.ao.nn.quantized.Linear):
            weight, bias = part.weight(), part.bias()  # copies: their addresses mean nothing
            packed += weight.numel() + 12 * len(weight) + (0 if bias is None else 4 * bias.numel())
    return sum(storages.values()) + packed
