"""SA-Co files: which datapoints count, and the official numbers of a predictions file.

Ground truth is one COCO-like JSON per annotator, one entry of `images` per pair (image, noun phrase);
predictions are a JSON list in the COCO results layout. All of them may be gzipped (`.gz`).
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from litetext.metrics.cgf1 import Counts, Detections, GroundTruth, IouType, assess, official, tally
from litetext.metrics.matching import Rle, read_segmentation


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

    def truth(self, datapoint: int, iou_type: IouType) -> GroundTruth:
        """What this annotator marked for a datapoint (nothing if the datapoint is not in the file)."""
        items = self.annotations.get(datapoint, [])
        crowd = [bool(item.get("iscrowd", 0)) for item in items]
        if iou_type == "bbox":
            return GroundTruth(boxes=[item["bbox"] for item in items], crowd=crowd)
        image = self.images.get(datapoint, {})
        return GroundTruth(masks=[_mask(item, image, self.name) for item in items], crowd=crowd)


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
    except (ValueError, EOFError, OSError) as error:
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
    except (KeyError, TypeError) as error:
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


def read_predictions(path: str | Path) -> dict[int, list[dict[str, Any]]]:
    """Predictions of each datapoint, in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a list of COCO results.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a JSON list of predictions (COCO results), got {type(content).__name__}")
    grouped: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, item in enumerate(content):
        missing = [key for key in ("image_id", "category_id", "score") if key not in item]
        if missing:
            raise ValueError(f"{path}: prediction {number} has no {missing[0]}")
        grouped[int(item["image_id"])].append(item)
    return dict(grouped)


def datapoints(
    annotators: Sequence[Annotator], predictions: dict[int, list[dict[str, Any]]], iou_type: IouType = "segm"
) -> tuple[list[int], list[Detections], list[list[GroundTruth]]]:
    """Ids, predictions and ground truth of the evaluated datapoints, as `PhraseCounts.update` takes them.

    Predictions for other ids are ignored, as officially. A prediction without a mask gets an empty one: it
    matches nothing, as officially.

    Args:
        annotators: One to three, in the order of the files (ties go to the first).
        predictions: Predictions by datapoint id.
        iou_type: "segm" or "bbox".

    Raises:
        ValueError: No annotator; predictions for a datapoint that a later annotator's file lacks; an
            unreadable mask; or, for "bbox", a prediction without a box. (The official code takes boxes in
            pixels there with one annotator, which match nothing, and fails with several.)
    """
    if not annotators:
        raise ValueError("no ground-truth file: give the annotators' files, one to three")
    ids, first = evaluated(annotators), annotators[0]
    same = all(a.categories == first.categories for a in annotators)
    found, truths = [], []
    for i in ids:
        items = predictions.get(i, [])
        lacking = next((a.name for a in annotators if i not in a.images), None) if items else None
        if lacking is not None:
            raise ValueError(f"datapoint {i} has predictions and is in {first.name} but not in {lacking}")
        truth = [a.truth(i, iou_type) for a in annotators]
        if same:
            items = [item for item in items if item["category_id"] in first.categories]
        else:
            for a, t in zip(annotators, truth, strict=True):
                t.known = [item["category_id"] in a.categories for item in items]
        found.append(_detections(items, first.images[i], iou_type))
        truths.append(truth)
    return ids, found, truths


def count_files(
    annotators: Sequence[Annotator], predictions: dict[int, list[dict[str, Any]]], iou_type: IouType = "segm"
) -> Counts:
    """Counts over the evaluated datapoints; arguments and errors are those of `datapoints`."""
    _, found, truths = datapoints(annotators, predictions, iou_type)
    return tally(assess(found, truths, iou_type))


def score_files(gt_paths: Sequence[str | Path], pred_path: str | Path, iou_type: IouType = "segm") -> dict[str, float]:
    """The 26 official numbers of a predictions file, as fractions.

    Args:
        gt_paths: Ground truth of one to three annotators, in the order a, b, c.
        pred_path: Predictions in the COCO results layout.
        iou_type: "segm" or "bbox".

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file cannot be used; see `datapoints`.
    """
    annotators = [read_annotator(path) for path in gt_paths]
    return official(count_files(annotators, read_predictions(pred_path), iou_type), iou_type)


def _detections(items: Sequence[dict[str, Any]], image: dict[str, Any], iou_type: IouType) -> Detections:
    scores = np.asarray([item["score"] for item in items], dtype=np.float64)
    if iou_type == "segm":
        return Detections(scores, masks=[_mask(item, image, "predictions") for item in items])
    boxes = [item.get("bbox") for item in items]
    if not all(boxes):
        raise ValueError(
            f"predictions: datapoint {image['id']} has one without bbox: write [x, y, width, height] "
            "normalised to [0, 1], or score masks only"
        )
    return Detections(scores, boxes=boxes)


def _mask(item: dict[str, Any], image: dict[str, Any], where: str) -> Rle:
    segmentation = item.get("segmentation")
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), str):
        return segmentation
    height, width = int(image["height"]), int(image["width"])
    if not segmentation:
        return read_segmentation({"size": [height, width], "counts": [height * width]}, height, width)
    try:
        return read_segmentation(segmentation, height, width)
    except ValueError as error:
        raise ValueError(f"{where}: datapoint {item['image_id']}: {error}") from error
