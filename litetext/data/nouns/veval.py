"""The embedded video benchmark of nouns: held-out scenes that move, in the layout in which SA-Co VEval is released.

Objects drift, bounce, enter and leave; later ones of a scene pass in front of earlier ones. What can be seen of an
object in a frame is its mask; where next to nothing of it can be seen, it is absent. The queries do not change with
time: nouns, categories and attributes, but no places.
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
from litetext.data.nouns.meaning import find
from litetext.data.nouns.phrases import Phrase, draw_phrases
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, SIZE, Scene, draw_scene
from litetext.data.nouns.sheet import checksum

PAIRS = 6
"""Query phrases of a video, half of them negatives."""
NAME = annotation_name("nouns")
"""The annotation file."""
MEDIA = media_folder("nouns")
"""The frames' folder."""
_KINDS = {"noun": 2, "synonym": 1, "category": 1, "attribute": 3, "negation": 1}
_DRAWS = 60
_VERSION = 3


class SpriteClip(NamedTuple):
    """A scene in motion.

    Attributes:
        frames: The images, uint8 (SIZE, SIZE, 3) each.
        seen: What can be seen of each object, bool (T, n, SIZE, SIZE).
        phrases: The queries; targets are objects seen in enough frames.
    """

    frames: list[np.ndarray]
    seen: np.ndarray
    phrases: list[Phrase]


def draw_clip(number: int, frames: int = FRAMES) -> SpriteClip | None:
    """A clip with its phrases, or None where chance finds too few.

    Args:
        number: Everything follows from it.
        frames: Its length.
    """
    scene, rng = draw_scene(number, split="test"), random.Random(f"nouns clip {number}")
    paths = [draw_path(s.x, s.y, s.size / 2, SIZE, frames, rng) for s in scene.sprites]
    moved = [_at(scene, [path[t] for path in paths], t) for t in range(frames)]
    painted = [render(part) for part in moved]
    seen = np.stack([masks for _, masks in painted])
    there = lasting(seen)
    if len(there) < 2:
        return None
    staying = replace(scene, sprites=tuple(scene.sprites[k] for k in there))
    drawn = half_negative(partial(_phrases, staying, rng), PAIRS, rng)
    if drawn is None:
        return None
    # An object that is seen too shortly to be asked for must not be what a phrase could mean either.
    phrases = [replace(phrase, targets=tuple(there[k] for k in phrase.targets)) for phrase in drawn]
    if any(find(phrase.meaning, scene) != phrase.targets for phrase in phrases):
        return None
    return SpriteClip([image for image, _ in painted], seen, phrases)


def _at(scene: Scene, places: list[tuple[float, float]], time: int) -> Scene:
    sprites = tuple(replace(s, x=round(x), y=round(y)) for s, (x, y) in zip(scene.sprites, places, strict=True))
    noise = scene.background._replace(grain=time)
    return replace(scene, sprites=sprites, background=noise)


def _phrases(scene: Scene, rng: random.Random, negatives: float) -> list[Phrase]:
    def draw() -> list[Phrase]:
        return draw_phrases(scene, 1, rng, _KINDS, split="test", negatives=negatives, wording="train")

    return distinct(draw, lambda phrase: phrase.meaning, PAIRS // 2, _DRAWS)


def write_video_nouns(folder: str | Path, videos: int = 24, seed: int = 0, frames: int = FRAMES) -> VideoSet:
    """Writes the benchmark, unless it is there; see `drawn.veval.write_veval`.

    Args:
        folder: Where to write: `annotation/saco_veval_nouns_test.json` and the frames under `media`.
        videos: How many.
        seed: Everything follows from it.
        frames: Frames of each.

    Returns:
        What the folder holds.

    Raises:
        ValueError: An option is out of its range, the folder holds something else, or the sheet is damaged.
        FileNotFoundError: There is no folder to write it in.
    """

    def draw(number: int) -> DrawnVideo | None:
        clip = draw_clip(number, frames)
        if clip is None:
            return None
        return DrawnVideo(clip.frames, clip.seen, [(phrase.text, phrase.targets) for phrase in clip.phrases])

    return write_veval("nouns", folder, videos, seed, frames, PAIRS, _VERSION, draw, FIRST_HELD_OUT, checksum())
