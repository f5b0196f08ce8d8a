"""The embedded video benchmark: held-out shapes that move, in the layout in which SA-Co VEval is released.

Objects drift, bounce, enter and leave; later ones of a scene pass in front of earlier ones. What can be seen of an
object in a frame is its mask; where next to nothing of it can be seen, it is absent.
"""

import json
import random
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask

from litetext.data.shapes.folder import write_once
from litetext.data.shapes.gold import shares
from litetext.data.shapes.world import FIRST_HELD_OUT, SIZE, Phrase, Scene, Shape, draw_phrases, draw_scene, render

FRAMES = 20
"""Frames of a video."""
PAIRS = 6
"""Phrases asked of a video, half of them negatives that share an attribute with what is there."""
NAME = "saco_veval_shapes_test.json"
"""The annotation file."""
MEDIA = "media/saco_shapes/JPEGImages_6fps"
"""The frames' folder."""
_SPEED = (1.0, 3.0)
_VISIBLE = 12  # pixels; less of an object is absent
_LEAST = 4  # frames in which an object must be seen for a phrase to mean it
_FREE = 0.5  # share of the objects that leave or enter instead of bouncing
_VERSION = 1
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


class Clip(NamedTuple):
    """A scene in motion.

    Attributes:
        frames: The scene at each time; the objects keep their order.
        seen: What can be seen of each object, bool (T, n, SIZE, SIZE).
        phrases: What is asked; targets are objects seen in enough frames.
    """

    frames: list[Scene]
    seen: np.ndarray
    phrases: list[Phrase]


def draw_clip(seed: int, frames: int = FRAMES) -> Clip | None:
    """A clip with its phrases, or None where chance finds too few.

    Args:
        seed: Everything follows from it.
        frames: Its length.
    """
    scene, rng = draw_scene(seed), random.Random(f"clip {seed}")
    paths = [_path(shape, frames, rng) for shape in scene.shapes]
    moved = [replace(scene, shapes=tuple(path[t] for path in paths), seed=scene.seed + t) for t in range(frames)]
    seen = np.stack([_seen(part) for part in moved])
    there = [n for n in range(len(paths)) if (seen[:, n].sum(axis=(1, 2)) >= _VISIBLE).sum() >= _LEAST]
    lasting = replace(scene, shapes=tuple(scene.shapes[n] for n in there))
    if len(there) < 2:
        return None
    true, false = (_phrases(lasting, rng, negatives) for negatives in (0.0, 1.0))
    if not len(true) == len(false) == PAIRS // 2:
        return None
    asked = [replace(phrase, targets=tuple(there[k] for k in phrase.targets)) for phrase in [*true, *false]]
    rng.shuffle(asked)
    return Clip(moved, seen, asked)


def _path(shape: Shape, frames: int, rng: random.Random) -> list[Shape]:
    """The object at each time; it bounces at the border, or is free to cross it."""
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*_SPEED)
    place, free = [shape.x, shape.y], rng.random() < _FREE
    speed *= 1.5 if free else 1
    step = [speed * np.cos(angle), speed * np.sin(angle)]
    if free and rng.random() < 0.5:  # it comes in: it ends near the place that the scene gives it
        place = [place[k] - step[k] * frames * 0.8 for k in range(2)]
    path = []
    for _ in range(frames):
        path.append(replace(shape, x=place[0], y=place[1]))
        for k in range(2):
            low, high = shape.radius + 1, SIZE - shape.radius - 1
            if not free and not low <= place[k] + step[k] <= high:
                step[k] = -step[k]
            place[k] += step[k]
    return path


def _seen(scene: Scene) -> np.ndarray:
    """What no later object hides, bool (n, SIZE, SIZE)."""
    masks = np.stack([shape.mask() for shape in scene.shapes])
    hidden = np.zeros((SIZE, SIZE), dtype=bool)
    for n in reversed(range(len(masks))):
        masks[n], hidden = masks[n] & ~hidden, hidden | masks[n]
    return masks


def _phrases(scene: Scene, rng: random.Random, negatives: float) -> list[Phrase]:
    found: dict[str, Phrase] = {}
    for _ in range(100):
        (phrase,) = draw_phrases(scene, 1, rng, negatives)
        if phrase.targets or shares(phrase, scene):
            found.setdefault(phrase.text, phrase)
        if len(found) == PAIRS // 2:
            break
    return list(found.values())


def write_video_shapes(folder: str | Path, videos: int = 24, seed: int = 0, frames: int = FRAMES) -> VideoSet:
    """Writes the benchmark, unless it is there.

    Args:
        folder: Where to write: `annotation/saco_veval_shapes_test.json` and the frames under `media`.
        videos: How many.
        seed: Everything follows from it.
        frames: Frames of each.

    Returns:
        What the folder holds.

    Raises:
        ValueError: An option is out of its range, or the folder holds something else.
        FileNotFoundError: There is no folder to write it in.
    """
    for name, value, least in (("videos", videos, 1), ("seed", seed, 0), ("frames", frames, _LEAST)):
        if not least <= value <= (_MOST if name != "seed" else value):
            raise ValueError(f"{name} is {value}; it must be from {least} to {_MOST}")
    options = {"kind": "videos", "version": _VERSION, "videos": videos, "seed": seed, "frames": frames}
    place, written = write_once(folder, options, lambda part: _write(part, videos, seed, frames))
    return VideoSet(place, videos, videos * PAIRS, seed, written)


def _write(root: Path, videos: int, seed: int, frames: int) -> None:
    start = FIRST_HELD_OUT * (1_000 + seed)
    drawn = (clip for number in count(start) if (clip := draw_clip(number, frames)) is not None)
    content: dict[str, Any] = {
        "info": {"description": "shapes that move"},
        "videos": [],
        "annotations": [],
        "categories": [],
        "video_np_pairs": [],
    }
    categories: dict[str, int] = {}
    for position, clip in enumerate(islice(drawn, videos)):
        name = f"shapes_{position:05}"
        pictures = root / MEDIA / name
        pictures.mkdir(parents=True)
        files = [f"{name}/{t:05}.jpg" for t in range(frames)]
        for file, scene in zip(files, clip.frames, strict=True):
            Image.fromarray(render(scene)).save(root / MEDIA / file, quality=95, subsampling=0)
        content["videos"].append(
            {"id": position, "video_name": name, "file_names": files, "height": SIZE, "width": SIZE, "length": frames}
        )
        masklets = [_masklet(clip.seen[:, n]) for n in range(clip.seen.shape[1])]
        for phrase in clip.phrases:
            category = categories.setdefault(phrase.text, len(categories) + 1)
            about = {"video_id": position, "category_id": category, "noun_phrase": phrase.text}
            pairs, marks = content["video_np_pairs"], content["annotations"]
            pairs.append({"id": len(pairs), **about, "num_masklets": len(phrase.targets)})
            marks += [{"id": len(marks) + n, **masklets[target], **about} for n, target in enumerate(phrase.targets)]
    content["categories"] = [{"id": number, "name": text} for text, number in categories.items()]
    (root / "annotation").mkdir()
    (root / "annotation" / NAME).write_text(json.dumps(content), encoding="utf-8")


def _masklet(seen: np.ndarray) -> dict[str, Any]:
    """What an annotation says of an object: pixels, as released; null where it cannot be seen."""
    codes = [
        _coder.encode(np.asfortranarray(pixels.astype(np.uint8))) if pixels.sum() >= _VISIBLE else None
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
        "height": SIZE,
        "width": SIZE,
    }
