"""The pre-norm transformer block shared by the SAM3 text encoder and its students, run on valid tokens only.

Linear layers, LayerNorm and BatchNorm act on each token alone, so a padded batch is kept as *rows*: its valid
tokens laid end to end, (N, d). Only attention and convolutions need the *grid* (B, L, d). Padding then costs
almost nothing, and no statistic can see it.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

Activation = Literal["gelu", "quick_gelu"]


class Packing:
    """Where the valid tokens of a batch sit: converts between grid (B, L, d) and rows (N, d).

    While a graph is being traced (torch.compile, torch.export) no row may be dropped, as their number would
    depend on the data: rows then hold all B * L positions, `unpack` zeroes the padding, and a length may be 0.

    Args:
        lengths: valid tokens of each prompt, int64 (B,); None if every position counts.
        batch: B.
        length: L.
        valid: positions of the valid tokens in the flat grid, int64 (N,), where they are known already: then
            nothing is read back from the device, and nothing checked.

    Raises:
        ValueError: a length is below 1 or above L.
    """

    def __init__(self, lengths: Tensor | None, batch: int, length: int, valid: Tensor | None = None) -> None:
        self.batch, self.length = batch, length
        self.index: Tensor | None = None
        self.mask: Tensor | None = None
        self.counted: Tensor | None = None
        """Which rows are valid tokens, (N,), where others are computed too; statistics of a batch are taken of them."""
        tracing = torch.compiler.is_compiling()
        if lengths is None or (valid is not None and len(valid) == batch * length):
            return
        if not tracing and valid is None:
            shortest, longest = (int(n) for n in torch.stack(torch.aminmax(lengths)).tolist())
            if shortest < 1 or longest > length:
                raise ValueError(f"lengths must lie in 1..{length}, the width of ids; found {shortest} to {longest}.")
            if shortest == length:
                return
        mask = torch.arange(length, device=lengths.device) < lengths[:, None]
        self.mask = mask
        if tracing:
            self.counted = mask.flatten()
        else:
            self.index = mask.flatten().nonzero().squeeze(1) if valid is None else valid

    @property
    def attention_mask(self) -> Bool[Tensor, "b 1 1 l"] | None:
        """True where a key may be attended; None if nothing is padded."""
        if self.mask is None:
            return None
        seen = self.mask
        if self.index is None:  # an empty prompt must attend to something, or its softmax is not a number
            seen = seen | (torch.arange(self.length, device=seen.device) == 0)
        return seen[:, None, None, :]

    def pack(self, grid: Tensor) -> Tensor:
        """(B, L, ...) -> (N, ...)."""
        flat = grid.flatten(0, 1)
        return flat if self.index is None else flat.index_select(0, self.index)

    def unpack(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "b l d"]:
        """(N, d) -> (B, L, d), exact zeros at padding."""
        if self.index is not None:
            empty = rows.new_zeros(self.batch * self.length, rows.shape[1])
            return empty.index_copy(0, self.index, rows).view(self.batch, self.length, -1)
        grid = rows.view(self.batch, self.length, -1)
        return grid if self.mask is None else grid.masked_fill(~self.mask[:, :, None], 0.0)


class FilledPacking(Packing):
    """Packing where padding is computed like words, and attention alone skips it: every position is a row.

    Args:
        lengths: valid tokens of each prompt, int64 (B,).
        batch: B.
        length: L.
        checked: the lengths are known to be in order: then nothing is read back from the device.

    Raises:
        ValueError: as `Packing`.
    """

    def __init__(self, lengths: Tensor, batch: int, length: int, checked: bool = False) -> None:
        super().__init__(None if checked else lengths, batch, length)
        if checked:
            self.mask = torch.arange(length, device=lengths.device) < lengths[:, None]
        self.seen, self.mask, self.index = self.mask, None, None
        self.counted = None if self.seen is None else self.seen.flatten()

    @property
    def attention_mask(self) -> Bool[Tensor, "b 1 1 l"] | None:
        """True where a key may be attended; None if nothing is padded."""
        return None if self.seen is None else self.seen[:, None, None, :]


class PrefixPacking(Packing):
    """Packing for causal models: prompts that begin with the same tokens share the rows of their beginning.

    A causal feature depends on the tokens up to its own alone, so each distinct prefix needs one row. Every
    prompt has at least its start token in common with all others.

    Args:
        ids: token ids, int64 (B, L), padded at the end, on the CPU.
        lengths: valid tokens of each prompt, int64 (B,), on the CPU.
        device: where the rows will be.
    """

    def __init__(self, ids: Tensor, lengths: Tensor, device: torch.device | None = None) -> None:
        super().__init__(lengths, ids.shape[0], ids.shape[1])
        rows: dict[tuple[int, int], int] = {}  # (row of the prefix before, token) -> row
        places, firsts = torch.zeros(ids.shape, dtype=torch.int64), []
        for line, (prompt, length) in enumerate(zip(ids.tolist(), lengths.tolist(), strict=True)):
            row = -1
            for column, token in enumerate(prompt[:length]):
                known = len(rows)
                row = rows.setdefault((row, token), known)
                if row == known:
                    firsts.append(line * self.length + column)
                places[line, column] = row
        self.index = torch.tensor(firsts, device=device)
        self.places = places.to(device or ids.device)

    def unpack(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "b l d"]:
        """(N, d) -> (B, L, d); padding repeats the first row, which no valid token attends to."""
        return rows.index_select(0, self.places.flatten()).view(self.batch, self.length, -1)


class Embedding(nn.Module):
    """Token rows plus learned positions, written on the valid tokens.

    Args:
        vocab_size: number of token rows.
        width: d.
        context_length: rows of the position table.
        rank: 0 for a full table; otherwise `rank` values a token, lifted to `width` by one matrix.
    """

    def __init__(self, vocab_size: int, width: int, context_length: int, rank: int = 0) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, rank or width)
        self.lift = nn.Linear(rank, width, bias=False) if rank else nn.Identity()
        self.position = nn.Parameter(torch.empty(context_length, width))

    def reset(self) -> None:
        """Token vectors of std 0.02, positions of std 0.01, as in CLIP (Radford et al. 2021)."""
        nn.init.normal_(self.position, std=0.01)
        nn.init.normal_(self.token.weight, std=0.02)
        if isinstance(self.lift, nn.Linear):  # both factors of one size: neither learns much faster
            nn.init.normal_(self.token.weight, std=0.1)
            nn.init.normal_(self.lift.weight, std=0.2 / self.lift.in_features**0.5)

    def shape(self, ids: Int64[Tensor, "b l"]) -> tuple[int, int]:
        """B and L of ids (B, L).

        Raises:
            ValueError: If L exceeds the position table.
        """
        batch, length = ids.shape
        if length > len(self.position):
            raise ValueError(
                f"ids are {length} tokens long, but this encoder has {len(self.position)} positions; "
                "tokenize with its context_length."
            )
        return batch, length

    def forward(self, ids: Int64[Tensor, "b l"], packing: Packing) -> Float[Tensor, "n d"]:
        """Ids (B, L) -> rows (N, d); behind the table's end its last position is repeated."""
        tokens = self.lift(self.token(packing.pack(ids)))
        places = torch.arange(ids.shape[1], device=ids.device).clamp_max(len(self.position) - 1).expand_as(ids)
        return tokens + self.position.index_select(0, packing.pack(places))


