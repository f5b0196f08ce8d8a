"""One image, one SAM3, two text encoders: what teacher and student find, and what each costs."""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from litetext.data.pixels import to_rgb
from litetext.data.prompts.corpora import is_empty
from litetext.metrics.matching import rle, to_rle
from litetext.models.devices import DTypeOption
from litetext.models.text.encoder import PhraseFeatures, TextEncoder, require_sam3_features
from litetext.models.text.loading import load_text_encoder
from litetext.modules.disagreements import objects
from litetext.overlays import overlay
from litetext.saco.instances import Instances
from litetext.saco.masks import Rle
from litetext.segmenter import Segmenter

_ROUNDS, _BUDGET = 3, 0.2
"""The text encoders read the phrases in turn, at least so often and for so many seconds; the fastest time counts."""


class Side(NamedTuple):
    """What one text encoder led to.

    Attributes:
        picture: The image with its predictions, uint8 (y, x, 3); small images are enlarged.
        scores: Of each phrase's instances, highest first.
        seconds: Time the text encoder took for all phrases.
        parameters: Of the text encoder.
        remark: Which phrases it does not read as they are; empty if it does.
    """

    picture: UInt8[np.ndarray, "y x 3"]
    scores: list[list[float]]
    seconds: float
    parameters: int
    remark: str = ""


class Answer(NamedTuple):
    """What the page shows.

    Attributes:
        phrases: The query phrases, each once.
        teacher: What SAM3's own text encoder led to.
        student: What the other one led to.
        shared: Of each phrase, the IoU of all pixels of one's instances with all of the other's; None where neither
            has any.
    """

    phrases: list[str]
    teacher: Side
    student: Side
    shared: list[float | None]


class Comparison:
    """A SAM3 with its own text encoder and with a student's.

    Args:
        model: A SAM3 in transformers' layout: a folder or a hub id.
        text_encoder: The student's: whatever `load_text_encoder` opens.
        device: Where it computes, see `Segmenter`.
        dtype: Type of the segmenter's weights and computation; see `Segmenter`.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If one cannot be read, or they do not fit each other.
    """

    def __init__(
        self, model: str, text_encoder: str, device: str | None = None, dtype: DTypeOption = "float32"
    ) -> None:
        student = load_text_encoder(text_encoder)
        teacher = Segmenter(model, device=device, dtype=dtype)
        require_sam3_features(student.reads, f"text encoder {text_encoder}")
        teacher.sam3.check_width(student.width, f"text encoder {text_encoder}")
        self.sam3 = teacher.sam3
        self.encoders = (teacher.encoder, student.to(teacher.device))

    def answer(self, image: str | os.PathLike[str], phrases: Sequence[str], threshold: float = 0.5) -> Answer:
        """Segments an image twice, on one pass of the vision tower.

        Args:
            image: Its path.
            phrases: Noun phrases; empty ones and repeats are left out.
            threshold: Minimum score of an instance, 0..1.

        Raises:
            ValueError: The image cannot be read, there are no phrases, or the threshold is out of its range.
        """
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; choose a score from 0 to 1")
        distinct = list(dict.fromkeys(phrase.strip() for phrase in phrases if not is_empty(phrase)))
        if not distinct:
            raise ValueError("there are no phrases; write at least one, such as: white ring")
        pixels = to_rgb(image)
        vision = self.sam3.encode_images(self.sam3.preprocess([pixels]))
        texts, seconds = _encode(self.encoders, distinct)
        size = (int(pixels.shape[1]), int(pixels.shape[2]))
        found = [self.sam3.segment(vision, *features.take(distinct), size, threshold) for features in texts]
        sides = (_SideMasks(), _SideMasks())
        shared: list[float | None] = []
        seen = 0
        for phrase, *pair in zip(distinct, *found, strict=True):
            ranked = [_by_score(part) for part in pair]
            masks = [to_rle(part.masks) for part in ranked]
            numbers = objects([part.boxes.tolist() for part in ranked])  # an object has one colour on both sides
            for side, part, own, colours in zip(sides, ranked, masks, numbers, strict=True):
                side.add(phrase, part.scores.tolist(), own, [seen + colour for colour in colours])
            seen += len(set().union(*numbers))
            shared.append(_shared(*masks))
        rgb = pixels.permute(1, 2, 0).numpy()
        teacher, student = (
            Side(side.draw(rgb), side.scores, took, encoder.parameter_count, _remark(encoder, features, distinct))
            for side, took, encoder, features in zip(sides, seconds, self.encoders, texts, strict=True)
        )
        return Answer(distinct, teacher, student, shared)


class _SideMasks:
    """What is to be drawn on one side, phrase after phrase."""

    def __init__(self) -> None:
        self.scores: list[list[float]] = []
        self.masks: list[Rle] = []
        self.colours: list[int] = []
        self.labels: list[str] = []

    def add(self, phrase: str, scores: list[float], masks: list[Rle], colours: list[int]) -> None:
        self.scores.append(scores)
        self.masks += masks
        self.colours += colours
        self.labels += [f"{phrase} {score:.2f}" for score in scores]

    def draw(self, pixels: np.ndarray) -> np.ndarray:
        return overlay(pixels, self.masks, self.colours, self.labels)


def _encode(encoders: Sequence[TextEncoder], phrases: list[str]) -> tuple[list[PhraseFeatures], list[float]]:
    """Text features by each text encoder, and the seconds that each took."""
    texts = [encoder.encode(phrases) for encoder in encoders]
    best, rounds, begin = [float("inf")] * len(encoders), 0, time.perf_counter()
    while rounds < _ROUNDS or time.perf_counter() - begin < _BUDGET:
        for n, encoder in enumerate(encoders):
            start = time.perf_counter()
            encoder.encode(phrases)
            best[n] = min(best[n], time.perf_counter() - start)
        rounds += 1
    return texts, best


def _remark(encoder: TextEncoder, features: PhraseFeatures, phrases: list[str]) -> str:
    """How many phrases a text encoder cuts, or reads in smaller pieces than SAM3 does."""
    remarks = []
    if features.truncated:
        remarks.append(f"{features.truncated:,} of {len(phrases):,} cut at {encoder.context_length} tokens")
    if encoder.reads is not None:
        pieces = encoder.tokenizer.as_sam3(phrases).count(False)  # type: ignore[union-attr]  # it brings a tokenizer
        remarks += [f"{pieces:,} of {len(phrases):,} read in smaller pieces"] if pieces else []
    return ", ".join(remarks)


def _by_score(found: Instances) -> Instances:
    order = found.scores.argsort(descending=True, stable=True)
    return Instances(*(part[order].cpu() for part in found))


def _shared(one: list[Rle], other: list[Rle]) -> float | None:
    if not one or not other:
        return 0.0 if one or other else None
    return float(rle.iou([rle.merge(one)], [rle.merge(other)], [0])[0, 0])
