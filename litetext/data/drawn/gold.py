"""Writes drawn images with their query phrases and marks in the layout in which SA-Co Gold is released.

Three annotators mark the same objects; a world says what each of them draws of an object and answers to a phrase.
"""

import json
import random
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import Image
from pycocotools import mask

from litetext.data.drawn.folder import write_once
from litetext.data.options import check_minimum

ANNOTATORS = ("a", "b", "c")
EXACT = 0.4
"""Share of the objects that an annotator draws exactly."""
OVERLOOKED = 0.02
"""Share of the instances that an annotator leaves out."""
TAKEN = 0.02
"""Share of the pairs for which an annotator marks an object that differs in one thing from what is asked."""
INCOMPLETE = 0.02
"""Share of the pairs that an annotator declares not exhaustive."""

_FIRST_ID = 10_000_000  # as released
_MOST = 100_000
_coder: Any = mask
T = TypeVar("T")


class GoldSet(NamedTuple):
    """A benchmark on disk.

    Attributes:
        folder: Where it lies.
        pairs: Pairs of each subset.
        images: Images of each subset.
        seed: Seed it was drawn with.
        written: It was written now; otherwise it was there.
    """

    folder: Path
    pairs: dict[str, int]
    images: int
    seed: int
    written: bool


class View(NamedTuple):
    """What one annotator says of an image.

    Attributes:
        masks: What is marked of each object, bool (S, S).
        answers: For each phrase, positions of the objects marked, and whether that is called exhaustive.
    """

    masks: list[np.ndarray]
    answers: list[tuple[list[int], bool]]


class Drawing(NamedTuple):
    """A drawn image with its query phrases and marks.

    Attributes:
        pixels: RGB, uint8 (S, S, 3).
        phrases: The queries.
        views: What each annotator says, in their order.
        kinds: Kind of each phrase, where the world tells kinds apart.
        twins: The phrases are pairs: the first and the second, the third and the fourth.
    """

    pixels: np.ndarray
    phrases: Sequence[str]
    views: Sequence[View]
    kinds: Sequence[str] | None = None
    twins: bool = False


class HasText(Protocol):
    """A phrase of a world, with its text."""

    @property
    def text(self) -> str:
        """The phrase."""
        ...


P = TypeVar("P", bound=HasText, contravariant=True)
Q = TypeVar("Q", bound=HasText)


class AnnotatorView(Protocol[P]):
    """One annotator's view of an image of a world."""

    @property
    def masks(self) -> list[np.ndarray]:
        """What is marked of each object, bool (S, S)."""
        ...

    def answer(self, phrase: P) -> tuple[list[int], bool]:
        """Positions of the objects marked for a phrase, and whether the annotator calls that exhaustive."""
        ...


def drawing(
    pixels: np.ndarray, phrases: Sequence[Q], annotators: Iterable[AnnotatorView[Q]], kinds: Sequence[str] | None = None
) -> Drawing:
    """An image with what its annotators answer to its phrases.

    Args:
        pixels: RGB, uint8 (S, S, 3).
        phrases: The queries.
        annotators: The annotators, in their order.
        kinds: Kind of each phrase, where the world tells kinds apart.
    """
    views = [View(annotator.masks, [annotator.answer(phrase) for phrase in phrases]) for annotator in annotators]
    return Drawing(pixels, [phrase.text for phrase in phrases], views, kinds)


def held_out_numbers(subset: str, subsets: Iterable[str], first: int, seed: int) -> Iterator[int]:
    """Numbers of the scenes of a subset, without end.

    They lie beyond those of training and validation, and apart for every subset and seed.

    Args:
        subset: Its name.
        subsets: All names, in order.
        first: The first number that is not of training.
        seed: Seed of the benchmark.
    """
    block = first // 10  # far more than the scenes that are given up
    return count(first * (2 + seed) + block * list(subsets).index(subset))


def distinct(draw: Callable[[], Iterable[T]], key: Callable[[T], Hashable], many: int, draws: int) -> list[T]:
    """Phrases of different keys, or fewer where chance does not find them.

    Args:
        draw: Draws some.
        key: What makes two phrases the same question: the first stays.
        many: How many.
        draws: Draws before it is given up.
    """
    found: dict[Hashable, T] = {}
    for _ in range(draws):
        for phrase in draw():
            found.setdefault(key(phrase), phrase)
        if len(found) == many:
            break
    return list(found.values())


def half_negative(draw: Callable[[float], list[T]], count: int, rng: random.Random) -> list[T] | None:
    """Phrases of an image, half of them negatives, in random order; None where chance finds too few.

    Args:
        draw: Draws phrases with a share of negatives, 0 or 1.
        count: How many phrases an image has.
        rng: Its randomness.
    """
    true, false = draw(0.0), draw(1.0)
    if not len(true) == len(false) == count // 2:
        return None
    phrases = [*true, *false]
    rng.shuffle(phrases)
    return phrases


