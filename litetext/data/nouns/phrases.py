"""Draws phrases about scenes of nouns: true ones, and false ones that differ from a true one in one thing."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from litetext.data.nouns.falsehoods import absent, absent_open, changed, removed
from litetext.data.nouns.lexicon import is_countable, words
from litetext.data.nouns.meaning import Meaning, find, find_anchors
from litetext.data.nouns.scenes import FIRST_HELD_OUT, Scene, Split, draw_scene, held_out
from litetext.data.nouns.sheet import core
from litetext.data.nouns.truths import TRUE
from litetext.data.nouns.wording import say

KINDS: Mapping[str, float] = {
    "noun": 0.20,
    "synonym": 0.11,
    "category": 0.10,
    "attribute": 0.19,
    "position": 0.08,
    "relation": 0.13,
    "count": 0.03,
    "negation": 0.05,
    "long": 0.16,
}
"""The kinds of phrases with their usual shares; `open` (nouns that training never names) is drawn on demand only."""
EASY = 0.25
"""Share of the negatives that name what is nowhere near; the others differ from a true phrase in one thing."""
_LONG = (16, 27)  # words
_DRAWS = 16
_MOST = 1_000_000


@dataclass(frozen=True)
class Phrase:
    """A noun phrase about a scene.

    Attributes:
        text: The phrase.
        kind: Its kind, one of `KINDS`, or open.
        targets: Positions in `Scene.sprites` of the objects it means, ascending; empty for a negative.
        meaning: What it asks for.
        anchors: Positions of the objects that its anchor may be, whether or not the relation holds.
    """

    text: str
    kind: str
    targets: tuple[int, ...]
    meaning: Meaning
    anchors: tuple[int, ...] = ()


def draw_phrases(
    scene: Scene,
    count: int,
    rng: random.Random,
    kinds: Mapping[str, float] | None = None,
    *,
    split: Split = "train",
    negatives: float = 0.5,
    easy: float = EASY,
    wording: Split | None = None,
) -> list[Phrase]:
    """Phrases about a scene.

    Args:
        scene: The scene.
        count: How many.
        rng: Source of the draw.
        kinds: Weight of each kind; those left out are not drawn. By default `KINDS`.
        split: With test, held-out combinations and held-out ways of saying things occur.
        negatives: Expected share of phrases that mean nothing here, the same for every kind.
        easy: Share of the negatives that name something altogether absent.
        wording: With train, test phrases say things in the ways of training only. By default as `split`.

    Returns:
        `count` phrases; fewer only where the scene holds nothing that the kinds asked for could be about.

    Raises:
        ValueError: A kind is unknown or not drawn in this split, or all weights are zero.
    """
    weights = dict(KINDS if kinds is None else kinds)
    _check(weights, split)
    names, shares = list(weights), list(weights.values())
    found: list[Phrase] = []
    for _ in range(30 * count):
        if len(found) == count:
            break
        negative = rng.random() < negatives
        for _ in range(_DRAWS):
            (kind,) = rng.choices(names, shares)
            phrase = _draw(scene, kind, negative, negative and rng.random() < easy, rng, split, wording or split)
            if phrase is not None:
                found.append(phrase)
                break
    return found


def _check(weights: dict[str, float], split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; it must be train or test")
    for kind, weight in weights.items():
        if kind not in KINDS and kind != "open":
            raise ValueError(f"kind {kind!r} is unknown; there are {', '.join(KINDS)} and open")
        if not weight >= 0:
            raise ValueError(f"the weight of kind {kind!r} is {weight}; it must be 0 or more")
        if kind == "open" and weight and split == "train":
            raise ValueError("kind 'open' names nouns held out of training; ask for split test")
    if not any(weights.values()):
        raise ValueError("all weights of kinds are 0; give one a positive weight")


def _draw(
    scene: Scene, kind: str, negative: bool, easy: bool, rng: random.Random, split: Split, wording: Split
) -> Phrase | None:
    """One phrase of a kind, or None where chance finds none."""
    about = [k for k, sprite in enumerate(scene.sprites) if sprite.noun < core()]
    if not about:
        return None
    marked = [k for k in about if scene.sprites[k].card or scene.sprites[k].outline or scene.sprites[k].bw]
    prefer = kind in ("attribute", "negation", "long") and marked and rng.random() < 0.6
    if kind in ("synonym", "category") and not negative:  # nouns that have none would leave more negatives
        about = [k for k in about if words(scene.sprites[k].noun)[1 if kind == "synonym" else 2]]
        if not about:
            return None
    position = rng.choice(marked if prefer else about)
    if kind == "open":
        meaning = absent_open(scene, rng) if negative else None
    elif kind in ("noun", "synonym", "category") and negative:
        meaning = absent(scene, kind, position, easy, rng)
    else:
        meaning = TRUE[kind](scene, position, rng)
        if meaning is not None and negative:
            meaning = removed(meaning, scene, rng) if easy else changed(meaning, scene, rng)
    if meaning is None or (split == "train" and _is_held_out(meaning)):
        return None
    if meaning.number is not None and not is_countable(meaning.head.word):
        return None
    targets = find(meaning, scene)
    if targets is None or bool(targets) is negative:
        return None
    text = say(meaning, rng, wording, long=kind == "long")
    if kind == "long" and not _LONG[0] <= len(text.replace("-", " ").split()) <= _LONG[1]:
        return None
    return Phrase(text, kind, targets, meaning, find_anchors(meaning, scene))


def _is_held_out(meaning: Meaning) -> bool:
    """Whether one of its objects is a combination of noun and colour that training never names."""
    for thing in (meaning.head, meaning.anchor, meaning.contrast):
        if thing is not None and len(thing.nouns) == 1:
            (noun,) = thing.nouns
            if held_out(noun, thing.card) or held_out(noun, thing.outline):
                return True
    return False


def list_phrases(count: int, seed: int = 0, split: Split = "train") -> list[str]:
    """Different phrases of the grammar, in an order that depends on the seed.

    Args:
        count: How many.
        seed: Seed of the draw.
        split: With test, held-out combinations and ways of saying things occur.

    Returns:
        `count` phrases, no two the same.

    Raises:
        ValueError: The grammar did not give so many.
    """
    if count > _MOST:
        raise ValueError(f"{count} phrases are asked for; the grammar of nouns is drawn up to {_MOST:,} times")
    found: dict[str, None] = {}
    for text in _endless(seed, split, 4 * count + 1_000):
        found.setdefault(text)
        if len(found) == count:
            return list(found)
    raise ValueError(f"the grammar of nouns gave only {len(found)} of {count} phrases; ask for fewer")


def _endless(seed: int, split: Split, draws: int) -> Iterator[str]:
    rng = random.Random(f"noun phrases {seed}")
    for number in range(-(-draws // 8)):
        scene = draw_scene(-1 - number - FIRST_HELD_OUT * seed, split=split)
        for phrase in draw_phrases(scene, 8, rng, split=split):
            yield phrase.text
