"""The end of the road: the predictions of an export on images, beside its student's."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from litetext.metrics.matching import mask_ious
from litetext.models.sam3.image import Sam3Image
from litetext.saco.instances import Instances
from litetext.shipped import BY_WIDTH

THRESHOLD = 0.5
"""Least score of a SAM3's predictions; transformers' own default of 0.3 is another."""
PAIRS = 160
"""Pairs of image and phrase that are compared."""
FEW = 8
"""The same before a SAM3 of full size, of which each takes seconds on a processor."""
EDGE = 1e-3
"""An instance whose score is no further from the threshold may be there in one and missing in the other."""
SCORE = 1e-4
"""Largest difference of a score that passes in 32 bits."""
SAME = 0.5
"""Masks that overlap less show different objects."""
_SMALL = 336


class ImagePhrases(NamedTuple):
    """An image, uint8 (3, H, W), and its query phrases."""

    image: Tensor
    phrases: list[str]


Segment = Callable[[Tensor, Sequence[str]], Sequence[Instances]]
"""An image and n phrases to the instances of each: scores (k,) and masks, bool (k, H, W), on the CPU."""
Encode = Callable[[Sequence[str]], list[Tensor]]
"""Prompts to the features of each one's valid tokens, (n_i, D)."""


class MaskAgreement(NamedTuple):
    """How far the predictions of an export are those of its student.

    Attributes:
        where: The SAM3.
        pairs: Pairs of image and phrase that were compared.
        found: Instances that the student predicts.
        presence: Pairs in which only one of the two predicts any.
        unmatched: Instances of either that the other does not have.
        edge: Instances of either that the other lacks, whose scores are within `EDGE` of the threshold; not counted
            in the two above.
        score: Largest difference of an instance's score.
        iou: Smallest IoU of an instance's two masks; None without instances.
        dtype: What the export computes in.
    """

    where: str
    pairs: int
    found: int
    presence: int
    unmatched: int
    edge: int
    score: float
    iou: float | None
    dtype: str = "fp32"

    def line(self) -> str:
        """One line for people."""
        edge = f" ({self.edge} more at the threshold's edge)" if self.edge else ""
        masks = "none was found" if self.iou is None else f"the smallest IoU of masks is {self.iou:.4f}"
        return (
            f"end to end in {self.where}: on {self.pairs:,} pairs with {self.found:,} instances, presence differs in "
            f"{self.presence}, {self.unmatched} instances have no partner{edge}, the largest difference of a score is "
            f"{self.score:.2g}, {masks}"
        )

    @property
    def fault(self) -> str:
        """What must not be in 32 bits; empty if nothing."""
        if self.presence or self.unmatched:
            return "it predicts other instances"
        return "" if self.score <= SCORE else f"scores may differ by {SCORE:g}"


def draw_pairs(count: int, world: str, fits: Callable[[str], bool] | None = None) -> list[ImagePhrases]:
    """Pairs of the embedded benchmark, images of all of its subsets in turn; the last image may have fewer phrases.

    Args:
        count: Pairs.
        world: `shapes` or `nouns`.
        fits: Whether a phrase may be used; None for all.
    """
    if world == "nouns":
        from litetext.data.nouns.gold import SUBSETS, draw_items
        from litetext.data.nouns.render import render

        def draw(scene: Any) -> np.ndarray:
            return render(scene)[0]
    else:
        from litetext.data.shapes import world as shapes
        from litetext.data.shapes.gold import SUBSETS, draw_items

        def draw(scene: Any) -> np.ndarray:
            return shapes.render(scene)

    streams: list[Iterator] = [draw_items(name, 0) for name in SUBSETS]
    pairs: list[ImagePhrases] = []
    turn = 0
    while count > 0:
        scene, candidates = next(streams[turn % len(streams)])
        turn += 1
        phrases = [phrase.text for phrase in candidates if fits is None or fits(phrase.text)][:count]
        if not phrases:
            continue
        pairs.append(ImagePhrases(torch.from_numpy(np.array(draw(scene))).permute(2, 0, 1).contiguous(), phrases))
        count -= len(phrases)
    return pairs


def benchmark_sam3(width: int) -> str | None:
    """The shipped SAM3 that reads features of this width; None where none does."""
    return BY_WIDTH.get(width)


def world_of(width: int) -> str:
    """The world to draw for a SAM3 that reads features of this width."""
    return "shapes" if width == 64 else "nouns"


def choose_pairs(
    sam3: Sam3Image, count: int | None, world: str, fits: Callable[[str], bool] | None = None
) -> list[ImagePhrases]:
    """The pairs to compare in a SAM3: as many as requested, or what its size allows."""
    return draw_pairs((PAIRS if sam3.size <= _SMALL else FEW) if count is None else count, world, fits)


def through(sam3: Sam3Image, encode: Encode) -> Segment:
    """The predictions of litetext with features from anywhere, at its own threshold."""

    def segment(image: Tensor, phrases: Sequence[str]) -> list[Instances]:
        rows = encode(phrases)
        features = torch.zeros(len(rows), max(map(len, rows)), rows[0].shape[1])
        for line, row in enumerate(rows):
            features[line, : len(row)] = row
        lengths = torch.tensor([len(row) for row in rows])
        vision = sam3.encode_images(sam3.preprocess([image]))
        found = sam3.segment(vision, features, lengths, (int(image.shape[1]), int(image.shape[2])), THRESHOLD)
        return [Instances(part.scores, masks=part.masks) for part in found]

    return segment


def answers(segment: Segment, pairs: Sequence[ImagePhrases]) -> list[Instances]:
    """The predictions of every pair, in order."""
    return [part for image, phrases in pairs for part in segment(image, phrases)]


def agreement_of(ours: Sequence[Instances], theirs: Sequence[Instances], where: str) -> MaskAgreement:
    """Compares answers to the same pairs; instances of a pair are matched by the IoU of their masks.

    Args:
        ours: Through the student.
        theirs: Through the export.
        where: The SAM3, for messages.
    """
    presence = unmatched = edge = 0
    score, lowest_iou = 0.0, None
    for mine, other in zip(ours, theirs, strict=True):
        ious = mask_ious(mine.masks, other.masks)
        pairs = [(a, b) for a, b in zip(*linear_sum_assignment(-ious), strict=True) if ious[a, b] >= SAME]
        for a, b in pairs:
            score = max(score, abs(float(mine.scores[a]) - float(other.scores[b])))
            lowest_iou = float(ious[a, b]) if lowest_iou is None else min(lowest_iou, float(ious[a, b]))
        alone = [float(mine.scores[a]) for a in set(range(len(mine.scores))) - {a for a, _ in pairs}]
        alone += [float(other.scores[b]) for b in set(range(len(other.scores))) - {b for _, b in pairs}]
        clear = [value for value in alone if not abs(value - THRESHOLD) <= EDGE]
        edge += len(alone) - len(clear)
        unmatched += len(clear)
        presence += bool(clear) and (len(mine.scores) == 0) != (len(other.scores) == 0)
    found = sum(len(part.scores) for part in ours)
    return MaskAgreement(where, len(ours), found, presence, unmatched, edge, score, lowest_iou)
