"""Segmenting with four text encoders in one pass: what it costs beyond one of them, and against four separate runs."""

import gc
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from litetext.bench.timing import Measured, Timings
from litetext.data.shapes.phrases import phrases as draw_phrases
from litetext.data.shapes.world import draw_scene, render
from litetext.models.sam3.image import Sam3Image, Vision
from litetext.models.sam3.tiny import tiny_config, tiny_sam3
from litetext.models.text.encoder import PhraseFeatures, TextEncoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.saco.instances import Instances
from litetext.shipped import shipped

_THRESHOLD = 0.0
"""Keeps every query: each encoder pays for all masks alike, whatever its weights find."""


class _Work(NamedTuple):
    """A SAM3, its text encoders, images, and the phrases of each image."""

    sam3: Sam3Image
    encoders: dict[str, TextEncoder]
    images: list[Tensor]
    phrases: list[list[str]]
    chunk: int

    def see(self, image: int) -> Vision:
        """The vision part of one image."""
        return self.sam3.encode_images(self.sam3.preprocess(self.images[image : image + 1]))

    def read(self, name: str) -> PhraseFeatures:
        """The text part that comes before any image."""
        encoder = self.encoders[name]
        return encoder.encode([phrase for phrases in self.phrases for phrase in phrases])

    def find(self, vision: Vision, image: int, texts: PhraseFeatures) -> list[Instances]:
        """The part that depends on both."""
        features, lengths = texts.take(self.phrases[image])
        size = (self.images[image].shape[1], self.images[image].shape[2])
        return list(self.sam3.segment(vision, features, lengths, size, _THRESHOLD, self.chunk))

    def together(self, names: Sequence[str]) -> list[Instances]:
        """One pass over the images for all these encoders; answers by encoder, then image."""
        texts = {name: self.read(name) for name in names}
        found: dict[str, list[Instances]] = {name: [] for name in names}
        for image in range(len(self.images)):
            vision = self.see(image)
            for name in names:
                found[name] += self.find(vision, image, texts[name])
        return [one for name in names for one in found[name]]

    def alone(self, visions: list[Vision], name: str) -> list[Instances]:
        """Everything that one text encoder costs when the images have been seen."""
        texts = self.read(name)
        return [one for image, vision in enumerate(visions) for one in self.find(vision, image, texts)]


def bench_segment(
    images: int = 4,
    phrases: int = 4,
    rounds: int = 3,
    chunk: int = 16,
    heavy_layers: int = 24,
    heavy_width: int = 512,
    threads: int | None = None,
) -> dict[str, Any]:
    """Teacher and three students: in one pass, in parts, and in four separate runs, in turn.

    Two cases: `tiny`, the shipped SAM3 with its own text encoder, and `heavy`, one with random weights whose vision
    tower costs far more than a phrase, as in `facebook/sam3`. The students are random towers of the `nano` preset.
    Every query is kept and its mask drawn, so that no encoder is cheaper because it predicts fewer instances.

    Args:
        images: Scenes of the world of shapes.
        phrases: Phrases an image.
        rounds: Rounds, all ways in turn; medians count.
        chunk: Phrases at once.
        heavy_layers: Blocks of the heavy vision tower.
        heavy_width: Its width, a multiple of 64.
        threads: CPU threads, or None for torch's own choice.

    Returns:
        For each case, seconds an image of the parts; `over_bound`, the one pass as a multiple of
        1.15 x vision + 4 x text-conditioned cost of the teacher; `speedup`, four separate runs over the one pass; and
        the largest difference between the scores of both.

    Raises:
        ValueError: If a number is below 1, or `heavy_width` is no multiple of 64.
    """
    for name, value in {"images": images, "phrases": phrases, "rounds": rounds, "heavy_layers": heavy_layers}.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if heavy_width < 64 or heavy_width % 64:
        raise ValueError(f"heavy_width={heavy_width} must be a multiple of 64")
    if threads is not None:
        torch.set_num_threads(threads)
    pixels = [torch.from_numpy(render(draw_scene(n))).permute(2, 0, 1) for n in range(images)]
    drawn = draw_phrases(images * phrases)
    by_image = [drawn[n * phrases : (n + 1) * phrases] for n in range(images)]
    figures: dict[str, Any] = {"images": images, "phrases_per_image": phrases, "threads": torch.get_num_threads()}
    for case, (sam3, teacher) in {"tiny": _shipped(), "heavy": _heavy(heavy_layers, heavy_width)}.items():
        students = {f"student_{n}": MobileClipText("nano", width=sam3.width).eval() for n in range(3)}
        work = _Work(sam3, {"teacher": teacher, **students}, pixels, by_image, chunk)
        figures |= {f"{case}_{name}": value for name, value in _measure(work, rounds).items()}
    return figures


def _shipped() -> tuple[Sam3Image, Sam3TextEncoder]:
    folder = shipped("checkpoints/sam3-tiny")
    return Sam3Image.from_pretrained(folder), Sam3TextEncoder.from_pretrained(folder)


def _heavy(layers: int, width: int) -> tuple[Sam3Image, Sam3TextEncoder]:
    config: Any = tiny_config(vision_layers=layers)
    tower = config.vision_config.backbone_config
    tower.hidden_size, tower.intermediate_size, tower.num_attention_heads = width, 4 * width, width // 64
    text = Sam3TextEncoder.random(0, embed_width=64, heads=4, layers=3, hidden=256, eot_width=64, width=64)
    return Sam3Image(tiny_sam3(config)), text


def _measure(work: _Work, rounds: int) -> dict[str, float]:
    names = list(work.encoders)
    timings = Timings()
    work.together(names)  # first calls allocate
    difference = 0.0
    gc.collect()
    gc.disable()  # a collection would fall into one way's time or another's
    try:
        for _ in range(rounds):
            visions = timings.run("vision", lambda: [work.see(image) for image in range(len(work.images))])
            for name in names:
                timings.run(name, lambda visions=visions, name=name: work.alone(visions, name))
            one_pass = timings.run("one_pass", lambda: work.together(names))
            separate = timings.run("separate", lambda: [one for name in names for one in work.together([name])])
            pairs = zip(one_pass, separate, strict=True)
            difference = max(difference, *(float((a.scores - b.scores).abs().max()) for a, b in pairs))
    finally:
        gc.enable()
    each = 1e3 / len(work.images)
    parts = zip(*(timings.seconds[name] for name in ("one_pass", "vision", "teacher")), strict=True)
    return {
        "vision_ms": timings.median("vision", each),
        "teacher_ms": timings.median("teacher", each),
        "student_ms": timings.median(names[-1], each),
        "one_pass_ms": timings.median("one_pass", each),
        "separate_ms": timings.median("separate", each),
        "over_bound": Measured(whole / (1.15 * vision + len(names) * text) for whole, vision, text in parts),
        "speedup": timings.ratio("separate", "one_pass"),
        "largest_difference": difference,
    }
