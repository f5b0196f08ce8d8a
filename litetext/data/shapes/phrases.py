"""The grammar of the world of shapes: noun phrases that say which objects are meant.

A phrase means a set of attribute values (`ShapeAttributes`); every object that has them all is meant. Words for a value
may be synonyms, stand before or after the noun, or in a clause, and some phrases are long without saying more.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
KINDS = ("circle", "square", "triangle", "diamond", "cross", "ring")
SIZES = ("small", "large")
PATTERNS = ("plain", "striped", "dotted")
VALUES: Mapping[str, tuple[str, ...]] = {"colour": COLOURS, "kind": KINDS, "size": SIZES, "pattern": PATTERNS}

# (colour, kind, pattern) that never occur in training scenes or phrases: one of every 18 combinations.
HELD_OUT = frozenset(
    (colour, kind, PATTERNS[(i + j) % 3])
    for i, colour in enumerate(COLOURS)
    for j, kind in enumerate(KINDS)
    if (i + 2 * j) % 6 == 0
)

_NOUNS = {
    "circle": ("circle", "disc", "round shape", "disk"),
    "square": ("square", "box", "square shape"),
    "triangle": ("triangle", "three-sided shape", "triangular shape"),
    "diamond": ("diamond", "rhombus", "diamond shape"),
    "cross": ("cross", "plus sign", "cross shape"),
    "ring": ("ring", "hoop", "round ring"),
    None: ("shape", "object", "thing", "figure"),
}
_PLURALS = {
    "circle": ("circles", "discs", "round shapes"),
    "square": ("squares", "boxes"),
    "triangle": ("triangles", "triangular shapes"),
    "diamond": ("diamonds", "diamond shapes"),
    "cross": ("crosses", "plus signs"),
    "ring": ("rings", "hoops"),
    None: ("shapes", "objects", "things", "figures"),
}
_SIZE = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
_PATTERN = {"plain": ("plain", "solid"), "striped": ("striped",), "dotted": ("dotted", "spotted")}
_WITH = {
    "plain": ("without any pattern", "with no pattern"),
    "striped": ("with stripes", "with white stripes"),
    "dotted": ("with dots", "with spots"),
}
_COLOUR = {"purple": ("purple", "violet")}


class ShapeAttributes(NamedTuple):
    """Attribute values a phrase asks for; None where it says nothing."""

    colour: str | None = None
    kind: str | None = None
    size: str | None = None
    pattern: str | None = None

    def of(self, thing: "ShapeAttributes") -> bool:
        """Whether an object, whose values are all given, has every value asked for."""
        return all(mine is None or mine == its for mine, its in zip(self, thing, strict=True))

    @property
    def held_out(self) -> bool:
        """Whether it names a combination of colour, kind and pattern that training never shows."""
        return (self.colour, self.kind, self.pattern) in HELD_OUT


def say(meaning: ShapeAttributes, rng: random.Random) -> str:
    """One of the phrases with this meaning."""
    clauses: list[str] = []
    front: list[str] = []
    plural = rng.random() < 0.12
    noun = rng.choice((_PLURALS if plural else _NOUNS)[meaning.kind])
    if meaning.size:
        word = rng.choice(_SIZE[meaning.size])
        if rng.random() < 0.15:
            clauses.append(f"{word} in size" if rng.random() < 0.5 else f"that {_is(plural)} {word}")
        else:
            front.append(word)
    if meaning.pattern:
        if rng.random() < 0.45:
            clauses.append(rng.choice(_WITH[meaning.pattern]))
        else:
            front.append(rng.choice(_PATTERN[meaning.pattern]))
    if meaning.colour:
        word = rng.choice(_COLOUR.get(meaning.colour, (meaning.colour,)))
        style = rng.random()
        if style < 0.7:
            front.append(word)
        else:
            clauses.append(rng.choice((f"that {_is(plural)} {word}", f"in {word}", f"colored {word}")))
    if rng.random() < 0.25:
        rng.shuffle(front)
    rng.shuffle(clauses)
    if rng.random() < 0.1 and meaning.kind:  # a long way to say it
        opening = rng.choice(("one of the", "every one of the", "any of the"))
        article, noun = opening, rng.choice(_PLURALS[meaning.kind])
        clauses = [c.replace("that is", "that are") for c in clauses]
        clauses.append(rng.choice(("that can be seen in the picture", "drawn somewhere in this image")))
    else:
        article = "" if plural else rng.choices(("", "a", "the"), (0.6, 0.2, 0.2))[0]
    if article == "a" and [*front, noun][0][0] in "aeiou":
        article = "an"
    return " ".join(filter(None, [article, *front, noun, *clauses]))


def _is(plural: bool) -> str:
    return "are" if plural else "is"


def draw_meaning(rng: random.Random, thing: ShapeAttributes) -> ShapeAttributes:
    """A meaning that an object has: mostly two or three of its values, nearly always with its kind or colour."""
    while True:
        keep = [rng.random() < p for p in (0.7, 0.8, 0.35, 0.35)]
        if any(keep):
            return ShapeAttributes(*(value if kept else None for value, kept in zip(thing, keep, strict=True)))


def random_thing(rng: random.Random, held_out: bool = False) -> ShapeAttributes:
    """An object's values, held-out combinations only or none of them."""
    while True:
        thing = ShapeAttributes(*(rng.choice(values) for values in VALUES.values()))
        if thing.held_out == held_out:
            return thing


_LONG = "a an the one of every any that can be seen in picture drawn somewhere this image is are size colored"


def about_shapes(phrases: Iterable[str]) -> bool:
    """Whether phrases are about this world: they have no other words than the grammar's, and each names a shape."""
    nouns = _words_of(*(ways for names in (_NOUNS, _PLURALS) for kind, ways in names.items() if kind))
    known = _words_of(COLOURS, [_LONG])
    for ways in (_NOUNS, _PLURALS, _SIZE, _PATTERN, _WITH, _COLOUR):
        known |= _words_of(*ways.values())
    words = [set(phrase.lower().split()) for phrase in phrases]
    return all(said & nouns and said <= known for said in words)


def _words_of(*lists: Sequence[str]) -> set[str]:
    return {word for ways in lists for way in ways for word in way.split()}


MOST_PHRASES = 1_000_000
"""More are not drawn: no draw would end."""


def phrases(count: int, seed: int = 0, held_out: bool = False) -> list[str]:
    """Different phrases of the grammar, in an order that depends on the seed.

    Args:
        count: How many.
        seed: Seed of the draw.
        held_out: Only phrases that name a held-out combination of colour, kind and pattern; otherwise none does.

    Returns:
        `count` phrases, no two the same.

    Raises:
        ValueError: If the grammar does not hold so many.
    """
    if count > MOST_PHRASES:
        raise ValueError(
            f"the grammar of shapes holds fewer than {MOST_PHRASES:,} phrases; ask for fewer than {count:,}"
        )
    rng = random.Random(seed)
    found: dict[str, None] = {}
    for _ in range(200 * count + 10_000):
        if len(found) == count:
            return list(found)
        thing = random_thing(rng, held_out)
        found.setdefault(say(thing._replace(size=None) if held_out else draw_meaning(rng, thing), rng))
    if len(found) == count:
        return list(found)
    raise ValueError(f"the grammar of shapes gave only {len(found)} of {count} phrases; ask for fewer")
