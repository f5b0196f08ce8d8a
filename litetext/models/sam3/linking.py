"""Tracking by detection: a SAM3's detections in each frame, linked to masklets.

For SAM3s without a trained tracker (see `tracking`). A detection continues the masklet whose last mask it overlaps
most, in the assignment with the largest sum of IoU; what continues none begins a new one if its score is high enough.
SORT-like (Bewley et al. 2016), on masks instead of predicted boxes: at video frame rates an object overlaps its last
place.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from litetext.saco.instances import Instances
from litetext.saco.mask_ious import rle_ious
from litetext.saco.masklets import masklet_entry
from litetext.saco.masks import encode_masks, mask_area


@dataclass
class Masklet:
    """One tracked object.

    Attributes:
        scores: Score of the detection in each frame it is seen in.
        masks: Run-length masks by frame.
        last: The last frame it was seen in.
    """

    scores: list[float] = field(default_factory=list)
    masks: dict[int, dict[str, Any]] = field(default_factory=dict)
    last: int = -1


@dataclass
class Linker:
    """The masklets of one phrase in one video.

    Attributes:
        new: Minimum score of a detection that begins a masklet.
        match: Minimum IoU with a masklet's last mask.
        max_age: Frames that a masklet may be out of sight.
        min_hits: Minimum number of frames in which a masklet is seen; shorter ones are dropped.
        duplicate: IoU from which of two detections in a frame the lower score is dropped.
    """

    new: float = 0.5
    match: float = 0.05
    max_age: int = 6
    min_hits: int = 3
    duplicate: float = 0.5
    masklets: list[Masklet] = field(default_factory=list)

    def add(self, frame: int, found: Instances) -> None:
        """Takes the detections of the next frame.

        Args:
            frame: Its number; ascending.
            found: Detections from a lower score on than `new`, with masks or their run lengths.
        """
        scores, masks = self._distinct(found)
        alive = [masklet for masklet in self.masklets if frame - masklet.last <= self.max_age + 1]
        free = set(range(len(masks)))
        if masks and alive:
            ious = rle_ious([masklet.masks[masklet.last] for masklet in alive], masks)
            for k, n in zip(*linear_sum_assignment(ious, maximize=True), strict=True):
                if ious[k, n] >= self.match:
                    free.remove(int(n))
                    self._see(alive[k], frame, scores[n], masks[n])
        for n in sorted(free):
            if scores[n] >= self.new:
                self.masklets.append(Masklet())
                self._see(self.masklets[-1], frame, scores[n], masks[n])

    def _distinct(self, found: Instances) -> tuple[list[float], list[dict[str, Any]]]:
        order = np.argsort(-found.scores.cpu().numpy(), kind="stable").tolist()
        masks = found.masks if isinstance(found.masks, list) else encode_masks(found.masks.cpu().numpy())
        ious = rle_ious(masks, masks)
        kept: list[int] = []
        for n in order:
            if mask_area(masks[n]) and all(ious[n, k] < self.duplicate for k in kept):
                kept.append(n)
        return [float(found.scores[n]) for n in kept], [masks[n] for n in kept]

    @staticmethod
    def _see(masklet: Masklet, frame: int, score: float, mask: dict[str, Any]) -> None:
        masklet.scores.append(score)
        masklet.masks[frame] = mask
        masklet.last = frame

    def entries(self, frames: int) -> list[dict[str, Any]]:
        """Masklets that were seen often enough, in the order in which they began.

        Args:
            frames: Frames of the video.
        """
        return [
            masklet_entry(max(masklet.scores), masklet.masks, frames)
            for masklet in self.masklets
            if len(masklet.masks) >= min(self.min_hits, frames)
        ]
