"""Single fields of annotation files: ids, flags, sizes, boxes and category names, as people and their tools write them.

A field is normalised where its meaning is certain ("7" is the id 7, "0" a flag that is not set) and refused elsewhere.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

Id = int | str

_FLAGS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}
_BRACKETS = re.compile(r"\([^)]*\)")
_DIGITS = re.compile(r"-?[0-9]{1,18}")
LARGEST_SIDE = 1 << 20
LARGEST_IMAGE = 1 << 30
"""Pixels of the largest image or frame that masks are read for."""


def shown(value: Any, length: int = 60) -> str:
    """A value in a message: one line, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= length else text[: length - 3] + "..."


def read_id(value: Any, what: str = "id") -> Id:
    """An id of an image, a category, an annotation or a video.

    Text that holds a whole number is that number, so that files that write ids as text and as numbers agree; other
    text stays as it is.

    Args:
        value: As the file has it.
        what: Its field, for the message.

    Raises:
        ValueError: It is neither a whole number nor text.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip():
        return int(value) if _DIGITS.fullmatch(value.strip()) else value
    raise ValueError(f"{what} is {shown(value)}; give a whole number or text")


def read_number_id(value: Any, what: str = "id") -> int:
    """An id that must be a whole number, possibly written as text.

    Raises:
        ValueError: It is not.
    """
    found = read_id(value, what)
    if isinstance(found, str):
        raise ValueError(f"{what} is {shown(value)}; give a whole number")
    return found


def read_flag(value: Any, what: str, default: bool | None = None) -> bool:
    """A flag: 0 and 1, false and true, or one of them as text.

    Args:
        value: As the file has it.
        what: Its field, for the message.
        default: What null means; None refuses it.

    Raises:
        ValueError: It says neither.
    """
    if value is None and default is not None:
        return default
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    raise ValueError(f"{what} is {shown(value)}; give 0 or 1")


def read_size(entry: dict[str, Any]) -> tuple[int, int]:
    """Height and width of an image or a video, in pixels.

    Args:
        entry: A mapping with `height` and `width`; whole numbers, possibly written as text.

    Raises:
        ValueError: One is missing, or they are no size of an image.
    """
    height, width = entry.get("height"), entry.get("width")
    if type(height) is int and type(width) is int and _is_size(height, width):
        return height, width
    sides = []
    for name in ("height", "width"):
        if name not in entry:
            raise ValueError(f"{name} is missing")
        try:
            sides.append(read_number_id(entry[name]))
        except ValueError:
            sides.append(-1)
    if not _is_size(*sides):
        raise ValueError(
            f"height {shown(entry['height'], 20)} and width {shown(entry['width'], 20)} are no size of an image"
        )
    return sides[0], sides[1]


def _is_size(height: int, width: int) -> bool:
    return 0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE and height * width <= LARGEST_IMAGE


def read_box(value: Any) -> list[float]:
    """A box [x, y, width, height] in any unit.

    Raises:
        ValueError: It is not four finite numbers, or an extent is negative.
    """
    right = isinstance(value, (list, tuple)) and len(value) == 4
    if not (right and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value)):
        raise ValueError(f"bbox is {shown(value)}, not four numbers [x, y, width, height]")
    try:
        box = [float(x) for x in value]
    except OverflowError:
        box = [math.inf]
    if not all(map(math.isfinite, box)):
        raise ValueError(f"bbox is {shown(value)}; its numbers must be finite")
    if min(box[2:]) < 0:
        raise ValueError(f"bbox is {shown(value)}: a width or height is negative; write [x, y, width, height]")
    return box


def lies_outside(box: Sequence[float]) -> bool:
    """Whether a box has nothing in its image, or reaches over an edge by a whole image: it is of another size.

    Args:
        box: [x, y, width, height], normalised to 0..1 of the image.
    """
    x, y, w, h = box
    return x >= 1 or y >= 1 or x + w <= 0 or y + h <= 0 or min(x, y) < -1 or max(x + w, y + h) > 2


def category_phrase(name: str) -> str:
    """The phrase that a category name stands for, wherever the file is read: as prompts or as ground truth.

    Underscores become spaces and remarks in brackets are left out, as LVIS and Roboflow write names:
    "red_circle" is "red circle", "crab_(animal)" is "crab". A name that is nothing but a remark stays.
    """
    spaced = name.replace("_", " ")
    words = _BRACKETS.sub(" ", spaced).split() or spaced.split()
    return " ".join(words) or name


def repeated(ids: Iterable[Any]) -> list[Any]:
    """Ids that occur more than once, in the order of their second occurrence."""
    seen: set[Any] = set()
    again: dict[Any, None] = {}
    for item in ids:
        if item in seen:
            again[item] = None
        seen.add(item)
    return list(again)


def counted(text: str, where: Sequence[Any], reason: str = "") -> str:
    """A line for what was left out: its number, and the first few.

    Args:
        text: What happened.
        where: Ids of the entries, at least one.
        reason: Why the first of them was.
    """
    some = ", ".join(str(item) for item in where[:3]) + (", ..." if len(where) > 3 else "")
    return f"{text}: {len(where):,} ({'first: ' if len(where) > 3 else ''}id {some}{': ' + reason if reason else ''})"
