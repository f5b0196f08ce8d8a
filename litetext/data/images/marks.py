"""Single annotations of an image: which mask and which box they hold, and which of them cannot be used."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from litetext.saco.fields import counted, read_box, shown
from litetext.saco.masks import CheckedMask, mask_box, read_mask

ELSEWHERE = "annotations whose bbox lies elsewhere than their mask"
CROWDS = "pairs of which crowds alone are marked are negatives, as officially"
_CORNERS = "annotations whose bbox [x, y, width, height] reaches far over the edge, as one of two corners would"
_OVER = 1.05
_FRACTIONS = 2.0
"""Boxes with a larger number are in pixels: one of fractions may reach over the edge a little, no further."""


class Mark(NamedTuple):
    """One annotation.

    Attributes:
        id: As messages name it.
        category: Category id.
        mask: The checked mask; None where the annotation has none.
        box: [x, y, width, height], normalised to [0, 1].
        crowd: It covers several instances.
        fault: Why mask scoring cannot use it; empty if it can.
    """

    id: Any
    category: Any
    mask: CheckedMask | None
    box: list[float]
    crowd: bool
    fault: str


class Lines:
    """Faults of single annotations that were corrected, counted by kind."""

    def __init__(self) -> None:
        self.where: dict[str, list[Any]] = {}
        self.reasons: dict[str, str] = {}

    def add(self, kind: str, number: Any, reason: str = "") -> None:
        """Count one annotation.

        Args:
            kind: What happened, for the line.
            number: The annotation's id.
            reason: Why; that of the first is shown.
        """
        self.where.setdefault(kind, []).append(number)
        self.reasons.setdefault(kind, reason)

    def notes(self, rare: int = 0) -> list[str]:
        """One line a kind.

        Args:
            rare: Boxes that lie elsewhere than their masks are noted where they are more than this.
        """
        kinds = [kind for kind, where in self.where.items() if kind != ELSEWHERE or len(where) > rare]
        return [counted(kind, self.where[kind], self.reasons[kind]) for kind in kinds]


def in_pixels(box: list[float]) -> bool:
    """Whether a box that should be normalised is not."""
    return max(box) > _FRACTIONS


def has_fractions(boxes: Iterable[Any]) -> bool:
    """Whether boxes are normalised to [0, 1]: in pixels, each of them would lie within the first pixel.

    Args:
        boxes: `bbox` of annotations; what is no box tells nothing.
    """
    numbers = [x for box in boxes if isinstance(box, list) for x in box if isinstance(x, (int, float))]
    return bool(numbers) and max(numbers) <= 1.0 and any(0 < x < 1 for x in numbers)


def read_mark(
    item: dict[str, Any], height: int, width: int, lines: Lines, fractions: bool = False, keep_empty: bool = False
) -> Mark | None:
    """One annotation, with its box from its mask where it has none that can be used.

    Args:
        item: As the file has it; `iscrowd` was read.
        height: Rows of the image.
        width: Columns of the image.
        lines: Collects what was corrected.
        fractions: Boxes are normalised to [0, 1], as in SA-Co; else in pixels, as in COCO.
        keep_empty: A mask without pixels is one that nothing matches, as in SA-Co; else it marks nothing.

    Returns:
        The annotation; None if it marks nothing, which is noted: neither pixels nor a box of any extent.

    Raises:
        ValueError: Neither its mask nor its box can be used.
    """
    number, segmentation = item.get("id", "without id"), item.get("segmentation")
    mask: CheckedMask | None = None
    fault = "it has no segmentation"
    if segmentation:
        try:
            mask = read_mask(segmentation, height, width)
            fault = ""
        except ValueError as error:
            fault = str(error)
    box, amiss = _box(item, height, width, fractions, lines)
    if mask is not None:
        around = [x / side for x, side in zip(mask_box(mask), (width, height) * 2, strict=True)]
        if not around[2] and not keep_empty:
            mask, fault = None, "its mask is empty"
            box = box if item.get("bbox") else [0.0] * 4
        elif box is None:
            lines.add("annotations whose box was taken from their mask", number, amiss)
            box = around
        elif around[2] and not _near(box, around, height, width):
            lines.add(ELSEWHERE, number, f"bbox {shown(item['bbox'])}")
    if box is not None and mask is None and not box[2] * box[3]:
        lines.add("annotations left out because they mark nothing", number, f"{fault}, its box has no extent")
        return None
    if box is None:
        raise ValueError(f"annotation {number}: {fault}, and {amiss}")
    if fault:
        fault = f"annotation {number}: {fault}"
    return Mark(number, item.get("category_id"), mask, box, bool(item["iscrowd"]), fault)


def _box(
    item: dict[str, Any], height: int, width: int, fractions: bool, lines: Lines
) -> tuple[list[float] | None, str]:
    """The normalised box, or what is wrong with it."""
    if item.get("bbox") is None or item["bbox"] == []:
        return None, "it has no bbox"
    try:
        box = read_box(item["bbox"])
    except ValueError as error:
        return None, str(error)
    if fractions:
        if in_pixels(box):
            return None, f"bbox {shown(item['bbox'])} is not normalised to 0..1"
        return box, ""
    x, y, w, h = box
    if x >= width or y >= height or (w * h and (x + w <= 0 or y + h <= 0)):
        return None, f"bbox {shown(item['bbox'])} lies outside the image of {height} x {width} pixels"
    if x + w > _OVER * width or y + h > _OVER * height:
        lines.add(_CORNERS, item.get("id", "without id"), f"bbox {shown(item['bbox'])} in {height} x {width} pixels")
    return [x / width, y / height, w / width, h / height], ""


def _near(box: list[float], around: list[float], height: int, width: int) -> bool:
    """Whether a box lies about where the box around the mask does: half of both is shared, give or take two pixels."""
    shared = 1.0
    areas = [1.0, 1.0]
    for axis, side in ((0, width), (1, height)):
        a, b = box[axis], around[axis]
        ends = a + box[axis + 2], b + around[axis + 2]
        shared *= max(0.0, (min(ends) - max(a, b)) * side + 2)
        areas = [areas[0] * box[axis + 2] * side, areas[1] * around[axis + 2] * side]
    together = areas[0] + areas[1] - shared
    return together <= 0 or 2 * shared >= together
