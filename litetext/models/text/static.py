"""A static text encoder: one vector a token and no network at all, the baseline that every student has to beat.

The vector is the mean of a teacher's features at that token over a corpus (as Model2Vec does with single tokens, which
here stand in for tokens that the corpus does not hold); prompts are then tables of look-ups.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.models.text.student import Student


class TokenTable(nn.Module):
    """Vectors by token id, (V, rank) lifted to a width by one matrix, or (V, width); and one vector added to all.

    Args:
        vocab_size: Rows V.
        width: Size of what comes out.
        rank: Values kept a token; 0 keeps `width`.
    """

    def __init__(self, vocab_size: int, width: int, rank: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocab_size, rank or width)
        self.lift = nn.Linear(rank, width, bias=False) if rank else nn.Identity()
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, ids: Tensor) -> Tensor:
        """Ids (...) -> vectors (..., width)."""
        return self.lift(self.token(ids)) + self.bias


class StaticText(Student):
    """A table of token vectors as a text encoder; no position, no context.

    `litetext fit` fills it from the teacher's features before the first step. It stays so unless `learn`.

    Args:
        vocab_size: Rows of the table.
        width: Size of an output feature, the teacher's.
        rank: Values kept a token, the leading directions of the table; 0 keeps all.
        context_length: Most tokens of a prompt, start and end included.
        learn: Go on by gradient descent from the means; without, nothing is trained.

    Raises:
        ValueError: If a size is out of its range.
    """

    def __init__(
        self,
        vocab_size: int = 49408,
        width: int = 256,
        rank: int = 0,
        context_length: int = 16,
        learn: bool = False,
    ) -> None:
        super().__init__()
        for name, value, least in (("vocab_size", vocab_size, 1), ("width", width, 1), ("rank", rank, 0)):
            if value < least:
                raise ValueError(f"{name}={value} must be at least {least}.")
        if rank > width:
            raise ValueError(f"rank={rank} is more than width={width}; the table has no more directions.")
        if context_length < 3:
            raise ValueError(f"context_length={context_length} leaves no room between start and end; give at least 3.")
        self.config: dict[str, Any] = {
            "architecture": "static",
            "vocab_size": vocab_size,
            "width": width,
            "rank": rank,
            "context_length": context_length,
            "learn": learn,
        }
        self.width, self.context_length, self.learn = width, context_length, learn
        self.embedding = TokenTable(vocab_size, width, rank)
        self.blocks = nn.ModuleList()
        nn.init.normal_(self.embedding.token.weight, std=0.02)

    def forward(self, ids: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l w"]:
        """Features of every token, (B, L, width), zeros at padding.

        Args:
            ids: Token ids, padded at the end.
            lengths: Valid tokens of each prompt, start and end token included.
        """
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return self.embedding(ids).masked_fill(~mask[:, :, None], 0.0)
