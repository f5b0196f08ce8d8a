"""What the towers and the fusing encoder of a SAM3 for nouns learn from, beside the set prediction losses."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from litetext.data.nouns.batches import CELL_VALUES, ROLES, TEXT_VALUES, NounsBatch, noun_table
from litetext.data.nouns.sheet import core

_FILLED = 0.35
"""Least share of a cell that an object covers to be what the cell shows."""
_ROLE_WEIGHT = 12.0
"""Cells are many and most of them are empty: brings the mean over cells to the scale of the other losses."""


class NounsHeads(nn.Module):
    """Reads what the parts of a SAM3 should know already, each with one linear layer; thrown away after training.

    One matrix names the nouns of vision cells and of pooled text, so that both towers mean the same from the start.

    Args:
        width: Feature size.
        layers: Layers of the fusing encoder.
    """

    table: Tensor

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.noun = nn.Linear(width, core())
        self.others = nn.ModuleList(nn.Linear(width, core()) for _ in range(2))
        values = [n for name, n in CELL_VALUES.items() if name != "noun"]
        self.cell = nn.ModuleList(nn.Linear(width, n) for n in values)
        self.text = nn.ModuleList(nn.Linear(width, n) for n in TEXT_VALUES.values())
        self.roles = nn.ModuleList(nn.Linear(width, len(ROLES)) for _ in range(layers))
        self.register_buffer("table", noun_table(), persistent=False)

    def vision_loss(self, cells: Float[Tensor, "b d y x"], batch: NounsBatch) -> tuple[Tensor, Tensor]:
        """Cross-entropies of the values of the objects in the cells.

        Args:
            cells: Vision features, (B, D, y, x).
            batch: The batch they come from.

        Returns:
            The sum over the values, and the share of cells whose noun is right.
        """
        cover = cell_cover(batch.objects, cells.shape[-1])
        share, which = cover.max(1)
        truth = batch.labels.gather(1, which[..., None].expand(-1, -1, batch.labels.shape[-1]))
        truth = truth.masked_fill(share[..., None] < _FILLED, -1).flatten(0, 1)
        seen = cells.flatten(2).transpose(1, 2).flatten(0, 1)
        nouns = self.noun(seen).float()
        loss = F.cross_entropy(nouns, truth[:, 0], ignore_index=-1)
        for k, head in enumerate(self.cell, start=1):
            loss = loss + F.cross_entropy(head(seen).float(), truth[:, k], ignore_index=-1)
        filled = truth[:, 0] >= 0
        right = ((nouns.argmax(-1) == truth[:, 0]) & filled).sum() / filled.sum().clamp(min=1)
        return loss, right.detach()

    def text_loss(
        self, text: Float[Tensor, "n l d"], mask: Bool[Tensor, "n l"], batch: NounsBatch, frozen: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropies of what phrases say.

        Args:
            text: Text features, (N, L, D).
            mask: Valid tokens, (N, L).
            batch: The batch they come from.
            frozen: Leave the matrix that is shared with the vision tower as it is.

        Returns:
            The sum, and shares of phrases that are read right: `noun`, and `all` of their values.
        """
        pooled = (text * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        shared = (self.noun.weight, self.noun.bias)
        weight, bias = (p.detach() for p in shared) if frozen else shared
        logits = [F.linear(pooled, weight, bias), *(head(pooled) for head in self.others)]
        loss, right = pooled.new_zeros((), dtype=torch.float32), {}
        for k, scores in enumerate(logits):
            wanted = self.table[batch.words[:, k].clamp(min=0)]
            named = (batch.words[:, k] >= 0) & wanted.any(1)
            each = F.kl_div(scores.float().log_softmax(-1), wanted, reduction="none").sum(-1)
            loss = loss + (each * named).sum() / named.sum().clamp(min=1)
            if k == 0:
                hit = wanted.gather(1, scores.argmax(-1, keepdim=True))[:, 0] > 0
                right["noun"] = (hit & named).sum() / named.sum().clamp(min=1)
        whole = torch.ones_like(mask[:, 0])
        for k, head in enumerate(self.text):
            scores = head(pooled).float()
            loss = loss + F.cross_entropy(scores, batch.text_values[:, k])
            whole &= scores.argmax(-1) == batch.text_values[:, k]
        right["all"] = whole.float().mean()
        return loss, right

    def role_loss(self, encoded: list[Tensor], batch: NounsBatch) -> Tensor:
        """Binary cross-entropy of what each image cell is to each phrase, after every layer of the fusing encoder.

        A negative's cells have roles too: the model sees why a phrase means nothing, not only that it does.

        Args:
            encoded: Image tokens after each layer, (N, P, D) each.
            batch: The batch they come from.
        """
        side = round(encoded[0].shape[1] ** 0.5)
        cover = cell_cover(batch.objects, side)[batch.image]
        wanted = torch.bmm(batch.roles.to(cover), cover).clamp(max=1).transpose(1, 2)
        losses = [
            F.binary_cross_entropy_with_logits(head(tokens).float(), wanted)
            for head, tokens in zip(self.roles, encoded, strict=True)
        ]
        return _ROLE_WEIGHT * torch.stack(losses).mean()


def cell_cover(objects: Bool[Tensor, "b o s s"], side: int) -> Float[Tensor, "b o p"]:
    """How much of each of side x side cells an object covers, (B, O, side * side)."""
    return F.adaptive_avg_pool2d(objects.float(), side).flatten(2)
