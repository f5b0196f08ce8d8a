"""The embedded benchmark: held-out scenes of the world of shapes in the layout in which SA-Co Gold is released.

Three annotators mark the same objects and disagree a little, as people do: each draws some objects slightly off,
and now and then overlooks one or takes a near miss for what the phrase means. What they mark of an object is the
same for every phrase.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from litetext.data.drawn.gold import (
    ANNOTATORS,
    EXACT,
    Drawing,
    GoldSet,
    annotated,
    drawing,
    half_negative,
    held_out_numbers,
    write_gold,
)
from litetext.data.permutation import permute
from litetext.data.shapes.world import FIRST_HELD_OUT, Shape, ShapePhrase, ShapeScene, draw_phrases, draw_scene, render

PAIRS = 8
"""Query phrases of an image, half of them negatives."""
SHIFT = 0.6
"""An annotator draws an object at most so many pixels off, in each direction."""
SCALE = 0.03
"""And so much larger or smaller, as a share of its radius."""

_VERSION = 1  # raise it whenever the same options give other files
_DRAWS = 150  # phrases drawn before a scene is given up


def _attributes(phrase: ShapePhrase, scene: ShapeScene) -> bool:
    meaning = phrase.meaning
    named = sum(value is not None for value in (meaning.colour, meaning.size, meaning.pattern))
    return named >= 2 and (bool(phrase.targets) or shares(phrase, scene))


def _crowded(phrase: ShapePhrase, scene: ShapeScene) -> bool:
    return len(scene.shapes) >= 5 and (len(phrase.targets) >= 2 if phrase.targets else shares(phrase, scene))


def _common(phrase: ShapePhrase, scene: ShapeScene) -> bool:
    _, kind, size, pattern = phrase.meaning
    return kind is not None and size is None and pattern is None and len(phrase.text.split()) <= 4


def _word_order(phrase: ShapePhrase, scene: ShapeScene) -> bool:
    short = len(phrase.text.split()) <= 5  # long ways to say it have their words elsewhere
    return short and permute(phrase.text) != phrase.text and (bool(phrase.targets) or shares(phrase, scene))


# Which phrases of which scenes a subset asks.
_FITS = {"attributes": _attributes, "crowded": _crowded, "common": _common, "word_order": _word_order}
SUBSETS: Mapping[str, str] = {
    "attributes": "two or three of colour, size and pattern are named",
    "crowded": "five or six objects; a phrase that is true means several of them",
    "common": "few words: a kind of shape, alone or with its colour",
    "word_order": "every phrase twice: as it is said, and with noun and attributes in exchanged places",
}
"""The subsets, and what is asked in each. But in `common`, negatives share an attribute with an object."""


def shares(phrase: ShapePhrase, scene: ShapeScene) -> bool:
    """Whether some object has at least one of the values that the phrase names."""
    return any(
        mine is not None and mine == its
        for shape in scene.shapes
        for mine, its in zip(phrase.meaning, shape.values, strict=True)
    )


def draw_items(subset: str, seed: int) -> Iterator[tuple[ShapeScene, list[ShapePhrase]]]:
    """The scenes of a subset with their phrases, without end.

    The scenes' numbers lie beyond those of training and validation, and apart for every subset and seed.

    Args:
        subset: Its name.
        seed: Seed of the benchmark.

    Yields:
        A scene and `PAIRS` different phrases, half of them negatives.
    """
    for number in held_out_numbers(subset, SUBSETS, FIRST_HELD_OUT, seed):
        scene = draw_scene(number)
        rng = random.Random(f"saco {subset} {number}")
        phrases = half_negative(partial(_draw, subset, scene, rng), PAIRS, rng)
        if phrases is not None:
            yield scene, phrases


def _draw(subset: str, scene: ShapeScene, rng: random.Random, negatives: float) -> list[ShapePhrase]:
    """Half of a scene's phrases, or fewer where chance does not find them."""
    found: dict[str, ShapePhrase] = {}
    for _ in range(_DRAWS):
        (phrase,) = draw_phrases(scene, 1, rng, negatives)
        if not _FITS[subset](phrase, scene):
            continue
        texts = [phrase.text, permute(phrase.text)] if subset == "word_order" else [phrase.text]
        if not found.keys() & texts:
            found |= {text: replace(phrase, text=text) for text in texts}
        if len(found) == PAIRS // 2:
            break
    return list(found.values())


class ShapeAnnotator:
    """One annotator's view of a scene.

    Args:
        name: The annotator's letter.
        scene: The scene.
    """

    def __init__(self, name: str, scene: ShapeScene) -> None:
        self._name, self._scene = name, scene
        self._rng = random.Random(f"annotator {name} {scene.seed}")
        self.masks = [self._drawn(shape) for shape in scene.shapes]
        """What the annotator marks of each object, bool (SIZE, SIZE)."""

    def _drawn(self, shape: Shape) -> np.ndarray:
        if self._rng.random() < EXACT:
            return shape.mask()
        right, down = (self._rng.uniform(-SHIFT, SHIFT) for _ in range(2))
        radius = shape.radius * (1 + self._rng.uniform(-SCALE, SCALE))
        return replace(shape, x=shape.x + right, y=shape.y + down, radius=radius).mask()

    def answer(self, phrase: ShapePhrase) -> tuple[list[int], bool]:
        """Positions of the objects marked for a phrase, and whether the annotator calls that exhaustive."""
        rng = random.Random(f"annotator {self._name} {self._scene.seed} {phrase.text}")
        return annotated(rng, phrase.targets, lambda: near_misses(phrase, self._scene))


def near_misses(phrase: ShapePhrase, scene: ShapeScene) -> list[int]:
    """Positions of the objects that lack exactly one of the values named."""
    return [
        position
        for position, shape in enumerate(scene.shapes)
        if sum(m is not None and m != its for m, its in zip(phrase.meaning, shape.values, strict=True)) == 1
    ]


def write_shapes(folder: str | Path, images: int = 80, seed: int = 0) -> GoldSet:
    """Writes the benchmark, unless it is there; see `drawn.gold.write_gold`.

    Args:
        folder: Where to write: `gold_NAME_merged_{a,b,c}_release_test.json` and `images/NAME`.
        images: Images of each subset.
        seed: Everything follows from it.

    Returns:
        What the folder holds.

    Raises:
        ValueError: An option is out of its range, or the folder holds something else.
        FileNotFoundError: There is no folder to write it in.
    """

    def draw(subset: str) -> Iterator[Drawing]:
        for scene, phrases in islice(draw_items(subset, seed), images):
            yield drawing(render(scene), phrases, [ShapeAnnotator(name, scene) for name in ANNOTATORS])

    pairs, about = dict.fromkeys(SUBSETS, PAIRS), {name: f"shapes, {name}: {what}" for name, what in SUBSETS.items()}
    return write_gold("shapes", folder, pairs, images, seed, _VERSION, draw, about)
