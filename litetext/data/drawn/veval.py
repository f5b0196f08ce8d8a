"""Writes drawn videos with their query phrases and masklets in the layout in which SA-Co VEval is released."""

import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask

from litetext.data.drawn.folder import write_once

FRAMES = 20
"""Frames of a video."""
VISIBLE = 12
"""Pixels; less of an object is absent."""
MIN_FRAMES = 4
"""Frames in which an object must be seen for a phrase to mean it."""
_SPEED = (1.0, 3.0)
_FREE = 0.5  # share of the objects that leave or enter instead of bouncing
_MOST = 10_000
_coder: Any = mask


class VideoSet(NamedTuple):
    """A benchmark on disk.

    Attributes:
        folder: Where it lies.
        videos: Its videos.
        pairs: Its pairs of video and phrase.
        seed: Seed it was drawn with.
        written: It was written now; otherwise it was there.
    """

    folder: Path
    videos: int
    pairs: int
    seed: int
    written: bool


class DrawnVideo(NamedTuple):
    """A drawn video with its query phrases.

    Attributes:
        frames: RGB, uint8 (S, S, 3) each.
        seen: What can be seen of each object, bool (T, n, S, S).
        phrases: The queries, each with the positions of the objects that it means.
    """

    frames: Iterable[np.ndarray]
    seen: np.ndarray
    phrases: Sequence[tuple[str, Sequence[int]]]


def annotation_name(world: str) -> str:
    """The annotation file of a world, below the folder `annotation`."""
    return f"saco_veval_{world}_test.json"


def media_folder(world: str) -> str:
    """The folder of the videos' folders of frames."""
    return f"media/saco_{world}/JPEGImages_6fps"


def draw_path(
    x: float, y: float, reach: float, side: int, frames: int, rng: random.Random
) -> list[tuple[float, float]]:
    """Where an object is at each time; it bounces at the border, or is free to cross it.

    Args:
        x: Its place in the scene, from the left in pixels.
        y: The same from the top.
        reach: How near to the border its centre may come.
        side: Side of the image.
        frames: How many times.
        rng: Source of the draw.
    """
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*_SPEED)
    place, free = [x, y], rng.random() < _FREE
    speed *= 1.5 if free else 1
    step = [speed * np.cos(angle), speed * np.sin(angle)]
    if free and rng.random() < 0.5:  # it comes in: it ends near the place that the scene gives it
        place = [place[k] - step[k] * frames * 0.8 for k in range(2)]
    path = []
    for _ in range(frames):
        path.append((place[0], place[1]))
        for k in range(2):
            low, high = reach + 1, side - reach - 1
            if not free and not low <= place[k] + step[k] <= high:
                step[k] = -step[k]
            place[k] += step[k]
    return path


def lasting(seen: np.ndarray) -> list[int]:
    """Positions of the objects that are seen long enough for a query, of `seen`, bool (T, n, S, S)."""
    return [n for n in range(seen.shape[1]) if (seen[:, n].sum(axis=(1, 2)) >= VISIBLE).sum() >= MIN_FRAMES]


def write_veval(
    world: str,
    folder: str | Path,
    videos: int,
    seed: int,
    frames: int,
    pairs: int,
    version: int,
    draw: Callable[[int], DrawnVideo | None],
    first: int,
    material: str | None = None,
) -> VideoSet:
    """Writes the benchmark, unless it is there.

    Args:
        world: shapes or nouns.
        folder: Where to write: the annotation file and the frames.
        videos: How many.
        seed: Everything follows from it.
        frames: Frames of each.
        pairs: Queries of each.
        version: Changes whenever the same options give other files.
        draw: The video of a number; None where chance finds too few phrases for it.
        first: The first number that is not of training; those of videos lie far beyond it.
        material: Checksum of what is drawn from, beside the code.

    Raises:
        ValueError: An option is out of its range, or the folder holds something else.
        FileNotFoundError: There is no folder to write it in.
    """
    for name, value, low in (("videos", videos, 1), ("seed", seed, 0), ("frames", frames, MIN_FRAMES)):
        if not low <= value <= (_MOST if name != "seed" else math.inf):
            raise ValueError(f"{name} is {value}; it must be from {low} to {_MOST}")
    options = {"kind": "videos", "version": version, "videos": videos, "seed": seed, "frames": frames}
    options |= {} if material is None else {"material": material}

    def fill(part: Path) -> None:
        drawn = (clip for n in count(first * (1_000 + seed)) if (clip := draw(n)) is not None)
        _write(part, world, frames, islice(drawn, videos))

    place, written = write_once(folder, options, fill, world)
    return VideoSet(place, videos, videos * pairs, seed, written)


def _write(root: Path, world: str, frames: int, drawn: Iterable[DrawnVideo]) -> None:
    media = root / media_folder(world)
    content: dict[str, Any] = {
        "info": {"description": f"{world} that move"},
        "videos": [],
        "annotations": [],
        "categories": [],
        "video_np_pairs": [],
    }
    categories: dict[str, int] = {}
    for position, clip in enumerate(drawn):
        name = f"{world}_{position:05}"
        (media / name).mkdir(parents=True)
        files = [f"{name}/{t:05}.jpg" for t in range(frames)]
        for file, pixels in zip(files, clip.frames, strict=True):
            Image.fromarray(pixels).save(media / file, quality=95, subsampling=0)
        _, n, height, width = clip.seen.shape
        size = {"height": height, "width": width}
        content["videos"].append({"id": position, "video_name": name, "file_names": files, **size, "length": frames})
        masklets = [_masklet(clip.seen[:, k]) for k in range(n)]
        for phrase, targets in clip.phrases:
            category = categories.setdefault(phrase, len(categories) + 1)
            about = {"video_id": position, "category_id": category, "noun_phrase": phrase}
            pairs, marks = content["video_np_pairs"], content["annotations"]
            pairs.append({"id": len(pairs), **about, "num_masklets": len(targets)})
            marks += [{"id": len(marks) + k, **masklets[target], **about} for k, target in enumerate(targets)]
    content["categories"] = [{"id": number, "name": text} for text, number in categories.items()]
    (root / "annotation").mkdir()
    (root / "annotation" / annotation_name(world)).write_text(json.dumps(content), encoding="utf-8")


def _masklet(seen: np.ndarray) -> dict[str, Any]:
    """What an annotation says of an object: pixels, as released; null where it cannot be seen."""
    codes = [
        _coder.encode(np.asfortranarray(pixels.astype(np.uint8))) if pixels.sum() >= VISIBLE else None
        for pixels in seen
    ]
    return {
        "segmentations": [
            None if code is None else {"counts": code["counts"].decode("ascii"), "size": list(code["size"])}
            for code in codes
        ],
        "bboxes": [None if code is None else [float(value) for value in _coder.toBbox(code)] for code in codes],
        "areas": [None if code is None else int(_coder.area(code)) for code in codes],
        "iscrowd": 0,
        "height": seen.shape[1],
        "width": seen.shape[2],
    }
