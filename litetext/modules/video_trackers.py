"""How a video evaluation finds masklets: detections linked frame by frame, or SAM3's own tracker."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from litetext.data.videos.datamodule import VideoItem
from litetext.data.videos.frames import Frames
from litetext.models.sam3.image import Sam3Image
from litetext.models.sam3.video import Sam3Video
from litetext.models.text.encoder import PhraseFeatures
from litetext.modules.linking import Linker, Tracks

VideoTracks = dict[str, list[Tracks]]
"""What was found in a video: by text encoder, masklets of each phrase."""


class UnreadableFrame(Exception):
    """A frame cannot be read: the video is left out. What a tracker itself raises ends the evaluation."""


class ReadableFrames:
    """Frames of a video whose faults are told from those of a tracker.

    Args:
        frames: The frames.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        """Frames."""
        return len(self.frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.frames, name)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields RGB frames, uint8 (3, H, W).

        Raises:
            UnreadableFrame: One does not decode, or is not there.
        """
        frames = iter(self.frames)
        while True:
            try:
                frame = next(frames)
            except StopIteration:
                return
            except ValueError as error:
                raise UnreadableFrame(str(error)) from error
            yield frame


class Tracker(Protocol):
    """Finds the masklets of phrases in a video, for several text encoders on the same vision features.

    Attributes:
        sam3: The segmenter.
    """

    sam3: Sam3Image | Sam3Video

    @property
    def about(self) -> str:
        """All that decides its answers besides its weights and the module's own options."""
        ...

    def track(self, item: VideoItem, phrases: dict[str, PhraseFeatures]) -> VideoTracks:
        """The masklets, entries of the official predictions layout.

        Args:
            item: The video and its phrases.
            phrases: Features of the phrases, by text encoder.

        Raises:
            UnreadableFrame: A frame cannot be read.
        """
        ...


class DetectAndLink(nn.Module):
    """Tracking by detection, for a SAM3 without a trained tracker (see `masklet_links`).

    Args:
        sam3: The segmenter.
        least: Least score of a detection that continues a masklet.
        chunk: Phrases that go through the detector at once.
        linker: Makes the linker of a phrase.
    """

    def __init__(self, sam3: Sam3Image, least: float, chunk: int, linker: Callable[[], Linker]) -> None:
        super().__init__()
        self.sam3, self.least, self.chunk, self.linker = sam3, least, chunk, linker

    @property
    def about(self) -> str:
        """See `Tracker`."""
        return f"{type(self).__name__} {self.sam3.settings()}"

    def track(self, item: VideoItem, phrases: dict[str, PhraseFeatures]) -> VideoTracks:
        """See `Tracker`; one frame is in memory at a time."""
        sam3 = self.sam3
        asked = {name: features.take(item.phrases) for name, features in phrases.items()}
        linkers = {name: [self.linker() for _ in item.phrases] for name in phrases}
        for t, image in enumerate(item.frames):
            vision = sam3.encode_images(sam3.preprocess([image.to(sam3.device)]).to(sam3.device))
            size = (int(image.shape[1]), int(image.shape[2]))
            for name, (features, lengths) in asked.items():
                found = sam3.segment(
                    vision, features.to(sam3.device), lengths.to(sam3.device), size, self.least, self.chunk
                )
                for linker, part in zip(linkers[name], found, strict=True):
                    linker.add(t, part)
        return {name: [linker.entries(len(item.frames)) for linker in own] for name, own in linkers.items()}


class OwnTracker(nn.Module):
    """SAM3's own tracker (see `Sam3Video`).

    Args:
        sam3: The segmenter.
        chunk: Phrases that are tracked together.
    """

    def __init__(self, sam3: Sam3Video, chunk: int) -> None:
        super().__init__()
        self.sam3, self.chunk = sam3, chunk

    @property
    def about(self) -> str:
        """See `Tracker`."""
        return f"{type(self).__name__} {self.sam3.settings()}"

    def track(self, item: VideoItem, phrases: dict[str, PhraseFeatures]) -> VideoTracks:
        """See `Tracker`; one frame is in memory at a time."""
        asked = {name: features.take(item.phrases) for name, features in phrases.items()}
        return {name: list(found) for name, found in self.sam3.track(item.frames, asked, self.chunk).items()}
