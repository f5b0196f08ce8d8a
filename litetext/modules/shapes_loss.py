"""What the towers of the tiny SAM3 learn from, beside the set prediction losses: auxiliary attributes."""

import torch.nn.functional as F
from torch import Tensor, nn

from litetext.data.shapes.datamodule import ShapesBatch
from litetext.data.shapes.phrases import VALUES


class AttributeHeads(nn.Module):
    """Names attributes from single vision cells and from pooled text: shows both towers what to look for, early.

    Args:
        width: Feature size.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [len(values) for values in VALUES.values()]
        self.cell = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        self.text = nn.ModuleList(nn.Linear(width, size + 1) for size in sizes)

    def forward(self, text: Tensor, mask: Tensor, cells: Tensor, batch: ShapesBatch) -> Tensor:
        """Sum of the cross-entropies over the four attributes.

        Args:
            text: Text features, (N, L, D).
            mask: Valid tokens, (N, L).
            cells: Vision features, (B, D, y, x).
            batch: The batch they come from.
        """
        pooled = (text * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        filled = batch.cells[:, 0] >= 0
        seen = cells.permute(0, 2, 3, 1)[filled]
        loss = pooled.new_zeros(())
        for k, (cell, name) in enumerate(zip(self.cell, self.text, strict=True)):
            loss = loss + F.cross_entropy(cell(seen), batch.cells[:, k][filled])
            loss = loss + F.cross_entropy(name(pooled), batch.meaning[:, k])
        return loss
