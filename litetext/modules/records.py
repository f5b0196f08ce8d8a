"""What segmenters found, image by image on disk: an interrupted evaluation goes on, and files leave in COCO layout."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from litetext.data.images.items import ImagePairs, SegItem
from litetext.modules.journal import Journal


class Instances(NamedTuple):
    """What one text encoder or detector led to for one pair.

    Attributes:
        scores: k scores.
        boxes: k boxes [x, y, width, height], normalised to [0, 1].
        masks: k compressed run-length masks with text counts; None of a detector, which gives boxes only.
    """

    scores: list[float]
    boxes: list[list[float]]
    masks: list[dict[str, Any]] | None


Record = dict[str, dict[int, Instances]]
"""Of one image: by text encoder or detector, by pair id."""


class Records:
    """Records of one evaluation. An image whose pairs are others now is not taken up.

    Args:
        folder: Its folder, see `Journal`.
        rank: This process.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder = folder
        self.journal = Journal(folder, rank)

    def find(self, item: SegItem | ImagePairs, encoders: Iterable[str]) -> Record | None:
        """The record of an image if it holds every pair and every encoder asked for."""
        found = self.journal.find((item.subset, item.file_name))
        if found is None:
            return None
        record, ids = _unpack(found), {pair.id for pair in item.pairs}
        return None if any(name not in record or record[name].keys() != ids for name in encoders) else record

    def add(self, item: SegItem, record: Record) -> None:
        """Keeps a record, on disk before this returns."""
        found = {name: {str(i): part._asdict() for i, part in pairs.items()} for name, pairs in record.items()}
        self.journal.add((item.subset, item.file_name), found)


def _unpack(found: dict[str, Any]) -> Record:
    return {name: {int(i): Instances(**part) for i, part in pairs.items()} for name, pairs in found.items()}


def coco_results(images: Iterable[ImagePairs], records: Records, encoder: str) -> Iterator[dict[str, Any]]:
    """Predictions in the official layout, in the order of the images; those of a detector have no `segmentation`.

    Args:
        images: The images of one subset.
        records: What was found; images without a record are left out.
        encoder: The text encoder or detector.
    """
    for image in images:
        record = records.find(image, [encoder])
        for pair in image.pairs if record is not None else ():
            found: Instances = record[encoder][pair.id]  # type: ignore[index]
            for n, (score, box) in enumerate(zip(found.scores, found.boxes, strict=True)):
                said = {"image_id": pair.id, "category_id": pair.category, "score": score, "bbox": box}
                yield said if found.masks is None else said | {"segmentation": found.masks[n]}
