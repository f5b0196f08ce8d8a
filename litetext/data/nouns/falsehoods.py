"""Meanings that are true of nothing in a scene: one thing changed in a true one, or something that is not there."""

import random
from collections.abc import Callable, Sequence

from litetext.data.nouns.meaning import ABSENCES, OPPOSITE, POSITIONS, RELATIONS, Meaning, Thing, find
from litetext.data.nouns.scenes import COLOURS, Scene, relatives, siblings
from litetext.data.nouns.sheet import core, nouns
from litetext.data.nouns.truths import name_any, name_kind, thing_of, without_kind

_DRAWS = 16


def absent(scene: Scene, kind: str, position: int, easy: bool, rng: random.Random) -> Meaning | None:
    """A bare word for what is not there: near to what is there, or anything."""
    near: Sequence[int] = ()
    if not easy:
        near = relatives(scene.sprites[position].noun) if kind == "category" else siblings(scene.sprites[position].noun)
    for _ in range(_DRAWS):
        thing = name_kind(rng.choice(near) if near else rng.randrange(core()), rng, kind)
        if thing is not None and not any(sprite.noun in thing.nouns for sprite in scene.sprites):
            return Meaning(thing)
    return None


def absent_open(scene: Scene, rng: random.Random) -> Meaning:
    """The name of a noun that training never names."""
    return Meaning(thing_of(rng.choice(nouns()[rng.randrange(core(), len(nouns()))].words)))


def removed(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    """The meaning with its noun exchanged for one that is nowhere in the scene."""
    if meaning.excluded is not None:
        return None  # what is excluded must be a kind of what is named
    while True:
        thing = name_any(rng.randrange(core()), rng)
        if not any(sprite.noun in thing.nouns for sprite in scene.sprites):
            break
    head = meaning.head._replace(word=thing.word, nouns=thing.nouns)
    return meaning._replace(head=head)


def changed(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    """The meaning with one thing changed so that it is true of nothing here."""
    ways = _WAYS_TO_CHANGE.copy()
    rng.shuffle(ways)
    for change in ways:
        for _ in range(3):
            other = change(meaning, scene, rng)
            if other is not None and find(other, scene) == ():
                return other
    return None


def _other_value(name: str, value: str, scene: Scene, rng: random.Random) -> str:
    """Another value of an attribute, mostly one that is there elsewhere."""
    if name == "size":
        return "small" if value == "large" else "large"
    there = sorted({its for sprite in scene.sprites if (its := getattr(sprite, name)) and its != value})
    if not there or rng.random() < 0.15:
        there = [colour for colour in COLOURS if colour != value]
    return rng.choice(there)


def _other_attribute(thing: Thing, scene: Scene, rng: random.Random) -> Thing | None:
    """One attribute changed: another value, card for outline, or another absence."""
    options = [name for name in ("size", "card", "outline", "without") if getattr(thing, name)]
    if not options:
        return None
    name = rng.choice(options)
    value = getattr(thing, name)
    if name == "without":
        others = [other for other in ABSENCES if other != value]
        there = [name for name in others if any(getattr(s, name) for s in scene.sprites if s.noun in thing.nouns)]
        return thing._replace(without=rng.choice(there or others))
    swapped = {"card": "outline", "outline": "card"}.get(name)
    if swapped and getattr(thing, swapped) is None and rng.random() < 0.25:
        return thing._replace(**{name: None, swapped: value})
    return thing._replace(**{name: _other_value(name, value, scene, rng)})


def _other_noun(thing: Thing, scene: Scene, rng: random.Random) -> Thing | None:
    """The noun of something else: there elsewhere, of the same category, or any."""
    chance = rng.random()
    there = sorted({s.noun for s in scene.sprites if s.noun < core() and s.noun not in thing.nouns})
    if there and chance < 0.65:
        noun = rng.choice(there)
    else:
        near = siblings(min(thing.nouns)) if min(thing.nouns) < core() else ()
        noun = rng.choice(near) if near and chance < 0.9 else rng.randrange(core())
    other = name_any(noun, rng)
    return thing._replace(word=other.word, nouns=other.nouns)


def _change_head_attribute(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    head = _other_attribute(meaning.head, scene, rng)
    return None if head is None else meaning._replace(head=head)


def _change_head_noun(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    if meaning.excluded is not None:
        return None
    head = _other_noun(meaning.head, scene, rng)
    if head is None or (meaning.contrast is not None and head.nouns & meaning.contrast.nouns):
        return None
    return meaning._replace(head=head)


def _change_position(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    place = meaning.head.position
    if place not in POSITIONS:
        return None
    other = OPPOSITE[place] if rng.random() < 0.7 else rng.choice([p for p in POSITIONS if p != place])
    return meaning._replace(head=meaning.head._replace(position=other))


def _change_relation(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    if meaning.relation is None:
        return None
    other = OPPOSITE.get(meaning.relation)
    if other is None or rng.random() < 0.2:
        other = rng.choice([relation for relation in RELATIONS if relation != meaning.relation])
    return meaning._replace(relation=other)


def _change_anchor(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    if meaning.anchor is None:
        return None
    anchor = _other_attribute(meaning.anchor, scene, rng) if rng.random() < 0.5 else None
    return meaning._replace(anchor=anchor or _other_noun(meaning.anchor, scene, rng))


def _swap(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    """Head and anchor, or what is meant and what is not, in exchanged places; or only their attributes."""
    if meaning.contrast is not None:
        other = meaning.contrast
        return meaning._replace(head=other, contrast=meaning.head)
    if meaning.anchor is None:
        return None
    head, anchor = meaning.head, meaning.anchor
    if (head.attributes or anchor.attributes) and rng.random() < 0.5:
        names = ("size", "card", "outline", "bw")
        ours, theirs = ({n: getattr(thing, n) for n in names} for thing in (head, anchor))
        return meaning._replace(head=head._replace(**theirs), anchor=anchor._replace(**ours))
    return meaning._replace(head=anchor._replace(position=head.position), anchor=head._replace(position=None))


def _change_count(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    if meaning.number is None:
        return None
    return meaning._replace(number=rng.choice([n for n in (1, 2, 3, 4) if abs(n - (meaning.number or 0)) in (1, 2)]))


def _exclude_all(meaning: Meaning, scene: Scene, rng: random.Random) -> Meaning | None:
    """A category without the one kind of it that is there."""
    if meaning.excluded is None:
        return None
    whole = thing_of(meaning.head.word)
    there = sorted({sprite.noun for sprite in scene.sprites if sprite.noun in whole.nouns and sprite.noun < core()})
    return without_kind(whole, rng.choice(there)) if there else None


_WAYS_TO_CHANGE: list[Callable[[Meaning, Scene, random.Random], Meaning | None]] = [
    _change_head_attribute,
    _change_head_attribute,
    _change_head_noun,
    _change_position,
    _change_relation,
    _change_relation,
    _change_anchor,
    _swap,
    _change_count,
    _exclude_all,
]
