"""Scenes of the world of nouns: what stands where, how large, in front of what.

Everything follows from a scene's number and is decided with integers, so that a scene is the same on every machine.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from litetext.data.nouns.sheet import colourless, core, find_style, nouns

SIZE = 112
"""Side of an image in pixels."""
FIRST_HELD_OUT = 1_000_000_000
"""Scenes from this number on are never trained on."""
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
"""Colours of cards and outlines."""
Split = Literal["train", "test"]

SMALL = (22, 27)
LARGE = (35, 44)
_TRIES = 400
_MARGIN = 3  # what a card or an outline adds to half a sprite


@dataclass(frozen=True)
class Sprite:
    """One object.

    Attributes:
        noun: Its number in `sheet.nouns`.
        style: Number of the artist.
        x: Its centre in pixels from the left.
        y: Its centre in pixels from the top.
        size: Its longest side in pixels.
        card: Colour of the square card behind it, if there is one.
        outline: Colour of its outline, if it has one.
        bw: It is drawn in black and white.
        angle: Degrees by which it is turned.
        flip: It is mirrored.
        gain: Brightness, of 256.
    """

    noun: int
    style: int
    x: int
    y: int
    size: int
    card: str | None = None
    outline: str | None = None
    bw: bool = False
    angle: int = 0
    flip: bool = False
    gain: int = 256

    @property
    def large(self) -> bool:
        """Large or small; there is nothing between."""
        return self.size > (SMALL[1] + LARGE[0]) // 2


class Background(NamedTuple):
    """What is behind the objects.

    Attributes:
        first: RGB colour at one end.
        last: RGB colour at the other.
        angle: Direction from one to the other in degrees.
        texture: plain, blotches, stripes or checks.
        contrast: Strength of the texture in grey levels.
        noise: Strength of the pixel noise in grey levels.
        seed: Seed of texture and noise.
        grain: Another noise on the same texture, as from one frame of a video to the next.
    """

    first: tuple[int, int, int]
    last: tuple[int, int, int]
    angle: int
    texture: str
    contrast: int
    noise: int
    seed: int
    grain: int = 0


@dataclass(frozen=True)
class Scene:
    """An image's objects, the nearest last, and what is behind them.

    Attributes:
        number: The number it was drawn with.
        sprites: Its objects.
        background: What is behind them.
    """

    number: int
    sprites: tuple[Sprite, ...]
    background: Background


def held_out(noun: int, colour: str | None) -> bool:
    """Whether a noun and the colour of its card or outline are a combination that training never shows or names."""
    return colour is not None and (5 * noun + 3 * COLOURS.index(colour)) % 8 == 0


def draw_scene(
    number: int,
    *,
    styles: Sequence[str | int] = (0,),
    split: Split = "train",
    objects: int | None = None,
    open_nouns: bool = False,
) -> Scene:
    """A scene of 2 to 6 objects, some of them of one kind or of kinds that are easy to confuse.

    Args:
        number: Everything follows from it and the options.
        styles: Which artists' drawings occur; training uses the first style only.
        split: With test, held-out combinations of noun and colour may occur.
        objects: How many objects are wanted; fewer where they do not fit. By default 2 to 6.
        open_nouns: Put one or two objects into it that training never draws.

    Raises:
        ValueError: An option is out of its range.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; it must be train or test")
    if objects is not None and not 2 <= objects <= 6:
        raise ValueError(f"objects is {objects}; it must be from 2 to 6")
    if open_nouns and split == "train":
        raise ValueError("open_nouns is given with split train; nouns held out of training need split test")
    artists = [find_style(style) for style in styles]
    rng = random.Random(f"nouns {number}")
    wanted = objects or rng.randint(2, 6)
    chosen = _choose(wanted, rng)
    if open_nouns:
        first = rng.randrange(2)  # one of the first two has room in any case
        for place in {first, rng.randrange(2, wanted)} if wanted > 2 else {first}:
            chosen[place] = rng.randrange(core(), len(nouns()))
    colours = rng.sample(COLOURS, rng.randint(2, 3))
    sprites: list[Sprite] = []
    for attempt in range(10 * _TRIES):
        if len(sprites) == wanted or (attempt >= _TRIES and len(sprites) >= 2):
            break
        sprite = _draw_sprite(chosen[len(sprites)], artists, colours, wanted, split, rng)
        if all(_apart(sprite, other) for other in sprites):
            sprites.append(sprite)
    rng.shuffle(sprites)
    return Scene(number, tuple(sprites), _draw_background(rng))


def _choose(wanted: int, rng: random.Random) -> list[int]:
    """The objects' nouns: different ones, then repeats of the first two."""
    different = max(2, wanted - rng.choice((0, 0, 1, 1, 2)))
    chosen = [rng.randrange(core())]
    while len(chosen) < different:
        near = siblings(chosen[0])
        noun = rng.choice(near) if near and rng.random() < 0.35 else rng.randrange(core())
        if noun not in chosen:
            chosen.append(noun)
    return chosen + [rng.choice(chosen[:2]) for _ in range(wanted - different)]


@cache
def siblings(noun: int) -> tuple[int, ...]:
    """The other nouns of training in its narrowest category of three or more; empty where it has none."""
    for category in nouns()[noun].categories:
        near = tuple(n for n in range(core()) if n != noun and category in nouns()[n].categories)
        if len(near) >= 2:
            return near
    return ()


@cache
def relatives(noun: int) -> tuple[int, ...]:
    """The other nouns of training that share a category with it."""
    kinds = set(nouns()[noun].categories)
    return tuple(n for n in range(core()) if n != noun and kinds & set(nouns()[n].categories))


def _draw_sprite(
    noun: int, artists: list[int], colours: Sequence[str], wanted: int, split: Split, rng: random.Random
) -> Sprite:
    size = rng.randint(*(SMALL if rng.random() < (0.45 if wanted < 5 else 0.65) else LARGE))
    mark, colour = rng.random(), rng.choice(colours)
    if split == "train" and held_out(noun, colour):
        mark = 1.0
    reach = size // 2 + _MARGIN
    x, y = (rng.randint(reach + 1, SIZE - reach - 1) for _ in range(2))
    style, grey = rng.choice(artists), rng.random() < 0.14
    return Sprite(
        noun=noun,
        style=style,
        x=x,
        y=y,
        size=size,
        card=colour if mark < 0.32 else None,
        outline=colour if 0.32 <= mark < 0.58 else None,
        bw=grey and not colourless(style, noun),  # nobody could tell
        angle=rng.randint(-11, 11),
        flip=rng.random() < 0.5,
        gain=rng.randint(218, 282),
    )


def _apart(one: Sprite, other: Sprite) -> bool:
    reach = (one.size + other.size) // 2 + 2 * _MARGIN
    return max(abs(one.x - other.x), abs(one.y - other.y)) > reach


def _draw_background(rng: random.Random) -> Background:
    first, last = ((rng.randint(64, 217), rng.randint(64, 217), rng.randint(64, 217)) for _ in range(2))
    texture = rng.choice(("plain", "blotches", "blotches", "stripes", "checks"))
    return Background(
        first, last, rng.randrange(360), texture, rng.randint(6, 16), rng.randint(1, 8), rng.getrandbits(31)
    )
