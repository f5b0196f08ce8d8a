"""What the tiny SAM3 learns from: set prediction losses on boxes, masks and presence, and auxiliary attributes."""

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou

from litetext.data.shapes_datamodule import ShapesBatch
from litetext.data.shapes_phrases import VALUES
from litetext.models.sam3_shapes import PhraseOutputs


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of the last dimension, smoothed by 1."""
    chance = logits.sigmoid()
    return 1 - (2 * (chance * target).sum(-1) + 1) / (chance.sum(-1) + target.sum(-1) + 1)


def corners(boxes: Tensor) -> Tensor:
    """cx, cy, w, h to x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


@torch.no_grad()
def match(
    logits: Tensor, boxes: Tensor, target: Tensor, owner: Tensor, masks: Tensor | None, mask_target: Tensor
) -> Tensor:
    """Assigns a query to every target of every phrase (Hungarian).

    Args:
        logits: Scores of N phrases, (N, Q).
        boxes: cx, cy, w, h, (N, Q, 4).
        target: The targets' boxes, (T, 4).
        owner: The phrase of each target, (T,), ascending.
        masks: Mask logits by target's phrase, (T, Q, P), or None to leave masks out of the cost.
        mask_target: The targets' masks, (T, P).

    Returns:
        The query of each target, (T,).
    """
    mine = boxes[owner]
    cost = -2 * logits[owner].sigmoid() + 5 * (mine - target[:, None]).abs().sum(-1)
    giou = [generalized_box_iou(corners(b), corners(t[None]))[:, 0] for b, t in zip(mine, target, strict=True)]
    cost = cost - 2 * torch.stack(giou)
    if masks is not None:
        chance = masks.sigmoid()
        overlap = torch.bmm(chance, mask_target[:, :, None])[..., 0]
        total = chance.sum(-1) + mask_target.sum(-1)[:, None]
        cost = cost + 5 * (1 - (2 * overlap + 1) / (total + 1))
    queries = torch.zeros_like(owner)
    for phrase in owner.unique():
        rows = (owner == phrase).nonzero()[:, 0]
        chosen, columns = linear_sum_assignment(cost[rows].cpu().numpy())
        queries[rows[torch.from_numpy(chosen)]] = torch.from_numpy(columns).to(queries)
    return queries


def detection_loss(out: PhraseOutputs, batch: ShapesBatch, positive: Tensor) -> dict[str, Tensor]:
    """Losses of both decoder layers; masks of the last.

    Args:
        out: Detections, with masks for `positive` only.
        batch: Their targets.
        positive: The phrases that mean something, (M,), ascending.

    Returns:
        Weighted losses by name.
    """
    owner, count = batch.owner, max(1, len(batch.owner))
    present = torch.zeros(len(batch.image)).to(out.presence)
    present[positive] = 1
    place = torch.searchsorted(positive, owner)  # where a target's phrase stands among the positives
    height, width = out.masks.shape[-2:]
    soft = F.adaptive_avg_pool2d(batch.masks.float()[:, None], (height, width)).flatten(1)
    losses = {"class": out.logits.new_zeros(()), "l1": out.logits.new_zeros(()), "giou": out.logits.new_zeros(())}
    queries = owner
    for layer, (logits, boxes) in enumerate(zip(out.logits, out.boxes, strict=True)):
        last = layer == len(out.logits) - 1
        masks = out.masks[place].flatten(2) if last else None
        queries = match(logits, boxes, batch.boxes, owner, masks, soft)
        wanted = torch.zeros_like(logits)
        wanted[owner, queries] = 1
        weight = torch.where(wanted > 0, 1.0, 0.25)
        entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        losses["class"] += 2 * (entropy * weight).sum() / count
        found = boxes[owner, queries]
        losses["l1"] += 5 * (found - batch.boxes).abs().sum() / count
        losses["giou"] += 2 * (1 - generalized_box_iou(corners(found), corners(batch.boxes)).diagonal()).sum() / count
    masks = out.masks[place, queries].flatten(1)
    losses["mask"] = 5 * F.binary_cross_entropy_with_logits(masks, soft, reduction="none").mean(-1).sum() / count
    losses["dice"] = 5 * dice(masks, soft).sum() / count
    losses["presence"] = 2 * sum(F.binary_cross_entropy_with_logits(p, present) for p in out.presence)  # type: ignore[assignment]
    union = torch.zeros(len(positive), height * width).to(soft)
    union = union.index_add(0, place, soft).clamp(max=1)
    semantic = out.semantic.flatten(1)
    losses["semantic"] = 2 * F.binary_cross_entropy_with_logits(semantic, union) + dice(semantic, union).mean()
    return losses


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
