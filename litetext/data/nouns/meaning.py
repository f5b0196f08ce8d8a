"""What a phrase about a scene of nouns asks for, and which objects it means.

Near a border people would disagree (is it still on the left?), so that every test has three outcomes: yes, no, and
None for "better not asked".
"""

from typing import NamedTuple

from litetext.data.nouns.scenes import SIZE, Scene, Sprite
from litetext.data.nouns.sheet import colourless

POSITIONS = ("left", "right", "top", "bottom")
EXTREMES = ("leftmost", "rightmost", "topmost", "bottommost")
RELATIONS = ("left", "right", "above", "below", "next")
ABSENCES = ("card", "outline", "bw")
OPPOSITE = {
    **{"left": "right", "right": "left", "top": "bottom", "bottom": "top", "above": "below", "below": "above"},
    **{"leftmost": "rightmost", "rightmost": "leftmost", "topmost": "bottommost", "bottommost": "topmost"},
}
_NEAR, _FAR = 44, 54  # pixels between centres: next to each other, and not


class Thing(NamedTuple):
    """An object as a phrase describes it; None and False where it says nothing.

    Attributes:
        word: The noun that is said, singular.
        nouns: Numbers of the nouns that it may be: several for a category.
        size: small or large.
        card: Colour of the card behind it.
        outline: Colour of its outline.
        bw: It is in black and white.
        without: What it must not have: card, outline, or bw for "not black and white".
        position: One of `POSITIONS`, which several objects may have, or of `EXTREMES`, which one has.
    """

    word: str
    nouns: frozenset[int]
    size: str | None = None
    card: str | None = None
    outline: str | None = None
    bw: bool = False
    without: str | None = None
    position: str | None = None

    @property
    def attributes(self) -> dict[str, str | bool]:
        """The attributes that are named, without position."""
        values = {"size": self.size, "card": self.card, "outline": self.outline, "bw": self.bw, "without": self.without}
        return {name: value for name, value in values.items() if value}


class Meaning(NamedTuple):
    """What a phrase asks for.

    Attributes:
        head: The objects that are meant.
        relation: Where they are as seen from the anchor, one of `RELATIONS`.
        anchor: The object that the relation refers to.
        number: How many of them there must be: the phrase means nothing where there are more or fewer.
        excluded: A kind of what is named that is not meant ("fruit other than an apple"). `head.nouns` is without it
            already, so that this decides nothing.
        contrast: Another object that is named only to say that it is not meant ("the cat, not the dog").
    """

    head: Thing
    relation: str | None = None
    anchor: Thing | None = None
    number: int | None = None
    excluded: Thing | None = None
    contrast: Thing | None = None

    @property
    def negated(self) -> bool:
        """Whether the phrase holds a negation."""
        return self.head.without is not None or self.excluded is not None or self.contrast is not None


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def is_thing(thing: Thing, sprite: Sprite) -> bool | None:
    """Whether an object is as described, its position aside."""
    if sprite.noun not in thing.nouns:
        return False
    given = (
        (thing.size, "large" if sprite.large else "small"),
        (thing.card, sprite.card),
        (thing.outline, sprite.outline),
    )
    if any(wanted is not None and wanted != its for wanted, its in given):
        return False
    if thing.without in ("card", "outline") and getattr(sprite, thing.without) is not None:
        return False
    if not thing.bw and thing.without != "bw":
        return True
    if colourless(sprite.style, sprite.noun):
        return None
    return sprite.bw is thing.bw


def is_at(position: str, sprite: Sprite) -> bool | None:
    """Whether an object is in a part of the image, one of `POSITIONS`: clearly beyond the middle, clearly not, None."""
    place = sprite.x if position in ("left", "right") else sprite.y
    beyond = place if position in ("right", "bottom") else SIZE - place
    middle = SIZE // 2
    return True if beyond >= middle + 10 else False if beyond <= middle - 2 else None


def is_related(relation: str, sprite: Sprite, anchor: Sprite) -> bool | None:
    """Whether an object stands in a relation, one of `RELATIONS`, to another one."""
    right, down = sprite.x - anchor.x, sprite.y - anchor.y
    if relation == "next":
        square = right * right + down * down
        return True if square <= _NEAR**2 else False if square >= _FAR**2 else None
    along, aside = (right, abs(down)) if relation in ("left", "right") else (down, abs(right))
    along = along if relation in ("right", "below") else -along
    if along >= 14 and 5 * aside <= 4 * along:
        return True
    return False if along <= 4 or 5 * aside >= 8 * along else None


def find(meaning: Meaning, scene: Scene) -> tuple[int, ...] | None:
    """Positions in `Scene.sprites` of the objects meant, ascending; None where people would disagree about one."""
    fits = [is_thing(meaning.head, sprite) for sprite in scene.sprites]
    if meaning.anchor is not None and meaning.relation is not None:
        fits = [_both(fit, _is_beside(meaning.anchor, meaning.relation, k, scene)) for k, fit in enumerate(fits)]
    if meaning.head.position in POSITIONS:
        fits = [_both(fit, is_at(meaning.head.position, s)) for fit, s in zip(fits, scene.sprites, strict=True)]
    if None in fits:
        return None
    found = tuple(k for k, fit in enumerate(fits) if fit)
    if meaning.head.position in EXTREMES and found:
        extreme = _extreme(meaning.head.position, found, scene)
        if extreme is None:
            return None
        found = (extreme,)
    return found if meaning.number in (None, len(found)) else ()


def _is_beside(anchor: Thing, relation: str, position: int, scene: Scene) -> bool | None:
    """Whether the sprite stands in the relation to some anchor."""
    sprite, answer = scene.sprites[position], False
    for k, other in enumerate(scene.sprites):
        if k != position:
            fit = _both(is_thing(anchor, other), is_related(relation, sprite, other))
            if fit:
                return True
            answer = None if fit is None else answer
    return answer


def _extreme(position: str, found: tuple[int, ...], scene: Scene) -> int | None:
    """The one farthest out, by five pixels at least."""
    across = position in ("leftmost", "rightmost")
    sign = 1 if position in ("leftmost", "topmost") else -1
    places = sorted((sign * (scene.sprites[k].x if across else scene.sprites[k].y), k) for k in found)
    return None if len(places) > 1 and places[1][0] - places[0][0] < 5 else places[0][1]


def find_anchors(meaning: Meaning, scene: Scene) -> tuple[int, ...]:
    """Positions of the objects that are as the anchor is described; empty without an anchor."""
    if meaning.anchor is None:
        return ()
    return tuple(k for k, sprite in enumerate(scene.sprites) if is_thing(meaning.anchor, sprite))
