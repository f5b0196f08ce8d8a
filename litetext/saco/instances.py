"""Instances that a model predicts, and marks of annotators; without torch, so that files are scored without it."""

from typing import Any, NamedTuple


class Instances(NamedTuple):
    """The k instances that a model predicts for one phrase in one image, in the units of SA-Co; there may be none.

    Attributes:
        scores: k scores in 0..1: tensor (k,), array or list.
        boxes: k boxes [x, y, width, height], normalised to 0..1 of the image: tensor (k, 4), array or lists. None where
            only masks count.
        masks: k masks of the image's size: one bool tensor (k, H, W), or run-length masks. None of a detector that
            gives boxes only.
    """

    scores: Any
    boxes: Any = None
    masks: Any = None


class Truth(NamedTuple):
    """What one annotator marked for one phrase in one image; without instances the phrase is a negative.

    Attributes:
        masks: m masks: one bool tensor (m, H, W), or segmentations; run-length masks in the items of a loader. None
            where the data set has only boxes.
        boxes: m boxes [x, y, width, height], normalised to 0..1 of the image. None where only masks count.
        crowd: m flags: the mark covers several instances, and is left out altogether, as officially.
        exhaustive: The annotator says that no instance is missing.
        known: A flag for each prediction: this annotator's file knows its category (None: all). The others vanish.
    """

    masks: Any = None
    boxes: Any = None
    crowd: Any = None
    exhaustive: bool = True
    known: Any = None
