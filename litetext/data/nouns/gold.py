"""The embedded benchmark of nouns: held-out scenes in the layout in which SA-Co Gold is released.

Seven subsets ask what Gold's ask, in the ways of saying of training. Three stand beside them, each with one thing that
training never showed: `wordings` (ways of saying), `artists` (drawings by others), `open` (objects and names). Three
annotators mark the same objects and disagree a little, as people do.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from litetext.data.drawn.gold import (
    ANNOTATORS,
    EXACT,
    Drawing,
    GoldSet,
    annotated,
    distinct,
    drawing,
    half_negative,
    held_out_numbers,
    write_gold,
)
from litetext.data.nouns.phrases import KINDS, Phrase, draw_phrases
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, Scene, Split, draw_scene, siblings
from litetext.data.nouns.sheet import checksum, core, nouns

PAIRS = 6
"""Query phrases of an image, half of them negatives."""
_VERSION = 3  # raise it whenever the same options give other files
_DRAWS = 60  # phrases drawn before a scene is given up
_PLAIN = ("noun", "synonym", "category")


class SubsetRecipe(NamedTuple):
    """What the queries of a subset are.

    Attributes:
        about: In words.
        kinds: Weights of the kinds of phrases.
        fits: Which of the phrases drawn are used; by default all.
        styles: The artists.
        objects: How many objects are wanted; by default 2 to 6.
        open_nouns: Objects that training never draws are among them.
        wording: With test, ways of saying things that training never used occur.
    """

    about: str
    kinds: Mapping[str, float]
    fits: Callable[[Phrase], bool] = lambda phrase: True
    styles: Sequence[int] = (0,)
    objects: int | None = None
    open_nouns: bool = False
    wording: Split = "train"


def _head(phrase: Phrase) -> frozenset[int]:
    return phrase.meaning.head.nouns


def _is_common(phrase: Phrase) -> bool:
    return not any(nouns()[number].rare for number in _head(phrase))


def _is_rare(phrase: Phrase) -> bool:
    return phrase.kind == "synonym" or all(nouns()[number].rare for number in _head(phrase))


def _is_many(phrase: Phrase) -> bool:
    return len(phrase.targets) != 1


_ALL = dict(KINDS)
SUBSETS: Mapping[str, SubsetRecipe] = {
    "common": SubsetRecipe("one word or two: a common noun under its usual name", {"noun": 1}, _is_common),
    "rare": SubsetRecipe("uncommon nouns, and nouns under another name", {"noun": 1, "synonym": 1}, _is_rare),
    "categories": SubsetRecipe(
        "what several nouns are: fruit, bird; at times without one", {"category": 4, "negation": 1}
    ),
    "attributes": SubsetRecipe(
        "size, card, outline, black and white; some of them absent", {"attribute": 4, "negation": 1}
    ),
    "crowded": SubsetRecipe(
        "five or six objects; a phrase that is true means several of them",
        {"noun": 1, "synonym": 1, "category": 2, "attribute": 2, "count": 1},
        _is_many,
        objects=6,
    ),
    "relations": SubsetRecipe(
        "where it is in the image, or as seen from another object", {"position": 1, "relation": 2}
    ),
    "long": SubsetRecipe("referring expressions of 17 to 30 tokens", {"long": 1}),
    "wordings": SubsetRecipe(
        "ways of saying things that training never used, all kinds of phrases but bare nouns",
        {kind: share for kind, share in KINDS.items() if kind not in _PLAIN},
        wording="test",
    ),
    "artists": SubsetRecipe(
        "drawings by other artists than those of training, all kinds of phrases", _ALL, styles=(1, 2)
    ),
    "open": SubsetRecipe(
        "objects that training never draws; half of the negatives name what it never names",
        {**{kind: share for kind, share in KINDS.items() if kind != "long"}, "open": 1},
        open_nouns=True,
    ),
}
"""The subsets. Combinations of noun and colour may be held out in all of them."""

BESIDE = ("wordings", "artists", "open")
"""Subsets that stand beside the average of the other seven: they show what training does not."""


def _fits(subset: str, phrase: Phrase) -> bool:
    if subset == "categories" and phrase.kind == "negation" and phrase.meaning.excluded is None:
        return False
    if subset == "attributes" and phrase.kind == "negation" and phrase.meaning.head.without is None:
        return False
    return SUBSETS[subset].fits(phrase)


def draw_items(subset: str, seed: int) -> Iterator[tuple[Scene, list[Phrase]]]:
    """The scenes of a subset with their phrases, without end.

    The scenes' numbers lie beyond those of training and validation, and apart for every subset and seed.

    Args:
        subset: Its name.
        seed: Seed of the benchmark.

    Yields:
        A scene and `PAIRS` phrases of different meanings, half of them negatives.
    """
    recipe = SUBSETS[subset]
    for number in held_out_numbers(subset, SUBSETS, FIRST_HELD_OUT, seed):
        scene = draw_scene(
            number, styles=recipe.styles, split="test", objects=recipe.objects, open_nouns=recipe.open_nouns
        )
        if recipe.objects is not None and len(scene.sprites) < recipe.objects - 1:
            continue
        rng = random.Random(f"nouns {subset} {number}")
        phrases = half_negative(partial(_draw, subset, scene, rng), PAIRS, rng)
        if phrases is not None:
            yield scene, phrases


def _draw(subset: str, scene: Scene, rng: random.Random, negatives: float) -> list[Phrase]:
    """Half of a scene's phrases, or fewer where chance does not find them."""
    recipe = SUBSETS[subset]

    def draw() -> list[Phrase]:
        drawn = draw_phrases(scene, 1, rng, recipe.kinds, split="test", negatives=negatives, wording=recipe.wording)
        return [phrase for phrase in drawn if _fits(subset, phrase)]

    return distinct(draw, lambda phrase: phrase.meaning, PAIRS // 2, _DRAWS)


class Annotator:
    """One annotator's view of a scene.

    Args:
        name: The annotator's letter.
        scene: The scene.
    """

    def __init__(self, name: str, scene: Scene) -> None:
        self._key, self._scene = f"nouns annotator {name} {scene.number}", scene
        rng = random.Random(self._key)
        sprites = []
        for sprite in scene.sprites:
            if rng.random() >= EXACT:  # a pixel off in one direction or in size
                name, step = rng.choice(("x", "y", "size")), rng.choice((-1, 1))
                sprite = replace(sprite, **{name: getattr(sprite, name) + step})
            sprites.append(sprite)
        self.masks: list[np.ndarray] = list(render(replace(scene, sprites=tuple(sprites)))[1])
        """What the annotator marks of each object, bool (SIZE, SIZE)."""

    def answer(self, phrase: Phrase) -> tuple[list[int], bool]:
        """Positions of the objects marked for a phrase, and whether the annotator calls that exhaustive."""
        rng = random.Random(f"{self._key} {phrase.text}")
        return annotated(rng, phrase.targets, lambda: near_misses(phrase, self._scene))


def near_misses(phrase: Phrase, scene: Scene) -> list[int]:
    """Positions of the objects that are not meant but have its noun, or for a bare noun one of the same category."""
    alike = set(_head(phrase))
    if phrase.kind in _PLAIN:
        alike |= {other for noun in _head(phrase) if noun < core() for other in siblings(noun)}
    return [k for k, sprite in enumerate(scene.sprites) if sprite.noun in alike and k not in phrase.targets]


def write_nouns(folder: str | Path, images: int = 40, seed: int = 0) -> GoldSet:
    """Writes the benchmark, unless it is there; see `drawn.gold.write_gold`.

    Args:
        folder: Where to write: `gold_NAME_merged_{a,b,c}_release_test.json` and `images/NAME`.
        images: Images of each subset.
        seed: Everything follows from it.

    Returns:
        What the folder holds.

    Raises:
        ValueError: An option is out of its range, the folder holds something else, or the sheet is damaged.
        FileNotFoundError: There is no folder to write it in.
    """

    def draw(subset: str) -> Iterator[Drawing]:
        for scene, phrases in islice(draw_items(subset, seed), images):
            annotators = [Annotator(name, scene) for name in ANNOTATORS]
            yield drawing(render(scene)[0], phrases, annotators, [phrase.kind for phrase in phrases])

    pairs, about = dict.fromkeys(SUBSETS, PAIRS), {name: f"nouns, {name}: {s.about}" for name, s in SUBSETS.items()}
    return write_gold("nouns", folder, pairs, images, seed, _VERSION, draw, about, material=checksum())
