"""What is kept of what was found: duplicates suppressed, the surest of each phrase."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from litetext.saco.masks import Rle, rle_ious


class Objects(NamedTuple):
    """Instances of one phrase in one image, the surest first.

    Attributes:
        phrase: The phrase.
        scores: k scores from 0 to 1.
        boxes: k boxes x, y, width, height in pixels.
        masks: k run-length masks of the image's size.
    """

    phrase: str
    scores: list[float]
    boxes: list[list[float]]
    masks: list[Rle]

    def take(self, chosen: Iterable[int]) -> "Objects":
        """Some of them, by position."""
        which = list(chosen)
        parts = ([part[n] for n in which] for part in (self.scores, self.boxes, self.masks))
        return Objects(self.phrase, *parts)  # pyright: ignore[reportArgumentType]


def distinct(scores: Sequence[float], masks: Sequence[Rle], iou: float) -> list[int]:
    """Positions that non-maximum suppression keeps, ascending: of two masks that overlap more, the surer stays.

    Args:
        scores: k scores; of equal ones the first counts as surer.
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
    found: Iterable[Objects], nms: float | None = None, across_phrases: bool = False, most: int | None = None
) -> Iterator[Objects]:
    """Suppresses duplicates and cuts to a number a phrase.

    Args:
        found: What was found of each phrase in one image.
        nms: IoU above which two masks show one object; None suppresses nothing.
        across_phrases: Two phrases never keep one object: that with the higher score has it. Then all phrases are in
            memory at once.
        most: Most instances of a phrase, the surest; None for all.
    """
    if nms is not None:
        overlap = nms
        found = (part.take(distinct(part.scores, part.masks, overlap)) for part in found)
        if across_phrases:
            parts = list(found)
            kept = set(distinct([s for p in parts for s in p.scores], [m for p in parts for m in p.masks], overlap))
            starts = [sum(len(p.scores) for p in parts[:n]) for n in range(len(parts))]
            found = (
                part.take(k for k in range(len(part.scores)) if start + k in kept)
                for start, part in zip(starts, parts, strict=True)
            )
    return (part if most is None else part.take(range(min(most, len(part.scores)))) for part in found)