def annotated(
    rng: random.Random, targets: Sequence[int], near_misses: Callable[[], list[int]]
) -> tuple[list[int], bool]:
    """What an annotator answers to a phrase.

    Args:
        rng: The annotator's randomness for this phrase.
        targets: Positions of the objects that it means.
        near_misses: Positions of objects that may be taken for them.

    Returns:
        Positions of the objects marked, and whether the annotator calls that exhaustive.
    """
    marked = [target for target in targets if rng.random() >= OVERLOOKED]
    if rng.random() < TAKEN and (near := near_misses()):
        marked.append(rng.choice(near))
    return marked, rng.random() >= INCOMPLETE


def write_gold(
    world: str,
    folder: str | Path,
    pairs: Mapping[str, int],
    images: int,
    seed: int,
    version: int,
    draw: Callable[[str], Iterable[Drawing]],
    about: Mapping[str, str],
    annotators: Sequence[str] | None = ANNOTATORS,
    material: str | None = None,
) -> GoldSet:
    """Writes a benchmark, unless it is there.

    The folder appears whole or not at all: it is written beside its place and renamed.

    Args:
        world: shapes, nouns or probes.
        folder: Where to write: `gold_NAME_merged_{a,b,c}_release_test.json` and `images/NAME`.
        pairs: Phrases an image, by subset.
        images: Images of each subset, as its result counts them.
        seed: Everything follows from it.
        version: Changes whenever the same options give other files.
        draw: The images of a subset.
        about: What each subset is, in words.
        annotators: Letters of the annotators; None for a single one, in the layout of SA-Co Silver.
        material: Checksum of what is drawn from, beside the code.

    Raises:
        ValueError: An option is out of its range, or the folder holds something else.
        FileNotFoundError: There is no folder to write it in.
    """
    if not 1 <= images <= _MOST:
        raise ValueError(f"images is {images}; it must be from 1 to {_MOST}")
    check_minimum(0, seed=seed)
    total = {subset: images * each for subset, each in pairs.items()}

    def fill(part: Path) -> None:
        for subset in pairs:
            write_subset(part, subset, about[subset], draw(subset), annotators)

    options = {"version": version, "images": images, "seed": seed, "pairs": total}
    options |= {} if material is None else {"material": material}
    place, written = write_once(folder, options, fill, world)
    return GoldSet(place, total, images, seed, written)


def write_subset(
    root: Path, subset: str, about: str, drawings: Iterable[Drawing], annotators: Sequence[str] | None
) -> None:
    """Writes one subset.

    Args:
        root: Folder of the benchmark.
        subset: Its name.
        about: What it is, in words.
        drawings: Its images.
        annotators: Letters of the annotators; None for a single one, in the layout of SA-Co Silver.
    """
    names = [""] if annotators is None else list(annotators)
    pictures = root / "images" / subset
    pictures.mkdir(parents=True)
    entries: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    marks: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    queries: dict[str, int] = {}
    first_id = _FIRST_ID
    for position, drawing in enumerate(drawings):
        file_name = f"{position:05}.png"
        Image.fromarray(drawing.pixels).save(pictures / file_name)
        kinds = drawing.kinds or [None] * len(drawing.phrases)
        for name, view in zip(names, drawing.views, strict=True):
            objects = [_mark(pixels) for pixels in view.masks]
            for k, (text, kind, answer) in enumerate(zip(drawing.phrases, kinds, view.answers, strict=True)):
                marked, exhaustive = answer
                query = queries.setdefault(text, len(queries))
                entry = _entry(first_id + k, file_name, text, query, exhaustive, drawing.pixels.shape)
                entry |= {"kind": kind} if kind is not None else {}
                entries[name].append(entry | ({"twin": first_id + (k ^ 1)} if drawing.twins else {}))
                marks[name] += [
                    {"id": len(marks[name]) + n, "image_id": first_id + k, **objects[target]}
                    for n, target in enumerate(marked, start=1)
                ]
        first_id += len(drawing.phrases)
    for name in names:
        content = {
            "info": {"description": about},
            "images": entries[name],
            "annotations": marks[name],
            "categories": [{"id": 1, "name": "object"}],
        }
        file = f"gold_{subset}_merged_{name}_release_test.json" if name else f"silver_{subset}_merged_test.json"
        (root / file).write_text(json.dumps(content), encoding="utf-8")


def _entry(
    pair: int, file_name: str, text: str, query: int, exhaustive: bool, shape: tuple[int, ...]
) -> dict[str, Any]:
    return {
        "id": pair,
        "file_name": file_name,
        "text_input": text,
        "width": shape[1],
        "height": shape[0],
        "queried_category": str(query),
        "is_instance_exhaustive": int(exhaustive),
        "is_pixel_exhaustive": int(exhaustive),
    }


def _mark(pixels: np.ndarray) -> dict[str, Any]:
    """What an annotation says of its object: areas and boxes as shares of the image, as released."""
    code = _coder.encode(np.asfortranarray(pixels.astype(np.uint8)))
    height, width = pixels.shape
    return {
        "source": "manual",
        "area": float(pixels.mean()),
        "bbox": [float(v) / side for v, side in zip(_coder.toBbox(code), (width, height) * 2, strict=True)],
        "segmentation": {"counts": code["counts"].decode("ascii"), "size": list(code["size"])},
        "category_id": 1,
        "iscrowd": 0,
    }
