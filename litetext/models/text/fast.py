"""A student for inference alone: convolutions folded, only valid tokens computed, prompts of one length together.

Rows are the valid tokens of a batch end to end, prompts sorted by length. Linear layers take all rows at once;
attention runs once for every length that occurs, so that it has neither padding nor a mask. Folding: FastViT
(Vasu et al., ICCV 2023), section 3.2.1, and a BatchNorm behind a convolution as usual.
"""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.models.text.encoder import TextEncoder
from litetext.models.text.fastest import Precision, choose_precision
from litetext.models.text.mobileclip import STOCK_LENGTH, ConvMlp, DepthwiseConv, MobileClipText, RepMixerBlock
from litetext.models.text.quantized import dynamic_int8
from litetext.models.text.stored import StoredLinear
from litetext.models.text.student import Student
from litetext.models.text.transformer import Attention, TransformerBlock


class _Bucket(NamedTuple):
    """Prompts of one length, whose rows stand together.

    Attributes:
        start: First row.
        prompts: How many.
        length: Rows of each.
        keys: Those of them that attention sees, from the first on.
    """

    start: int
    prompts: int
    length: int
    keys: int


class Buckets:
    """Where the valid tokens of a batch go when prompts of one length stand together.

    Args:
        lengths: Valid tokens of each prompt, int64 (B,).
        width: L, the width of the ids.
        filled: Padding is computed too, and attention alone skips it.

    Attributes:
        buckets: Prompts by length, short ones first.
        source: Position of every row in the flattened ids, int64 (N,).
        places: Position of every row in its prompt, int64 (N,).

    Raises:
        ValueError: If a length is below 1 or above `width`.
    """

    def __init__(self, lengths: Int64[Tensor, " b"], width: int, filled: bool = False) -> None:
        counts = lengths.tolist()
        if counts and not (min(counts) >= 1 and max(counts) <= width):
            raise ValueError(f"lengths must lie in 1..{width}, the width of ids; found {min(counts)} to {max(counts)}.")
        self.width = width if filled else max(counts, default=0)
        order: dict[int, list[int]] = {}
        for prompt, length in enumerate(counts):
            order.setdefault(length, []).append(prompt)
        self.buckets: list[_Bucket] = []
        sources, places, grids, start, line = [], [], [], 0, 0
        for keys, prompts in sorted(order.items()):
            length = width if filled else keys
            steps = torch.arange(length)
            sources.append((torch.tensor(prompts)[:, None] * width + steps).flatten())
            grids.append((torch.arange(line, line + len(prompts))[:, None] * self.width + steps).flatten())
            places.append(steps.repeat(len(prompts)))
            self.buckets.append(_Bucket(start, len(prompts), length, keys))
            start, line = start + length * len(prompts), line + len(prompts)
        none = torch.zeros(0, dtype=torch.int64)
        device = lengths.device
        self.source = torch.cat([none, *sources]).to(device)
        self.places = torch.cat([none, *places]).to(device)
        self._grid = torch.cat([none, *grids]).to(device)
        self._lines = line
        self._whole = filled or len(self.buckets) < 2  # no gap behind any prompt

    def __iter__(self) -> Iterator[_Bucket]:
        return iter(self.buckets)

    def image(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "b d 1 l"]:
        """Rows as images of height 1 for a convolution along the tokens, zeros after each prompt."""
        if self._whole:
            grid = rows
        else:
            grid = rows.new_zeros(self._lines * self.width, rows.shape[1]).index_copy_(0, self._grid, rows)
        return grid.view(self._lines, self.width, -1).transpose(1, 2).unsqueeze(2)

    def rows(self, image: Float[Tensor, "b d 1 l"]) -> Float[Tensor, "n d"]:
        """The inverse of `image`; what lies after a prompt is dropped."""
        grid = image.squeeze(2).transpose(1, 2).flatten(0, 1)
        return grid if self._whole else grid.index_select(0, self._grid)


