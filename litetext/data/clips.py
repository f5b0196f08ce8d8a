"""Pictures and clips of a user's own: images of any kind, video files, animated GIFs, folders of frames; and writing.

Unlike annotated data, which is taken as stored, a photograph is turned as its EXIF orientation says.
"""

import importlib
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from litetext.data.video_frames import VIDEO_FILES, read_video

IMAGE_FILES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_CODECS = ("libx264", "libopenh264", "mpeg4")
_USUAL_RATE = 10.0


def read_image(path: Path) -> Tensor:
    """Reads an image as people see it, RGB uint8 (3, H, W).

    Args:
        path: Any format that Pillow reads; of several frames, the first.

    Raises:
        ValueError: There is no such file, or it does not decode.
    """
    with _opened(path) as image:
        return _pixels(image)


class Clip:
    """The frames of a clip; iterate over it to read them, any number of times; only one is in memory.

    Args:
        path: A video file, an animated GIF, or a folder of images, which are taken in the order of the numbers in
            their names.
        rate: Frames a second; None takes what the file says, and 10 for a folder.

    Attributes:
        rate: Frames a second.
        height: Rows of a frame in pixels, after the first iteration.
        width: Columns of a frame in pixels, after the first iteration.

    Raises:
        ValueError: There is no such file, or it holds no frames.
    """

    def __init__(self, path: Path, rate: float | None = None) -> None:
        self.path, self.height, self.width = path, 0, 0
        self._seen = 0
        self._images: list[Path] = []
        if path.is_dir():
            found = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_FILES and file.is_file()]
            self._images = sorted(found, key=_by_number)
            if not found:
                raise ValueError(f"{path}: the folder holds no frames ({', '.join(IMAGE_FILES)})")
        elif not path.is_file():
            raise ValueError(f"{path}: no such file")
        self.rate = rate or self._rate() or _USUAL_RATE

    def __len__(self) -> int:
        """Frames, after the first iteration."""
        return self._seen

    def __iter__(self) -> Iterator[Tensor]:
        """Yields RGB frames, uint8 (3, H, W).

        Raises:
            ValueError: A frame does not decode, or has another size than the first.
        """
        size: torch.Size | None = None
        count = 0
        for frame in self._read():
            size = size or frame.shape
            if frame.shape != size:
                raise ValueError(
                    f"{self.path}: frame {count + 1} has {frame.shape[1]} x {frame.shape[2]} pixels (height x width), "
                    f"those before it {size[1]} x {size[2]}"
                )
            count += 1
            yield frame
        if not count:
            raise ValueError(f"{self.path}: it holds no frames")
        self._seen, (self.height, self.width) = count, size[1:] if size else (0, 0)

    def _read(self) -> Iterator[Tensor]:
        if self._images:
            for path in self._images:
                yield read_image(path)
        elif self.path.suffix.lower() in VIDEO_FILES:
            yield from read_video(self.path)
        else:
            with _opened(self.path) as image:
                for frame in ImageSequence.Iterator(image):
                    yield _pixels(frame)

    def _rate(self) -> float | None:
        if self.path.is_dir():
            return None
        if self.path.suffix.lower() not in VIDEO_FILES:
            with _opened(self.path) as image:
                pause = image.info.get("duration", 0)  # in ms, of the first frame
            return 1000 / pause if pause else None
        if importlib.util.find_spec("av"):
            av: Any = importlib.import_module("av")
            try:
                with av.open(str(self.path)) as container:
                    rate = container.streams.video[0].average_rate
            except (av.error.FFmpegError, IndexError) as error:
                raise ValueError(f"{self.path}: it cannot be read as a video: {error}") from error
            return float(rate) if rate else None
        return None


def is_clip(path: Path) -> bool:
    """Whether a file holds several frames: a video file by its name, an image that moves by its content."""
    if path.suffix.lower() in VIDEO_FILES:
        return True
    try:
        with Image.open(path) as image:
            # A photograph may hold further pictures (MPO, TIFF pages); only these formats move.
            return image.format in ("GIF", "WEBP", "PNG") and getattr(image, "n_frames", 1) > 1
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def write_clip(path: Path, frames: Iterable[np.ndarray], rate: float) -> Path:
    """Writes a clip, whole or not at all: MP4 where PyAV is installed, else an animated GIF.

    Args:
        path: Where to, without suffix.
        frames: RGB frames of one size, uint8 (H, W, 3); at least one.
        rate: Frames a second.

    Returns:
        The file.
    """
    kind = ".mp4" if importlib.util.find_spec("av") else ".gif"
    target = path.with_name(path.name + kind)
    draft = target.with_name(target.name + ".draft")
    try:
        (_write_mp4 if kind == ".mp4" else _write_gif)(draft, frames, rate)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _write_mp4(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    from fractions import Fraction

    av: Any = importlib.import_module("av")
    codec = next((name for name in _CODECS if name in av.codecs_available), _CODECS[-1])
    try:
        with av.open(str(path), "w", format="mp4") as container:
            stream: Any = None
            for pixels in frames:
                # The common pixel format shares colour among 2 x 2 pixels: odd sides get one more row or column.
                padded = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")
                if stream is None:
                    stream = container.add_stream(codec, rate=Fraction(rate).limit_denominator(1000))
                    stream.height, stream.width, stream.pix_fmt = *padded.shape[:2], "yuv420p"
                    stream.options = {"crf": "18"} if codec == "libx264" else {}
                container.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))
            container.mux(stream.encode(None))
    except av.error.FFmpegError as error:
        raise OSError(f"{path.stem} cannot be written: {error}") from error


def _write_gif(path: Path, frames: Iterable[np.ndarray], rate: float) -> None:
    images = (Image.fromarray(pixels) for pixels in frames)
    pause = max(20, round(1000 / rate))  # viewers slow down what is faster
    next(images).save(path, "GIF", save_all=True, append_images=images, duration=pause, loop=0)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file; the many errors of a damaged one become one kind that names it."""
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{path}: it is no image that can be read") from error
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: it does not decode ({' '.join(str(error).split())})") from error


def _pixels(image: Image.Image) -> Tensor:
    turned = ImageOps.exif_transpose(image)
    return torch.from_numpy(np.array(turned.convert("RGB"))).permute(2, 0, 1).contiguous()


def _by_number(path: Path) -> tuple[list[int], str]:
    return [int(part) for part in re.findall(r"\d+", path.stem)], path.name
