"""What ONNX and ExportedProgram have in common: the graph's inputs and outputs, and prompts run through it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from litetext.models.text.fast import fold
from litetext.models.text.mobileclip import MobileClipText
from litetext.tokenizer import Tokenizer, pad

Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Ids (B, L) and lengths (B,) to features (B, L, width) and the mask of valid tokens (B, L)."""


class Graph(nn.Module):
    """A student as it is exported, folded: features in 32 bits, and which of them are of valid tokens.

    Args:
        student: Any; it stays as it is.
        half: Compute in 16 bits.
        batch: Prompts at once; None for any number.

    Attributes:
        inputs: To trace with.
        shapes: Which of their axes may vary: the prompts unless their number is given, and the tokens from 2 to the
            context length, except where padding counts as words.

    Raises:
        ValueError: If `batch` is below 1.
    """

    def __init__(self, student: MobileClipText, half: bool = False, batch: int | None = None) -> None:
        super().__init__()
        if batch is not None and batch < 1:
            raise ValueError(f"batch={batch} must be at least 1, or null for any number of prompts")
        folded = fold(student)
        self.student = folded.half() if half else folded
        prompts = torch.export.Dim("prompts", min=1, max=2**20) if batch is None else None
        tokens, length = None, student.context_length
        if student.padding == "masked":
            tokens = torch.export.Dim("tokens", min=2, max=student.context_length)
            length = max(2, min(5, student.context_length - 1))
        count = batch or 3
        self.inputs = (torch.ones(count, length, dtype=torch.int64), torch.full((count,), length - 1))
        self.shapes: dict[str, Any] = {"ids": {0: prompts, 1: tokens}, "lengths": {0: prompts}}
        self.eval()

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L), lengths (B,) -> features (B, L, width), mask (B, L)."""
        mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        return self.student(ids, lengths).float(), mask


@torch.no_grad()
def features_of(run: Run, student: MobileClipText, prompts: Sequence[str], batch: int | None = None) -> list[Tensor]:
    """Features of each prompt's valid tokens, (n_i, D), by an exported graph.

    Args:
        run: The graph.
        student: What it was made from, which says how prompts are cut and padded.
        prompts: Any.
        batch: Prompts at once as the graph wants them, the last batch filled up; None for 8.

    Raises:
        ValueError: If the graph's mask does not mark the valid tokens.
    """
    rows = Tokenizer(student.context_length).encode(list(prompts))
    size, features = batch or 8, []
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        filled = chosen + chosen[:1] * (size - len(chosen) if batch else 0)
        ids, lengths = pad(filled, student.context_length if student.padding == "reference" else None)
        found, mask = run(ids, lengths)
        if not torch.equal(mask, torch.arange(ids.shape[1]) < lengths[:, None]):
            raise ValueError("the exported mask does not mark the valid tokens")
        features += [found[line, : len(row)].clone() for line, row in enumerate(chosen)]
    return features
