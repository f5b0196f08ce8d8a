"""Segment your own pictures and clips, from Python in three lines.

from litetext import Segmenter
segmenter = Segmenter("checkpoints/sam3-tiny", text_encoder="student.ckpt")
found = segmenter("image.png", ["white dog", "cup"])
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from litetext.data.pixels import to_rgb
from litetext.data.prompts.corpora import is_empty
from litetext.data.videos.clips import Clip
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.postprocess import Found
from litetext.models.text.bank import PhraseBank, load_bank
from litetext.models.text.encoder import PhraseFeatures, encode_phrases
from litetext.models.text.loading import load_text_encoder
from litetext.modules.linking import Linker
from litetext.tokenizer import Tokenizer

_CONTINUES = 0.6
"""A detection continues a masklet from this part of the threshold on that begins one."""


class Segments(NamedTuple):
    """What was found of one phrase in one image, the surest first.

    Attributes:
        phrase: The phrase.
        scores: From 0 to 1, (k,).
        boxes: x, y, width, height in pixels of the image, (k, 4).
        masks: Of the image's size, on the CPU, (k, H, W).
    """

    phrase: str
    scores: Float64[Tensor, " k"]
    boxes: Float64[Tensor, "k 4"]
    masks: Bool[Tensor, "k h w"]


class Segmenter:
    """A SAM3 with a text encoder of your choice, for images and clips.

    Args:
        model: The segmenter in transformers' layout: a folder, `checkpoints/sam3-tiny`, or a hub id (`facebook/sam3`).
        text_encoder: A `.ckpt` of `litetext fit`, or published SAM3-LiteText weights; None takes the model's own.
        bank: A file of `litetext predict --config prompt_bank.yaml`: then no text encoder is kept in memory. With a
            text encoder too, that one is only compared with the one that made the bank.
        threshold: Least score of what is found, 0..1.
        geometry_token: Append the token that Meta's SAM3 adds to every text; transformers alone leaves it out.
        chunk: Phrases that go through the model at once; lower it if memory is short. Results do not change.
        device: Where it computes, such as `cuda:1`; None takes a GPU where there is one.
        dtype: Type of the segmenter's weights and computation.

    Raises:
        FileNotFoundError: If a file or model is not there.
        ValueError: If one cannot be read, they do not fit each other, or an option is out of its range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "checkpoints/sam3-tiny",
        text_encoder: str | os.PathLike[str] | None = None,
        bank: str | os.PathLike[str] | None = None,
        threshold: float = 0.5,
        geometry_token: bool = True,
        chunk: int = 16,
        device: str | torch.device | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; choose a score from 0 to 1")
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; it must be at least 1")
        self.threshold, self.chunk = threshold, chunk
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        named = os.fspath(text_encoder if text_encoder is not None else model)
        self.bank: PhraseBank | None = None if bank is None else load_bank(bank)
        self.encoder: Any = None
        if self.bank is None or text_encoder is not None:
            self.encoder = load_text_encoder(named)
        self.sam3 = Sam3Image.from_pretrained(model, geometry_token, dtype)
        if self.encoder is not None:
            self.sam3.check_width(self.encoder.width, f"text encoder {named}")
        if self.bank is not None:
            self.sam3.check_width(self.bank.origin.width, self.bank.path)
            if self.encoder is not None:
                self.bank.check_encoder(self.encoder, named)
            self.encoder = None
        self.sam3.to(self.device)
        if self.encoder is not None:
            self.encoder.to(self.device)
        self._known = PhraseFeatures([], {}, self.sam3.width)

    def hear(self, phrases: Sequence[str]) -> PhraseFeatures:
        """Text features of phrases; each is encoded once, whatever is asked later.

        Args:
            phrases: Noun phrases.

        Raises:
            ValueError: There is none, one is empty, or one is not in the bank.
        """
        if isinstance(phrases, str):
            raise ValueError(f"phrases is the text {phrases!r}; give a list of phrases")
        if not phrases:
            raise ValueError("phrases is empty; name at least one, such as 'white dog'")
        if any(is_empty(phrase) for phrase in phrases):
            raise ValueError("one of the phrases is empty; leave it out")
        if self.bank is not None:
            return self.bank.select(phrases)
        known = self._known
        new = list(dict.fromkeys(phrase for phrase in phrases if phrase not in known.number))
        if new:
            heard = encode_phrases(self.encoder, Tokenizer(self.encoder.context_length), new)
            number = {phrase: row + len(known) for phrase, row in heard.number.items()}
            self._known = PhraseFeatures([*known.rows, *heard.rows], known.number | number, known.width)
        return self._known

    def __call__(self, image: str | os.PathLike[str] | Any, phrases: Sequence[str]) -> list[Segments]:
        """Segments one image for several phrases on one pass of the vision tower.

        Args:
            image: A path, a PIL image, or an array or tensor of any kind that `litetext.data.pixels.to_rgb` takes.
            phrases: N noun phrases.

        Returns:
            What was found of each phrase, in the order asked.

        Raises:
            ValueError: The image cannot be read, or as `hear`.
        """
        return list(self.stream(image, phrases))

    def stream(self, image: str | os.PathLike[str] | Any, phrases: Sequence[str]) -> Iterator[Segments]:
        """As `__call__`, phrase by phrase: memory holds the masks of one."""
        heard, pixels = self.hear(phrases), to_rgb(image)
        height, width = pixels.shape[1:]
        scale = torch.tensor([width, height, width, height], dtype=torch.float64)
        for phrase, found in zip(phrases, self._find(pixels, heard, phrases, self.threshold), strict=True):
            order = found.scores.argsort(descending=True, stable=True)
            scores, boxes, masks = (part[order].cpu() for part in found)
            yield Segments(phrase, scores, boxes * scale, masks)

    def track(self, clip: str | os.PathLike[str] | Iterable[Any], phrases: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Finds phrases in every frame of a clip and links what is found to masklets (see `masklet_links`).

        Args:
            clip: A video file, an animated GIF or a folder of frames, or the frames themselves as `__call__` takes
                images. One frame is in memory at a time.
            phrases: N noun phrases.

        Returns:
            For each phrase its masklets, each with `score`, and for every frame `bboxes` (x, y, width, height in
            pixels), `segmentations` (run-length masks, None where it is not seen) and `areas` (pixels).

        Raises:
            ValueError: A frame cannot be read, or as `hear`.
        """
        heard = self.hear(phrases)
        linkers = [Linker(new=self.threshold) for _ in phrases]
        count = 0
        for frame in Clip(Path(clip)) if isinstance(clip, str | os.PathLike) else clip:
            found = self._find(to_rgb(frame), heard, phrases, _CONTINUES * self.threshold)
            for linker, part in zip(linkers, found, strict=True):
                linker.add(count, part)
            count += 1
        return [linker.entries(count) for linker in linkers]

    def _find(self, pixels: Tensor, heard: PhraseFeatures, phrases: Sequence[str], threshold: float) -> Iterator[Found]:
        features, lengths = heard.take(phrases)
        vision = self.sam3.encode_images(self.sam3.preprocess([pixels.to(self.device)]).to(self.device))
        size = (int(pixels.shape[1]), int(pixels.shape[2]))
        where = self.device
        return self.sam3.segment(vision, features.to(where), lengths.to(where), size, threshold, self.chunk)
