"""Batches of the world of nouns: images, phrases, and everything that is known about both."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from litetext.data.nouns.lexicon import meanings
from litetext.data.nouns.meaning import EXTREMES, POSITIONS, RELATIONS, is_thing
from litetext.data.nouns.phrases import KINDS, Phrase
from litetext.data.nouns.render import boxes, render
from litetext.data.nouns.scenes import COLOURS, SIZE, Scene
from litetext.data.nouns.sheet import core
from litetext.tokenizer import TokenBatch, Tokenizer

KIND_NAMES = (*KINDS, "open")
OBJECTS = 6
"""Most objects of a scene."""
CONTEXT = 32
ROLES = ("noun", "described", "anchor", "target")
"""What an object may be to a phrase: of the head's noun; with the head's attributes too; the anchor; what is meant."""
CELL_VALUES = {"noun": core, "size": 2, "card": len(COLOURS) + 1, "outline": len(COLOURS) + 1, "bw": 2}
"""What is known of an object, and how many values that has; colours end with "none"."""
_SIZES = ("small", "large")
_ABSENCES = ("card", "outline", "bw")
_PLACES = (*POSITIONS, *EXTREMES)
_MOST = 4  # counts are asked for up to four
TEXT_VALUES = {
    "size": len(_SIZES) + 1,
    "card": len(COLOURS) + 1,
    "outline": len(COLOURS) + 1,
    "bw": 2,
    "without": len(_ABSENCES) + 1,
    "position": len(_PLACES) + 1,
    "relation": len(RELATIONS) + 1,
    "count": _MOST + 1,
}
"""What a phrase may say beside its nouns, and how many values that has; the last one is "nothing"."""


class NounsBatch(NamedTuple):
    """B images with O object places each, N phrases, T targets in all; parts that a stage does without are empty.

    Attributes:
        pixels: Images, uint8 (B, 3, S, S).
        objects: Masks of the objects, bool (B, O, S, S).
        labels: The objects' values by `CELL_VALUES`, (B, O, 5); -1 where there is no object.
        image: Which image a phrase is about, (N,).
        tokens: The phrases, (N, 32).
        words: Rows of `noun_table` for the words of the head, the anchor, and what is said not to be meant, (N, 3);
            -1 where there is none or the word means nothing in this world.
        text_values: What phrases say by `TEXT_VALUES`, (N, 8).
        roles: What each object of a phrase's image is to it, by `ROLES`, bool (N, 4, O).
        positive: The phrases that have targets, (M,), ascending.
        owner: Which phrase a target belongs to, (T,), ascending.
        place: Which object a target is, (T,): image * O + object.
        boxes: The targets' boxes as cx, cy, w, h in 0..1, (T, 4).
        kind: Which of `KIND_NAMES` a phrase is, (N,).
        number: The phrases' numbers, for counting each once, (N,).
    """

    pixels: Tensor
    objects: Tensor
    labels: Tensor
    image: Tensor
    tokens: TokenBatch
    words: Tensor
    text_values: Tensor
    roles: Tensor
    positive: Tensor
    owner: Tensor
    place: Tensor
    boxes: Tensor
    kind: Tensor
    number: Tensor

    @property
    def masks(self) -> Tensor:
        """The targets' masks, bool (T, S, S)."""
        return self.objects.flatten(0, 1)[self.place]

    @property
    def images(self) -> Tensor:
        """Images scaled to -1..1, (B, 3, S, S)."""
        return self.pixels.float() / 127.5 - 1


@cache
def _rows() -> dict[str, int]:
    """The row of each word in `noun_table`; open nouns are in none."""
    return {word: row for row, word in enumerate(sorted(meanings()))}


def noun_table() -> Tensor:
    """The share of each noun of training in what each word means, (words, nouns); zero for open nouns' own words."""
    table = torch.zeros(len(_rows()), core())
    for word, row in _rows().items():
        trained = sorted(noun for noun in meanings()[word] if noun < core())
        table[row, trained] = 1 / max(1, len(trained))
    return table


