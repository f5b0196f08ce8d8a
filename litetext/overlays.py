"""Masks painted over pictures, and labels that say what they are."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from litetext.metrics.matching import rle
from litetext.saco.masks import Rle

COLOURS = np.array(
    [
        *((230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230)),
        *((255, 225, 25), (0, 128, 128), (170, 110, 40), (128, 0, 0), (210, 245, 60), (0, 0, 128), (250, 190, 212)),
        *((128, 128, 0), (170, 255, 195), (220, 190, 255), (90, 60, 255), (255, 90, 0), (0, 90, 50)),
    ]
)
"""Twenty, of objects or phrases by their number, in turn; neighbours differ most."""
_PALE = (2 / 3, 1 / 6, 1 / 6, 0, 1 / 6, 2 / 3, 1 / 6, 0, 1 / 6, 1 / 6, 2 / 3, 0)
"""Half the pixel, half its mean."""
_COVER = 153
"""How much of a mask's colour hides the picture, of 255."""
_LEGIBLE = 480
"""Smaller pictures are enlarged before labels are written on them."""


def paint(
    pixels: UInt8[np.ndarray, "h w 3"], masks: Iterable[Bool[np.ndarray, "h w"]], colours: Sequence[int]
) -> UInt8[np.ndarray, "h w 3"]:
    """Fades a picture and draws masks in colour on it.

    Args:
        pixels: RGB.
        masks: One an object.
        colours: Number of each object; the same number has the same colour everywhere.
    """
    image = _pale(pixels)
    for colour, mask in zip(colours, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            y, x = int(rows[0]), int(columns[0])
            _lay(image, mask[y : rows[-1] + 1, x : columns[-1] + 1], (x, y), colour, _COVER)
    return np.array(image)


def overlay(
    pixels: UInt8[np.ndarray, "h w 3"], masks: Sequence[Rle], colours: Sequence[int], labels: Sequence[str]
) -> UInt8[np.ndarray, "y x 3"]:
    """A picture with coloured masks, their outlines, and a label at each.

    One mask is decoded at a time, and only its part of the picture is touched.

    Where masks overlap, the first of them is on top.

    Args:
        pixels: RGB. One whose longer side is below 480 pixels is enlarged by a whole factor, so that labels are
            legible.
        masks: One an object; an empty one is not labelled.
        colours: Number of each object.
        labels: Text of each object.
    """
    factor = -(-_LEGIBLE // max(pixels.shape[:2]))
    if not masks:
        return _enlarged(pixels, factor)
    image = _pale(_enlarged(pixels, factor))
    width = max(1, round(max(image.size) / 400))
    boxes = [[int(value) for value in rle.toBbox(mask)] for mask in masks]
    # Each is decoded once, which takes longest, and kept in one bit a pixel.
    parts = [
        np.packbits(rle.decode(mask)[y : y + h, x : x + w], axis=1)
        for mask, (x, y, w, h) in zip(masks, boxes, strict=True)
    ]
    for outline in (False, True):
        for part, colour, (x, y, w, h) in zip(parts[::-1], colours[::-1], boxes[::-1], strict=True):
            if not w or not h:
                continue
            inside = _enlarged(np.unpackbits(part, axis=1, count=w).view(bool), factor)
            if outline:
                inside &= ~_eroded(inside, width)
            _lay(image, inside, (x * factor, y * factor), colour, 255 if outline else _COVER)
    _write(image, [[value * factor for value in box] for box in boxes], colours, labels)
    return np.array(image)


def _pale(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).convert("RGB", _PALE)


def _lay(image: Image.Image, mask: np.ndarray, corner: tuple[int, int], colour: int, cover: int) -> None:
    """Lays a colour over a part of the image; all work is on that part."""
    veil = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8) * np.uint8(cover))
    red, green, blue = (int(value) for value in COLOURS[colour % len(COLOURS)])
    image.paste((red, green, blue), (*corner, corner[0] + veil.width, corner[1] + veil.height), veil)


def _eroded(mask: Bool[np.ndarray, "h w"], width: int) -> Bool[np.ndarray, "h w"]:
    """What is left without a margin; beyond the edges is nothing. In a few doubling steps, whatever the width."""
    part = np.pad(np.ascontiguousarray(mask), width)
    for _ in range(2):
        part, covered = part.T, 1
        while covered < 2 * width + 1:
            step = min(covered, 2 * width + 1 - covered)
            part = part[:-step] & part[step:]
            covered += step
    return part


def _enlarged(pixels: np.ndarray, factor: int) -> np.ndarray:
    return pixels if factor == 1 else pixels.repeat(factor, 0).repeat(factor, 1)


def _write(image: Image.Image, boxes: Sequence[Sequence[int]], colours: Sequence[int], labels: Sequence[str]) -> None:
    """Labels, each in the first free place above, in, or below its object."""
    draw, font = ImageDraw.Draw(image), _font(max(13, round(max(image.size) / 48)))
    margin = max(2, font.size // 5)
    taken: list[tuple[float, float, float, float]] = []
    for (near, upper, w, h), colour, label in zip(boxes, colours, labels, strict=True):
        if not w or not h:
            continue
        left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
        wide, high = right - left + 2 * margin, bottom - top + 2 * margin
        x = min(max(0, near + (w - wide) / 2), max(0, image.width - wide))
        middle = upper + (h - high) / 2
        wanted = (upper - high, upper + h, middle, middle - high, middle + high)
        places = [(x, min(max(0, y), image.height - high)) for y in wanted]
        free = [(x, y) for x, y in places if not any(_meet((x, y, x + wide, y + high), other) for other in taken)]
        x, y = (free or places)[0]
        box = (x, y, x + wide, y + high)
        taken.append(box)
        red, green, blue = (int(value) for value in COLOURS[colour % len(COLOURS)])
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 150
        draw.rectangle(box, fill=(red, green, blue))
        draw.text((x + margin - left, y + margin - top), label, font=font, fill="white" if dark else "black")


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    # matplotlib brings a font with most alphabets; Pillow's own knows little beyond Latin letters.
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
