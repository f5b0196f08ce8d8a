"""How the meanings of the world of nouns are said.

Some ways of saying things occur in the test split only, so that a model meets what it was never trained on.
"""

import random
from typing import NamedTuple

from litetext.data.nouns.lexicon import is_countable, is_plural, plural
from litetext.data.nouns.meaning import Meaning, Thing
from litetext.data.nouns.scenes import Split


class Ways(NamedTuple):
    """Ways of saying one thing.

    Attributes:
        known: Those of training.
        held_out: Those that only the test split adds.
    """

    known: tuple[str, ...]
    held_out: tuple[str, ...] = ()

    def choose(self, rng: random.Random, split: Split) -> str:
        """One of them; in the test split a held-out one half of the time."""
        fresh = split == "test" and self.held_out and rng.random() < 0.5
        return rng.choice(self.held_out if fresh else self.known)


# {c} is a colour, {a} a colour with its article
SIZES = {
    "small": Ways(("small", "little"), ("tiny", "small-sized")),
    "large": Ways(("large", "big"), ("huge", "large-sized")),
}
BW_BEFORE = Ways(("black and white", "grayscale"), ("monochrome",))
BW_AFTER = Ways(("in black and white", "in grayscale"), ("in shades of gray",))
CARD = Ways(
    ("on {a} card", "on {c}", "in front of {a} square", "with {a} background", "that is on {a} card"),
    ("against {a} panel", "placed on {a} tile"),
)
OUTLINE_BEFORE = Ways(("{c}-outlined", "{c} outlined"), ("{c}-edged",))
OUTLINE_AFTER = Ways(
    ("with {a} outline", "outlined in {c}", "with {c} edges", "that has {a} border"),
    ("edged in {c}", "surrounded by {a} line"),
)
WITHOUT = {
    "outline": Ways(("without an outline", "with no outline", "without a border"), ("lacking any outline",)),
    "card": Ways(("without a card", "not on a card", "with no card behind it"), ("lacking any card",)),
    "bw": Ways(("that is not black and white", "not in black and white"), ("that is not in grayscale",)),
}
POSITIONS = {
    "left": Ways(("on the left", "on the left side", "in the left half"), ("toward the left",)),
    "right": Ways(("on the right", "on the right side", "in the right half"), ("toward the right",)),
    "top": Ways(("at the top", "in the upper half", "in the upper part of the picture"), ("toward the top",)),
    "bottom": Ways(("at the bottom", "in the lower half", "in the lower part of the picture"), ("toward the bottom",)),
}
# {} is the noun with its attributes
EXTREMES = {
    "leftmost": Ways(("leftmost {}", "{} farthest to the left"), ("{} nearest the left edge",)),
    "rightmost": Ways(("rightmost {}", "{} farthest to the right"), ("{} nearest the right edge",)),
    "topmost": Ways(("topmost {}", "highest {}", "uppermost {}"), ("{} nearest the top edge",)),
    "bottommost": Ways(("bottommost {}", "lowest {}"), ("{} nearest the bottom edge",)),
}
RELATIONS = {
    "left": Ways(
        ("{a} to the left of {b}", "{a} left of {b}", "{a} on the left side of {b}", "{a} with {b} on its right"),
        ("{a} that has {b} to its right",),
    ),
    "right": Ways(
        ("{a} to the right of {b}", "{a} right of {b}", "{a} on the right side of {b}", "{a} with {b} on its left"),
        ("{a} that has {b} to its left",),
    ),
    "above": Ways(("{a} above {b}", "{a} over {b}", "{a} higher than {b}", "{a} with {b} below it"), ("{a} atop {b}",)),
    "below": Ways(
        ("{a} below {b}", "{a} under {b}", "{a} beneath {b}", "{a} with {b} above it"), ("{a} underneath {b}",)
    ),
    "next": Ways(("{a} next to {b}", "{a} beside {b}", "{a} close to {b}", "{a} near {b}"), ("{a} right by {b}",)),
}
COUNTS = {
    1: Ways(("a single {one}", "only one {one}", "exactly one {one}"), ("just one {one}",)),
    2: Ways(("two {all}", "exactly two {all}", "a pair of {all}"), ("a couple of {all}",)),
    3: Ways(("three {all}", "exactly three {all}"), ("a group of three {all}",)),
    4: Ways(("four {all}", "exactly four {all}"), ("a group of four {all}",)),
}
OTHER_THAN = Ways(
    ("{a} other than {b}", "{a} that is not {b}", "{a} but not {b}", "{a} except {b}"), ("{a} excluding {b}",)
)
NOT_THE = Ways(("{a}, not {b}", "{a} and not {b}", "{a} but not {b}"), ("{a} rather than {b}", "{a} instead of {b}"))
OPENINGS = Ways(
    ("the one thing here that is", "the object we are looking for is", "please find", "what we want is", "look for"),
    ("the thing to be outlined is", "kindly point out"),
)
ENDINGS = Ways(
    (
        "that can be seen in this picture",
        "which someone has placed there",
        "that is shown somewhere in the image",
        "visible in the scene in front of us",
        "that we are looking for right now",
        "that was drawn here among other things",
    ),
    ("which appears somewhere in the view", "that anyone can spot at once"),
)


