"""Answers of systems that only an interface reaches: the objects of one image, as Gemini and DINO-X write them.

Gemini: a list of {"box_2d": [ymin, xmin, ymax, xmax] in thousandths of the image, "mask": a PNG with the probability of
each pixel of the box, as base64 text, "label"}. It gives no scores; each object counts with 1.

DINO-X: {"objects": [{"category", "score", "bbox": [xmin, ymin, xmax, ymax] in pixels, "mask": {"counts", "size"}}]}.
The runs of its masks go along rows, unlike COCO's, and may end with the last pixel of the object.
"""

import base64
import binascii
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from litetext.saco.fields import lies_outside, read_box, shown
from litetext.saco.masklets import read_score
from litetext.saco.masks import Rle, empty_mask, encode_masks, read_row_runs

_LARGEST_PNG = 1 << 26


class Answered(NamedTuple):
    """One object.

    Attributes:
        score: 0..1.
        box: [x, y, width, height], normalised to 0..1 of the image.
        mask: Of the image's size; empty where it is damaged, None where there is none.
        fault: Why the mask is damaged, or nothing.
        largest: The largest number of the box as it was written.
        outside: The box as it was written, where it lies outside the image and `box` is empty; or nothing.
    """

    score: float
    box: list[float]
    mask: Rle | None
    fault: str = ""
    largest: float = 0.0
    outside: str = ""


class Reader(NamedTuple):
    """How the answers of a system are read.

    Attributes:
        entries: The objects of an answer.
        one: An object, given the height and width of its image.
        label: The field that says what an object is.
        free: Objects are described in words of the system's own.
        unit: Of its boxes.
    """

    entries: Callable[[Any], list[Any]]
    one: Callable[[Any, int, int], Answered]
    label: str
    free: bool
    unit: str


def _gemini_entries(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise ValueError(f"it is {shown(content)}, not a list of objects with box_2d")
    return content


def _dino_x_entries(content: Any) -> list[Any]:
    for key in ("data", "result"):  # as the interface wraps it
        if isinstance(content, dict) and "objects" not in content and key in content:
            content = content[key]
    objects = content.get("objects") if isinstance(content, dict) else content
    if not isinstance(objects, list):
        raise ValueError(f"it is {shown(content)}, without the list objects")
    return objects


def _gemini(entry: Any, height: int, width: int) -> Answered:
    corners = _corners(entry, "box_2d", "[ymin, xmin, ymax, xmax]")
    if max(corners) > 1000 or min(corners) < 0:
        raise ValueError(f"box_2d is {shown(corners)}; its numbers go from 0 to 1000")
    top, left, bottom, right = (value / 1000 for value in corners)
    box = read_box([left, top, right - left, bottom - top])
    score = read_score(entry.get("score", 1.0))
    found = Answered(score, box, None, largest=max(corners))
    if entry.get("mask") is None:
        return found
    try:
        return found._replace(mask=_png_mask(entry["mask"], corners, height, width))
    except ValueError as error:
        return found._replace(mask=empty_mask(height, width), fault=str(error))


def _png_mask(code: Any, corners: list[float], height: int, width: int) -> Rle:
    """The pixels whose probability is above a half, where the box lies."""
    if not isinstance(code, str):
        raise ValueError(f"mask is {shown(code)}, not a PNG as base64 text")
    head, _, body = code.rpartition(",")
    if head not in ("", "data:image/png;base64"):
        raise ValueError(f"mask is {shown(code)}, not a PNG as base64 text")
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(body, validate=True)), formats=("PNG",))
        if picture.width * picture.height > _LARGEST_PNG:
            raise ValueError(f"it has {picture.width} x {picture.height} pixels")
        gray = picture.convert("L")
    except UnidentifiedImageError as error:  # its text names a place in memory
        raise ValueError(f"mask is {shown(code)}, not a PNG as base64 text (it is no image)") from error
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"mask is {shown(code)}, not a PNG as base64 text ({' '.join(str(error).split())})") from error
    top, left, bottom, right = (
        int(value * side / 1000) for value, side in zip(corners, (height, width) * 2, strict=True)
    )
    pixels = np.zeros((1, height, width), dtype=bool)
    if bottom > top and right > left:
        inside = gray.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        pixels[0, top:bottom, left:right] = np.asarray(inside) > 127
    return encode_masks(pixels)[0]


def _dino_x(entry: Any, height: int, width: int) -> Answered:
    corners = _corners(entry, "bbox", "[xmin, ymin, xmax, ymax]")
    left, top, right, bottom = corners
    box = read_box([left / width, top / height, (right - left) / width, (bottom - top) / height])
    if "score" not in entry:
        raise ValueError("it has no score")
    found, code = Answered(read_score(entry["score"]), box, None, largest=max(corners)), entry.get("mask")
    if lies_outside(box):
        found = found._replace(box=[0.0] * 4, outside=f"bbox is {shown(corners)}, the image has {width} x {height}")
    if code is None:
        return found
    try:
        return found._replace(mask=read_row_runs(code, height, width))
    except ValueError as error:
        return found._replace(mask=empty_mask(height, width), fault=str(error))


def _corners(entry: Any, name: str, order: str) -> list[float]:
    if not isinstance(entry, dict):
        raise ValueError(f"it is {shown(entry)}, not a mapping with {name}")
    try:
        values = read_box(entry.get(name))
    except ValueError as error:
        raise ValueError(f"{name} is {shown(entry.get(name))}; give four numbers {order}") from error
    if values[2] < values[0] or values[3] < values[1]:
        raise ValueError(f"{name} is {shown(values)}: an end lies before its beginning; write {order}")
    return values


READERS: dict[str, Reader] = {
    "gemini": Reader(_gemini_entries, _gemini, "label", free=True, unit="thousandths of the image"),
    "dino-x": Reader(_dino_x_entries, _dino_x, "category", free=False, unit="pixels"),
}
"""By the name of the layout."""
