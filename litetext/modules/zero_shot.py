"""Zero-shot detectors of an evaluation, and the SAM whose masks their boxes prompt."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from litetext.data.images.items import SegItem
from litetext.metrics.matching import rle_text
from litetext.models.box_masks import BoxSegmenter, load_box_segmenter
from litetext.models.detectors import Detector, calibrate, load_detector, uncalibrate
from litetext.models.text.encoder import count_parameters, digest
from litetext.modules.records import BegunRecord
from litetext.saco.instances import Instances
from litetext.saco.mask_threads import MaskThreads
from litetext.saco.masks import Rle, encode_masks

_BOXES_AT_ONCE = 16


class ZeroShot:
    """Detectors side by side; without a box segmenter they find boxes alone.

    Attributes:
        detectors: By name, once loaded.
        text_parameters: Parameters of the text part of each.

    Args:
        paths: Folders or hub ids, by name.
        thresholds: By name, the score of its own that counts as 0.5; others have their usual one.
        together: Phrases a prompt of a Grounding DINO.
        box_segmenter: A SAM or SAM 2: a folder or a hub id.
    """

    def __init__(
        self, paths: Mapping[str, str], thresholds: Mapping[str, float], together: int, box_segmenter: str | None
    ) -> None:
        self.paths, self.thresholds, self.together = dict(paths), dict(thresholds), together
        self.box_segmenter_path = box_segmenter
        self.detectors: dict[str, Detector] = {}
        self.text_parameters: dict[str, int] = {}
        self.boxes: BoxSegmenter | None = None

    def load(self, device: Any, identity: Any) -> None:
        """Loads them all.

        Args:
            device: Where they compute.
            identity: A hash that takes all that decides their answers.
        """
        if self.paths and self.box_segmenter_path is not None:
            self.boxes = load_box_segmenter(self.box_segmenter_path)
            digest(identity, self.boxes, f"box segmenter {self.boxes.settings()}")
            self.boxes.to(device)
        how = "boxes only" if self.boxes is None else f"their boxes prompt {self.box_segmenter_path}"
        for name, path in self.paths.items():
            detector = load_detector(path, self.together)
            least = self.thresholds.setdefault(name, detector.usual_threshold)
            digest(identity, detector, f"{name} {least} {detector.settings()}")
            self.detectors[name] = detector.to(device)
            self.text_parameters[name] = count_parameters(detector.text)
            total = count_parameters(detector)
            rank_zero_info(f"detector {name}: {path}, {total:,} parameters; scores from {least:g} on count, {how}")

    def parameters(self) -> dict[str, int]:
        """All parameters of each detector, with those of the box segmenter where there is one."""
        more = 0 if self.boxes is None else count_parameters(self.boxes)
        return {name: count_parameters(detector) + more for name, detector in self.detectors.items()}

    def find(
        self, item: SegItem, threshold: float, chunk: Callable[[Detector], int], threads: MaskThreads
    ) -> BegunRecord:
        """Each detector's predictions for an image, by name, by pair id.

        Args:
            item: The image and its phrases.
            threshold: Minimum score that is kept, after calibration.
            chunk: How many prompts a detector takes at once.
            threads: They make run lengths of masks.
        """
        record: dict[str, dict[int, Instances | Future[Instances]]] = {}
        seen: Any = None
        for name, detector in self.detectors.items():
            own = self.thresholds[name]
            phrases = [pair.phrase for pair in item.pairs]
            parts = detector.detect(item.image, phrases, uncalibrate(threshold, own), chunk(detector))
            if self.boxes is not None and seen is None and any(len(part.boxes) for part in parts):
                seen = self.boxes.see(item.image)  # once an image, whatever detectors and phrases there are
            record[name] = {
                pair.id: self._instances(seen, calibrate(part.scores, own).tolist(), part.boxes, threads)
                for pair, part in zip(item.pairs, parts, strict=True)
            }
        return record

    def _instances(
        self, seen: Any, scores: list[float], boxes: Tensor, threads: MaskThreads
    ) -> Instances | Future[Instances]:
        if self.boxes is None or not len(boxes):
            return Instances(scores, boxes.tolist(), None if self.boxes is None else [])
        # One at a time: memory holds no more masks of the image's size than threads take.
        found = (mask[None].cpu().numpy() for mask in self.boxes.segment(seen, boxes, _BOXES_AT_ONCE))
        parts = [threads.submit(mask.nbytes, encode_masks, mask) for mask in found]
        return threads.submit(0, _joined, scores, boxes.tolist(), parts)


def _joined(scores: list[float], boxes: list[list[float]], parts: list[Future[list[Rle]]]) -> Instances:
    """Detections with their masks, which other threads began before."""
    return Instances(scores, boxes, [rle_text(rle) for part in parts for rle in part.result()])
