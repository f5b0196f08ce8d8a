"""SA-Co VEval files as released: YT-VIS-like JSON of videos, masklets and (video, noun phrase) pairs, plain or gzipped.

Scoring a predictions file and running a model read the same files, so that the reader lies below both.
"""

import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import mask

from litetext.saco.images import Rle, read_json, read_segmentation

_rle: Any = mask  # its type stubs know fewer inputs than it accepts

VideoId = int | str
Pair = tuple[VideoId, int]
"""A video and a category: the id of one question."""


@dataclass(frozen=True)
class Masklets:
    """n masklets of one video of T frames.

    Attributes:
        categories: Category id (phrase) of each, (n,).
        masks: n lists of T compressed run-length masks; None where the object is absent.
        boxes: [x, y, width, height] in pixels, (n, T, 4); zeros where the object is absent.
        boxed: There is a box, (n, T).
        areas: Pixels as the file states them, (n, T); 0 where the object is absent.
        scores: One score a masklet, (n,); ones for ground truth.
        crowd: Crowd flags of ground truth, (n,).
    """

    categories: Int64[np.ndarray, " n"]
    masks: Sequence[Sequence[Rle | None]]
    boxes: Float64[np.ndarray, "n t 4"]
    boxed: Bool[np.ndarray, "n t"]
    areas: Int64[np.ndarray, "n t"]
    scores: Float64[np.ndarray, " n"]
    crowd: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        """Masklets."""
        return len(self.categories)

    def take(self, which: np.ndarray) -> "Masklets":
        """Some of them, by a boolean or an index array."""
        index = np.flatnonzero(which) if which.dtype == bool else which
        parts = (self.categories, self.boxes, self.boxed, self.areas, self.scores, self.crowd)
        categories, boxes, boxed, areas, scores, crowd = (part[index] for part in parts)
        masks = [self.masks[i] for i in index.tolist()]
        return replace(
            self,
            categories=categories,
            masks=masks,
            boxes=boxes,
            boxed=boxed,
            areas=areas,
            scores=scores,
            crowd=crowd,
        )

    def masked(self) -> Bool[np.ndarray, "n t"]:
        """There is a mask, possibly an empty one."""
        flags = [[mask is not None for mask in track] for track in self.masks]
        return np.asarray(flags, dtype=bool).reshape(self.boxed.shape)

    def shown(self) -> Bool[np.ndarray, "n t"]:
        """There is a box that is not all zeros: what TETA calls a detection."""
        return self.boxed & self.boxes.any(axis=2)


@dataclass(frozen=True)
class Video:
    """One video of a VEval file.

    Attributes:
        id: Its id; int or str, as in the file.
        file_names: Its frames in order, relative to the image folder.
        height: Rows of a frame in pixels.
        width: Columns of a frame in pixels.
    """

    id: VideoId
    file_names: tuple[str, ...]
    height: int
    width: int


@dataclass(frozen=True)
class VideoAnnotations:
    """One VEval file.

    Attributes:
        name: File name, for messages.
        videos: By id, in the order of the file.
        categories: Phrases by category id, in the order of the file.
        pairs: Every question, positive and negative, in the order of the file.
        truth: True masklets by video; videos without any are left out.
        evaluated: Categories with a box in any frame, in the order of `categories` (what TETA averages over).
    """

    name: str
    videos: dict[VideoId, Video]
    categories: dict[int, str]
    pairs: list[Pair]
    truth: dict[VideoId, Masklets]
    evaluated: list[int]


