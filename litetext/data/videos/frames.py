"""The frames of a video, one at a time: a folder of JPEG files, or a video file where PyAV or OpenCV is installed."""

import importlib.util
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from litetext.data.images.items import decode, inside
from litetext.saco.videos import Video

VIDEO_FILES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".m2v", ".mts", ".m2ts", ".wmv", ".asf"),
    *(".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".mjpeg", ".mjpg", ".y4m", ".vob"),
)
"""Names of video files end like this."""


@dataclass(frozen=True)
class Frames:
    """Where a video's frames lie; iterate over it to read them, only one is in memory.

    Attributes:
        video: What the annotations say of it.
        paths: Its image files; empty if they come from a video file.
        file: The video file, or None.
    """

    video: Video
    paths: tuple[Path, ...]
    file: Path | None = None

    def __len__(self) -> int:
        """Frames."""
        return len(self.video.file_names)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields RGB frames, uint8 (3, H, W), one for each name in the annotations.

        Raises:
            ValueError: A frame does not decode, has another size than annotated, or the video file ends before it.
        """
        if self.file is not None:
            yield from _decoded(self.file, self.video)
            return
        for path in self.paths:
            try:
                yield decode(path, self.video.height, self.video.width)
            except ValueError as error:
                raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error

    def missing(self) -> list[Path]:
        """Image files that are not there."""
        return [path for path in self.paths if not path.is_file()]


def find_frames(video: Video, media: Path) -> Frames:
    """Where a video's frames lie.

    The folder of image files that the annotations name comes first; else a video file named as that folder.

    Args:
        video: The video.
        media: Folder of the frames' folders.

    Raises:
        ValueError: A name leaves the folder.
    """
    paths = tuple(inside(media, name) for name in video.file_names)
    if paths and not paths[0].parent.is_dir():
        for suffix in VIDEO_FILES:
            if (file := paths[0].parent.with_suffix(suffix)).is_file():
                return Frames(video, (), file)
    return Frames(video, paths)


class UnreadableFrame(Exception):
    """A frame cannot be read: the video is left out. What a tracker itself raises ends the evaluation."""


class ReadableFrames:
    """Frames of a video whose faults can be distinguished from those of a tracker.

    Args:
        frames: The frames.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        """Frames."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields RGB frames, uint8 (3, H, W).

        Raises:
            UnreadableFrame: One does not decode, or is not there.
        """
        return readable(self.frames)


def readable(frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yields frames, so that their faults can be distinguished from those of their consumer.

    Raises:
        UnreadableFrame: One does not decode, or is not there.
    """
    parts = iter(frames)
    while True:
        try:
            frame = next(parts)
        except StopIteration:
            return
        except ValueError as error:
            raise UnreadableFrame(str(error)) from error
        yield frame


class Frame(NamedTuple):
    """A frame of a video file.

    Attributes:
        pixels: RGB, uint8 (3, H, W).
        time: Seconds from the video's beginning; None where the file does not say.
    """

    pixels: Tensor
    time: float | None


def read_video(path: Path, turn: bool = True) -> Iterator[Frame]:
    """Yields the frames of a video file.

    Args:
        path: The file.
        turn: Turn and mirror frames as the file says (phones store upright videos on their side). OpenCV, where it
            stands in for PyAV, knows turns alone.

    Raises:
        ValueError: Neither PyAV nor OpenCV is installed, or the file is no video.
    """
    if importlib.util.find_spec("av"):
        yield from _with_av(path, turn)
    elif importlib.util.find_spec("cv2"):
        yield from _with_opencv(path, turn)
    else:
        raise ValueError(
            f"{path} is a video file; install PyAV to read it (pip install av), or give its frames as JPEG"
        )


def _with_av(path: Path, turn: bool) -> Iterator[Frame]:
    av: Any = importlib.import_module("av")
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                pixels = frame.to_ndarray(format="rgb24")
                yield Frame(torch.from_numpy(_turned(pixels, frame) if turn else pixels).permute(2, 0, 1), frame.time)
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error


def _turned(pixels: np.ndarray, frame: Any) -> np.ndarray:
    """Pixels as the display matrix shows them: it maps stored to shown places, (x, y) (a b; c d)."""
    matrix = next((bytes(part) for part in frame.side_data if part.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return pixels
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    if abs(b) + abs(c) > abs(a) + abs(d):  # x and y change places; angles in between go to the nearest quarter turn
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _with_opencv(path: Path, turn: bool) -> Iterator[Frame]:
    cv2: Any = importlib.import_module("cv2")
    reader = cv2.VideoCapture(str(path))
    reader.set(cv2.CAP_PROP_ORIENTATION_AUTO, float(turn))
    try:
        if not reader.isOpened():
            raise ValueError(f"{path} cannot be read as a video")
        while True:
            there, frame = reader.read()
            if not there:
                return
            time = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000
            yield Frame(torch.from_numpy(frame[:, :, ::-1].copy()).permute(2, 0, 1), time)
    finally:
        reader.release()


def _decoded(file: Path, video: Video) -> Iterator[Tensor]:
    """The annotated frames of a video file: the number in a frame's name is its place in the file."""
    places = []
    for name in video.file_names:
        stem = Path(name).stem
        if not stem.isdecimal():
            raise ValueError(f"{file.name}: frame {name} has no number; give the frames as JPEG files")
        places.append(int(stem))
    wanted = iter(sorted(places))
    if places != sorted(places):
        raise ValueError(f"{file.name}: the annotated frames are not in order; give the frames as JPEG files")
    following, count = next(wanted, None), 0
    for number, (frame, _) in enumerate(read_video(file, _annotated_turned(file, video))):
        if number != following:
            continue
        if tuple(frame.shape[1:]) != (video.height, video.width):
            raise ValueError(
                f"{file.name}: frames have {frame.shape[1]} x {frame.shape[2]} pixels (height x width), the "
                f"annotations say {video.height} x {video.width}"
            )
        yield frame
        count += 1
        following = next(wanted, None)
        if following is None:
            return
    if following is not None:
        raise ValueError(f"{file.name} ends after {count} of {len(places)} annotated frames (the next is {following})")


def _annotated_turned(file: Path, video: Video) -> bool:
    """Whether the annotations are of the frames as players turn them: their size tells, else it is so."""
    size, turned = (video.height, video.width), next(read_video(file), None)
    if turned is None or tuple(turned.pixels.shape[1:]) == size:
        return True
    return tuple(next(read_video(file, turn=False)).pixels.shape[1:]) != size
