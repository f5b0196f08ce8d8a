"""Masklets of phrases in a video: SAM3's own tracker where the checkpoint has one, linked detections elsewhere."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple, Protocol

from torch import nn

from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.linking import Linker
from litetext.models.sam3.video import Sam3Video, VideoFrames, has_tracker
from litetext.models.text.encoder import TextBatch
from litetext.saco.instances import Instances
from litetext.saco.mask_threads import MaskThreads
from litetext.saco.masks import Rle, encode_masks

Tracking = Literal["sam3", "links"]
"""SAM3's own tracker, or detections of each frame that are linked."""

Tracks = Sequence[dict[str, Any]]
"""Masklets of one phrase, entries of `masklet_entry`."""

VideoTracks = dict[str, list[Tracks]]
"""Predictions for a video: by text encoder, masklets of each phrase."""


class Tracker(Protocol):
    """Finds the masklets of phrases in a video, for several text encoders on the same vision features."""

    @property
    def sam3(self) -> Sam3Image | Sam3Video:
        """The segmenter."""
        ...

    @property
    def about(self) -> str:
        """All that decides its answers besides its weights and the options of its caller."""
        ...

    def track(self, frames: VideoFrames, features: Mapping[str, TextBatch]) -> VideoTracks:
        """The masklets, entries of the official predictions layout.

        Args:
            frames: The video; one frame is in memory at a time.
            features: Text features of the phrases, by text encoder; every encoder has the same phrases.

        Raises:
            ValueError: Features of the wrong width, or a frame has another size than the model takes.
        """
        ...


class _Detected(NamedTuple):
    """The detections of a phrase in a frame, and its linker; threads encode the masks."""

    linker: Linker
    frame: int
    part: Instances
    masks: Future[list[Rle]]


def _link(found: list[_Detected]) -> None:
    for linker, frame, part, masks in found:
        linker.add(frame, Instances(part.scores, part.boxes, masks.result()))


class DetectAndLink(nn.Module):
    """Tracking by detection, for a SAM3 without a trained tracker (see `linking`).

    Args:
        sam3: The segmenter.
        min_score: Minimum score of a detection that continues a masklet.
        chunk: Phrases that go through the detector at once.
        linker: Makes the linker of a phrase.
    """

    def __init__(self, sam3: Sam3Image, min_score: float, chunk: int, linker: Callable[[], Linker]) -> None:
        super().__init__()
        self.sam3, self.min_score, self.chunk, self.linker = sam3, min_score, chunk, linker

    @property
    def about(self) -> str:
        """See `Tracker`."""
        return f"{type(self).__name__} {self.sam3.settings()}"

    def track(self, frames: VideoFrames, features: Mapping[str, TextBatch]) -> VideoTracks:
        """See `Tracker`; the frames are read once, and not counted beforehand."""
        sam3, count, threads = self.sam3, 0, MaskThreads()
        waiting: list[_Detected] = []
        features = {name: TextBatch(batch.features.to(sam3.device), batch.lengths) for name, batch in features.items()}
        linkers = {name: [self.linker() for _ in batch.lengths] for name, batch in features.items()}
        try:
            for image in frames:
                vision = sam3.encode_images(sam3.preprocess([image.to(sam3.device)]).to(sam3.device))
                size, begun = (int(image.shape[1]), int(image.shape[2])), list[_Detected]()
                for name, batch in features.items():
                    found = sam3.segment(vision, batch.features, batch.lengths, size, self.min_score, self.chunk)
                    for linker, part in zip(linkers[name], found, strict=True):
                        masks = part.masks.cpu().numpy()
                        begun.append(_Detected(linker, count, part, threads.submit(masks.nbytes, encode_masks, masks)))
                _link(waiting)  # of the frame before: its masks were encoded while this one was computed
                waiting, count = begun, count + 1
            _link(waiting)
        finally:
            threads.close()
        return {name: [linker.entries(count) for linker in own] for name, own in linkers.items()}


class OwnTracker(nn.Module):
    """SAM3's own tracker (see `Sam3Video`).

    Args:
        sam3: The segmenter.
        chunk: Phrases whose memories stay on the device.
    """

    def __init__(self, sam3: Sam3Video, chunk: int) -> None:
        super().__init__()
        self.sam3, self.chunk = sam3, chunk

    @property
    def about(self) -> str:
        """See `Tracker`."""
        return f"{type(self).__name__} {self.sam3.settings()}"

    def track(self, frames: VideoFrames, features: Mapping[str, TextBatch]) -> VideoTracks:
        """See `Tracker`; the frames are counted beforehand, and read once."""
        return {name: list(found) for name, found in self.sam3.track(frames, features, self.chunk).items()}


def choose_tracking(
    sam3: str | os.PathLike[str],
    tracker: str = "auto",
    options: tuple[str, str] = ("tracker", "model"),
) -> Tracking:
    """How masklets are found: `auto` takes SAM3's own tracker where the checkpoint has one.

    Args:
        sam3: A folder in transformers' layout, or a hub id.
        tracker: The option: `auto`, `sam3` or `links`.
        options: What the two arguments are called where they were given, for the message.

    Raises:
        FileNotFoundError: There is no such SAM3.
        ValueError: `tracker` is none of the three, or `sam3` where the checkpoint has no tracker.
    """
    if tracker not in ("auto", "sam3", "links"):
        raise ValueError(f"{options[0]} is {tracker!r}; choose auto, sam3 or links")
    if tracker == "links":
        return "links"
    if has_tracker(sam3):
        return "sam3"
    if tracker == "sam3":
        raise ValueError(
            f"{options[0]} is sam3, and {options[1]} {os.fspath(sam3)} has no weights of a tracker; "
            f"choose {options[0]} links, or a Sam3VideoModel"
        )
    return "links"


def describe(tracking: Tracking, sam3: str | os.PathLike[str], tracker: str = "auto") -> str:
    """One line for people: which tracker runs, and why.

    Args:
        tracking: What `choose_tracking` gave.
        sam3: The segmenter's name.
        tracker: The option.
    """
    if tracking == "sam3":
        return f"SAM3's own, of {os.fspath(sam3)}"
    why = "as asked" if tracker == "links" else f"{os.fspath(sam3)} has no tracker of its own"
    return f"detections are linked from frame to frame ({why})"
