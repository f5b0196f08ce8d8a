"""SA-Co VEval predictions files: the official numbers, per data set and per (video, phrase) pair."""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from litetext.garbage import no_collection
from litetext.metrics.assess import IouType
from litetext.metrics.hota import hota_numbers
from litetext.metrics.saco_check import CORNERS, OVER, UNKNOWN
from litetext.metrics.teta import teta_numbers
from litetext.metrics.track_results import complete_tracks
from litetext.metrics.video import KINDS, PLACES, VideoRows, assess_video, phrase_numbers
from litetext.saco.fields import read_id, read_number_id, shown
from litetext.saco.images import read_json
from litetext.saco.masklets import Amiss, Masklets, Video, VideoId, by_video, masklets
from litetext.saco.masks import mask_area
from litetext.saco.videos import Pair, VideoAnnotations, read_video_annotations


class _Named(NamedTuple):
    """What tracks name of the ground truth, in words; `fate` is that of tracks that name what it lacks."""

    field: str
    one: str
    lacking: str
    fate: str
    remedy: str


_VIDEO = _Named(
    *("video_id", "video", "videos that {} does not hold", "are ignored"),
    "give the ground truth that they are for",
)
_CATEGORY = _Named(
    *("category_id", "category", "categories that {} does not know", "are false alarms, as officially"),
    "correct their category_id",
)


class VideoPredictions(NamedTuple):
    """A predictions file.

    Attributes:
        found: Predicted masklets by video, in the order of the file.
        notes: What is wrong in it, one line a kind.
        kinds: What it holds, `segm` and `bbox`; of a file without tracks, both.
    """

    found: dict[VideoId, Masklets]
    notes: list[str]
    kinds: list[IouType]


@no_collection()
def read_video_predictions(
    path: str | Path, annotations: VideoAnnotations, allow_unknown: bool = False, youtube_vis: bool = False
) -> VideoPredictions:
    """Predicted masklets by video.

    Damaged masks match nothing; tracks of videos that the ground truth does not list, and of pairs that it leaves out,
    are ignored. All of that stands in `notes`.

    Args:
        path: A list of tracks {video_id, category_id, score, bboxes, segmentations, areas}, plain or gzipped.
        annotations: The ground truth that they belong to.
        allow_unknown: Whether a quarter or more of the tracks may name videos or categories that it does not hold.
        youtube_vis: The tracks are YouTube-VIS results, see `complete_tracks`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such list, a track lacks something or has another number of frames than its video, or a
            quarter of the tracks (with `allow_unknown`: all) belong to nothing in this ground truth.
    """
    content = read_json(path)
    if youtube_vis:
        content = complete_tracks(content, annotations.videos, str(path))
    if not isinstance(content, list):
        raise ValueError(f"{path} must hold a JSON list of tracks, got {type(content).__name__}")
    tracks = [_track(item, f"{path}: track {number}") for number, item in enumerate(content)]
    name, known = Path(path).name, annotations.videos
    notes = _strangers(tracks, _VIDEO, known, path, annotations.name, allow_unknown)
    notes += _strangers(tracks, _CATEGORY, annotations.categories, path, annotations.name, allow_unknown)
    seen: set[str] = set()
    twice = [k for k, item in enumerate(content) if (text := json.dumps(item)) in seen or seen.add(text)]
    if twice:
        notes.append(f"{name}: tracks that repeat another one count again: {len(twice):,} (first: track {twice[0]})")
    amiss, found = Amiss(), dict[VideoId, Masklets]()
    for video, entries in by_video(tracks, known).items():
        kept = [(k, item) for k, item in entries if (video, item["category_id"]) not in annotations.left_out]
        places, items = [k for k, _ in kept], [item for _, item in kept]
        found[video] = masklets(items, known[video], f"{path}: track", places, amiss)
    notes += amiss.lines(
        f"{name}: track",
        "damaged masks match nothing",
        "frames with a mask and without a box or an area count as empty for HOTA and TETA, as officially",
    )
    parts = [part for part in found.values() if len(part)]
    kinds: list[IouType] = list(KINDS)
    if parts and not any(part.masked().any() for part in parts):
        kinds.remove("segm")
    elif parts and not any(part.shown().any() for part in parts) and any(_pixels(part) for part in parts):
        kinds.remove("bbox")
    notes += [f"{KINDS[kind]} is left out: {name} does not hold it" for kind in KINDS if kind not in kinds]
    if "bbox" in kinds:
        notes += _fractions(parts, annotations, name) or _outside(found, known, name)
    if not tracks:
        notes.append(f"{name} holds no track: nothing was found anywhere")
    return VideoPredictions(found, notes, kinds)


def _strangers(
    tracks: Sequence[dict[str, Any]], named: _Named, known: Container[Any], path: str | Path, gt: str, allow: bool
) -> list[str]:
    """A line about tracks that name what the ground truth lacks; many of them are an error."""
    strangers = [k for k, track in enumerate(tracks) if track[named.field] not in known]
    if not strangers:
        return []
    first = f"first: track {strangers[0]} names {named.one} {tracks[strangers[0]][named.field]!r}"
    if len(strangers) == len(tracks):
        raise ValueError(f"{path}: no track is of a {named.one} in {gt} ({first}); give the file it is for")
    lacking = named.lacking.format(gt)
    if not allow and 4 * len(strangers) >= len(tracks):
        raise ValueError(
            f"{path}: {len(strangers):,} of {len(tracks):,} tracks are of {lacking} ({first}); {named.remedy}, "
            f"or {UNKNOWN}"
        )
    return [f"{Path(path).name}: tracks of {lacking} {named.fate}: {len(strangers):,} ({first})"]


