"""Predictions image by image on disk: an interrupted evaluation continues, and files are written in COCO layout."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from litetext.data.images.items import ImagePairs, SegItem
from litetext.modules.cache_key import item_key
from litetext.modules.prepared import content_of
from litetext.modules.resume_cache import ResumeCache, of_ranks
from litetext.saco.instances import Instances

Record = dict[str, dict[int, Instances]]
"""Of one image: by text encoder or detector, by pair id."""

BegunRecord = Mapping[str, Mapping[int, Instances | Future[Instances]]]
"""As `Record`, where threads may still be at the run lengths of masks."""


def finished(begun: BegunRecord) -> Record:
    """The record, once the threads are done with it; raises what they raised."""
    return {
        name: {i: part.result() if isinstance(part, Future) else part for i, part in parts.items()}
        for name, parts in begun.items()
    }


class Records:
    """Records of one evaluation, each under the key of all that decides it (see `cache_key`).

    Attributes:
        keys: Keys of the images of this evaluation, by subset and file name.
        reused: How many of them were stored before.

    Args:
        cache: Where they lie.
    """

    def __init__(self, cache: ResumeCache) -> None:
        self.cache = cache
        self.keys: dict[tuple[str, str], str] = {}
        self.reused = 0

    def key(self, item: SegItem) -> str:
        """The key of an image's predictions, which this evaluation now counts."""
        place = (item.subset, item.file_name)
        pairs = [(pair.id, pair.phrase, pair.category) for pair in item.pairs]
        self.keys[place] = item_key(place, pairs, content_of(item))
        return self.keys[place]

    def find(self, key: str) -> Record | None:
        """The record under a key."""
        found = self.cache.find(key)
        self.reused += found is not None
        return None if found is None else _unpack(found)

    def add(self, key: str, record: Record) -> None:
        """Keeps a record, in a file before this returns."""
        found = {name: {str(i): part._asdict() for i, part in pairs.items()} for name, pairs in record.items()}
        self.cache.add(key, found)

    def of(self, image: ImagePairs) -> Record | None:
        """The predictions of this evaluation for an image; None if there are none."""
        key = self.keys.get((image.subset, image.file_name))
        found = None if key is None else self.cache.find(key)
        return None if found is None else _unpack(found)

    def join(self) -> "Records":
        """The records of all processes; every process must call it, after all have written."""
        whole = Records(ResumeCache(self.cache.folder, self.cache.rank))
        for keys, reused in of_ranks((self.keys, self.reused)):
            whole.keys |= keys
            whole.reused += reused
        return whole


def _unpack(found: dict[str, Any]) -> Record:
    return {name: {int(i): Instances(**part) for i, part in pairs.items()} for name, pairs in found.items()}


def coco_results(images: Iterable[ImagePairs], records: Records, encoder: str) -> Iterator[dict[str, Any]]:
    """Predictions in the official layout, in the order of the images; those of a detector have no `segmentation`.

    Args:
        images: The images of one subset.
        records: Predictions; images without a record are left out.
        encoder: The text encoder or detector.
    """
    for image in images:
        record = records.of(image)
        for pair in image.pairs if record is not None else ():
            found: Instances = record[encoder][pair.id]  # type: ignore[index]
            for n, (score, box) in enumerate(zip(found.scores, found.boxes, strict=True)):
                said = {"image_id": pair.id, "category_id": pair.category, "score": score, "bbox": box}
                yield said if found.masks is None else said | {"segmentation": found.masks[n]}


def sides_of(asked: list[ImagePairs], records: Records, subset: str) -> tuple[int, int]:
    """Scored pairs of a subset that have their phrase by any annotator, and those that lack it by any."""
    positives = negatives = 0
    for image in asked:
        if image.subset == subset and (subset, image.file_name) in records.keys:
            for pair in image.pairs:
                there = [not all(truth.crowd) for truth in pair.truths if pair.evaluated]
                positives, negatives = positives + any(there), negatives + (not all(there))
    return positives, negatives


def without(image: ImagePairs, lost: set[tuple[str, int]]) -> ImagePairs:
    """The image with the pairs that were counted."""
    return image._replace(pairs=[pair for pair in image.pairs if (image.subset, pair.id) not in lost])
