"""Masklets, one object each through the frames of a video: as VEval files and predictions write them, checked."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64
from pycocotools import mask

from litetext.saco.fields import Id, read_box, read_flag, read_number_id, shown
from litetext.saco.masks import CheckedMask, Rle, empty_mask, mask_area, mask_box, read_mask, sound_masks

_rle: Any = mask  # its type stubs know fewer inputs than it accepts

VideoId = Id


@dataclass(frozen=True)
class Masklets:
    """n masklets of one video of T frames.

    Attributes:
        categories: Category id (phrase) of each, (n,).
        masks: n lists of T checked masks; None where the object is absent.
        boxes: [x, y, width, height] in pixels, (n, T, 4); zeros where the object is absent.
        boxed: There is a box, (n, T).
        areas: As the file states them, in pixels or as fractions, (n, T); 0 where the object is absent.
        scores: One score a masklet, (n,); ones for ground truth.
        crowd: Crowd flags of ground truth, (n,).
    """

    categories: Int64[np.ndarray, " n"]
    masks: Sequence[Sequence[CheckedMask | None]]
    boxes: Float64[np.ndarray, "n t 4"]
    boxed: Bool[np.ndarray, "n t"]
    areas: Float64[np.ndarray, "n t"]
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


@dataclass
class Amiss:
    """Faults of masklets that did not stop their reading; places are those of the entries in their file.

    Attributes:
        damaged: Why the first damaged mask of an entry is, by place.
        other_size: Places of entries with masks of another size than their video's frames, once a mask.
        turned: How many of these have height and width exchanged.
        unboxed: Places of entries with pixels in a frame where there is no box or an area of 0, once a frame.
    """

    damaged: dict[Any, str] = field(default_factory=dict)
    other_size: list[Any] = field(default_factory=list)
    turned: int = 0
    unboxed: list[Any] = field(default_factory=list)

    def lines(self, what: str, damaged: str, unboxed: str) -> list[str]:
        """One line a kind.

        Args:
            what: The file and what its entries are, such as "gt.json: annotation".
            damaged: What becomes of damaged masks.
            unboxed: What becomes of frames without a box.
        """
        name, _, entry = what.rpartition(": ")
        found = []
        if self.damaged:
            place, reason = next(iter(self.damaged.items()))
            found.append(f"{name}: {damaged}: {len(self.damaged):,} {entry}s (first: {entry} {place}: {reason})")
        if self.other_size:
            way = "; [height, width] is right, theirs are exchanged" if self.turned == len(self.other_size) else ""
            found.append(
                f"{name}: masks of another size than their video match nothing{way}: {len(self.other_size):,} "
                f"(first: {entry} {self.other_size[0]})"
            )
        if self.unboxed:
            found.append(f"{name}: {unboxed}: {len(self.unboxed):,} (first: {entry} {self.unboxed[0]})")
        return found


def masklets(
    items: Sequence[Mapping[str, Any]],
    video: Video,
    where: str,
    places: Sequence[Any] | None = None,
    amiss: Amiss | None = None,
    truth: bool = False,
) -> Masklets:
    """Masklets of one video from their entries in a file.

    A damaged mask becomes one without pixels, which matches nothing. Boxes that ground truth lacks are those of its
    masks.

    Args:
        items: Entries with `category_id`, `bboxes`, `segmentations`, `areas` and, in predictions, `score`.
        video: Their video.
        where: What they are, for messages.
        places: How messages call each; by default their ids, or their numbers in `items`.
        amiss: Collects the faults; without it a damaged mask is an error.
        truth: They are ground truth: without scores, with `iscrowd`.

    Raises:
        ValueError: A field is missing, of the wrong type, not finite, or has another number of frames than the video.
    """
    n, length = len(items), len(video.file_names)
    boxes, boxed = np.zeros((n, length, 4)), np.zeros((n, length), dtype=bool)
    areas, scores = np.zeros((n, length)), np.ones(n)
    categories, crowd = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    masks: list[list[CheckedMask | None]] = []
    for i, item in enumerate(items):
        place = item.get("id", i) if places is None else places[i]
        try:
            categories[i] = read_number_id(item.get("category_id"), "category_id")
            if truth:
                crowd[i] = read_flag(item.get("iscrowd"), "iscrowd", default=False)
            else:
                scores[i] = read_score(item.get("score", 1.0))
            for t, box in enumerate(_each_frame(item, "bboxes", length)):
                _read_frame_box(box, t, truth, boxes[i], boxed[i])
            areas[i] = [_area(area, t) for t, area in enumerate(_each_frame(item, "areas", length))]
            codes = sound_masks(_each_frame(item, "segmentations", length))
            found = [_mask(code, t, video, place, amiss) for t, code in enumerate(codes)]
        except (ValueError, OverflowError) as error:
            about = f"(video {video.id}, category {shown(item.get('category_id'), 20)})"
            raise ValueError(f"{where} {place} {about}: {error}") from error
        for t in np.flatnonzero(~(boxed[i] & boxes[i].any(axis=1) & (truth | (areas[i] > 0)))).tolist():
            one = found[t]
            if one is None or not mask_area(one):
                continue
            if truth and list(one["size"]) == [video.height, video.width]:
                boxes[i, t], boxed[i, t] = mask_box(one), True
            if amiss is not None:
                amiss.unboxed.append(place)
        masks.append(found)
    return Masklets(categories, masks, boxes, boxed, areas, scores, crowd)


def read_score(value: Any) -> float:
    """The score of a prediction.

    Raises:
        ValueError: It is no number from 0 to 1.
    """
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not right or not math.isfinite(value):
        raise ValueError(f"score is {shown(value)}; give a finite number")
    if not -1e-6 <= value <= 1 + 1e-6:
        raise ValueError(
            f"score is {value:g}; scores go from 0 to 1, and count from 0.5 on: divide percentages by 100, put logits "
            "through a sigmoid"
        )
    return float(value)


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
    items: Sequence[Mapping[str, Any]], videos: Mapping[VideoId, Video]
) -> dict[VideoId, list[tuple[int, Mapping[str, Any]]]]:
    """Entries of a file by their video, in its order, each with its place in the file; of known videos only."""
    grouped: dict[VideoId, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for place, item in enumerate(items):
        if item["video_id"] in videos:
            grouped[item["video_id"]].append((place, item))
    return dict(grouped)


def _each_frame(item: Mapping[str, Any], name: str, length: int) -> list[Any]:
    values = item.get(name)
    if not isinstance(values, list):
        raise ValueError(f"{name} is {shown(values)}, not a list of one a frame")
    if len(values) != length:
        raise ValueError(f"it has {len(values)} {name} for {length} frames; give one a frame, null if absent")
    return values


def _read_frame_box(value: Any, t: int, truth: bool, boxes: np.ndarray, boxed: np.ndarray) -> None:
    if value is None or value == []:
        return
    try:
        boxes[t], boxed[t] = read_box(value), True
    except ValueError as error:
        if not truth:  # ground truth takes the mask's
            raise ValueError(f"frame {t}: {error}; null or zeros if absent") from error


def _area(value: Any, t: int) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ValueError(f"frame {t}: areas has {shown(value)}; give a number, 0 or null if absent")
    return float(value)


def _mask(code: Any, t: int, video: Video, place: Any, amiss: Amiss | None) -> CheckedMask | None:
    if not code:
        return None
    try:
        found = read_mask(code, video.height, video.width, any_size=True)
    except ValueError as error:
        if amiss is None:
            raise ValueError(f"frame {t}: {error}") from error
        amiss.damaged.setdefault(place, f"frame {t}: {error}")
        return empty_mask(video.height, video.width)
    size = found["size"]
    if amiss is not None and list(size) != [video.height, video.width]:
        amiss.other_size.append(place)
        amiss.turned += list(size) == [video.width, video.height]
    return found
