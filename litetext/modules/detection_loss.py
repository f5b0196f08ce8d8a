"""Set prediction losses of a SAM3 on boxes, masks and presence."""

from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from litetext.models.sam3.tiny import PhraseOutputs
from litetext.modules.assignment import assign


class Targets(Protocol):
    """The T targets of N phrases.

    Attributes:
        owner: Which phrase a target belongs to, (T,), ascending.
        masks: The targets' masks, bool (T, S, S).
        boxes: The targets' boxes as cx, cy, w, h in 0..1, (T, 4).
    """

    @property
    def owner(self) -> Tensor: ...  # noqa: D102

    @property
    def masks(self) -> Tensor: ...  # noqa: D102

    @property
    def boxes(self) -> Tensor: ...  # noqa: D102


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice of the last dimension, smoothed by 1."""
    chance = logits.sigmoid()
    return 1 - (2 * (chance * target).sum(-1) + 1) / (chance.sum(-1) + target.sum(-1) + 1)


def corners(boxes: Tensor) -> Tensor:
    """cx, cy, w, h to x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def giou(boxes: Float[Tensor, "*n 4"], others: Float[Tensor, "*n 4"]) -> Float[Tensor, " *n"]:
    """Generalised IoU of boxes (x1, y1, x2, y2) with the boxes of the same place; leading dimensions broadcast."""
    hull_low = torch.minimum(boxes[..., :2], others[..., :2])
    hull_high = torch.maximum(boxes[..., 2:], others[..., 2:])
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    overlap = (high - low).clamp(min=0).prod(-1)
    union = (boxes[..., 2:] - boxes[..., :2]).prod(-1) + (others[..., 2:] - others[..., :2]).prod(-1) - overlap
    hull = (hull_high - hull_low).clamp(min=0).prod(-1)
    eps = torch.finfo(hull.dtype).tiny
    return overlap / union.clamp(min=eps) - (hull - union) / hull.clamp(min=eps)


@torch.no_grad()
def match(
    logits: Float[Tensor, "k n q"],
    boxes: Float[Tensor, "k n q 4"],
    target: Float[Tensor, "t 4"],
    owner: Int64[Tensor, " t"],
    masks: Float[Tensor, "m q p"],
    mask_target: Float[Tensor, "t p"],
    place: Int64[Tensor, " t"],
) -> Int64[Tensor, "k t"]:
    """Assigns a query to every target of every phrase, in each of K decoder layers (Hungarian).

    Args:
        logits: Scores of N phrases, (K, N, Q).
        boxes: cx, cy, w, h, (K, N, Q, 4).
        target: The targets' boxes, (T, 4).
        owner: The phrase of each target, (T,), ascending.
        masks: Mask logits of the M phrases that have targets, (M, Q, P); they count in the last layer.
        mask_target: The targets' masks, (T, P).
        place: Where the target's phrase stands among those M, (T,).

    Returns:
        The query of each target in each layer, (K, T).
    """
    mine = boxes[:, owner]
    cost = -2 * logits[:, owner].sigmoid() + 5 * (mine - target[:, None]).abs().sum(-1)
    cost = cost - 2 * giou(corners(mine), corners(target)[:, None])
    phrases, queries = masks.shape[:2]
    count = torch.zeros(phrases, dtype=torch.int64, device=owner.device).index_add(0, place, torch.ones_like(place))
    rank = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[place]
    largest = int(count.max())
    truth = mask_target.new_zeros(phrases, largest, mask_target.shape[1])
    truth[place, rank] = mask_target
    chance = masks.sigmoid()
    total = chance.sum(-1)[:, None] + truth.sum(-1)[..., None]
    spill = 1 - (2 * torch.bmm(truth, chance.transpose(1, 2)) + 1) / (total + 1)
    cost[-1] += 5 * spill[place, rank]
    grid = cost.new_zeros(len(cost), phrases, largest, queries)
    grid[:, place, rank] = cost
    chosen = assign(grid.flatten(0, 1), count.repeat(len(cost))).view(len(cost), phrases, largest)
    return chosen[:, place, rank]


def detection_loss(out: PhraseOutputs, batch: Targets, positive: Int64[Tensor, " m"]) -> dict[str, Tensor]:
    """Losses of all decoder layers; masks of the last.

    Args:
        out: Detections, with masks for `positive` only.
        batch: Their targets.
        positive: The phrases that mean something, (M,), ascending.

    Returns:
        Weighted losses by name.
    """
    logits, boxes, presence = out.logits.float(), out.boxes.float(), out.presence.float()
    owner, count, layers = batch.owner, max(1, len(batch.owner)), len(logits)
    present = torch.zeros_like(presence)
    present[:, positive] = 1
    place = torch.searchsorted(positive, owner)  # where a target's phrase stands among the positives
    masks, semantic = out.masks.float(), out.semantic.float().flatten(1)
    height, width = masks.shape[-2:]
    soft = F.adaptive_avg_pool2d(batch.masks.float()[:, None], (height, width)).flatten(1)
    queries = match(logits, boxes, batch.boxes, owner, masks.flatten(2), soft, place)
    layer = torch.arange(layers, device=owner.device)[:, None]
    wanted = torch.zeros_like(logits)
    wanted[layer, owner, queries] = 1
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    found = boxes[layer, owner, queries]
    overlap = giou(corners(found), corners(batch.boxes).expand_as(found))
    chosen = masks[place, queries[-1]].flatten(1)
    union = soft.new_zeros(len(positive), soft.shape[1]).index_add(0, place, soft).clamp(max=1)
    return {
        "class": 2 * (entropy * torch.where(wanted > 0, 1.0, 0.25)).sum() / count,
        "l1": 5 * (found - batch.boxes).abs().sum() / count,
        "giou": 2 * (1 - overlap).sum() / count,
        "mask": 5 * F.binary_cross_entropy_with_logits(chosen, soft, reduction="none").mean(-1).sum() / count,
        "dice": 5 * dice(chosen, soft).sum() / count,
        "presence": 2 * layers * F.binary_cross_entropy_with_logits(presence, present),
        "semantic": 2 * F.binary_cross_entropy_with_logits(semantic, union) + dice(semantic, union).mean(),
    }
