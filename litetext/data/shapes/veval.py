"""The embedded video benchmark: held-out shapes that move, in the layout in which SA-Co VEval is released.

Objects drift, bounce, enter and leave; later ones of a scene pass in front of earlier ones. What can be seen of an
object in a frame is its mask; where next to nothing of it can be seen, it is absent.
"""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from litetext.data.drawn.gold import distinct, half_negative
from litetext.data.drawn.veval import (
    FRAMES,
    DrawnVideo,
    VideoSet,
    annotation_name,
    draw_path,
    lasting,
    media_folder,
    write_veval,
)
from litetext.data.shapes.gold import shares
from litetext.data.shapes.world import (
    FIRST_HELD_OUT,
    SIZE,
    Shape,
    ShapePhrase,
    ShapeScene,
    draw_phrases,
    draw_scene,
    render,
)

PAIRS = 6
"""Query phrases of a video, half of them negatives that share an attribute with what is there."""
NAME = annotation_name("shapes")
"""The annotation file."""
MEDIA = media_folder("shapes")
"""The frames' folder."""
_DRAWS = 100  # phrases drawn before a scene is given up
_VERSION = 1


class ShapeClip(NamedTuple):
    """A scene in motion.

    Attributes:
        frames: The scene at each time; the objects keep their order.
        seen: What can be seen of each object, bool (T, n, SIZE, SIZE).
        phrases: The queries; targets are objects seen in enough frames.
    """

    frames: list[ShapeScene]
    seen: np.ndarray
    phrases: list[ShapePhrase]


def draw_clip(seed: int, frames: int = FRAMES) -> ShapeClip | None:
    """A clip with its phrases, or None where chance finds too few.

    Args:
        seed: Everything follows from it.
        frames: Its length.
    """
    scene, rng = draw_scene(seed), random.Random(f"clip {seed}")
    paths = [_path(shape, frames, rng) for shape in scene.shapes]
    moved = [replace(scene, shapes=tuple(path[t] for path in paths), seed=scene.seed + t) for t in range(frames)]
    seen = np.stack([_seen(part) for part in moved])
    there = lasting(seen)
    staying = replace(scene, shapes=tuple(scene.shapes[n] for n in there))
    if len(there) < 2:
        return None
    drawn = half_negative(partial(_phrases, staying, rng), PAIRS, rng)
    if drawn is None:
        return None
    phrases = [replace(phrase, targets=tuple(there[k] for k in phrase.targets)) for phrase in drawn]
    return ShapeClip(moved, seen, phrases)


def _path(shape: Shape, frames: int, rng: random.Random) -> list[Shape]:
    """The object at each time; it bounces at the border, or is free to cross it."""
    places = draw_path(shape.x, shape.y, shape.radius, SIZE, frames, rng)
    return [replace(shape, x=x, y=y) for x, y in places]


def _seen(scene: ShapeScene) -> np.ndarray:
    """What no later object hides, bool (n, SIZE, SIZE)."""
    masks = np.stack([shape.mask() for shape in scene.shapes])
    hidden = np.zeros((SIZE, SIZE), dtype=bool)
    for n in reversed(range(len(masks))):
        masks[n], hidden = masks[n] & ~hidden, hidden | masks[n]
    return masks


def _phrases(scene: ShapeScene, rng: random.Random, negatives: float) -> list[ShapePhrase]:
    def draw() -> list[ShapePhrase]:
        return [p for p in draw_phrases(scene, 1, rng, negatives) if p.targets or shares(p, scene)]

    return distinct(draw, lambda phrase: phrase.text, PAIRS // 2, _DRAWS)


def write_video_shapes(folder: str | Path, videos: int = 24, seed: int = 0, frames: int = FRAMES) -> VideoSet:
    """Writes the benchmark, unless it is there; see `drawn.veval.write_veval`.

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

    def draw(number: int) -> DrawnVideo | None:
        clip = draw_clip(number, frames)
        if clip is None:
            return None
        return DrawnVideo(
            (render(scene) for scene in clip.frames),
            clip.seen,
            [(phrase.text, phrase.targets) for phrase in clip.phrases],
        )

    return write_veval("shapes", folder, videos, seed, frames, PAIRS, _VERSION, draw, FIRST_HELD_OUT)
