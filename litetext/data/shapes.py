"""A world of shapes: small pictures in which every phrase is certainly true or false.

A scene has 2 to 6 objects that do not overlap, of 6 shapes, 8 colours, 2 sizes and 3 textures on a noisy
gradient. Each scene draws from 2 to 4 colours and 2 to 3 shapes only, so that its objects are easily confused.
Half of its phrases are negatives, mostly a true phrase with one attribute changed to that of another object.
Everything is a function of (seed, index).
"""

from dataclasses import astuple, dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8

from litetext.data.shapes_phrases import (
    COLOURS,
    HELD_OUT,
    SHAPES,
    SIZES,
    TEXTURES,
    VALUES,
    Attributes,
    Phrase,
    any_attributes,
    draw_attributes,
    phrases,
    say,
)

__all__ = ["HELD_OUT", "IMAGE_SIZE", "MAX_OBJECTS", "Attributes", "Object", "Phrase", "Scene", "phrases"]

IMAGE_SIZE = 112
MAX_OBJECTS = 6
_RADIUS = {"small": (9.0, 11.5), "large": (16.0, 20.0)}
_RGB = {
    "red": (215, 40, 40),
    "green": (50, 165, 65),
    "blue": (45, 80, 215),
    "yellow": (235, 215, 50),
    "purple": (135, 55, 175),
    "orange": (240, 130, 30),
    "cyan": (60, 205, 215),
    "pink": (240, 130, 180),
}


@dataclass(frozen=True)
class Object:
    """One object; changing `x` and `y` moves it.

    Attributes:
        attributes: All four attributes.
        x: Centre, pixels from the left edge.
        y: Centre, pixels from the upper edge.
        radius: Of the circle that contains it, pixels.
        angle: Rotation in radians.
        rgb: Colour, 0 to 255.
        grain: Direction of stripes in radians.
    """

    attributes: Attributes
    x: float
    y: float
    radius: float
    angle: float
    rgb: tuple[float, float, float]
    grain: float


@dataclass(frozen=True)
class Scene:
    """A picture with everything that is in it and what is said about it.

    Attributes:
        image: RGB picture.
        objects: From back to front.
        masks: The visible pixels of each object.
        phrases: Noun phrases, true or false of the picture.
    """

    image: UInt8[np.ndarray, "size size 3"]
    objects: tuple[Object, ...]
    masks: Bool[np.ndarray, "objects size size"]
    phrases: tuple[Phrase, ...]

    def meant_by(self, phrase: Phrase) -> list[int]:
        """Which objects a phrase means; empty for a negative."""
        return [i for i, thing in enumerate(self.objects) if phrase.attributes.fits(thing.attributes)]


def scene(seed: int, index: int, phrases_each: int = 4, held_out: bool = False) -> Scene:
    """The scene number `index` of a seed.

    Args:
        seed: Names an endless series of scenes.
        index: Which of them, from 0.
        phrases_each: How many phrases; each is a negative with probability one half.
        held_out: True: at least one object has a pair of colour and shape of `HELD_OUT`, and half of the phrases
            name such a pair. False: no object and no phrase has one.
    """
    rng = np.random.default_rng([seed, index, int(held_out)])
    objects = _objects(rng, held_out)
    image, masks = render(objects, background(rng))
    said = tuple(_phrase(rng, objects, held_out and i % 2 == 0) for i in range(phrases_each))
    if not held_out:
        said = tuple(_phrase(rng, objects, False) if p.attributes.held_out else p for p in said)
    return Scene(image, objects, masks, said)


def background(rng: np.random.Generator, size: int = IMAGE_SIZE) -> np.ndarray:
    """A gradient between two greyish tones with noise, float32 (size, size, 3), 0 to 255."""
    low, high = rng.uniform(40, 200, 2)
    tint = rng.normal(0, 8, 3)
    direction = rng.uniform(0, 2 * np.pi)
    line = np.arange(size, dtype=np.float32) / size - 0.5
    slope = np.cos(direction) * line[None, :] + np.sin(direction) * line[:, None] + 0.5
    smooth = (low + (high - low) * slope)[:, :, None] + tint
    return (smooth + rng.standard_normal((size, size, 3), dtype=np.float32) * 6).astype(np.float32)


