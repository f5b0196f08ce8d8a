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

import numpy as np
from pycocotools import mask

Rle = dict[str, Any]
"""One compressed mask as in COCO files: {"size": [height, width], "counts": str or bytes}."""

_rle: Any = mask  # its type stubs know fewer inputs than it accepts


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
    """The `segmentation` of a COCO annotation as one compressed mask.

    Args:
        segmentation: Compressed run-length mask (kept, with its own size), uncompressed one, or polygons.
        height: Rows of the image, which polygons are drawn on.
        width: Columns of the image.

    Raises:
        ValueError: It is none of the three.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), (str, bytes)):
        return segmentation
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
        return _rle.frPyObjects(segmentation, height, width)
    if isinstance(segmentation, list) and segmentation:
        return _rle.merge(_rle.frPyObjects(segmentation, height, width))
    raise ValueError(f"segmentation must be a run-length mask or polygons, got {str(segmentation)[:80]!r}")


def check_rle(segmentation: Rle, height: int, width: int) -> None:
    """Refuse a compressed mask that is not one of this image.

    `pycocotools` reads past the end of damaged runs without a word, so their sum is checked here.

    Args:
        segmentation: A compressed mask.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        ValueError: The mask has another size than the image, or its runs do not add up to that size.
    """
    size = segmentation.get("size")
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(f"a mask's size (height, width) is {size}, the image's is [{height}, {width}]")
    counts = segmentation["counts"]
    try:
        runs = _runs(counts.encode("ascii") if isinstance(counts, str) else counts)
    except ValueError as error:
        raise ValueError(f"a mask's runs are damaged ({error})") from error
    if len(runs) and int(runs.min()) < 0:
        raise ValueError("a mask's runs are damaged (one is negative)")
    if int(runs.sum()) != height * width:
        raise ValueError(f"a mask's runs cover {int(runs.sum())} pixels, the image has {height * width}")


def _runs(counts: bytes) -> np.ndarray:
    # Five bits a byte, lowest first; bit 5 says that more follow, bit 4 of the last byte is the sign; from the
    # fourth number on, the difference to the number two places before (COCO API, maskApi.c).
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    if codes.min() < 0 or codes.max() > 63:
        raise ValueError("a byte is no run-length code")
    last = (codes & 32) == 0
    if not last[-1]:
        raise ValueError("the text ends within a number")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if int((ends - starts).max()) > 6:
        raise ValueError("a number has more than 32 bits")
    place = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((codes & 31) << (5 * place), starts)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * (ends - starts + 1)), 0)
    # The second number is absolute, and so is the third; differences begin with the fourth.
    numbers[1::2] = np.cumsum(numbers[1::2])
    if len(numbers) > 2:
        numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
