"""Clips of a user's own: video files, images that move, folders of frames; and writing them with their times."""

import importlib
import importlib.util
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Sized
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from litetext.data.pixels import IMAGE_FILES, opened, to_rgb
from litetext.data.videos.frames import VIDEO_FILES, Frame, read_video
from litetext.files import whole_path

_CODECS = ("libx264", "libopenh264", "mpeg4")
_USUAL_RATE = 10.0
_TICKS = 90_000
"""A second in MP4 files whose frames have times of their own."""


class Clip:
    """The frames of a clip; iterate over it to read them, any number of times; only one is in memory.

    Args:
        path: A video file, an image that moves (GIF, WebP, PNG, AVIF), or a folder of images, which are taken in the
            order of the numbers in their names; files there that are hidden (`._1.png`) or no images are passed over.
        rate: Frames a second; None takes what the file says, and 10 for a folder.

    Attributes:
        given: The rate that was asked for.
        height: Rows of a frame in pixels, after the first iteration.
        width: Columns of a frame in pixels, after the first iteration.
        times: Seconds at which each frame is shown, after the first iteration.
        passed_over: Names of the files in the folder that were not taken.

    Raises:
        ValueError: There is no such file, or it holds no frames.
    """

    def __init__(self, path: Path, rate: float | None = None) -> None:
        self.path, self.given, self.height, self.width = path, rate, 0, 0
        self.times: list[float] = []
        self.passed_over: list[str] = []
        self._images: list[Path] = []
        self._end = 0.0
        if path.is_dir():
            files = [file for file in path.iterdir() if file.is_file()]
            found = [file for file in files if file.suffix.lower() in IMAGE_FILES and file.name[0] != "."]
            self._images = sorted(found, key=_by_number)
            self.passed_over = sorted({file.name for file in files} - {file.name for file in found})
            if not found:
                raise ValueError(f"{path}: the folder holds no frames ({', '.join(IMAGE_FILES)})")
        elif not path.is_file():
            raise ValueError(f"{path}: no such file")

    def __len__(self) -> int:
        """Frames, after the first iteration."""
        return len(self.times)

    @property
    def rate(self) -> float:
        """Frames a second, on average, after the first iteration."""
        span = self._end - self.times[0] if self.times else 0.0
        return self.given or (round(len(self.times) / span, 3) if span > 0 else _USUAL_RATE)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields RGB frames, uint8 (3, H, W).

        Raises:
            ValueError: A frame does not decode, or has another size than the first.
        """
        size: torch.Size | None = None
        times: list[float] = []
        self._end = 0.0
        for frame, time in self._read():
            size = size or frame.shape
            if frame.shape != size:
                raise ValueError(
                    f"{self.path}: frame {len(times) + 1} has {frame.shape[1]} x {frame.shape[2]} pixels (height x "
                    f"width), those before it {size[1]} x {size[2]}"
                )
            pace = 1 / (self.given or _USUAL_RATE)
            if time is None or self.given:
                time = times[-1] + pace if times else 0.0
            times.append(time)
            yield frame
        if not times:
            raise ValueError(f"{self.path}: it holds no frames")
        if not self._end:  # the last frame is shown as long as the others, on average
            self._end = times[-1] + ((times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1 / _USUAL_RATE)
        self.times = [round(time, 6) for time in times]
        self.height, self.width = size[1:] if size else (0, 0)

    def _read(self) -> Iterator[Frame]:
        if self._images:
            for path in self._images:
                yield Frame(to_rgb(path), None)
        elif is_moving_image(self.path):
            with opened(self.path) as image:
                time = 0.0
                for frame in ImageSequence.Iterator(image):
                    pixels = to_rgb(frame)  # decodes it; some formats say only then how long it is shown
                    yield Frame(pixels, time)
                    time += (frame.info.get("duration") or 1000 / _USUAL_RATE) / 1000
                self._end = time
        else:
            yield from read_video(self.path)


class RgbFrames:
    """Frames as a tracker takes them: RGB, and counted only if it asks for their number.

    Args:
        frames: A clip, which is read once to count it; images as `to_rgb` takes them, any number of times; or an
            iterator of images, whose frames are all held in memory if they are counted.
    """

    def __init__(self, frames: Iterable[Any]) -> None:
        self.frames = frames

    def __len__(self) -> int:
        """Frames.

        Raises:
            ValueError: One does not decode.
        """
        if isinstance(self.frames, Clip):
            if not self.frames.times:
                deque(self.frames, maxlen=0)
        elif isinstance(self.frames, Iterator) or not isinstance(self.frames, Sized):
            self.frames = [frame for frame in self]  # noqa: C416  list() would ask for their number
        return len(self.frames)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields RGB frames, uint8 (3, H, W).

        Raises:
            ValueError: One does not decode.
        """
        for frame in self.frames:
            yield to_rgb(frame)


