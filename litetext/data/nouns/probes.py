"""Language probes: pairs of phrases about the same image that differ in one thing.

Either the two mean different objects (word order, an attribute exchanged, a negation, a noun that the drawing only
resembles), or they mean the same (plural, typing error, capitals, another name, a category, another language). A
model that reads phrases answers both right; one that goes by single words or by looks does not.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from litetext.data.drawn.gold import Drawing, GoldSet, View, write_gold
from litetext.data.nouns.lexicon import is_countable, meanings, plural, words
from litetext.data.nouns.meaning import Meaning, Thing, find, is_related
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, Scene, Sprite, draw_scene
from litetext.data.nouns.sheet import checksum, core, drawings, nouns

_VERSION = 2  # raise it whenever the same options give other files
_RELATIONS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}


class Question(NamedTuple):
    """A phrase and the positions of the sprites that it means; none for a phrase that is false."""

    text: str
    targets: tuple[int, ...]


class Probe(NamedTuple):
    """A pair of phrases about a scene.

    Attributes:
        scene: The scene.
        first: The one a person would ask first; it is true.
        second: The other.
    """

    scene: Scene
    first: Question
    second: Question


def _thing(word: str, **attributes: str | bool | None) -> Thing:
    return Thing(word, meanings()[word], **attributes)  # pyright: ignore[reportArgumentType]


def _pairs(scene: Scene, rng: random.Random) -> Iterator[tuple[Sprite, Sprite]]:
    """Two sprites of different nouns, in an order by chance."""
    found = [(a, b) for a in scene.sprites for b in scene.sprites if a.noun != b.noun]
    rng.shuffle(found)
    yield from found


def _name(sprite: Sprite) -> str:
    return words(sprite.noun).name


def _an(text: str) -> str:
    return text.replace(" a orange", " an orange")


def _probe(scene: Scene, first: tuple[str, Meaning], second: tuple[str, Meaning]) -> Probe | None:
    """The pair if both are clear, and the first is true."""
    true, other = find(first[1], scene), find(second[1], scene)
    if not true or other is None:
        return None
    return Probe(scene, Question(first[0], true), Question(second[0], other))


def _word_order(scene: Scene, rng: random.Random) -> Probe | None:
    for a, b in _pairs(scene, rng):
        for relation, wording in _RELATIONS.items():
            if is_related(relation, a, b):
                texts = [f"{_name(x)} {wording} the {_name(y)}" for x, y in ((a, b), (b, a))]
                sense = [Meaning(_thing(_name(x)), relation, _thing(_name(y))) for x, y in ((a, b), (b, a))]
                probe = _probe(scene, (texts[0], sense[0]), (texts[1], sense[1]))
                if probe is not None and not probe.second.targets:
                    return probe
    return None


def _attribute_swap(scene: Scene, rng: random.Random) -> Probe | None:
    for a, b in _pairs(scene, rng):
        for mark, wording in {"card": "on a {} card", "outline": "with a {} outline"}.items():
            ours, theirs = getattr(a, mark), getattr(b, mark)
            if not ours or not theirs or ours == theirs:
                continue
            for relation, way in {**_RELATIONS, "next": "next to"}.items():
                if is_related(relation, a, b):
                    texts, sense = [], []
                    for mine, its in ((ours, theirs), (theirs, ours)):
                        head, anchor = wording.format(mine), wording.format(its)
                        texts.append(
                            f"{_name(a)} {head} {way} the {_name(b)} {anchor}".replace("a orange", "an orange")
                        )
                        one, other = _thing(_name(a), **{mark: mine}), _thing(_name(b), **{mark: its})
                        sense.append(Meaning(one, relation, other))
                    probe = _probe(scene, (texts[0], sense[0]), (texts[1], sense[1]))
                    if probe is not None and not probe.second.targets:
                        return probe
    return None


def _negation(scene: Scene, rng: random.Random) -> Probe | None:
    """The same noun with and without an outline or a card of one colour."""
    for mark, wording in {"outline": "{} {} a {} outline", "card": "{} {} a {} card behind it"}.items():
        for sprite in rng.sample(scene.sprites, len(scene.sprites)):
            colour = getattr(sprite, mark)
            alike = [k for k, s in enumerate(scene.sprites) if s.noun in meanings()[_name(sprite)]]
            having = tuple(k for k in alike if getattr(scene.sprites[k], mark) == colour)
            lacking = tuple(k for k in alike if k not in having)
            if colour and lacking:
                texts = [_an(wording.format(_name(sprite), word, colour)) for word in ("with", "without")]
                return Probe(scene, Question(texts[0], having), Question(texts[1], lacking))
    return None


@cache
def _lookalikes() -> dict[int, int]:
    """For each noun of training the one whose drawing looks most alike and that shares no word with it."""
    cells = drawings()[0, : core()].astype(np.int64)
    small = (cells[..., :3] * cells[..., 3:] // 255).reshape(core(), 8, 6, 8, 6, 3).sum((2, 4)).reshape(core(), -1)
    shape = cells[..., 3].reshape(core(), 8, 6, 8, 6).sum((2, 4)).reshape(core(), -1)
    codes = np.concatenate([small, shape], axis=1)
    found = {}
    for noun in range(core()):
        distance = ((codes - codes[noun]) ** 2).sum(1)
        known = {*nouns()[noun].words, *nouns()[noun].categories}
        order = (int(other) for other in np.argsort(distance, kind="stable") if other != noun)
        found[noun] = next(other for other in order if not known & set(nouns()[other].words))
    return found


def _lookalike(scene: Scene, rng: random.Random) -> Probe | None:
    sprite = rng.choice(scene.sprites)
    other = words(_lookalikes()[sprite.noun]).name
    probe = _probe(scene, (_name(sprite), Meaning(_thing(_name(sprite)))), (other, Meaning(_thing(other))))
    return probe if probe is not None and not probe.second.targets else None


def _renamed(rename: Callable[[Sprite, random.Random], str | None]) -> Callable[[Scene, random.Random], Probe | None]:
    """A probe whose second phrase means what its first one does."""

    def draw(scene: Scene, rng: random.Random) -> Probe | None:
        sprite = rng.choice(scene.sprites)
        name, other = _name(sprite), rename(sprite, rng)
        targets = find(Meaning(_thing(name)), scene)
        # A word of the world may mean more than the name does; then it would not be the same question.
        if not targets or other is None or (other in meanings() and find(Meaning(_thing(other)), scene) != targets):
            return None
        return Probe(scene, Question(name, targets), Question(other, targets))

    return draw


def _typo(sprite: Sprite, rng: random.Random) -> str | None:
    """Two neighbouring letters in exchanged places, not the first one."""
    name = _name(sprite)
    places = [k for k in range(1, len(name) - 1) if name[k : k + 2].isalpha() and name[k] != name[k + 1]]
    if len(name) < 5 or not places:
        return None
    k = rng.choice(places)
    typed = name[:k] + name[k + 1] + name[k] + name[k + 2 :]
    return None if typed in meanings() else typed


def _plural(sprite: Sprite, rng: random.Random) -> str | None:
    return plural(_name(sprite)) if is_countable(_name(sprite)) else None


def _synonym(sprite: Sprite, rng: random.Random) -> str | None:
    others = words(sprite.noun).synonyms
    return rng.choice(others) if others else None


def _category(sprite: Sprite, rng: random.Random) -> str | None:
    wide = words(sprite.noun).categories
    return rng.choice(wide) if wide else None


def _abroad(language: str) -> Callable[[Sprite, random.Random], str | None]:
    def rename(sprite: Sprite, rng: random.Random) -> str | None:
        name = nouns()[sprite.noun].names[language]
        return None if name.lower() in meanings() else name  # a word of both languages asks nothing

    return rename


PROBES: Mapping[str, Callable[[Scene, random.Random], Probe | None]] = {
    "word order": _word_order,
    "attribute swap": _attribute_swap,
    "negation": _negation,
    "misleading": _lookalike,
    "plural": _renamed(_plural),
    "typo": _renamed(_typo),
    "capitals": _renamed(lambda sprite, rng: _name(sprite).upper()),
    "synonym": _renamed(_synonym),
    "category": _renamed(_category),
}
"""The probes; in the first four the two phrases mean different objects, in the others the same."""
LANGUAGES: Mapping[str, Callable[[Scene, random.Random], Probe | None]] = {
    "German": _renamed(_abroad("de")),
    "French": _renamed(_abroad("fr")),
    "Spanish": _renamed(_abroad("es")),
}
"""The same nouns in other languages, for models that were trained on more than this world."""
SUBSETS = {"probes": PROBES, "languages": LANGUAGES}


def draw_probes(name: str, seed: int) -> Iterator[Probe]:
    """The pairs of a probe, without end, each about a scene of its own.

    Args:
        name: One of `PROBES` or `LANGUAGES`.
        seed: Seed of the benchmark.
    """
    known = {**PROBES, **LANGUAGES}
    block = FIRST_HELD_OUT // 20
    start = FIRST_HELD_OUT * (2_000_000 + seed) + block * list(known).index(name)
    for number in count(start):
        scene = draw_scene(number)
        probe = known[name](scene, random.Random(f"probe {name} {number}"))
        if probe is not None:
            yield probe


def write_probes(folder: str | Path, pairs: int = 40, seed: int = 0) -> GoldSet:
    """Writes the probes, unless they are there, in the layout of SA-Co Silver (one annotator, who is always right).

    Two entries of an image are a pair: `kind` names the probe, `twin` the other entry.

    Args:
        folder: Where to write: `silver_{probes,languages}_merged_test.json` and `images`.
        pairs: Pairs of each probe, each with an image of its own.
        seed: Everything follows from it.

    Returns:
        What the folder holds; its `images` are the pairs of each probe.

    Raises:
        ValueError: An option is out of its range, the folder holds something else, or the sheet is damaged.
        FileNotFoundError: There is no folder to write it in.
    """

    def draw(subset: str) -> Iterator[Drawing]:
        return (_drawing(p, name) for name in SUBSETS[subset] for p in islice(draw_probes(name, seed), pairs))

    each = {subset: 2 * len(known) for subset, known in SUBSETS.items()}
    about = {subset: f"language probes about nouns: {', '.join(known)}" for subset, known in SUBSETS.items()}
    return write_gold("probes", folder, each, pairs, seed, _VERSION, draw, about, None, checksum())


def _drawing(probe: Probe, name: str) -> Drawing:
    image, masks = render(probe.scene)
    questions = (probe.first, probe.second)
    view = View(list(masks), [(list(question.targets), True) for question in questions])
    return Drawing(image, [question.text for question in questions], [view], [name] * 2, twins=True)
