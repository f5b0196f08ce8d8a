"""SA-Co annotation files as released: one COCO-like JSON per annotator, plain or gzipped.

One entry of `images` is a *datapoint*, a pair (image, noun phrase). Scoring a predictions file and running a model
read the same files, so that the reader lies below both.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from litetext.saco.masks import Rle, check_rle, read_mask

__all__ = ["Annotator", "Rle", "check_rle", "evaluated", "read_annotator", "read_json", "read_segmentation"]


@dataclass
class Annotator:
    """One annotator's file.

    Attributes:
        name: File name, for messages.
        images: Entries of `images` by datapoint id, in the order of the file.
        annotations: Annotations of each datapoint, in the order of the file, of known categories only.
        categories: Category ids that the file knows.
    """

    name: str
    images: dict[int, dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: frozenset[int]


def read_json(path: str | Path) -> Any:
    """Read a JSON file, gzipped if its name ends in `.gz`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not JSON, or not gzip although its name says so.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return json.loads(raw)
    except (ValueError, EOFError, OSError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): is it complete?") from error


def read_annotator(path: str | Path) -> Annotator:
    """Read one ground-truth file of SA-Co Gold, Silver or any COCO-like file with exhaustivity flags.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, or lacks what the metrics need.
    """
    content, name = read_json(path), Path(path).name
    try:
        images = {int(image["id"]): image for image in content["images"]}
        categories = frozenset(int(category["id"]) for category in content["categories"])
        annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for item in content["annotations"]:
            if item["category_id"] in categories:
                annotations[int(item["image_id"])].append(item)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a SA-Co ground-truth file: {error!r} is missing or misplaced") from error
    unmarked = next((i for i, image in images.items() if "is_instance_exhaustive" not in image), None)
    if unmarked is not None:
        raise ValueError(f"{path}: datapoint {unmarked} has no is_instance_exhaustive (1: every instance is marked)")
    return Annotator(name, images, dict(annotations), categories)


def evaluated(annotators: Sequence[Annotator]) -> list[int]:
    """Ids of the datapoints that count, in the order of the first file.

    A datapoint counts if the first annotator has it and none of them says that instances are missing
    (`is_instance_exhaustive` 0). Annotators who do not have it at all have no say.
    """
    barred = {i for a in annotators[1:] for i, image in a.images.items() if not image["is_instance_exhaustive"]}
    return [i for i, image in annotators[0].images.items() if image["is_instance_exhaustive"] and i not in barred]


def read_segmentation(segmentation: Any, height: int, width: int) -> Rle:
    """`litetext.saco.masks.read_mask` of a mask of any size."""
    return read_mask(segmentation, height, width, any_size=True)
