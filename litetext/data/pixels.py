"""One way from a file, a PIL image or an array to RGB pixels as people see them.

- 16-bit values keep their upper eight bits (v >> 8). Integers of other types are taken for what their largest value
  needs: 8 bits, 16, or 32 (v >> 24; a bit less if signed). Floats run from 0 to 1. What fits none of these is refused.
- What is transparent is laid on white.
- EXIF orientation is applied, unless it is asked for as stored.
- Grey becomes grey RGB; palettes, CMYK, YCbCr and Lab are converted; a TIFF whose zero is white is turned round.
"""

import importlib
import importlib.util
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

IMAGE_FILES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    *(".tga", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi", ".psd", ".dds", ".sgi", ".pcx"),
)
"""Names of image files end like this; HEIC needs pillow-heif."""
_HEIC = (".heic", ".heif", ".hif")
_MOST_PIXELS = 1 << 30
"""Pillow's own limit for what may be a bomb, 179 million, is less than one map tile sheet or microscope slide."""
_SLACK = 0.01
"""Floats may leave 0..1 by so much, as resampling makes them."""
_PHOTOMETRIC, _BITS, _FORMAT = 262, 258, 339
"""Tags of TIFF."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: str | os.PathLike[str] | Any, turn: bool = True) -> UInt8[Tensor, "3 h w"]:
    """An image as people see it.

    Args:
        image: A path of anything that Pillow reads (of several frames, the first); a PIL image; an array (H, W),
            (H, W, 1), grey with alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4); or a tensor (H, W) or (C, H, W). The
            values of arrays are bool, uint8, uint16, other integers from 0 on, or floats from 0 to 1.
        turn: Turn files and PIL images as their EXIF orientation says; else they are taken as stored.

    Returns:
        RGB, uint8 (3, H, W). A tensor that is so already is given back itself, others are on the CPU.

    Raises:
        ValueError: There is no such file, it does not decode, or the values have no certain meaning.
    """
    if isinstance(image, str | os.PathLike):
        with opened(Path(image)) as file:
            return _of_pil(file, turn)
    if isinstance(image, Image.Image):
        return _of_pil(image, turn)
    if isinstance(image, Tensor):
        if image.ndim == 3 and image.shape[0] == 3 and image.dtype == torch.uint8 and image.numel():
            return image
        if image.ndim in (2, 3):
            values = image.detach().cpu()
            if values.dtype == torch.bfloat16:
                values = values.float()
            return _of_array(values.numpy() if image.ndim == 2 else values.permute(1, 2, 0).numpy(), image.shape)
    if isinstance(image, np.ndarray):
        return _of_array(image, image.shape)
    raise _unknown(type(image).__name__ if not isinstance(image, Tensor) else str(image.dtype), image)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image file; the many errors of a damaged one become one kind.

    Raises:
        ValueError: In the text's first words the path, then what is wrong with it.
    """
    _heic()
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, _MOST_PIXELS // 2
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ValueError(f"{path}: it is a folder, not an image") from error
    except UnidentifiedImageError as error:
        if path.suffix.lower() in _HEIC and not _heic():
            raise ValueError(f"{path}: HEIC needs pillow-heif: pip install 'litetext[heic]'") from error
        raise ValueError(f"{path}: it is no image that can be read") from error
    except (OSError, SyntaxError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: it does not decode ({' '.join(str(error).split())})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1..8; 1 where there is none, or none that can be read."""
    try:
        number = image.getexif().get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError):
        return 1
    return number if number in range(1, 9) else 1


@lru_cache(maxsize=1)
def _heic() -> bool:
    """Lets Pillow read HEIC where pillow-heif is installed."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    heif: Any = importlib.import_module("pillow_heif")
    heif.register_heif_opener()
    return True


def _of_pil(image: Image.Image, turn: bool) -> Tensor:
    if not image.width or not image.height:
        raise ValueError(f"image has {image.height} x {image.width} pixels (height x width)")
    number = orientation(image) if turn else 1
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels = _of_array(_wide_grey(image), (image.height, image.width))
        image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    elif image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        image = _on_white(image.convert("RGBA"))
    elif image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    else:
        image = image.convert("RGB")
    if number in _TURNS:
        image = image.transpose(_TURNS[number])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _wide_grey(image: Image.Image) -> np.ndarray:
    """Values of an image of more than 8 bits, as they are meant."""
    values = np.array(image)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags:  # which has all integers beyond unsigned 16 bits
        signed, bits = tags.get(_FORMAT, (1,))[0] == 2, tags.get(_BITS, (32,))[0]
        values = values.astype(np.int16) if signed and bits == 16 else values if signed else values.view(np.uint32)
    if tags and tags.get(_PHOTOMETRIC) == 0:  # white is zero, which Pillow heeds up to 8 bits
        values = (1 if values.dtype.kind == "f" else np.iinfo(values.dtype).max) - values
    return values


def _of_array(values: np.ndarray, shape: Any) -> Tensor:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 2, 3, 4) or values.dtype.kind not in "biuf":
        raise _unknown(values.dtype, values, shape)
    if not values.size:
        raise ValueError(f"image has the shape {tuple(shape)}: it holds no pixels")
    eight = _eight_bits(values.reshape(*values.shape[:2], channels))
    if channels in (2, 4):
        eight = np.array(_on_white(Image.fromarray(eight, "LA" if channels == 2 else "RGBA").convert("RGBA")))
    return (
        torch.from_numpy(np.repeat(eight, 3, 2) if eight.shape[2] == 1 else eight.copy()).permute(2, 0, 1).contiguous()
    )


def _eight_bits(values: np.ndarray) -> np.ndarray:
    kind = values.dtype
    if kind == np.uint8:
        return values
    if kind.kind == "b":
        return values.astype(np.uint8) * 255
    lowest, highest = values.min(), values.max()
    if kind.kind == "f":
        if not np.isfinite(highest - lowest):
            raise ValueError("image holds NaN or infinite values; give finite ones from 0 to 1")
        if not -_SLACK <= lowest <= highest <= 1 + _SLACK:
            raise ValueError(f"image holds floats from {lowest:g} to {highest:g}; scale them to 0..1")
        return np.round(values.clip(0, 1) * np.float32(255)).astype(np.uint8)
    if lowest < 0:
        raise ValueError(f"image holds integers from {lowest} to {highest}; the least must be 0 or more")
    if kind.itemsize == 2 and kind.kind == "u":
        return (values >> 8).astype(np.uint8)
    if kind.itemsize == 2 and highest > 0xFF:
        return (values >> 7).astype(np.uint8)
    if highest > (0xFFFFFFFF if kind.kind == "u" or kind.itemsize > 4 else 0x7FFFFFFF):
        raise ValueError(f"image holds integers up to {highest}; 8, 16 or 32 bits have a meaning")
    if highest > 0xFFFF:
        return (values >> (24 if kind.kind == "u" or highest > 0x7FFFFFFF else 23)).astype(np.uint8)
    return (values >> (8 if highest > 0xFF else 0)).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _unknown(kind: Any, image: Any, shape: Any = None) -> ValueError:
    what = f"{kind} {tuple(shape if shape is not None else getattr(image, 'shape', ()))}"
    return ValueError(
        f"image is {what}; give a path, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4), or a tensor (3, H, W)"
    )
