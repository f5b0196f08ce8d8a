"""Meanings that are true of an object of a scene, kind by kind."""

import random
from collections.abc import Callable, Mapping

from litetext.data.nouns.lexicon import meanings, words
from litetext.data.nouns.meaning import ABSENCES, EXTREMES, POSITIONS, RELATIONS, Meaning, Thing, is_at, is_related
from litetext.data.nouns.scenes import Scene, Sprite, siblings
from litetext.data.nouns.sheet import core


def name_kind(noun: int, rng: random.Random, kind: str = "any") -> Thing | None:
    """The bare thing, under a word of this kind: noun, synonym, category, or any of them."""
    known = words(noun)
    if kind == "any":
        chance = rng.random()
        kind = "category" if chance < 0.12 and known.categories else "synonym" if chance < 0.3 else "noun"
        kind = "noun" if kind == "synonym" and not known.synonyms else kind
    choices = {"noun": (known.name,), "synonym": known.synonyms, "category": known.categories}[kind]
    return thing_of(rng.choice(choices)) if choices else None


def thing_of(word: str) -> Thing:
    """The bare thing that a word names."""
    return Thing(word, meanings()[word])


def name_any(noun: int, rng: random.Random) -> Thing:
    """The bare thing, mostly under its name."""
    return name_kind(noun, rng) or thing_of(words(noun).name)


def _with_attributes(thing: Thing, sprite: Sprite, rng: random.Random, most: int = 2) -> Thing:
    """The thing with one or more attributes that the sprite has; rare ones are named more often than size."""
    options: dict[str, float] = {"size": 1.0}
    options |= {name: 3.0 for name in ("card", "outline") if getattr(sprite, name)}
    options |= {"bw": 2.5} if sprite.bw else {}
    for _ in range(rng.randint(1, most)):
        if options:
            (name,) = rng.choices(list(options), list(options.values()))
            del options[name]
            value = ("large" if sprite.large else "small") if name == "size" else getattr(sprite, name)
            thing = thing._replace(**{name: value})
    return thing


def _places(sprite: Sprite) -> list[str]:
    """Positions that the sprite has."""
    return [name for name in POSITIONS if is_at(name, sprite)]


def _plain(kind: str) -> Callable[[Scene, int, random.Random], Meaning | None]:
    def draw(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
        thing = name_kind(scene.sprites[position].noun, rng, kind)
        return None if thing is None else Meaning(thing)

    return draw


def _attribute(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    sprite = scene.sprites[position]
    return Meaning(_with_attributes(name_any(sprite.noun, rng), sprite, rng))


def _position(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    sprite = scene.sprites[position]
    thing = name_any(sprite.noun, rng)
    if rng.random() < 0.2:
        thing = _with_attributes(thing, sprite, rng, most=1)
    if rng.random() < 0.4:
        return Meaning(thing._replace(position=rng.choice(EXTREMES)))
    places = _places(sprite)
    return Meaning(thing._replace(position=rng.choice(places))) if places else None


def _relation(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    sprite = scene.sprites[position]
    pairs = [
        (relation, other)
        for k, other in enumerate(scene.sprites)
        if k != position and other.noun < core()
        for relation in RELATIONS
        if is_related(relation, sprite, other)
    ]
    if not pairs:
        return None
    relation, other = rng.choice(pairs)
    head, anchor = name_any(sprite.noun, rng), name_any(other.noun, rng)
    if rng.random() < 0.25:
        head = _with_attributes(head, sprite, rng, most=1)
    if rng.random() < 0.25:
        anchor = _with_attributes(anchor, other, rng, most=1)
    return Meaning(head, relation, anchor)


def _count(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    thing = name_any(scene.sprites[position].noun, rng)
    there = sum(sprite.noun in thing.nouns for sprite in scene.sprites)
    return Meaning(thing, number=there) if there <= 4 else None


def _negation(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    sprite = scene.sprites[position]
    chance = rng.random()
    if chance < 0.5:
        thing = name_any(sprite.noun, rng)
        absent = [name for name in ABSENCES if not getattr(sprite, name)]
        others = [other for other in scene.sprites if other.noun in thing.nouns]
        telling = [name for name in absent if any(getattr(other, name) for other in others)]  # it tells them apart
        return Meaning(thing._replace(without=rng.choice(telling or absent))) if absent else None
    if chance < 0.7:
        return _excluding(scene, sprite, rng)
    return _contrast(Meaning(name_any(sprite.noun, rng)), scene, position, rng)


def _excluding(scene: Scene, sprite: Sprite, rng: random.Random) -> Meaning | None:
    """A category without one of its kinds: preferably one that is there."""
    whole = name_kind(sprite.noun, rng, "category")
    if whole is None:
        return None
    there = sorted({other.noun for other in scene.sprites if other.noun in whole.nouns and other.noun < core()})
    kinds = [noun for noun in there if noun != sprite.noun] or [n for n in siblings(sprite.noun) if n in whole.nouns]
    return without_kind(whole, rng.choice(kinds)) if kinds else None


def without_kind(whole: Thing, noun: int) -> Meaning | None:
    """A category without one of its kinds; None where nothing would be left."""
    kind = thing_of(words(noun).name)
    rest = whole.nouns - kind.nouns
    return Meaning(whole._replace(nouns=rest), excluded=kind) if rest and kind.nouns < whole.nouns else None


def _contrast(meaning: Meaning, scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    """The meaning beside another object of the scene that is named as not meant."""
    others = [other for k, other in enumerate(scene.sprites) if k != position and other.noun < core()]
    other = rng.choice(others) if others else None
    if other is None:
        return None
    thing = name_any(other.noun, rng)
    if meaning.head.attributes and not meaning.head.without:
        thing = _with_attributes(thing, other, rng, most=1)
    apart = meaning.head.nouns.isdisjoint(thing.nouns)
    return meaning._replace(contrast=thing) if apart else None


def _long(scene: Scene, position: int, rng: random.Random) -> Meaning | None:
    sprite = scene.sprites[position]
    chance = rng.random()
    if chance < 0.65:
        meaning = _relation(scene, position, rng)
        if meaning is None or meaning.anchor is None:
            return None
        head, anchor = meaning.head, meaning.anchor
        if not head.attributes and rng.random() < 0.8:
            head = _with_attributes(head, sprite, rng)
        candidates = [other for other in scene.sprites if other is not sprite and other.noun in anchor.nouns]
        if not anchor.attributes and candidates and rng.random() < 0.8:
            anchor = _with_attributes(anchor, rng.choice(candidates), rng)
        places = _places(sprite)
        if places and rng.random() < 0.2:
            head = head._replace(position=rng.choice(places))
        return Meaning(head, meaning.relation, anchor)
    meaning = Meaning(_with_attributes(name_any(sprite.noun, rng), sprite, rng))
    if chance < 0.85:
        return _contrast(meaning, scene, position, rng)
    places = _places(sprite)
    return Meaning(meaning.head._replace(position=rng.choice(places))) if places else None


TRUE: Mapping[str, Callable[[Scene, int, random.Random], Meaning | None]] = {
    "noun": _plain("noun"),
    "synonym": _plain("synonym"),
    "category": _plain("category"),
    "attribute": _attribute,
    "position": _position,
    "relation": _relation,
    "count": _count,
    "negation": _negation,
    "long": _long,
}