def render(
    objects: tuple[Object, ...], canvas: np.ndarray
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "objects size size"]]:
    """Paint objects, the last on top.

    Args:
        objects: What to paint. Objects may overlap or leave the picture.
        canvas: Float picture (size, size, 3), 0 to 255; it is painted over.

    Returns:
        The picture, and for each object the pixels where it is visible.
    """
    size = len(canvas)
    masks = np.zeros((len(objects), size, size), dtype=bool)
    for i, thing in enumerate(objects):
        reach = thing.radius + 1
        left, right = max(0, int(thing.x - reach)), min(size, int(thing.x + reach) + 2)
        top, bottom = max(0, int(thing.y - reach)), min(size, int(thing.y + reach) + 2)
        if left >= right or top >= bottom:
            continue
        x = (np.arange(left, right, dtype=np.float32) + 0.5 - thing.x)[None, :]
        y = (np.arange(top, bottom, dtype=np.float32) + 0.5 - thing.y)[:, None]
        depth = _depth(thing, x, y)
        cover = np.clip(depth + 0.5, 0, 1)[:, :, None]
        patch = canvas[top:bottom, left:right]
        patch += cover * (_paint(thing, x, y) - patch)
        inside = depth > 0
        masks[:i, top:bottom, left:right] &= ~inside
        masks[i, top:bottom, left:right] = inside
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), masks


def boxes(masks: Bool[np.ndarray, "objects height width"]) -> np.ndarray:
    """Tight boxes [centre x, centre y, width, height] in pixels, float32 (objects, 4); zeros for empty masks."""
    found = np.zeros((len(masks), 4), dtype=np.float32)
    for i, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
            found[i] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
    return found


def _objects(rng: np.random.Generator, held_out: bool) -> tuple[Object, ...]:
    colours = [str(c) for c in rng.choice(COLOURS, rng.integers(2, 5), replace=False)]
    shapes = [str(s) for s in rng.choice(SHAPES, rng.integers(2, 4), replace=False)]
    pairs = [(c, s) for c in colours for s in shapes]
    if held_out:
        rare = sorted(HELD_OUT)[rng.integers(len(HELD_OUT))]
    else:
        rare = None
        pairs = [pair for pair in pairs if pair not in HELD_OUT]
    count = int(rng.integers(2, MAX_OBJECTS + 1))
    placed: list[Object] = []
    while len(placed) < 2:
        placed = []
        for number in range(count):
            colour, shape = rare if rare and number == 0 else pairs[rng.integers(len(pairs))]
            size = SIZES[rng.integers(len(SIZES))]
            texture = TEXTURES[rng.integers(len(TEXTURES))]
            thing = _place(rng, Attributes(shape, colour, size, texture), placed)
            if thing:
                placed.append(thing)
    return tuple(placed)


def _place(rng: np.random.Generator, attributes: Attributes, others: list[Object]) -> Object | None:
    """An object that touches no other; None if there is no room for it."""
    radius = float(rng.uniform(*_RADIUS[str(attributes.size)]))
    for x, y in rng.uniform(radius + 2, IMAGE_SIZE - radius - 2, (40, 2)):
        if all(np.hypot(x - o.x, y - o.y) > radius + o.radius + 2 for o in others):
            red, green, blue = np.asarray(_RGB[str(attributes.colour)]) + rng.normal(0, 9, 3)
            angle, grain = float(rng.uniform(-0.22, 0.22)), float(rng.uniform(0, np.pi))
            rgb = (float(red), float(green), float(blue))
            return Object(attributes, float(x), float(y), radius, angle, rgb, grain)
    return None


