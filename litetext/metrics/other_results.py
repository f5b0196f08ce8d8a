"""Results of other systems in their own layouts, as predictions of SA-Co images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from litetext.metrics.answer_files import read_answers
from litetext.metrics.saco_check import Predictions
from litetext.metrics.saco_files import read_predictions
from litetext.saco.fields import counted, lies_outside, read_size, shown
from litetext.saco.images import AnnotatorFile

Layout = Literal["saco", "coco", "gemini", "dino-x", "youtube-vis"]
"""How predictions are written."""


class OtherResults(NamedTuple):
    """Predictions as `read_predictions` gives those in the official layout.

    Attributes:
        predictions: By datapoint id, boxes normalised to 0..1.
        notes: What is wrong, one line a kind.
    """

    predictions: Predictions
    notes: list[str]


def read_results(
    path: str | Path, layout: Layout, annotators: Sequence[AnnotatorFile], allow_unknown: bool = False
) -> OtherResults:
    """Predictions of images in any layout.

    Args:
        path: Their file; of answers see `read_answers`.
        layout: How they are written.
        annotators: The ground truth, which knows the sizes of images and the ids of pairs.
        allow_unknown: Whether a quarter or more of the answers or their objects may belong to nothing in it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is in another layout, or a quarter of it (with `allow_unknown`: all) cannot be used.
    """
    if layout == "youtube-vis":
        raise ValueError("--predictions_format youtube-vis is of videos, and --gt is of images")
    if layout == "saco":
        return OtherResults(read_predictions(path), [])
    if layout == "coco":
        return _in_pixels(path, annotators[0])
    return OtherResults(*read_answers(path, layout, annotators, allow_unknown))


def _in_pixels(path: str | Path, first: AnnotatorFile) -> OtherResults:
    found = read_predictions(path)
    boxes = [item["bbox"] for items in found.values() for item in items if item["bbox"]]
    if boxes and max(map(max, boxes)) <= 1.5:
        raise ValueError(
            f"{path}: no box is larger than {max(map(max, boxes)):.2g}: these are fractions, not pixels; leave out "
            "--predictions_format"
        )
    outside: dict[str, str] = {}
    for number, items in found.items():
        if number not in first.images:
            continue
        try:
            height, width = read_size(first.images[number])
        except ValueError as error:
            raise ValueError(f"{first.name}: datapoint {number}: {error}; boxes in pixels need it") from error
        for place, item in enumerate(items):
            if item["bbox"]:
                x, y, w, h = item["bbox"]
                box = [x / width, y / height, w / width, h / height]
                if lies_outside(box):
                    where = f"{number}, prediction {place}"
                    outside[where] = f"bbox is {shown(item['bbox'])}, the image has {width} x {height}"
                    box = [0.0] * 4
                item["bbox"] = box
    if not outside:
        return OtherResults(found, [])
    (where, reason), *_ = outside.items()
    if 4 * len(outside) >= len(boxes):
        raise ValueError(
            f"{path}: {len(outside):,} of {len(boxes):,} boxes lie outside their image (first: id {where}: {reason}); "
            "give pixels of the image's own size"
        )
    return OtherResults(
        found, [f"predictions: {counted('boxes outside their image match nothing', list(outside), reason)}"]
    )