def collate(scenes: list[Scene], drawn: list[list[Phrase]], tokenizer: Tokenizer, paint: bool = True) -> NounsBatch:
    """A batch of these scenes.

    Args:
        scenes: B scenes.
        drawn: The phrases about each of them.
        tokenizer: Encodes the phrases.
        paint: Paint the scenes; without it, everything that has to do with images stays empty.
    """
    flat = [(b, phrase) for b, phrases in enumerate(drawn) for phrase in phrases]
    painted = [render(scene) for scene in scenes] if paint else []
    pixels = np.zeros((len(painted), 3, SIZE, SIZE), dtype=np.uint8)
    objects = np.zeros((len(painted), OBJECTS, SIZE, SIZE), dtype=bool)
    corners = np.zeros((len(painted), OBJECTS, 4))
    labels = np.full((len(painted), OBJECTS, len(CELL_VALUES)), -1, dtype=np.int64)
    for b, (image, masks) in enumerate(painted):
        pixels[b] = image.transpose(2, 0, 1)
        objects[b, : len(masks)], corners[b, : len(masks)] = masks, boxes(masks)
        labels[b, : len(masks)] = [
            (s.noun, s.large, _colour(s.card), _colour(s.outline), s.bw) for s in scenes[b].sprites
        ]
    pairs = [(n, b, t) for n, (b, phrase) in enumerate(flat) for t in phrase.targets] if paint else []
    owner, image, target = (torch.tensor([p[k] for p in pairs], dtype=torch.int64) for k in range(3))
    edges = torch.from_numpy(corners).float()[image, target] / SIZE
    return NounsBatch(
        pixels=torch.from_numpy(pixels),
        objects=torch.from_numpy(objects),
        labels=torch.from_numpy(labels),
        image=torch.tensor([b for b, _ in flat], dtype=torch.int64),
        tokens=tokenizer([phrase.text for _, phrase in flat], CONTEXT),
        words=torch.tensor([_words(phrase) for _, phrase in flat], dtype=torch.int64).view(-1, 3),
        text_values=torch.tensor([_text_values(phrase) for _, phrase in flat], dtype=torch.int64).view(
            -1, len(TEXT_VALUES)
        ),
        roles=torch.from_numpy(_roles(scenes, flat if paint else [])),
        positive=owner.unique(),
        owner=owner,
        place=image * OBJECTS + target,
        boxes=torch.cat([(edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]], 1),
        kind=torch.tensor([KIND_NAMES.index(phrase.kind) for _, phrase in flat], dtype=torch.int64),
        number=torch.tensor([s.number * 100 + k for s, p in zip(scenes, drawn, strict=True) for k in range(len(p))]),
    )


def _colour(colour: str | None) -> int:
    return len(COLOURS) if colour is None else COLOURS.index(colour)


def _words(phrase: Phrase) -> list[int]:
    meaning = phrase.meaning
    things = (meaning.head, meaning.anchor, meaning.excluded or meaning.contrast)
    return [-1 if thing is None else _rows().get(thing.word, -1) for thing in things]


def _text_values(phrase: Phrase) -> tuple[int, ...]:
    meaning, head = phrase.meaning, phrase.meaning.head
    return (
        _index(_SIZES, head.size),
        _colour(head.card),
        _colour(head.outline),
        int(head.bw),
        _index(_ABSENCES, head.without),
        _index(_PLACES, head.position),
        _index(RELATIONS, meaning.relation),
        _MOST if meaning.number is None else min(_MOST, meaning.number) - 1,
    )


def _index(values: tuple[str, ...], value: str | None) -> int:
    return len(values) if value is None else values.index(value)


def _roles(scenes: list[Scene], flat: list[tuple[int, Phrase]]) -> np.ndarray:
    roles = np.zeros((len(flat), len(ROLES), OBJECTS), dtype=bool)
    for n, (b, phrase) in enumerate(flat):
        sprites = scenes[b].sprites
        roles[n, 0, : len(sprites)] = [sprite.noun in phrase.meaning.head.nouns for sprite in sprites]
        roles[n, 1, : len(sprites)] = [is_thing(phrase.meaning.head, sprite) is True for sprite in sprites]
        roles[n, 2, list(phrase.anchors)] = True
        roles[n, 3, list(phrase.targets)] = True
    return roles