def say(meaning: Meaning, rng: random.Random, split: Split = "train", long: bool = False) -> str:
    """One of the phrases with this meaning.

    Args:
        meaning: What is asked for.
        rng: Source of the choice between ways of saying it.
        split: With test, held-out ways of saying things occur.
        long: Say it at length.
    """
    head = meaning.head
    if meaning.number is not None:
        one, all_ = (_describe(head, rng, split, many=many) for many in (False, True))
        return COUNTS[meaning.number].choose(rng, split).format(one=one, all=all_)
    many = not long and head.position not in EXTREMES and rng.random() < 0.12
    text = _describe(head, rng, split, many)
    if meaning.relation is not None and meaning.anchor is not None:
        way = RELATIONS[meaning.relation].choose(rng, split)
        if head.position and not way.startswith(("{a} with", "{a} that")):
            way = way.replace("{a}", "{a} and")
        text = way.format(a=text, b="the " + _describe(meaning.anchor, rng, split))
    if meaning.excluded is not None:
        other = _with_a(_describe(meaning.excluded, rng, split), meaning.excluded.word)
        text = OTHER_THAN.choose(rng, split).format(a=text, b=other)
    if meaning.contrast is not None:
        other = _describe(meaning.contrast, rng, split)
        text = NOT_THE.choose(rng, split).format(a=f"the {text}", b=f"the {other}")
    if long:
        return _at_length(head, text, rng, split)
    return _article(text, head, rng, many)


def _article(text: str, head: Thing, rng: random.Random, many: bool) -> str:
    if text.startswith("the ") or many:
        return text
    article = rng.choices(("", "a", "the"), (0.7, 0.12, 0.18))[0]
    if article == "a":
        return text if head.position in EXTREMES else _with_a(text, head.word)
    return f"{article} {text}".strip()


def _with_a(text: str, word: str) -> str:
    """The phrase with a or an, where the noun can have one."""
    if not is_countable(word):
        return text
    an = text[0] in "aeiou" and not text.startswith(("one", "uni", "u-", "ufo", "eu"))
    return f"{'an' if an else 'a'} {text}"


def _describe(thing: Thing, rng: random.Random, split: Split, many: bool = False) -> str:
    """The noun with attributes and position, without an article."""
    before: list[str] = []
    after: list[str] = []
    if thing.size:
        before.append(SIZES[thing.size].choose(rng, split))
    if thing.bw:
        if rng.random() < 0.5:
            before.append(BW_BEFORE.choose(rng, split))
        else:
            after.append(BW_AFTER.choose(rng, split))
    if thing.card:
        after.append(_coloured(CARD, thing.card, rng, split))
    if thing.outline:
        if rng.random() < 0.4:
            before.append(OUTLINE_BEFORE.choose(rng, split).format(c=thing.outline))
        else:
            after.append(_coloured(OUTLINE_AFTER, thing.outline, rng, split))
    if thing.without:
        after.append(WITHOUT[thing.without].choose(rng, split))
    rng.shuffle(before)
    rng.shuffle(after)
    noun = plural(thing.word) if many else thing.word
    if many or is_plural(thing.word):
        after = [words.replace("that is", "that are").replace("that has", "that have") for words in after]
        after = [words.replace("behind it", "behind them") for words in after]
    text = " ".join([*before, noun, *_joined(after)])
    if thing.position in EXTREMES:
        return EXTREMES[thing.position].choose(rng, split).format(text)
    return f"{text} {POSITIONS[thing.position].choose(rng, split)}" if thing.position else text


def _coloured(ways: Ways, colour: str, rng: random.Random, split: Split) -> str:
    return ways.choose(rng, split).format(c=colour, a=("an " if colour == "orange" else "a ") + colour)


def _joined(after: list[str]) -> list[str]:
    """Two clauses need an "and" where both would begin alike."""
    return [after[0], *(f"and {words}" for words in after[1:])] if after else []


def _at_length(head: Thing, text: str, rng: random.Random, split: Split) -> str:
    """The phrase with what people put around it."""
    given = "" if text.startswith("the ") else "the "
    opening = OPENINGS.choose(rng, split) + " " if rng.random() < 0.5 else ""
    ending = " " + ENDINGS.choose(rng, split) if not opening or rng.random() < 0.5 else ""
    return f"{opening}{given}{text}{ending}"