def _track(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is {shown(item)}, not a mapping with video_id and score")
    fields = ("video_id", "category_id", "score", "bboxes", "segmentations", "areas")
    missing = [key for key in fields if key not in item]
    if "video_id" in missing and "image_id" in item:
        raise ValueError(f"{where} has an image_id: these are predictions of images, and --gt is of videos")
    if missing:
        raise ValueError(f"{where} has no {missing[0]}")
    try:
        video = read_id(item["video_id"], "video_id")
        category = read_number_id(item["category_id"], "category_id")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return {**item, "video_id": video, "category_id": category}


def _pixels(part: Masklets) -> bool:
    return any(mask_area(one) for track in part.masks for one in track if one is not None)


def _fractions(parts: Sequence[Masklets], annotations: VideoAnnotations, name: str) -> list[str]:
    """A line if predicted boxes are fractions where true ones are pixels: they match nothing."""
    groups = (parts, annotations.truth.values())
    largest = [max((float(part.boxes.max(initial=0)) for part in group), default=0.0) for group in groups]
    if 0 < largest[0] <= 1.5 and largest[1] > 8:
        return [f"{name}: no box is larger than {largest[0]:.2g}: boxes of videos are in pixels, not fractions of 1"]
    return []


def _outside(found: Mapping[VideoId, Masklets], videos: Mapping[VideoId, Video], name: str) -> list[str]:
    """Lines if predicted boxes have nothing in their frame, and match nothing, or are corners."""
    count, first, over, total = 0, "", 0, 0
    for number, part in found.items():
        right, bottom = videos[number].width, videos[number].height
        boxes = part.boxes[part.boxed & (part.boxes[..., 2:] > 0).all(-1)]
        ends = boxes[:, :2] + boxes[:, 2:]
        outside = ((boxes[:, :2] >= (right, bottom)) | (ends <= 0)).any(1)
        reaching = (ends > (OVER * right, OVER * bottom)).any(1) & ~outside
        over, total, far = over + int(reaching.sum()), total + len(boxes), boxes[outside]
        if len(far):
            count, first = (
                count + len(far),
                first or f"video {number}: {far[0].tolist()}, its frames have {right} x {bottom}",
            )
    lines = [f"{name}: boxes outside their frame match nothing: {count:,} (first: {first})"] if count else []
    if over and 4 * over >= total:
        lines.append(f"{name}: {over:,} of {total:,} boxes reach far over the edge of their frame, {CORNERS}")
    return lines


def asked_categories(annotations: VideoAnnotations, predictions: dict[VideoId, Masklets]) -> dict[VideoId, list[int]]:
    """Categories that count as pairs, per video: those of the file, and those that any prediction names."""
    pairs: dict[VideoId, dict[int, None]] = {video: {} for video in annotations.videos}
    for video, category in annotations.pairs:
        pairs[video][category] = None
    for video, found in predictions.items():
        pairs[video] |= dict.fromkeys(found.categories.tolist())
    return {video: list(categories) for video, categories in pairs.items()}


def score_video_files(
    gt: str | Path, predictions: str | Path, allow_unknown: bool = False, youtube_vis: bool = False
) -> dict[str, Any]:
    """The official numbers of a predictions file under their names.

    Args:
        gt: Ground truth of one split.
        predictions: The tracks of any system.
        allow_unknown: See `read_video_predictions`.
        youtube_vis: See `read_video_predictions`.

    Returns:
        `dataset_results` (fractions; TETA's in percent; None for what the predictions do not hold), `video_np_results`,
        one entry a pair, `notes`, what is wrong in the files, one line a kind, and `left_out`, the pairs that should
        count and were left out.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file cannot be used, or nothing can be scored with them.
    """
    annotations = read_video_annotations(gt)
    if not annotations.truth:
        why = f"; {'; '.join(annotations.notes)}" if annotations.notes else ""
        raise ValueError(f"{gt} holds no masklet to be found: negatives alone give no score{why}")
    found, notes, kinds = read_video_predictions(predictions, annotations, allow_unknown, youtube_vis)
    if not annotations.masked and "segm" in kinds:
        kinds.remove("segm")
        notes.append(f"mask is left out: {annotations.name} does not hold it")
    if not kinds:
        raise ValueError(f"--predictions {predictions}: nothing to score; {'; '.join(notes)}")
    questions = asked_categories(annotations, found)
    dataset: dict[str, float | None] = {}
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
        results = dataset_results(rows.values(), kind)
        if kind not in kinds:
            dataset |= dict.fromkeys(results)
            continue
        dataset |= results
        for video, row in rows.items():
            for category, numbers in zip(questions[video], pair_results(questions[video], row, kind), strict=True):
                per_pair[video, category] |= numbers
    entries = [
        {"video_id": video, "category_id": category, **numbers} for (video, category), numbers in per_pair.items()
    ]
    return {
        "dataset_results": dataset,
        "video_np_results": entries,
        "notes": [*annotations.notes, *notes],
        "left_out": len(annotations.left_out),
    }


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
