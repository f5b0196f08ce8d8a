"""The world of nouns: scenes of drawn things, and phrases that are true or false of them.

    scene = draw_scene(7)                              # what stands where; a function of the number
    image, masks = render(scene)                       # uint8 (112, 112, 3), bool (K, 112, 112); K = len(scene.sprites)
    boxes(masks)                                       # int64 (K, 4): left, top, right, bottom in pixels
    draw_phrases(scene, 4, random.Random("any seed"))  # list of Phrase

A `Phrase` has `text`, `kind`, `targets` (positions in `scene.sprites`; empty for a negative), `anchors` (positions of
the sprites that a relation's second noun may be) and `meaning`:

    meaning.head        Thing: what is meant
    meaning.relation    left, right, above, below, next, or None: where it is as seen from the anchor
    meaning.anchor      Thing or None
    meaning.number      1 to 4 or None
    meaning.excluded    Thing or None: "fruit other than an apple"; head.nouns is without it already
    meaning.contrast    Thing or None: "the cat, not the dog" (the dog)
    meaning.negated     bool
    thing.nouns         frozenset of noun numbers (one for a name, several for a category)
    thing.size          small, large or None
    thing.card          one of COLOURS or None: colour of the card behind it
    thing.outline       one of COLOURS or None
    thing.bw            bool: black and white is named
    thing.without       card, outline, bw or None: what it must not have
    thing.position      left, right, top, bottom, leftmost, rightmost, topmost, bottommost or None (head only)

A `Sprite` has the values of its own: `noun`, `style`, `x`, `y`, `size`, `large`, `card`, `outline`, `bw`. Nouns are
numbered as in `nouns()`; the first `core()` are those of training, the others are open: neither named nor drawn in
training. Training scenes have numbers from 0 to `FIRST_HELD_OUT` - 1; scenes from there on are for validation, with the
same options (split "train"), and for the benchmark, with split "test": held-out combinations of noun and colour, and
held-out ways of saying things (`wording="train"` leaves these out). `draw_phrases(..., kinds={"noun": 1.0})` sets the
weights of the kinds (`KINDS` holds the usual ones), `negatives` and `easy` the shares of negatives and of easy ones
among them. Some drawings are grey by nature (`colourless(style, noun)`): `bw` is in no phrase about them.
"""

from litetext.data.nouns.lexicon import categories, meanings, words
from litetext.data.nouns.meaning import (
    ABSENCES,
    EXTREMES,
    POSITIONS,
    RELATIONS,
    Meaning,
    Thing,
    find,
    find_anchors,
)
from litetext.data.nouns.phrases import KINDS, Phrase, draw_phrases, list_phrases
from litetext.data.nouns.pictures import draw_page, draw_sheet
from litetext.data.nouns.render import boxes, render
from litetext.data.nouns.scenes import (
    COLOURS,
    FIRST_HELD_OUT,
    SIZE,
    Background,
    Scene,
    Sprite,
    draw_scene,
    held_out,
)
from litetext.data.nouns.sheet import Noun, colourless, core, drawings, find_noun, find_style, nouns, styles

__all__ = [
    "ABSENCES",
    "COLOURS",
    "EXTREMES",
    "FIRST_HELD_OUT",
    "KINDS",
    "POSITIONS",
    "RELATIONS",
    "SIZE",
    "Background",
    "Meaning",
    "Noun",
    "Phrase",
    "Scene",
    "Sprite",
    "Thing",
    "boxes",
    "categories",
    "colourless",
    "core",
    "draw_page",
    "draw_phrases",
    "draw_scene",
    "draw_sheet",
    "drawings",
    "find",
    "find_anchors",
    "find_noun",
    "find_style",
    "held_out",
    "list_phrases",
    "meanings",
    "nouns",
    "render",
    "styles",
    "words",
]
