"""What ONNX and ExportedProgram have in common: the graph's inputs and outputs, and prompts run through it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litetext.models.text.fast import fold
from litetext.models.text.student import Student
from litetext.tokenizer import pad

Run = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Ids (B, L) and lengths (B,) to features (B, L, width) and the mask of valid tokens (B, L)."""

INPUTS, OUTPUTS = ("input_ids", "attention_mask"), ("text_features", "text_mask")


class Graph(nn.Module):
    """A student as it is exported, folded: features in 32 bits, and which of them are of valid tokens.

    Args:
        student: Any; it stays as it is.
        half: Compute in 16 bits.
        batch: Prompts at once; None for any number.
        length: Tokens of every prompt, padding included; None for any number from 2 to the context length, or for the
            context length where padding counts as words.

    Attributes:
        length: Tokens of every prompt; None for any number.
        inputs: To trace with.
        shapes: Which of their axes may vary.

    Raises:
        ValueError: If `batch` is below 1, or `length` below 2, or other than the context where padding counts as words.
    """

    def __init__(
        self, student: Student, half: bool = False, batch: int | None = None, length: int | None = None
    ) -> None:
        super().__init__()
        if batch is not None and batch < 1:
            raise ValueError(f"batch={batch} must be at least 1, or null for any number of prompts")
        if length is not None and length < 2:
            raise ValueError(f"length={length} leaves no room for start and end token; give at least 2")
        context = student.context_length
        if student.padding == "reference":
            if length not in (None, context):
                raise ValueError(
                    f"length={length}, and padding counts as words for this student (padding: reference): it takes "
                    f"{context} tokens and no other number"
                )
            length = context
        self.length = length
        folded = fold(student)
        self.student = folded.half() if half else folded
        prompts = torch.export.Dim("prompts", min=1, max=2**20) if batch is None else None
        tokens = None if length else torch.export.Dim("tokens", min=2, max=context)
        traced, count = length or max(2, min(5, context - 1)), batch or 3
        mask = torch.ones(count, traced, dtype=torch.int64)
        mask[:, min(traced, context) - 1 :] = 0
        mask[:, 0] = 1
        self.inputs = (torch.ones(count, traced, dtype=torch.int64), mask)
        self.shapes: dict[str, Any] = {name: {0: prompts, 1: tokens} for name in INPUTS}
        self.eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, L), mask (B, L) of 1 at tokens and 0 at padding behind them -> features (B, L, width), mask (B, L).

        Tokens beyond the context are not read.
        """
        ids, mask, behind = input_ids, attention_mask > 0, 0
        if self.length is not None and self.length > self.student.context_length:
            behind = self.length - self.student.context_length
            ids, mask = ids[:, :-behind], mask[:, :-behind]
        features = self.student(ids, mask.sum(1)).float() * mask[:, :, None]
        return F.pad(features, (0, 0, 0, behind)), F.pad(mask, (0, behind))


@torch.no_grad()
def features_of(
    run: Run, student: Student, prompts: Sequence[str], batch: int | None = None, length: int | None = None
) -> list[Tensor]:
    """Features of each prompt's valid tokens, (n_i, D), by an exported graph.

    Args:
        run: The graph.
        student: What it was made from, which says how prompts are cut and padded.
        prompts: Any.
        batch: Prompts at once as the graph wants them, the last batch filled up; None for 8.
        length: Tokens of every prompt as the graph wants them, to which longer ones are cut; None pads to the longest
            of a batch.

    Raises:
        ValueError: If the graph's mask does not mark the valid tokens.
    """
    most = student.context_length if length is None else min(length, student.context_length)
    rows = student.tokenizer.cut_to(most).encode(list(prompts))
    size, features = batch or 8, []
    full = length or (student.context_length if student.padding == "reference" else None)
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        filled = chosen + chosen[:1] * (size - len(chosen) if batch else 0)
        ids, lengths = pad(filled, full)
        found, mask = run(ids, lengths)
        if not torch.equal(mask, torch.arange(ids.shape[1]) < lengths[:, None]):
            raise ValueError("the exported mask does not mark the valid tokens")
        features += [found[line, : len(row)].clone() for line, row in enumerate(chosen)]
    return features


def mask_of(ids: Tensor, lengths: Tensor) -> Tensor:
    """The attention mask (B, L), int64, of prompts that are padded at their ends."""
    return (torch.arange(ids.shape[1]) < lengths[:, None]).long()
