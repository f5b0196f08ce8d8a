"""Tracks in the layout of YouTube-VIS results, as trackers write them, as tracks of SA-Co VEval predictions."""

from collections.abc import Mapping
from typing import Any

from litetext.saco.fields import read_id, shown
from litetext.saco.masklets import Video, VideoId
from litetext.saco.masks import mask_area, mask_box, read_mask


def complete_tracks(content: Any, videos: Mapping[VideoId, Video], where: str) -> list[Any]:
    """Adds the boxes and areas that official predictions hold, from the masks, or the masks that are not there.

    Args:
        content: A list of {video_id, category_id, score, segmentations}: a mask (run lengths or polygons) or null for
            each frame; of trackers of boxes with `bboxes` [x, y, width, height] in pixels in place of `segmentations`.
        videos: The videos of the ground truth, for the size of polygons.
        where: The file.

    Returns:
        The entries, with `bboxes`, `segmentations` and `areas`; what is damaged stays as it is.

    Raises:
        ValueError: It is no such list.
    """
    if not isinstance(content, list):
        raise ValueError(f"{where} must hold a JSON list of tracks (YouTube-VIS results), got {type(content).__name__}")
    return [_complete(item, videos, f"{where}: track {number}") for number, item in enumerate(content)]


def _complete(item: Any, videos: Mapping[VideoId, Video], where: str) -> Any:
    if not isinstance(item, dict):
        return item
    masks, boxes = item.get("segmentations"), item.get("bboxes")
    if masks is None and boxes is None and "video_id" in item:
        raise ValueError(f"{where} has neither segmentations nor bboxes")
    for name, values in (("segmentations", masks), ("bboxes", boxes)):
        if values is not None and not isinstance(values, list):
            raise ValueError(f"{where}: {name} is {shown(values)}, not a list of one a frame")
    try:
        video = videos.get(read_id(item.get("video_id"), "video_id"))
    except ValueError:
        video = None  # told by what reads the track
    drawn = [(None, 0) if video is None else _box_and_area(code, video) for code in masks or ()]
    if boxes is None:
        boxes = [box for box, _ in drawn]
    if masks is None:
        masks = [None] * len(boxes)
    areas = item.get("areas")
    if areas is None:
        areas = [area for _, area in drawn] if drawn else [_extent(box) for box in boxes]
    return {**item, "segmentations": masks, "bboxes": boxes, "areas": areas}


def _box_and_area(code: Any, video: Video) -> tuple[list[float] | None, int]:
    """Of the mask of a frame; nothing where there is none or it is damaged."""
    try:
        mask = read_mask(code, video.height, video.width, any_size=True) if code else None
    except ValueError:
        mask = None  # counted by what reads the track
    area = 0 if mask is None else mask_area(mask)
    return (None, 0) if mask is None or not area else (mask_box(mask), area)


def _extent(box: Any) -> float:
    """The area of a box; 0 where there is none, or it is no box, which what reads the track tells."""
    numbers = isinstance(box, list) and len(box) == 4 and all(isinstance(x, (int, float)) for x in box)
    return max(0.0, float(box[2])) * max(0.0, float(box[3])) if numbers else 0.0
