"""Segment your own pictures and clips, from Python in three lines.

from litetext import Segmenter
segmenter = Segmenter("nouns", text_encoder="student.ckpt")
results = segmenter("image.png", ["red apple", "dog"])
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from litetext.data.pixels import to_rgb
from litetext.data.prompts.corpora import is_empty
from litetext.data.videos.ahead import FramesAhead
from litetext.data.videos.clips import Clip, RgbFrames
from litetext.models.devices import DTypeOption, choose_dtype, find_device
from litetext.models.sam3.frozen import FrozenSam3
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.linking import Linker
from litetext.models.sam3.tracking import DetectAndLink, OwnTracker, Tracker, Tracking, choose_tracking
from litetext.models.sam3.video import Sam3Video, VideoFrames
from litetext.models.text.bank import load_bank
from litetext.models.text.encoder import PhraseFeatures, TextEncoder, require_sam3_features
from litetext.models.text.loading import load_text_encoder
from litetext.modules.selecting import select
from litetext.modules.tiling import Piece, Tile, join, make_tiles, pieces
from litetext.saco.instances import Instances
from litetext.saco.segments import Segments
from litetext.tokenizer import Tokenizer

_LEAST_TILE = 32
_CONTINUES = 0.6
"""A detection continues a masklet from this part of the threshold on that begins one."""


_DRAWN = 128
"""A SAM3 whose images are not larger was trained on drawings alone."""


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=4)  # of who calls the segmenter


def _listed(phrases: Iterable[str]) -> list[str]:
    """Phrases as a list: an iterator would be empty when they are segmented, after they were encoded.

    Raises:
        ValueError: They are a text, or there is none.
    """
    if isinstance(phrases, str):
        raise ValueError(f"phrases is the text {phrases!r}; give a list of phrases")
    if not (listed := list(phrases)):
        raise ValueError("phrases is empty; name at least one, such as 'white dog'")
    return listed


class _ObservedFrames:
    """Frames that somebody looks at on their way to the tracker."""

    def __init__(self, frames: VideoFrames, look: Callable[[Tensor], None]) -> None:
        self.frames, self.look = frames, look

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Tensor]:
        for frame in self.frames:
            self.look(frame)
            yield frame


class Segmenter:
    """A SAM3 with a text encoder of your choice, for images and clips.

    Args:
        model: The segmenter in transformers' layout: a folder, a hub id (`facebook/sam3`), or `nouns` or `shapes`
            for one that ships.
        text_encoder: A `.ckpt` of `litetext fit`, or published SAM3-LiteText weights; None takes the model's own. A
            file of `litetext predict --config prompt_bank.yaml` is taken as `bank`.
        bank: A file of `litetext predict --config prompt_bank.yaml`: then no text encoder is kept in memory. With a
            text encoder too, that one is only compared with the one that made the bank.
        threshold: Minimum score of an instance, 0..1. SAM3's own tracker begins masklets by thresholds of its own, so
            that there it only leaves out.
        geometry_token: Append the token that Meta's SAM3 adds to every text; transformers alone leaves it out.
        chunk: Phrases that go through the model at once; lower it if memory is short. Results do not change.
        device: Where it computes, such as `cuda:1` or `cpu`; None takes a GPU (CUDA, else Apple's) where there is one.
        dtype: Type of the segmenter's weights and computation; `auto` is bfloat16 on a GPU that computes in it, and
            float32 elsewhere.
        nms: IoU above which two masks of a phrase show one object, of which the one with the higher score stays; None,
            as in the official protocol, suppresses nothing in images, and 0.5 in the frames of clips. SAM3's own
            tracker gives each pixel to one object of a phrase anyway.
        across_phrases: With `nms`, no two phrases keep one object of an image either.
        max_per_phrase: Most instances of a phrase (of a clip: masklets), those with the highest scores; None for all.
        tiles: Side in pixels of the overlapping tiles that larger images are taken apart to (see `tiling`); True takes
            the side of the model's own square, None does not. Frames of clips are not taken apart.
        overlap: Part of a tile's side that its neighbour shares.
        tracker: What follows objects through clips: `sam3` is SAM3's own tracker, `links` links the detections of each
            frame, `auto` takes SAM3's own where the checkpoint has one. Its weights are read with the first clip.

    Attributes:
        tracking: Which of the two it is, `sam3` or `links`.
        note: Called with remarks, such as that a tiny SAM3 has seen no photographs; `warnings.warn` by default.

    Raises:
        FileNotFoundError: If a file or model is not there.
        ValueError: If one cannot be read, they do not fit each other, or an option is out of its range.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "checkpoints/sam3-nouns",
        text_encoder: str | os.PathLike[str] | None = None,
        bank: str | os.PathLike[str] | None = None,
        threshold: float = 0.5,
        geometry_token: bool = True,
        chunk: int = 16,
        device: str | torch.device | None = None,
        dtype: DTypeOption = "float32",
        nms: float | None = None,
        across_phrases: bool = False,
        max_per_phrase: int | None = None,
        tiles: int | bool | None = None,
        overlap: float = 0.25,
        tracker: Literal["auto", "sam3", "links"] = "auto",
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; choose a score from 0 to 1")
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}; it must be at least 1")
        if nms is not None and not 0 <= nms <= 1:
            raise ValueError(f"nms is {nms}; choose an IoU from 0 to 1")
        if across_phrases and nms is None:
            raise ValueError("across_phrases suppresses duplicates from some IoU on: give nms, such as 0.7")
        if max_per_phrase is not None and max_per_phrase < 1:
            raise ValueError(f"max_per_phrase is {max_per_phrase}; it must be at least 1")
        if tiles is not None and tiles is not True and tiles < _LEAST_TILE:
            raise ValueError(f"tiles is {int(tiles)}; a tile has {_LEAST_TILE} pixels or more")
        if not 0 <= overlap <= 0.9:
            raise ValueError(f"overlap is {overlap}; choose a part of the tile's side from 0 to 0.9")
        self.threshold, self.chunk = threshold, chunk
        self.nms, self.across_phrases, self.max_per_phrase = nms, across_phrases, max_per_phrase
        self.device = find_device(device)
        self.model, self.note, self._noted = os.fspath(model), _warn, False
        named = os.fspath(text_encoder if text_encoder is not None else model)
        phrases = None if bank is None else load_bank(bank)
        # The model first: where it is missing, its own text encoder is not what lacks.
        chosen = choose_dtype(dtype, self.device)
        self.sam3 = Sam3Image.from_pretrained(model, geometry_token, chosen)
        self.tracking: Tracking = choose_tracking(model, tracker)
        if phrases is None or text_encoder is not None:
            self.encoder = self._fitting(load_text_encoder(named), f"text encoder {named}")
        if phrases is not None:
            if text_encoder is not None:
                phrases.check_encoder(self.encoder, named)
            self.encoder = self._fitting(phrases, phrases.path)
        self.tiles: int | None = self.sam3.side if tiles is True else tiles
        self.overlap = overlap
        self.sam3.to(self.device)
        self.encoder.to(self.device)
        self._load_video = partial(Sam3Video.from_pretrained, model, geometry_token, chosen)
        self._video: Sam3Video | None = None
        self._known = PhraseFeatures([], {}, self.sam3.width)

    def _fitting(self, encoder: TextEncoder, name: str) -> TextEncoder:
        require_sam3_features(encoder.reads, name)
        self.sam3.check_width(encoder.width, name)
        return encoder

    def encode(self, phrases: Iterable[str]) -> PhraseFeatures:
        """Text features of phrases; each is encoded once, however often it is used.

        Args:
            phrases: Noun phrases.

        Raises:
            ValueError: There is none, one is empty or no text, or one is not in the bank.
        """
        phrases = _listed(phrases)
        for phrase in phrases:
            if not isinstance(phrase, str):
                raise ValueError(f"phrases holds {phrase!r}, which is no text; leave it out")
            if is_empty(phrase):
                raise ValueError("one of the phrases is empty; leave it out")
        known = self._known
        new = list(dict.fromkeys(phrase for phrase in phrases if phrase not in known.number))
        if new:
            added = self.encoder.encode(new)
            if added.truncated:
                self.note(
                    f"{added.truncated:,} of {len(new):,} phrases cut at {self.context_length} tokens, "
                    f"what comes after is not read: {self.cut(new)[0][:60]!r}"
                )
            if pieces := self.in_pieces(new):
                self.note(
                    f"{len(pieces):,} of {len(new):,} phrases have tokens that this text encoder lacks, and are read "
                    f"in smaller pieces: {pieces[0][:60]!r}"
                )
            number = {phrase: row + len(known) for phrase, row in added.number.items()}
            known = PhraseFeatures([*known.rows, *added.rows], known.number | number, known.width)
            self._known = known
        return known  # not what another thread may have put there since

    @overload
    def __call__(self, image: list[Any] | tuple[Any, ...], phrases: Iterable[str]) -> list[list[Segments]]: ...
    @overload
    def __call__(
        self, image: str | os.PathLike[str] | Tensor | np.ndarray | Image, phrases: Iterable[str]
    ) -> list[Segments]: ...
    def __call__(self, image: Any, phrases: Iterable[str]) -> Any:
        """Segments images for several phrases, with one pass of the vision tower each.

        Args:
            image: A path, a PIL image, or an array or tensor of any kind that `litetext.data.pixels.to_rgb` takes
                (gray, RGB, RGBA, 8 and 16 bits); or a list of such images.
            phrases: N noun phrases.

        Returns:
            The instances of each phrase, in the order of the phrases; of a list of images, such a list for each.

        Raises:
            ValueError: The image cannot be read, or as `encode`.
        """
        phrases = _listed(phrases)
        if isinstance(image, list | tuple):
            return [list(self.stream(one, phrases)) for one in image]
        return list(self.stream(image, phrases))

    def stream(self, image: str | os.PathLike[str] | Any, phrases: Iterable[str]) -> Iterator[Segments]:
        """As `__call__` of one image, phrase by phrase: memory holds the masks of one."""
        phrases = _listed(phrases)
        if self.nms is None and self.tiles is None:
            pixels = to_rgb(image)
            self._say_what_it_knows(pixels)
            for part in self._ranked(pixels, phrases):
                yield part if self.max_per_phrase is None else part.take(range(min(self.max_per_phrase, len(part))))
            return
        yield from self.find(image, phrases)

    def find(self, image: str | os.PathLike[str] | Any, phrases: Iterable[str]) -> Iterator[Segments]:
        """As `stream`, with run-length masks alone: what many large images need little memory for."""
        phrases = _listed(phrases)
        pixels = to_rgb(image)
        self._say_what_it_knows(pixels)
        if self.tiles is not None and max(pixels.shape[1:]) > self.tiles:
            found = self._in_tiles(pixels, phrases, self.tiles)
        else:
            found = (
                Segments(part.phrase, part.scores, part.xywh, part.rles, part.size)
                for part in self._ranked(pixels, phrases)
            )
        return select(found, self.nms, self.across_phrases, self.max_per_phrase)

    @property
    def context_length(self) -> int:
        """Most tokens of a phrase that the text encoder reads."""
        return self.encoder.context_length

    def cut(self, phrases: Sequence[str]) -> list[str]:
        """Those phrases that are longer than the text encoder's context; it reads their beginning."""
        tokenizer, found = self.encoder.tokenizer, []
        for phrase in phrases:
            before = tokenizer.truncated
            tokenizer.encode([phrase])
            if tokenizer.truncated > before:
                found.append(phrase)
        return found

    def in_pieces(self, phrases: Sequence[str]) -> list[str]:
        """Those phrases that a text encoder with a part of SAM3's tokens reads in smaller pieces than SAM3 does."""
        tokenizer = self.encoder.tokenizer
        if isinstance(tokenizer, Tokenizer):
            return []
        return [phrase for phrase, same in zip(phrases, tokenizer.as_sam3(phrases), strict=True) if not same]

    def _ranked(self, pixels: Tensor, phrases: Sequence[str]) -> Iterator[Segments]:
        """The instances of each phrase, the highest score first."""
        height, width = (int(side) for side in pixels.shape[1:])
        scale = torch.tensor([width, height, width, height], dtype=torch.float64)
        found = self._find(pixels, self.encode(phrases), phrases, self.threshold)
        for phrase, part in zip(phrases, found, strict=True):
            order = part.scores.argsort(descending=True, stable=True)
            scores, boxes, masks = (values[order].cpu() for values in part)
            yield Segments(phrase, scores, boxes * scale, masks, (height, width))

    def _in_tiles(self, pixels: Tensor, phrases: Sequence[str], side: int) -> Iterator[Segments]:
        features = self.encode(phrases)
        tiles = make_tiles(int(pixels.shape[1]), int(pixels.shape[2]), side, self.overlap)
        margin = max(2, side // 32)
        parts: list[list[Piece]] = [[] for _ in phrases]
        whole: list[list[Piece]] = [[] for _ in phrases]
        entire = Tile(0, 0, tiles[0].height, tiles[0].width, tiles[0].height, tiles[0].width)
        for n, tile in enumerate([*tiles, entire]):
            view = pixels[:, tile.top : tile.bottom, tile.left : tile.right].contiguous()
            for k, found in enumerate(self._find(view, features, phrases, self.threshold)):
                (whole if tile is entire else parts)[k] += pieces(found, n, tile, margin)
        for phrase, seen, at_once in zip(phrases, parts, whole, strict=True):
            yield join(phrase, seen, at_once, tiles, margin)

    def track(self, clip: str | os.PathLike[str] | Iterable[Any], phrases: Iterable[str]) -> list[list[dict[str, Any]]]:
        """Finds the masklets of phrases in a clip, with the tracker that the checkpoint has or the options name.

        Args:
            clip: A video file, an animated GIF or a folder of frames, or the frames themselves as `__call__` takes
                images. One frame is in memory at a time; but SAM3's own tracker needs their number, so that it first
                reads a clip once to count it, and holds all frames of an iterator.
            phrases: N noun phrases.

        Returns:
            For each phrase its masklets, each with `score`, and for every frame `bboxes` (x, y, width, height in
            pixels), `segmentations` (run-length masks, None where it is not seen) and `areas` (pixels).

        Raises:
            ValueError: A frame cannot be read, the tracker's weights cannot, or as `encode`.
        """
        phrases = _listed(phrases)
        features = self.encode(phrases).take(phrases)
        frames = FramesAhead(RgbFrames(Clip(Path(clip)) if isinstance(clip, str | os.PathLike) else clip))
        (tracks,) = self._tracker().track(_ObservedFrames(frames, self._say_what_it_knows), {"": features}).values()
        found = [[entry for entry in part if entry["score"] >= self.threshold] for part in tracks]
        if self.max_per_phrase is None:
            return found
        return [sorted(part, key=lambda entry: -entry["score"])[: self.max_per_phrase] for part in found]

    def _say_what_it_knows(self, pixels: Tensor) -> None:
        """Says once that a tiny SAM3 of a drawn world is given something larger, such as a photograph."""
        side = self.sam3.size
        if side <= _DRAWN and max(pixels.shape[1:]) > 2 * side and not self._noted:
            self._noted = True
            self.note(
                f"{self.model} knows only its own drawn world (images of {side} pixels); photos need a SAM3 that has "
                "seen some, such as facebook/sam3"
            )

    def load_tracker(self) -> None:
        """Reads the weights of SAM3's own tracker, if that is what tracks; otherwise the first clip does.

        Raises:
            ValueError: They are missing, cannot be read or are not finite.
        """
        if self.tracking == "sam3" and self._video is None:
            video = self._load_video()
            video.share(self.sam3.model)  # before it goes to the device: that holds one vision tower
            self._video = video.to(self.device)

    @property
    def models(self) -> list[FrozenSam3]:
        """The SAM3, and its tracker once that is loaded."""
        return [self.sam3] if self._video is None else [self.sam3, self._video]

    def _tracker(self) -> Tracker:
        self.load_tracker()
        if self._video is not None:
            return OwnTracker(self._video, self.chunk)
        same = Linker.duplicate if self.nms is None else self.nms
        return DetectAndLink(
            self.sam3, _CONTINUES * self.threshold, self.chunk, partial(Linker, new=self.threshold, duplicate=same)
        )

    def _find(
        self, pixels: Tensor, texts: PhraseFeatures, phrases: Sequence[str], threshold: float
    ) -> Iterator[Instances]:
        features, lengths = texts.take(phrases)
        vision = self.sam3.encode_images(self.sam3.preprocess([pixels.to(self.device)]).to(self.device))
        size = (int(pixels.shape[1]), int(pixels.shape[2]))
        return self.sam3.segment(vision, features.to(self.device), lengths, size, threshold, self.chunk)