def read_video_annotations(path: str | Path) -> VideoAnnotations:
    """Reads one ground-truth file of SA-Co VEval.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, lacks what the metrics need, or a masklet has another number of frames than its
            video.
    """
    content, name = read_json(path), Path(path).name
    try:
        videos = {video["id"]: _video(video) for video in content["videos"]}
        categories = {int(item["id"]): str(item["name"]) for item in content["categories"]}
        asked = [(item["video_id"], int(item["category_id"])) for item in content["video_np_pairs"]]
        where = f"{path}: annotation"
        grouped = by_video(content["annotations"], videos, where)
        marked = [(video, int(item["category_id"])) for video, items in grouped.items() for item in items]
        truth = {video: masklets(items, videos[video], where) for video, items in grouped.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a SA-Co VEval file: {error!r} is missing or misplaced") from error
    with_box = {c for part in truth.values() for c in part.categories[part.boxed.any(axis=1)].tolist()}
    evaluated = [c for c in categories if c in with_box]
    return VideoAnnotations(name, videos, categories, list(dict.fromkeys(asked + marked)), truth, evaluated)


def is_video_file(path: str | Path) -> bool:
    """Whether a ground-truth file is of videos, not of images; a file that cannot be read is not."""
    path = Path(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError):
        return False
    return b'"video_np_pairs"' in raw


def _video(item: dict[str, Any]) -> Video:
    names = tuple(str(name) for name in item["file_names"])
    if item.get("length", len(names)) != len(names):
        raise ValueError(f"video {item['id']} has length {item['length']} but {len(names)} file_names")
    return Video(item["id"], names, int(item["height"]), int(item["width"]))


def masklets(items: Sequence[dict[str, Any]], video: Video, where: str) -> Masklets:
    """Masklets of one video from their entries in a file, ground truth or predictions.

    Args:
        items: Entries with `category_id`, `bboxes`, `segmentations`, `areas` and, in predictions, `score`.
        video: Their video.
        where: What they are, for messages.

    Raises:
        ValueError: One has another number of frames than the video.
        KeyError: An entry lacks a field.
    """
    n, length = len(items), len(video.file_names)
    for number, item in enumerate(items):
        for field in ("bboxes", "segmentations", "areas"):
            if len(item[field]) != length:
                raise ValueError(
                    f"{where} {item.get('id', number)} (video {video.id}, category {item['category_id']}) has "
                    f"{len(item[field])} {field} for {length} frames; give one a frame, null if absent"
                )
    boxes, boxed = np.zeros((n, length, 4)), np.zeros((n, length), dtype=bool)
    areas = np.zeros((n, length), dtype=np.int64)
    for i, item in enumerate(items):
        for t, box in enumerate(item["bboxes"]):
            if box is not None and len(box):
                boxes[i, t], boxed[i, t] = box, True
        areas[i] = [int(area or 0) for area in item["areas"]]
    return Masklets(
        categories=np.asarray([int(item["category_id"]) for item in items], dtype=np.int64),
        masks=[[_mask(mask, video) for mask in item["segmentations"]] for item in items],
        boxes=boxes,
        boxed=boxed,
        areas=areas,
        scores=np.asarray([item.get("score", 1.0) for item in items], dtype=np.float64),
        crowd=np.asarray([bool(item.get("iscrowd", 0)) for item in items], dtype=bool),
    )


def masklet_entry(score: float, masks: Mapping[int, Rle], frames: int) -> dict[str, Any]:
    """A masklet in the layout of official predictions, without video and category.

    Args:
        score: Its one score.
        masks: Compressed run-length masks by frame.
        frames: Frames of the video; where the object is absent there is no mask, an empty box and area 0.
    """
    seen, absent = [masks.get(t) for t in range(frames)], [0.0] * 4
    return {
        "score": score,
        "bboxes": [absent if one is None else [float(x) for x in _rle.toBbox(one)] for one in seen],
        "segmentations": [
            None if one is None else {"size": list(one["size"]), "counts": one["counts"].decode("ascii")}
            for one in seen
        ],
        "areas": [0 if one is None else int(_rle.area(one)) for one in seen],
    }


def by_video(
    items: Sequence[dict[str, Any]], videos: dict[VideoId, Video], where: str
) -> dict[VideoId, list[dict[str, Any]]]:
    """Entries of a file by their video, in its order.

    Raises:
        ValueError: An entry names a video that is not there.
        KeyError: An entry names none.
    """
    grouped: dict[VideoId, list[dict[str, Any]]] = defaultdict(list)
    for number, item in enumerate(items):
        if item["video_id"] not in videos:
            raise ValueError(f"{where} {item.get('id', number)} names video {item['video_id']!r}, which is not there")
        grouped[item["video_id"]].append(item)
    return dict(grouped)


def _mask(mask: Any, video: Video) -> Rle | None:
    if not mask:
        return None
    return mask if isinstance(mask.get("counts"), (str, bytes)) else read_segmentation(mask, video.height, video.width)
