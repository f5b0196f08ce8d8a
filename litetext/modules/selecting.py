"""Duplicates suppressed, and the instances of each phrase with the highest scores kept."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool

from litetext.metrics.matching import rle_text
from litetext.saco.instances import Instances
from litetext.saco.mask_ious import rle_ious
from litetext.saco.masks import Rle, encode_masks
from litetext.saco.segments import Segments


def distinct(scores: Sequence[float], masks: Sequence[Rle], iou: float) -> list[int]:
    """Positions that non-maximum suppression keeps, ascending.

    Of two masks that overlap more, the one with the higher score stays.

    Args:
        scores: k scores; of equal ones the first counts as higher.
        masks: k run-length masks of one size.
        iou: Overlap, as IoU of the masks, above which two are taken for one object.
    """
    ious = rle_ious(masks, masks)
    kept: list[int] = []
    for n in sorted(range(len(scores)), key=lambda n: -scores[n]):
        if all(ious[n, k] <= iou for k in kept):
            kept.append(n)
    return sorted(kept)


def select(
    found: Iterable[Segments], nms: float | None = None, across_phrases: bool = False, most: int | None = None
) -> Iterator[Segments]:
    """Suppresses duplicates and cuts to a number a phrase.

    Args:
        found: The instances of each phrase in one image, with the highest score first.
        nms: IoU above which two masks show one object; None suppresses nothing.
        across_phrases: Two phrases never keep one object: that with the higher score has it. A phrase that comes
            twice has the same both times. Then all phrases are in memory at once.
        most: Most instances of a phrase, those with the highest scores; None for all.
    """
    if nms is not None:
        overlap = nms
        found = (part.take(distinct(part.scores.tolist(), part.rles, overlap)) for part in found)
        if across_phrases:
            parts = list(found)
            once: dict[str, Segments] = {}
            for part in parts:
                once.setdefault(part.phrase, part)
            scores = [(phrase, k, score) for phrase, p in once.items() for k, score in enumerate(p.scores.tolist())]
            masks = [mask for part in once.values() for mask in part.rles]
            kept = {scores[n][:2] for n in distinct([score for *_, score in scores], masks, overlap)}
            found = (part.take(k for k in range(len(part.scores)) if (part.phrase, k) in kept) for part in parts)
    return (part if most is None else part.take(range(min(most, len(part.scores)))) for part in found)


def encode_instances(
    scores: Sequence[float], boxes: Sequence[list[float]], masks: Bool[np.ndarray, "n h w"], nms: float | None
) -> Instances:
    """The instances of a phrase with run lengths as JSON holds them.

    Args:
        scores: n scores.
        boxes: Their boxes.
        masks: Their masks, (n, H, W).
        nms: IoU above which of two masks only that with the higher score stays; None suppresses nothing.
    """
    runs = encode_masks(masks)
    kept = range(len(scores)) if nms is None else distinct(scores, runs, nms)
    return Instances([scores[n] for n in kept], [boxes[n] for n in kept], [rle_text(runs[n]) for n in kept])