def _depth(thing: Object, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far inside the outline each pixel is, in pixels (negative outside); close to it a distance."""
    cos, sin = np.cos(thing.angle) / thing.radius, np.sin(thing.angle) / thing.radius
    u, v = cos * x + sin * y, -sin * x + cos * y
    shape = thing.attributes.shape
    if shape == "circle":
        depth = 0.92 - np.hypot(u, v)
    elif shape == "square":
        depth = 0.78 - np.maximum(abs(u), abs(v))
    elif shape == "diamond":
        depth = (1 - abs(v) - abs(u) / 0.62) * 0.527
    elif shape == "triangle":
        depth = 0.5 - np.maximum(v, 0.866 * abs(u) - 0.5 * v)
    elif shape == "cross":
        across, along = np.minimum(abs(u), abs(v)), np.maximum(abs(u), abs(v))
        depth = np.minimum(0.33 - across, 0.95 - along)
    else:
        fold = 2 * np.pi / 5
        turned = np.abs((np.arctan2(u, -v) + fold / 2) % fold - fold / 2)
        reach = np.hypot(u, v)
        # The edge of one point of the star runs from (1, 0) to the inner corner of radius 0.45.
        inner = 0.45 * np.array([np.cos(fold / 2), np.sin(fold / 2)])
        normal = np.array([inner[1], 1 - inner[0]]) / np.hypot(inner[1], 1 - inner[0])
        depth = normal[0] - (reach * np.cos(turned) * normal[0] + reach * np.sin(turned) * normal[1])
    return depth * thing.radius


def _paint(thing: Object, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    colour = np.asarray(thing.rgb, dtype=np.float32)
    texture = thing.attributes.texture
    cos, sin = np.cos(thing.grain), np.sin(thing.grain)
    along, across = cos * x + sin * y, -sin * x + cos * y
    if texture == "striped":
        dark = np.clip(np.sin(along * (2 * np.pi / 5.5)) * 2 + 0.5, 0, 1)[:, :, None]
        return colour * (1 - 0.7 * dark)
    if texture == "dotted":
        period = 6.0
        near = np.hypot((along % period) - period / 2, (across % period) - period / 2)
        light = np.clip(2.3 - near, 0, 1)[:, :, None]
        return colour + light * (250 - colour)
    return np.broadcast_to(colour, (y.shape[0], x.shape[1], 3))


def _phrase(rng: np.random.Generator, objects: tuple[Object, ...], rare: bool) -> Phrase:
    """A true phrase or, half of the time, a false one; `rare`: naming a held-out pair of colour and shape."""
    things = [thing.attributes for thing in objects]
    positive = rng.random() < 0.5
    for _ in range(200):
        chosen = things[rng.integers(len(things))]
        wanted = draw_attributes(rng, chosen)
        if rare:
            wanted = replace(wanted, shape=chosen.shape, colour=chosen.colour)
        if not positive:
            wanted = _changed(rng, wanted, things)
        if wanted.held_out == rare and any(map(wanted.fits, things)) == positive:
            return Phrase(say(wanted, rng), wanted)
    # Every attempt to change an attribute was true of some object: say something else that is false.
    while True:
        wanted = draw_attributes(rng, any_attributes(rng))
        if wanted.held_out == rare and not any(map(wanted.fits, things)):
            return Phrase(say(wanted, rng), wanted)


def _changed(rng: np.random.Generator, wanted: Attributes, things: list[Attributes]) -> Attributes:
    """One named attribute changed, mostly to a value that another object of the scene has."""
    named = [name for name, value in zip(VALUES, astuple(wanted), strict=True) if value]
    name = named[rng.integers(len(named))]
    present = [getattr(thing, name) for thing in things]
    options = present if rng.random() < 0.8 else VALUES[name]
    return replace(wanted, **{name: str(options[rng.integers(len(options))])})
