"""The task loss: how far a student is from its teacher behind a frozen SAM3, in the detector's outputs for both.

    L = w_text A + w_presence P + w_scores S + w_boxes B + w_masks M + w_mse MSE + w_cosine cosine

of each phrase, s the outputs for the student's features and t those for the teacher's, KL the divergence between two
shares, KL(t, s) = t log(t / s) + (1 - t) log((1 - t) / (1 - s)), which is 0 where they agree:

    A = mean over layers l that read the text of |a_l(s) - a_l(t)|^2 / |a_l(t)|^2
    P = mean over decoder layers of KL(sigmoid presence(t), sigmoid presence(s))
    S = presence(t) * mean over decoder layers of sum over queries of KL(class(t), class(s))
    B = mean over decoder layers of the mean over queries, weighed by the teacher's scores, of |box(s) - box(t)|_1
    M = mean over pixels and queries, the latter weighed by the teacher's scores, of KL(mask(t), mask(s))

A query of the student is compared with the same query of the teacher: they start from the same frozen embedding, so
that nothing need be matched. Where the teacher predicts nothing, classes, boxes and masks say nothing and weigh
nothing.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from litetext.models.sam3.detector_outputs import DetectorOutputs

DETECTOR_PARTS = ("text", "presence", "scores", "boxes", "masks")


def detector_losses(
    student: DetectorOutputs, teacher: DetectorOutputs, decoded: Int64[Tensor, " m"]
) -> dict[str, Float[Tensor, " n"]]:
    """The five parts that the detector decides, of each of N phrases.

    Args:
        student: Outputs for the student's features.
        teacher: Outputs for the teacher's features, without gradients.
        decoded: The phrases whose masks both hold, (M,).

    Returns:
        `text`, `presence`, `scores`, `boxes` and `masks`, (N,) each; `masks` is 0 where none were decoded.
    """
    presence, scores = teacher.presence[-1].sigmoid(), teacher.scores
    share = scores / scores.sum(1, keepdim=True).clamp_min(1)
    text = [_relative_distance(s, t) for s, t in zip(student.text_attention, teacher.text_attention, strict=True)]
    distance = (student.boxes - teacher.boxes).abs().sum(-1).mean(0)
    masks = presence.new_zeros(len(presence))
    if len(decoded):
        pixels = _divergence(student.masks, teacher.masks).mean((-2, -1))
        masks = masks.index_copy(0, decoded, (share[decoded] * pixels).sum(1))
    return {
        "text": torch.stack(text).mean(0),
        "presence": _divergence(student.presence, teacher.presence).mean(0),
        "scores": presence * _divergence(student.logits, teacher.logits).sum(-1).mean(0),
        "boxes": (share * distance).sum(1),
        "masks": masks,
    }


def _relative_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of each phrase over the teacher's own square, (N,)."""
    return (student - teacher).square().flatten(1).sum(1) / teacher.square().flatten(1).sum(1).clamp_min(1e-12)


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of Bernoulli shares, both given as logits; 0 where they are equal, never below."""
    share = teacher.sigmoid()
    crossed = binary_cross_entropy_with_logits(student, share, reduction="none")
    own = binary_cross_entropy_with_logits(teacher, share, reduction="none")
    return (crossed - own).clamp_min(0)
