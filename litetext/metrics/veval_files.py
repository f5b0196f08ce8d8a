"""SA-Co VEval predictions files: the official numbers, per data set and per (video, phrase) pair."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from litetext.metrics.assess import IouType
from litetext.metrics.hota import hota_numbers
from litetext.metrics.teta import teta_numbers
from litetext.metrics.video import PLACES, VideoRows, assess_video, phrase_numbers
from litetext.saco.images import read_json
from litetext.saco.videos import (
    Masklets,
    Pair,
    VideoAnnotations,
    VideoId,
    by_video,
    masklets,
    read_video_annotations,
)

KINDS: dict[IouType, str] = {"segm": "mask", "bbox": "bbox"}


def read_video_predictions(path: str | Path, annotations: VideoAnnotations) -> dict[VideoId, Masklets]:
    """Predicted masklets by video, in the order of the file.

    Args:
        path: A list of tracks {video_id, category_id, score, bboxes, segmentations, areas}, plain or gzipped.
        annotations: The ground truth that they belong to.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such list, names an unknown video, or a track has another number of frames than its video.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a JSON list of tracks, got {type(content).__name__}")
    for number, item in enumerate(content):
        fields = ("video_id", "category_id", "score", "bboxes", "segmentations", "areas")
        missing = [key for key in fields if key not in item] if isinstance(item, dict) else ["video_id"]
        if missing:
            raise ValueError(f"{path}: track {number} has no {missing[0]}")
    where, videos = f"{path}: track", annotations.videos
    return {video: masklets(items, videos[video], where) for video, items in by_video(content, videos, where).items()}


def asked(annotations: VideoAnnotations, predictions: dict[VideoId, Masklets]) -> dict[VideoId, list[int]]:
    """Categories that count as pairs, per video: those of the file, and those that any prediction names."""
    pairs: dict[VideoId, dict[int, None]] = {video: {} for video in annotations.videos}
    for video, category in annotations.pairs:
        pairs.setdefault(video, {})[category] = None
    for video, found in predictions.items():
        pairs[video] |= dict.fromkeys(found.categories.tolist())
    return {video: list(categories) for video, categories in pairs.items()}


def score_video_files(gt: str | Path, predictions: str | Path) -> dict[str, Any]:
    """The official numbers of a predictions file under their names.

    Args:
        gt: Ground truth of one split.
        predictions: The tracks of any system.

    Returns:
        `dataset_results` (fractions; TETA's in percent) and `video_np_results`, one entry a pair.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file cannot be used.
    """
    annotations = read_video_annotations(gt)
    found = read_video_predictions(predictions, annotations)
    questions = asked(annotations, found)
    dataset: dict[str, float] = {}
    per_pair: dict[Pair, dict[str, float]] = {
        (video, category): {} for video, categories in questions.items() for category in categories
    }
    for kind in KINDS:
        rows: dict[VideoId, VideoRows] = {}
        for video, categories in questions.items():
            if categories:
                empty = masklets([], annotations.videos[video], "")
                truth, part = annotations.truth.get(video, empty), found.get(video, empty)
                rows[video] = assess_video(truth, part, categories, annotations.evaluated, kind)
        dataset |= dataset_results(rows.values(), kind)
        for video, row in rows.items():
            for category, numbers in zip(questions[video], pair_results(questions[video], row, kind), strict=True):
                per_pair[video, category] |= numbers
    entries = [
        {"video_id": video, "category_id": category, **numbers} for (video, category), numbers in per_pair.items()
    ]
    return {"dataset_results": dataset, "video_np_results": entries}


def dataset_results(rows: Iterable[VideoRows], kind: IouType, name: str = "video") -> dict[str, float]:
    """The official numbers over videos, each once.

    `ilmcc_50` and `_75` are quotients officially, undefined where pmF1 is 0; they are 0 here.

    Args:
        rows: What `assess_video` gave for each video.
        kind: "segm" or "bbox".
        name: The official prefix.
    """
    rows = list(rows)
    phrases = [row.phrases for row in rows]
    hota = [sums for row in rows for sums in row.hota.values()]
    classes: dict[int, np.ndarray] = {}
    for row in rows:
        for c, part in row.teta.items():
            classes[c] = classes[c] + part if c in classes else part
    numbers = phrase_numbers(np.concatenate(phrases) if phrases else np.zeros((0, 12), dtype=np.int64))
    prefix = f"{name}_{KINDS[kind]}_"
    results = {f"{prefix}demo_{key}": value for key, value in numbers.items()}
    for key, value in hota_numbers(sum(hota, np.zeros((7, 19)))).items():
        results[f"{prefix}all_phrase_{key}"] = value
    if kind == "segm":
        table = np.stack(list(classes.values())) if classes else np.zeros((0, 150))
        results |= {f"{prefix}{key}": value for key, value in teta_numbers(table).items()}
    return results


def pair_results(categories: Iterable[int], row: VideoRows, kind: IouType) -> list[dict[str, float]]:
    """The official numbers of each pair; HOTA only where the pair holds anything."""
    results = []
    for category, (n, m, *hits) in zip(categories, row.phrases.tolist(), strict=True):
        tp = np.asarray(hits, dtype=np.float64)
        total = n + m
        f1 = 2 * tp / total if total else np.ones(10)
        numbers: dict[str, float] = {}
        for suffix, place in PLACES.items():
            for key, values in (("TP", tp), ("FP", n - tp), ("FN", m - tp), ("F1", f1)):
                numbers[f"{KINDS[kind]}_{key}_{suffix}"] = float(values[place].mean())
        if category in row.hota:
            numbers |= {f"{KINDS[kind]}_{key}": value for key, value in hota_numbers(row.hota[category]).items()}
        results.append(numbers)
    return results
