"""SA-Co predictions files: matched with the ground truth of the annotators, and the official numbers.

Ground truth is one COCO-like JSON per annotator, one entry of `images` per pair (image, noun phrase);
predictions are a JSON list in the COCO results layout. All of them may be gzipped (`.gz`).
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from litetext.garbage import no_collection
from litetext.metrics.assess import IouType, assess
from litetext.metrics.counts import Counts, official, tally
from litetext.saco.fields import read_box, read_number_id, read_size, shown
from litetext.saco.images import AnnotatorFile, check_segmentations, evaluated, read_annotator, read_json
from litetext.saco.instances import Instances, Truth
from litetext.saco.masklets import read_score
from litetext.saco.masks import Rle, empty_mask, read_mask


@no_collection()
def read_predictions(path: str | Path) -> dict[int, list[dict[str, Any]]]:
    """Predictions of each datapoint, in the order of the file, with ids and boxes as numbers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a list of COCO results: of mappings with an integer `image_id` and `category_id`, a
            `score` from 0 to 1 and, if any, a `bbox` of four finite numbers.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a JSON list of predictions (COCO results), got {type(content).__name__}")
    grouped: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, item in enumerate(content):
        where = f"{path}: prediction {number}"
        if not isinstance(item, dict):
            raise ValueError(f"{where} is {shown(item, 40)}, not a mapping with image_id and score")
        if "video_id" in item and "image_id" not in item:
            raise ValueError(f"{where} has a video_id: these are tracks of videos, and --gt is of images")
        missing = [key for key in ("image_id", "category_id", "score") if key not in item]
        if missing:
            raise ValueError(f"{where} has no {missing[0]}")
        try:
            image, category = (read_number_id(item[key], key) for key in ("image_id", "category_id"))
            score, box = read_score(item["score"]), read_box(item["bbox"]) if item.get("bbox") else None
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        grouped[image].append({**item, "image_id": image, "category_id": category, "score": score, "bbox": box})
    check_segmentations([item for items in grouped.values() for item in items])
    return dict(grouped)


@no_collection()
def datapoints(
    annotators: Sequence[AnnotatorFile], predictions: dict[int, list[dict[str, Any]]], iou_type: IouType = "segm"
) -> tuple[list[int], list[Instances], list[list[Truth]]]:
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
        truth = [_truth(a, i, iou_type) for a in annotators]
        if same:
            items = [item for item in items if item["category_id"] in first.categories]
        else:
            truth = [
                t._replace(known=[item["category_id"] in a.categories for item in items])
                for a, t in zip(annotators, truth, strict=True)
            ]
        found.append(_detections(items, first.images[i], iou_type))
        truths.append(truth)
    return ids, found, truths


def count_files(
    annotators: Sequence[AnnotatorFile], predictions: dict[int, list[dict[str, Any]]], iou_type: IouType = "segm"
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


def _truth(annotator: AnnotatorFile, datapoint: int, iou_type: IouType) -> Truth:
    """What this annotator marked for a datapoint (nothing if the datapoint is not in the file)."""
    items = annotator.annotations.get(datapoint, [])
    crowd = [bool(item.get("iscrowd", 0)) for item in items]
    if iou_type == "bbox":
        try:
            return Truth(boxes=[read_box(item.get("bbox")) for item in items], crowd=crowd)
        except ValueError as error:
            raise ValueError(f"{annotator.name}: datapoint {datapoint}: {error}") from error
    image = annotator.images.get(datapoint, {})
    return Truth(masks=_masks(items, image, annotator.name), crowd=crowd)


def _detections(items: Sequence[dict[str, Any]], image: dict[str, Any], iou_type: IouType) -> Instances:
    scores = np.asarray([item["score"] for item in items], dtype=np.float64)
    if iou_type == "segm":
        return Instances(scores, masks=_masks(items, image, "predictions"))
    boxes = [item.get("bbox") for item in items]
    if not all(boxes):
        raise ValueError(
            f"predictions: datapoint {image['id']} has one without bbox: write [x, y, width, height] "
            "normalised to [0, 1], or score masks only"
        )
    return Instances(scores, boxes=boxes)


def _masks(items: Sequence[dict[str, Any]], image: dict[str, Any], where: str) -> list[Rle]:
    if not items:
        return []
    try:
        height, width = read_size(image)
        return [
            read_mask(segmentation, height, width, any_size=True) if segmentation else empty_mask(height, width)
            for segmentation in (item.get("segmentation") for item in items)
        ]
    except ValueError as error:
        raise ValueError(f"{where}: datapoint {items[0]['image_id']}: {error}") from error
