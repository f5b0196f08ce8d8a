"""SA-Co VEval files as released: YT-VIS-like JSON of videos, masklets and (video, noun phrase) pairs, plain or gzipped.

Scoring a predictions file and running a model read the same files, so that the reader lies below both.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from litetext.garbage import no_collection
from litetext.saco.fields import counted, read_id, read_number_id, read_size, shown
from litetext.saco.images import by_id, read_json
from litetext.saco.masklets import Amiss, Masklets, Video, VideoId, by_video, masklet_entry, masklets
from litetext.saco.masks import mask_area

__all__ = [
    "Masklets",
    "Pair",
    "Video",
    "VideoAnnotations",
    "VideoId",
    "is_video_file",
    "masklet_entry",
    "masklets",
    "read_video_annotations",
]

Pair = tuple[VideoId, int]
"""A video and a category: the id of one question."""


@dataclass(frozen=True)
class VideoAnnotations:
    """One VEval file.

    Attributes:
        name: File name, for messages.
        videos: By id, in the order of the file.
        categories: Phrases by category id, in the order of the file.
        pairs: Every query, positive and negative, in the order of the file.
        truth: True masklets by video; videos without any are left out.
        evaluated: Categories with a box in any frame, in the order of `categories` (what TETA averages over).
        left_out: Pairs with a damaged or a missing mask, or a missing annotation, with the reason; they are in none of
            the above.
        notes: What is wrong in the file, one line a kind.
    """

    name: str
    videos: dict[VideoId, Video]
    categories: dict[int, str]
    pairs: list[Pair]
    truth: dict[VideoId, Masklets]
    evaluated: list[int]
    left_out: dict[Pair, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def masked(self) -> bool:
        """Whether masks are marked, or nothing at all; a file of boxes alone cannot be scored by masks."""
        return not self.truth or any(part.masked().any() for part in self.truth.values())


@no_collection()
def read_video_annotations(path: str | Path) -> VideoAnnotations:
    """Reads one ground-truth file of SA-Co VEval.

    A pair with a damaged mask, or without one where there is a box, is left out, unless no annotation has masks; and so
    is one with fewer annotations than its `num_masklets`, which would else count as a negative or be easier.
    Entries that name a video or a category which the file does not list are left out as long as they are fewer than a
    quarter. All of that stands in `notes`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, lacks what the metrics need, contradicts itself, or a masklet has another number of
            frames than its video.
    """
    content, name = read_json(path), Path(path).name
    lists = ("videos", "categories", "annotations", "video_np_pairs")
    lacking = [key for key in lists if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if lacking:
        held = type(content).__name__ if not isinstance(content, dict) else ", ".join(map(str, content))[:100]
        raise ValueError(
            f"{path} is not a SA-Co VEval file: the list {lacking[0]} is missing or misplaced (it holds: {held})"
        )
    read = {key: [_entry(item, f"{path}: {key}[{i}]") for i, item in enumerate(content[key])] for key in lists}
    videos = {
        number: _video(number, item, f"{path}: video {shown(number)}")
        for number, item in by_id(read["videos"], "videos", path).items()
    }
    categories = dict(
        _category(number, item, f"{path}: category {shown(number)}")
        for number, item in by_id(read["categories"], "categories", path).items()
    )
    notes: list[str] = []
    marked = _at_home(read["annotations"], "annotations", path, videos, categories, notes)
    listed = _at_home(read["video_np_pairs"], "video_np_pairs", path, videos, categories, notes)
    marked = _once(marked, name, notes)

    amiss = Amiss()
    truth: dict[VideoId, Masklets] = {}
    left_out: dict[Pair, str] = {}
    pair_of = {place: (item["video_id"], item["category_id"]) for place, item in marked}
    numbers = [place for place, _ in marked]
    any_mask = any(any(codes) for _, item in marked if isinstance(codes := item.get("segmentations"), list))
    for video, entries in by_video([item for _, item in marked], videos).items():
        places = [numbers[k] for k, _ in entries]
        items = [item for _, item in entries]
        found = masklets(items, videos[video], f"{path}: annotation", places, amiss, truth=True)
        for k, place in enumerate(places):
            if fault := amiss.damaged.get(place) or _incomplete(found, k, any_mask):
                left_out.setdefault(pair_of[place], f"annotation {place}: {fault}")
        kept = [k for k, place in enumerate(places) if pair_of[place] not in left_out]
        if kept:
            truth[video] = found if len(kept) == len(places) else found.take(np.asarray(kept))
    told = _told(listed, path)
    present = Counter(pair_of.values())
    absent = [pair for pair, number in told.items() if number > present[pair] and pair not in left_out]
    beyond = [pair for pair, number in told.items() if number < present[pair]]
    if beyond:
        few = f"{told[beyond[0]]:,}, annotations hold {present[beyond[0]]:,}"
        notes.append(counted(f"{name}: pairs with more masklets than video_np_pairs counts; all count", beyond, few))
    for pair in absent:
        left_out[pair] = f"video_np_pairs counts {told[pair]:,} masklets, annotations hold {present[pair]:,}"
    for video in {video for video, _ in absent} & truth.keys():
        kept = [k for k, c in enumerate(truth[video].categories.tolist()) if (video, c) not in left_out]
        truth[video] = truth[video].take(np.asarray(kept, dtype=np.int64))
    truth = {video: found for video, found in truth.items() if len(found)}
    if absent:
        notes.append(counted(f"{name}: pairs left out since masklets are not there", absent, left_out[absent[0]]))
    spoilt = {pair_of[place] for place in amiss.damaged}
    notes += amiss.lines(
        f"{name}: annotation",
        f"{len(spoilt):,} pairs are left out for a damaged mask",
        "frames without a box get that of their mask",
    )
    if lacking := [why for pair, why in left_out.items() if pair not in spoilt and pair not in absent]:
        notes.append(
            f"{name}: {len(lacking):,} pairs are left out for an annotation without masks (first: {lacking[0]})"
        )
    listed_pairs = [(item["video_id"], item["category_id"]) for _, item in listed]
    pairs = [pair for pair in dict.fromkeys([*listed_pairs, *pair_of.values()]) if pair not in left_out]
    with_box = {c for part in truth.values() for c in part.categories[part.boxed.any(axis=1)].tolist()}
    evaluated = [c for c in categories if c in with_box]
    return VideoAnnotations(name, videos, categories, pairs, truth, evaluated, left_out, notes)


def _told(listed: Sequence[tuple[Any, dict[str, Any]]], path: str | Path) -> dict[Pair, int]:
    """How many masklets pairs have, as far as the file tells."""
    told: dict[Pair, int] = {}
    for place, item in listed:
        if item.get("num_masklets") is None:
            continue
        try:
            told[item["video_id"], item["category_id"]] = read_number_id(item["num_masklets"], "num_masklets")
        except ValueError as error:
            raise ValueError(f"{path}: video_np_pairs[{place}]: {error}") from error
    return told


def _incomplete(found: Masklets, k: int, any_mask: bool) -> str:
    """Why a true masklet cannot be scored by masks, in a file that has them; empty if it can."""
    shown, masked = found.shown()[k], found.masked()[k]
    if not shown.any() and not any(mask is not None and mask_area(mask) for mask in found.masks[k]):
        return "it marks nothing in any frame"
    bare = np.flatnonzero(shown & ~masked)
    return f"frame {bare[0]} has a box and no mask" if any_mask and len(bare) else ""


def _once(
    marked: Sequence[tuple[Any, dict[str, Any]]], name: str, notes: list[str]
) -> list[tuple[Any, dict[str, Any]]]:
    """Annotations, those that are there twice once; a line about these and about others that share their id."""
    first: dict[Any, dict[str, Any]] = {}
    twice, shared = list[Any](), list[Any]()
    kept: list[tuple[Any, dict[str, Any]]] = []
    for place, item in marked:
        try:
            number = read_id(item.get("id"))
        except ValueError:  # nothing counts by it
            number = None
        if number is not None and number in first:
            (twice if first[number] == item else shared).append(number)
            if first[number] == item:
                continue
        first.setdefault(number, item)
        kept.append((place, item))
    if twice:
        notes.append(counted(f"{name}: annotations that are there twice count once", twice))
    if shared:
        notes.append(counted(f"{name}: annotations that share their id with another one all count", shared))
    return kept


def is_video_file(path: str | Path) -> bool:
    """Whether a ground-truth file is of videos, not of images; a file that cannot be read is not."""
    path = Path(path)
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return False
    return b'"video_np_pairs"' in raw


def _entry(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is {shown(item)}, not a mapping")
    return item


def _video(number: VideoId, item: Mapping[str, Any], where: str) -> Video:
    try:
        height, width = read_size(dict(item))
        names = item.get("file_names")
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"file_names is {shown(names)}, not a list of file names")
        length = item.get("length", len(names))
        if read_number_id(length, "length") != len(names):
            raise ValueError(f"it has length {shown(length)} but {len(names)} file_names")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return Video(number, tuple(names), height, width)


def _category(number: VideoId, item: Mapping[str, Any], where: str) -> tuple[int, str]:
    if isinstance(number, str):
        raise ValueError(f"{where}: its id is text; give a whole number")
    if not isinstance(item.get("name"), str):
        raise ValueError(f"{where}: its name is {shown(item.get('name'))}, not text")
    return number, item["name"]


def _at_home(
    items: Sequence[dict[str, Any]],
    key: str,
    path: str | Path,
    videos: Mapping[VideoId, Video],
    categories: Mapping[int, str],
    notes: list[str],
) -> list[tuple[Any, dict[str, Any]]]:
    """Entries whose video and category the file lists, with their ids normalised, each with its place in the file."""
    kept: list[tuple[Any, dict[str, Any]]] = []
    lost: list[int] = []
    reason = ""
    for place, item in enumerate(items):
        try:
            video = read_id(item.get("video_id"), "video_id")
            category = read_number_id(item.get("category_id"), "category_id")
        except ValueError as error:
            raise ValueError(f"{path}: {key}[{place}]: {error}") from error
        if video in videos and category in categories:
            kept.append((place, {**item, "video_id": video, "category_id": category}))
            continue
        fault = f"names video {video!r}" if video not in videos else f"names category {category}"
        reason = reason or f"{key}[{place}] {fault}, which is not there"
        lost.append(place)
    if not lost:
        return kept
    notice = f"{Path(path).name}: {len(lost):,} of {len(items):,} {key} are left out: {reason}"
    if 4 * len(lost) >= len(items):
        raise ValueError(f"{path}: {len(lost):,} of {len(items):,} {key} have no home: {reason}; the file is no whole")
    notes.append(notice)
    return kept