class Attention(nn.Module):
    """Multi-head self-attention, one fused projection for queries, keys and values.

    Args:
        width: d.
        heads: number of heads; must divide `width`.
        causal: a token sees only itself and those before it. Padding stands last, so no mask is needed then.
    """

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads={heads} does not divide the width {width}; choose a divisor of the width.")
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, rows: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        grid = packing.unpack(self.qkv(rows)).unflatten(2, (3, self.heads, -1))
        q, k, v = grid.permute(2, 0, 3, 1, 4).unbind(0)
        mask = None if self.causal else packing.attention_mask
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.causal)
        return self.out(packing.pack(mixed.transpose(1, 2).flatten(2)))


class Mlp(nn.Module):
    """Two linear layers around a GELU: exact, or CLIP's `quick_gelu` x * sigmoid(1.702 x)."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.quick = activation == "quick_gelu"

    def forward(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        hidden = self.fc1(rows)
        return self.fc2(hidden * torch.sigmoid(1.702 * hidden) if self.quick else F.gelu(hidden))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        width: d.
        heads: attention heads.
        hidden: width of the MLP; 0 for 4 d.
        causal: attend only backwards.
        activation: of the MLP.
    """

    def __init__(
        self, width: int, heads: int, hidden: int = 0, causal: bool = False, activation: Activation = "gelu"
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden or 4 * width, activation)

    def reset(self, layers: int) -> None:
        """CLIP's initial weights: residual branches shrink with the depth."""
        width = self.norm1.normalized_shape[0]
        branch = width**-0.5 * (2 * layers) ** -0.5
        for linear, std in (
            (self.attention.qkv, width**-0.5),
            (self.attention.out, branch),
            (self.mlp.fc1, (2 * width) ** -0.5),
            (self.mlp.fc2, branch),
        ):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)

    def forward(self, rows: Float[Tensor, "n d"], packing: Packing) -> Float[Tensor, "n d"]:
        """Rows (N, d) -> rows (N, d)."""
        rows = rows + self.attention(self.norm1(rows), packing)
        return rows + self.mlp(self.norm2(rows))
