"""A small world of shapes: images of coloured, patterned shapes, and phrases that are true or false of them."""

import random
from dataclasses import dataclass, replace

import numpy as np

from litetext.data.shapes.phrases import COLOURS, KINDS, PATTERNS, VALUES, ShapeAttributes, draw_meaning, phrases, say

__all__ = [
    "FIRST_HELD_OUT",
    "SIZE",
    "Shape",
    "ShapePhrase",
    "ShapeScene",
    "draw_phrases",
    "draw_scene",
    "phrases",
    "render",
]

SIZE = 112
"""Side of an image in pixels."""
FIRST_HELD_OUT = 1_000_000_000
"""Scenes from this number on are never trained on."""

_RGB = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (40, 90, 220),
    "yellow": (250, 215, 50),
    "purple": (140, 60, 190),
    "orange": (245, 130, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
_CORNERS = {"square": 1.21, "triangle": 1.29, "cross": 1.02}  # how far corners stand out of the radius
_RADII = {"small": (9.5, 12.5), "large": (16.5, 21.0)}


@dataclass(frozen=True)
class Shape:
    """One object.

    Attributes:
        values: Its colour, kind, size and pattern.
        x: Centre in pixels from the left.
        y: Centre in pixels from the top.
        radius: Half its extent in pixels.
        phase: Where its stripes or dots begin, in pixels.
    """

    values: ShapeAttributes
    x: float
    y: float
    radius: float
    phase: float

    @property
    def reach(self) -> float:
        """Distance in pixels from the centre that no part of it exceeds."""
        return self.radius * _CORNERS.get(self.values.kind or "", 1.0)

    def mask(self) -> np.ndarray:
        """Its pixels, bool (SIZE, SIZE): those whose centre lies inside."""
        y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
        u, v = (x - self.x) / self.radius, (y - self.y) / self.radius
        match self.values.kind:
            case "circle":
                return u * u + v * v <= 1
            case "square":
                return np.maximum(abs(u), abs(v)) <= 0.85
            case "triangle":
                return (v <= 0.8) & (v >= 1.75 * abs(u) - 0.95)
            case "diamond":
                return abs(u) * 1.3 + abs(v) <= 1
            case "cross":
                return (np.minimum(abs(u), abs(v)) <= 0.36) & (np.maximum(abs(u), abs(v)) <= 0.95)
            case _:
                distance = u * u + v * v
                return (distance <= 1) & (distance >= 0.2)


@dataclass(frozen=True)
class ShapeScene:
    """An image's objects, and what is needed to paint them.

    Attributes:
        shapes: Objects; they do not overlap.
        background: Two RGB colours between which the background runs, and the direction in radians.
        noise: Standard deviation of the pixel noise, in grey levels.
        seed: Seed of the noise.
    """

    shapes: tuple[Shape, ...]
    background: tuple[tuple[int, ...], tuple[int, ...], float]
    noise: float
    seed: int


@dataclass(frozen=True)
class ShapePhrase:
    """A noun phrase about a scene.

    Attributes:
        text: The phrase.
        meaning: The values it asks for.
        targets: Positions in `ShapeScene.shapes` of the objects it means; empty for a negative.
    """

    text: str
    meaning: ShapeAttributes
    targets: tuple[int, ...] = ()


def draw_scene(seed: int, held_out: bool = False) -> ShapeScene:
    """A scene of 2 to 6 shapes whose few colours and kinds make them easy to confuse.

    Args:
        seed: Everything follows from it.
        held_out: Let held-out combinations of colour, kind and pattern occur; otherwise none does.
    """
    rng = random.Random(f"scene {seed}")
    colours = rng.sample(COLOURS, rng.randint(2, 4))
    kinds = rng.sample(KINDS, rng.randint(2, 3))
    wanted = rng.randint(2, 6)
    shapes: list[Shape] = []
    for _ in range(200):
        if len(shapes) == wanted:
            break
        size = rng.choice(("small", "large"))
        values = ShapeAttributes(rng.choice(colours), rng.choice(kinds), size, rng.choice(PATTERNS))
        radius = rng.uniform(*_RADII[size])
        x, y = (rng.uniform(radius + 1, SIZE - radius - 1) for _ in range(2))
        drawn = Shape(values, x, y, radius, 0)
        apart = all(np.hypot(x - s.x, y - s.y) > drawn.reach + s.reach + 1 for s in shapes)
        if apart and (held_out or not values.held_out):
            shapes.append(replace(drawn, phase=rng.uniform(0, 6)))
    first, last = (tuple(rng.randint(70, 190) for _ in range(3)) for _ in range(2))
    return ShapeScene(tuple(shapes), (first, last, rng.uniform(0, 2 * np.pi)), rng.uniform(2, 10), rng.getrandbits(31))


def render(scene: ShapeScene) -> np.ndarray:
    """Paints a scene: uint8 RGB, (SIZE, SIZE, 3)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    first, last, angle = scene.background
    along = (np.cos(angle) * (x / SIZE - 0.5) + np.sin(angle) * (y / SIZE - 0.5)) / np.sqrt(2) + 0.5
    image = (1 - along[..., None]) * np.array(first) + along[..., None] * np.array(last)
    for shape in scene.shapes:
        mask = shape.mask()
        image[mask] = np.array(_RGB[shape.values.colour or "red"], dtype=float)
        ink = np.full(3, 120.0 if shape.values.colour == "white" else 235.0)
        if shape.values.pattern == "striped":
            image[mask & ((x + y + shape.phase) % 6 < 2.2)] = ink
        elif shape.values.pattern == "dotted":
            u, v = (x + shape.phase) % 6 - 3, (y + shape.phase) % 6 - 3
            image[mask & (u * u + v * v < 2.6)] = ink
    noise = np.random.default_rng(scene.seed).normal(0, scene.noise, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def draw_phrases(scene: ShapeScene, count: int, rng: random.Random, negatives: float = 0.5) -> list[ShapePhrase]:
    """Phrases about a scene.

    Args:
        scene: The scene.
        count: How many.
        rng: Source of the draw.
        negatives: Expected share of phrases that mean nothing here. Most differ from an object by one value that
            another object has.

    Returns:
        `count` phrases, each with the objects it means.
    """
    found: list[ShapePhrase] = []
    things = [shape.values for shape in scene.shapes]
    while len(found) < count:
        meaning: ShapeAttributes | None = draw_meaning(rng, rng.choice(things))
        if rng.random() < negatives:
            meaning = _negative(meaning, things, rng)
        if meaning is not None:
            targets = tuple(i for i, thing in enumerate(things) if meaning.of(thing))
            found.append(ShapePhrase(say(meaning, rng), meaning, targets))
    return found


def _negative(meaning: ShapeAttributes, things: list[ShapeAttributes], rng: random.Random) -> ShapeAttributes | None:
    """The meaning with one value changed so that no object has it; None where chance finds none."""
    for _ in range(20):
        name = rng.choice([n for n, value in meaning._asdict().items() if value is not None])
        present = sorted({getattr(thing, name) for thing in things})
        changed = meaning._replace(**{name: rng.choice(present if rng.random() < 0.75 else VALUES[name])})
        if not changed.held_out and not any(changed.of(thing) for thing in things):
            return changed
    return None
