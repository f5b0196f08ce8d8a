"""SAM3's official post-processing: the instances of a phrase, at the size of the original image.

As Meta's evaluation does it (facebookresearch/sam3, `PostProcessImage` and its dumps): the score is class times
presence, scores and boxes are rounded to 5 decimals, and mask *logits* are resized before they are cut at a half.
(`transformers` resizes probabilities instead, which moves edges.)
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import interpolate

from litetext.saco.instances import Instances

_PIXELS_AT_ONCE = 1 << 25
"""Pixels that are resized together: 128 MiB in float32."""


def official_scores(logits: Float[Tensor, "n q"], presence: Float[Tensor, " n"]) -> Float64[Tensor, "n q"]:
    """sigmoid(class) x sigmoid(presence), rounded to 5 decimals, on the CPU.

    Args:
        logits: Class logits of each query, (N, Q).
        presence: Presence logit of each phrase, (N,).
    """
    return _rounded(logits.float().sigmoid() * presence.float().sigmoid()[:, None])


def finish(
    scores: Float64[Tensor, " k"], boxes: Float[Tensor, "k 4"], masks: Float[Tensor, "k y x"], size: tuple[int, int]
) -> Instances:
    """Brings the kept queries of one phrase to the original image.

    Args:
        scores: Their official scores, (k,).
        boxes: cx, cy, w, h in 0..1, (k, 4).
        masks: Mask logits of any size, (k, y, x).
        size: Height and width of the original image in pixels.

    Returns:
        Scores float64 (k,) and boxes float64 (k, 4) rounded to 5 decimals, on the CPU; masks bool (k, H, W) where the
        logits are.
    """
    centre, extent = boxes.float().split(2, -1)
    step = max(1, _PIXELS_AT_ONCE // (size[0] * size[1]))
    device = masks.device if len(masks) else None  # nothing need be fetched where nothing is
    full = torch.zeros(len(masks), *size, dtype=torch.bool, device=device)
    for k in range(0, len(masks), step):
        part = interpolate(masks[k : k + step, None].float(), size, mode="bilinear", align_corners=False)
        full[k : k + step] = part[:, 0].sigmoid() > 0.5
    return Instances(scores.cpu(), _rounded(torch.cat([centre - extent / 2, extent], -1)), full)


@torch.no_grad()
def postprocess(
    logits: Float[Tensor, "n q"],
    presence: Float[Tensor, " n"],
    boxes: Float[Tensor, "n q 4"],
    masks: Float[Tensor, "n q y x"],
    size: tuple[int, int],
    threshold: float = 0.5,
) -> list[Instances]:
    """The instances of each of N phrases, from the outputs of the last decoder layer.

    Args:
        logits: Class logits, (N, Q).
        presence: Presence logits, (N,).
        boxes: cx, cy, w, h in 0..1, (N, Q, 4).
        masks: Mask logits, (N, Q, y, x).
        size: Height and width of the original images in pixels.
        threshold: Minimum score of an instance, inclusive; the metrics count from 0.5 on.
    """
    scores = official_scores(logits, presence)
    kept = scores >= threshold
    return [finish(scores[n, k], boxes[n, k], masks[n, k], size) for n, k in enumerate(kept)]


def _rounded(values: Tensor) -> Tensor:
    return values.cpu().double().mul(1e5).round().div(1e5)  # a device may have no float64