def is_moving_image(path: Path) -> bool:
    """Whether an image file holds several frames that follow each other, by its content."""
    try:
        with opened(path) as image:
            # A photograph may hold further pictures (MPO, TIFF pages); only these formats move.
            return image.format in ("GIF", "WEBP", "PNG", "AVIF") and getattr(image, "n_frames", 1) > 1
    except ValueError:
        return False


def is_clip(path: Path) -> bool:
    """Whether a file holds several frames: a video file by its name, other files by their content."""
    suffix = path.suffix.lower()
    if suffix in VIDEO_FILES or is_moving_image(path):
        return True
    return suffix not in IMAGE_FILES and _is_video(path)


def _is_video(path: Path) -> bool:
    """Whether a file whose name does not tell is a video that PyAV opens, and no image that Pillow opens."""
    try:
        with opened(path):
            return False
    except ValueError:
        pass
    if not importlib.util.find_spec("av"):
        return False
    av: Any = importlib.import_module("av")
    try:
        with av.open(str(path)) as container:
            kind = container.format.name
            return bool(container.streams.video) and kind not in ("tty", "image2") and not kind.endswith("_pipe")
    except (av.error.FFmpegError, OSError, ValueError):
        return False


def write_clip(path: Path, frames: Iterable[np.ndarray], times: Sequence[float] | float) -> Path:
    """Writes a clip, whole or not at all: MP4 where PyAV is installed, else an animated GIF.

    Args:
        path: Where to, without suffix.
        frames: RGB frames of one size, uint8 (H, W, 3); at least one.
        times: Seconds at which each frame is shown, ascending; or frames a second.

    Returns:
        The file.
    """
    kind = ".mp4" if importlib.util.find_spec("av") else ".gif"
    target = path.with_name(path.name + kind)
    with whole_path(target) as draft:
        (_write_mp4 if kind == ".mp4" else _write_gif)(draft, frames, times)
    return target


def _write_mp4(path: Path, frames: Iterable[np.ndarray], times: Sequence[float] | float) -> None:
    av: Any = importlib.import_module("av")
    codec = next((name for name in _CODECS if name in av.codecs_available), _CODECS[-1])
    steady = isinstance(times, int | float)
    rate = Fraction(times if steady else _mean_rate(times)).limit_denominator(1000)
    base = 1 / rate if steady else Fraction(1, _TICKS)
    last = -1
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream: Any = None
            for n, pixels in enumerate(frames):
                # The common pixel format shares colour among 2 x 2 pixels: odd sides get one more row or column.
                padded = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
                if stream is None:
                    stream = container.add_stream(codec, rate=rate)
                    stream.height, stream.width, stream.pix_fmt = *padded.shape[:2], "yuv420p"
                    stream.options = {"crf": "18"} if codec == "libx264" else {}
                    stream.codec_context.time_base = base
                frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
                last = n if steady else max(last + 1, round((times[n] - times[0]) * _TICKS))
                frame.pts, frame.time_base = last, base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise OSError(f"{path.stem} cannot be written: {error}") from error


def _write_gif(path: Path, frames: Iterable[np.ndarray], times: Sequence[float] | float) -> None:
    images = (Image.fromarray(pixels) for pixels in frames)
    rate = times if isinstance(times, int | float) else _mean_rate(times)
    pauses: Any = 1000 / rate
    if not isinstance(times, int | float):
        pauses = [*(1000 * np.diff(times)), pauses]
    pauses = np.maximum(20, np.round(pauses)).astype(int).tolist()  # viewers slow down what is faster
    next(images).save(path, "GIF", save_all=True, append_images=images, duration=pauses, loop=0)


def _mean_rate(times: Sequence[float]) -> float:
    span = times[-1] - times[0]
    return (len(times) - 1) / span if span > 0 else _USUAL_RATE


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(part) for part in re.findall(r"\d+", path.stem)], path.name