class _Convolution(nn.Module):
    """A depthwise convolution along the tokens."""

    def __init__(self, conv: DepthwiseConv) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, rows: Tensor, buckets: Buckets) -> Tensor:
        taps = self.weight.shape[3]
        image = F.conv2d(
            buckets.image(rows), self.weight, self.bias, padding=(0, taps // 2), groups=self.weight.shape[0]
        )
        return buckets.rows(image)


class _Mixer(nn.Module):
    """A folded RepMixer block: two convolutions and two linear layers."""

    def __init__(self, block: RepMixerBlock) -> None:
        super().__init__()
        self.mixer, self.look = _Convolution(cast(DepthwiseConv, block.mixer)), _Convolution(block.conv_mlp.conv)
        self.fc1, self.fc2 = block.conv_mlp.fc1, _scaled(block.conv_mlp.fc2, block.scale[0, 0])

    def forward(self, rows: Tensor, buckets: Buckets) -> Tensor:
        rows = self.mixer(rows, buckets)
        return rows + self.fc2(F.gelu(self.fc1(self.look(rows, buckets))))


class _Transformer(nn.Module):
    """A transformer block whose attention takes one length at a time."""

    def __init__(self, block: TransformerBlock) -> None:
        super().__init__()
        attention: Attention = block.attention
        self.heads, self.qkv, self.out = attention.heads, attention.qkv, attention.out
        self.norm1, self.norm2, self.mlp = block.norm1, block.norm2, block.mlp

    def forward(self, rows: Tensor, buckets: Buckets) -> Tensor:
        qkv = self.qkv(self.norm1(rows))
        mixed = []
        for start, count, length, keys in buckets:
            bucket = qkv[start : start + count * length].view(count, length, 3, self.heads, -1)
            q, k, v = bucket.permute(2, 0, 3, 1, 4).unbind(0)
            mixed.append(
                F.scaled_dot_product_attention(q, k[:, :, :keys], v[:, :, :keys])
                .transpose(1, 2)
                .reshape(count * length, -1)
            )
        rows = rows + self.out(mixed[0] if len(mixed) == 1 else torch.cat(mixed))
        return rows + self.mlp(self.norm2(rows))


class FastStudent(TextEncoder):
    """The same features as a student in eval mode, sooner; it cannot learn.

    Its layers are copies, so the student stays as it is. 8-bit layers and token tables of
    `litetext.models.text.quantized` are taken over as they are.

    Args:
        student: Any student, in any padding mode.
        precision: What linear layers compute in. `int8` quantises weights by output channel, and activations on
            the fly, on the CPU only; the other two halve the weights. `auto` measures on this CPU which of them is
            fastest and keeps a pooled cosine of 0.995 (`litetext.models.text.fastest.choose_precision`).

    Raises:
        ValueError: If the precision is unknown.
    """

    def __init__(self, student: MobileClipText, precision: Precision | Literal["auto"] = "float32") -> None:
        super().__init__()
        if precision == "auto":
            precision = choose_precision(student, FastStudent).precision
        if precision not in ("float32", "bfloat16", "float16", "int8"):
            raise ValueError(f"precision={precision!r} is unknown; choose float32, bfloat16, float16, int8 or auto")
        self.context_length, self.width, self.padding = student.context_length, student.width, student.padding
        self.fills = student.fills
        self.config: dict[str, Any] = dict(student.config)
        self.reads = student.reads
        self.precision = precision
        folded = cast(MobileClipText, fold(student))
        self.token, self.lift = folded.embedding.token, folded.embedding.lift
        self.position = folded.embedding.position
        self.blocks = nn.ModuleList(
            _Mixer(block) if isinstance(block, RepMixerBlock) else _Transformer(cast(TransformerBlock, block))
            for block in folded.blocks
        )
        self.final_norm, self.projector = folded.final_norm, folded.projector
        self.eval().requires_grad_(False)
        if precision == "int8":
            dynamic_int8(self)
        elif precision != "float32":
            self.to(getattr(torch, precision))

    def train(self, mode: bool = True) -> "FastStudent":
        """Stays in eval mode."""
        return super().train(False)

    @torch.inference_mode()
    def forward(self, ids: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l w"]:
        """Features of every token.

        Args:
            ids: Token ids, padded at the end; L at most `context_length`.
            lengths: Valid tokens of each prompt, start and end token included.

        Returns:
            Features (B, L, width) as `MobileClipText.forward` gives them, in the precision's own type.

        Raises:
            ValueError: L exceeds the position table, or a length lies outside 1..L.
        """
        batch, length = ids.shape
        if length > len(self.position):
            raise ValueError(
                f"ids are {length} tokens long, but this encoder has {len(self.position)} positions; "
                "tokenize with its context_length."
            )
        wide = length
        if self.padding == "reference":  # padding is a word, id 0, up to the context
            valid = torch.arange(length, device=ids.device) < lengths[:, None]
            wide = self.context_length
            ids = F.pad(ids.masked_fill(~valid, 0), (0, wide - length))
            lengths = torch.full_like(lengths, wide)
        elif self.fills:  # so are end tokens, for the convolutions
            valid = torch.arange(length, device=ids.device) < lengths[:, None]
            wide, last = STOCK_LENGTH, self.config["vocab_size"] - 1
            ids = F.pad(ids.masked_fill(~valid, last), (0, wide - length), value=last)
        buckets = Buckets(lengths, wide, self.fills)
        rows = self.lift(self.token(ids.flatten().index_select(0, buckets.source)))
        rows = rows + self.position.index_select(0, buckets.places.clamp_max(len(self.position) - 1))
        for block in self.blocks:
            rows = block(rows, buckets)
        rows = self.projector(self.final_norm(rows))
        grid = rows.new_zeros(batch * wide, self.width).index_copy_(0, buckets.source, rows)
        return grid.view(batch, wide, self.width)[:, :length]


def fold(student: Student) -> Student:
    """A copy for inference whose RepMixer blocks are two convolutions and two linear layers, without BatchNorm."""
    folded = student.reparameterize()
    for block in folded.blocks:
        if isinstance(block, RepMixerBlock) and not isinstance(block.conv_mlp.norm, nn.Identity):
            block.conv_mlp.conv = fold_norm(block.conv_mlp)
            block.conv_mlp.norm = nn.Identity()  # type: ignore[assignment]
    return folded.requires_grad_(False)


@torch.no_grad()
def fold_norm(mlp: ConvMlp) -> DepthwiseConv:
    """The convolution of a ConvMlp and the BatchNorm behind it as one convolution with bias."""
    norm = mlp.norm
    mean, var = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / torch.sqrt(var + norm.eps)
    folded = DepthwiseConv(len(gain), mlp.conv.weight.shape[3], bias=True).to(gain)
    before = 0.0 if mlp.conv.bias is None else mlp.conv.bias
    folded.weight.copy_(mlp.conv.weight * gain[:, None, None, None])
    cast(Tensor, folded.bias).copy_(norm.bias + (before - mean) * gain)
    return folded


@torch.no_grad()
def _scaled(linear: nn.Module, scale: Tensor) -> nn.Module:
    """A linear layer whose outputs are scaled; its rows are, whichever numbers they are stored in."""
    if isinstance(linear, nn.Linear):
        linear.weight.mul_(scale[:, None])
    else:
        cast(StoredLinear, linear).multiply_rows(scale)
    cast(Tensor, linear.bias).mul_(scale)
    return linear
