"""What segmenters found, image by image on disk: an interrupted evaluation goes on, and files leave in COCO layout."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from litetext.data.seg_items import ImagePairs, SegItem


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
    """Records of one evaluation in a folder; each process appends to a file of its own.

    A line that was cut off by an interruption is not taken up, nor is an image whose pairs are others now.

    Args:
        folder: Its folder, made when the first record is written. What decides the outcome (weights, thresholds)
            belongs into its name.
        rank: This process.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder, self.path = folder, folder / f"rank{rank}.jsonl"
        # Where each image's line begins: the masks of a whole evaluation would fill the memory.
        self.known: dict[tuple[str, str], tuple[Path, int]] = {}
        for path in sorted(folder.glob("rank*.jsonl")):
            begin = 0
            with path.open("rb") as file:
                for line in file:
                    try:
                        stored = json.loads(line)
                        self.known[stored["subset"], stored["file_name"]] = path, begin
                    except ValueError:
                        pass
                    begin += len(line)

    def find(self, item: SegItem | ImagePairs, encoders: Iterable[str]) -> Record | None:
        """The record of an image if it holds every pair and every encoder asked for."""
        place, ids = self.known.get((item.subset, item.file_name)), {pair.id for pair in item.pairs}
        if place is None:
            return None
        with place[0].open("rb") as file:
            file.seek(place[1])
            record = _unpack(json.loads(file.readline())["found"])
        return None if any(name not in record or record[name].keys() != ids for name in encoders) else record

    def add(self, item: SegItem, record: Record) -> None:
        """Keeps a record, on disk before this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = {name: {str(i): part._asdict() for i, part in pairs.items()} for name, pairs in record.items()}
        line = json.dumps({"subset": item.subset, "file_name": item.file_name, "found": found})
        with self.path.open("ab") as file:
            if file.tell():
                file.write(b"\n")  # a line that an interruption cut off must not swallow this one
            self.known[item.subset, item.file_name] = self.path, file.tell()
            file.write(line.encode())


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
