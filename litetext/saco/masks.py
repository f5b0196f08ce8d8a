"""Segmentations from files, checked before `pycocotools` sees them.

`pycocotools` trusts its input: runs that do not add up to the size of the image make it read and write past its own
memory, and a polygon's coordinate of NaN or 1e9 ends the process. Every mask that comes from a file, of ground truth or
predictions, of images or videos, goes through `read_mask`; what comes out is safe for all of its functions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask

from litetext.saco.fields import LARGEST_IMAGE, LARGEST_SIDE, read_number_id, shown
from litetext.saco.run_lengths import FAULTS, decode, sound

Rle = dict[str, Any]
"""One compressed mask as in COCO files: {"size": [height, width], "counts": str or bytes}."""


class CheckedMask(dict[str, Any]):
    """A compressed mask whose runs add up to its size: safe for all functions of `pycocotools`."""


_rle: Any = mask  # its type stubs know fewer inputs than it accepts
_LONGEST_OUTLINE = 1 << 22
"""Pixels along all polygons of one mask; what they are drawn with grows with it."""


def read_mask(segmentation: Any, height: int, width: int, any_size: bool = False) -> CheckedMask:
    """The `segmentation` of an annotation or a prediction as one compressed mask.

    Args:
        segmentation: Compressed run-length mask (its counts are kept as they are), uncompressed one, or polygons:
            lists of x1, y1, x2, y2, ... in pixels, at most one image's extent outside the image. Polygons of fewer than
            three points are passed over where others remain.
        height: Rows of the image.
        width: Columns of the image.
        any_size: Let run-length masks have another size than the image, as the official evaluators do; they match
            nothing.

    Returns:
        A mask whose runs add up to its size.

    Raises:
        ValueError: It is none of the three, damaged, of another size, or polygons that cover no pixel.
    """
    if any_size and isinstance(segmentation, CheckedMask):
        return segmentation
    if isinstance(segmentation, dict) and "counts" in segmentation:
        return _read_runs(segmentation, height, width, any_size)
    if isinstance(segmentation, list) and segmentation:
        polygons = check_polygons(segmentation, height, width)
        found = _rle.merge(_rle.frPyObjects(polygons, height, width))
        if not int(_rle.area(found)):
            raise ValueError("the polygons cover no pixel")
        return CheckedMask(found)
    raise ValueError(f"segmentation must be a run-length mask or polygons, got {shown(segmentation, 80)}")


def read_row_runs(segmentation: Any, height: int, width: int) -> CheckedMask:
    """A mask whose runs go along rows and may end with its last pixel, as DINO-X writes them; COCO's go down columns.

    Args:
        segmentation: {"size": [height, width], "counts": text as COCO's or a list of runs}.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        ValueError: It is no such mask, damaged or of another size.
    """
    if not isinstance(segmentation, dict) or _size(segmentation) != (height, width):
        told = segmentation if not isinstance(segmentation, dict) else segmentation.get("size")
        raise ValueError(f"a mask's size (height, width) is {shown(told)}, the image's is [{height}, {width}]")
    counts = segmentation.get("counts")
    runs = _runs_of_list(counts) if isinstance(counts, list) else _runs_of_text(counts)
    if len(runs) and int(runs.min()) < 0:
        raise ValueError("a mask's runs are damaged (one is negative)")
    rest = height * width - float(runs.sum(dtype=np.float64))
    if rest < 0:
        raise ValueError(f"a mask's runs cover {height * width - rest:.0f} pixels, the image has {height * width}")
    pixels = np.zeros(height * width, dtype=bool)
    ends = np.cumsum(runs)
    for start, end in zip(ends[:-1:2].tolist(), ends[1::2].tolist(), strict=True):
        pixels[start:end] = True
    return CheckedMask(encode_masks(pixels.reshape(1, height, width))[0])


def checked(masks: Sequence[Rle]) -> list[CheckedMask]:
    """Compressed masks of any size, each checked unless it was before; many at once cost little more than one.

    Raises:
        ValueError: One is damaged; its place in the list is named.
    """
    if len(done := [one for one in masks if isinstance(one, CheckedMask)]) == len(masks):
        return done
    known = sound_masks(masks)
    found: list[CheckedMask] = []
    for place, one in enumerate(known):
        if not isinstance(one, dict):
            raise ValueError(
                f"mask {place} of {len(masks)}: it is a {type(one).__name__}, not run lengths of pycocotools; "
                "give those, or one boolean tensor (n, height, width) for all"
            )
        try:
            found.append(one if isinstance(one, CheckedMask) else _read_runs(one, 0, 0, any_size=True))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"mask {place} of {len(masks)}: {error}") from error
    return found


def sound_masks(masks: Sequence[Any]) -> list[Any]:
    """The same list, compressed masks whose runs need no change as checked ones: the rest is left to `read_mask`.

    Args:
        masks: Values of `segmentation`, as they stand in a file.
    """
    found = list(masks)
    places: list[int] = []
    texts: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    for place, one in enumerate(masks):
        counts = None if isinstance(one, CheckedMask) or not isinstance(one, dict) else one.get("counts")
        if isinstance(counts, str | bytes) and (size := _size(one)) is not None:
            places.append(place)
            texts.append(counts.encode() if isinstance(counts, str) else counts)  # what is no ASCII is no code
            sizes.append(size)
    pixels = np.array([height * width for height, width in sizes], dtype=np.int64)
    for place, size, fine in zip(places, sizes, sound(texts, pixels).tolist(), strict=True):
        if fine:
            found[place] = CheckedMask(size=list(size), counts=masks[place]["counts"])
    return found


def check_rle(segmentation: Rle, height: int, width: int) -> None:
    """Refuse a compressed mask that is not one of this image.

    Args:
        segmentation: A compressed mask.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        ValueError: The mask has another size than the image, or its runs do not add up to that size.
    """
    if _size(segmentation) != (height, width):
        raise ValueError(_other_size(segmentation, height, width))
    _decoded(segmentation.get("counts"), height, width)


def check_polygons(polygons: Sequence[Any], height: int, width: int) -> list[list[float]]:
    """Polygons that may be drawn: those of at least three points, if all of them are sound.

    Args:
        polygons: Lists of x1, y1, x2, y2, ...; or one such list.
        height: Rows of the image.
        width: Columns of the image.

    Raises:
        ValueError: One is no list of finite numbers, ends within a point, lies far outside the image, or is too long
            to be an outline; or none has three points.
    """
    if polygons and all(isinstance(x, (int, float)) for x in polygons):
        polygons = [polygons]
    kept: list[list[float]] = []
    outline = 0.0
    for number, polygon in enumerate(polygons):
        where = f"polygon {number + 1} of {len(polygons)}"
        flat = isinstance(polygon, (list, tuple))
        if not (flat and all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in polygon)):
            raise ValueError(f"{where} is {shown(polygon)}, not a list of numbers x1, y1, x2, y2, ...")
        if len(polygon) % 2:
            raise ValueError(f"{where} has {len(polygon)} numbers, an odd count: it ends within a point")
        try:
            points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
        except OverflowError as error:
            raise ValueError(f"{where} has a coordinate that is not finite") from error
        if not np.isfinite(points).all():
            raise ValueError(f"{where} has a coordinate that is not finite")
        sides = np.array([width, height])
        if len(points) and ((points < -sides) | (points > 2 * sides)).any():
            far = points[((points < -sides) | (points > 2 * sides)).any(axis=1)][0]
            raise ValueError(
                f"{where} lies far outside the image of {height} x {width} pixels: x {far[0]:g}, y {far[1]:g}"
            )
        outline += float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()) + len(points)
        # Two points are four numbers, which pycocotools would take for a box.
        if len(points) >= 3:
            kept.append(points.ravel().tolist())
    if outline > _LONGEST_OUTLINE:
        raise ValueError(f"the polygons are {outline:,.0f} pixels long, more than {_LONGEST_OUTLINE:,}")
    if not kept:
        raise ValueError("no polygon has three points")
    return kept


def encode_masks(pixels: Bool[np.ndarray, "n h w"]) -> list[Rle]:
    """Boolean masks as run-length masks, the same bytes as of `pycocotools.mask.encode`.

    That one keeps all other threads waiting, and reads pixels one by one; here numpy finds the edges.

    Args:
        pixels: (n, height, width).
    """
    return [_encode(one) for one in pixels]


def _encode(pixels: Bool[np.ndarray, "h w"]) -> Rle:
    height, width = pixels.shape
    columns = np.ascontiguousarray(pixels.T, dtype=bool).reshape(-1)
    if not len(columns):
        return _rle.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
    edges = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    first = [0, 0] if columns[0] else [0]  # runs begin with what is not set
    lengths = np.diff(np.concatenate([first, edges, [len(columns)]]))
    return _rle.frPyObjects({"size": [height, width], "counts": lengths}, height, width)


def mask_box(segmentation: Rle) -> list[float]:
    """The box [x, y, width, height] around a checked mask, in pixels; zeros around an empty one."""
    return [float(x) for x in _rle.toBbox(segmentation)]


def mask_area(segmentation: Rle) -> int:
    """The pixels of a checked mask."""
    return int(_rle.area(segmentation))


def empty_mask(height: int, width: int) -> CheckedMask:
    """A mask without pixels."""
    return _from_runs(np.array([height * width]), (height, width))


def box_masks(boxes: Any, height: int, width: int) -> list[CheckedMask]:
    """Boxes as masks, as far as they lie in the image.

    Args:
        boxes: n finite boxes [x, y, width, height] in pixels.
        height: Rows of the image.
        width: Columns of the image.
    """
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if not len(array):
        return []
    far = np.array([width, height])
    low = np.clip(np.nan_to_num(array[:, :2]), 0, far)
    high = np.clip(np.nan_to_num(array[:, :2] + array[:, 2:]), low, far)
    return [CheckedMask(one) for one in _rle.frPyObjects(np.concatenate([low, high - low], axis=1), height, width)]


def _read_runs(segmentation: dict[str, Any], height: int, width: int, any_size: bool) -> CheckedMask:
    size, counts = _size(segmentation), segmentation["counts"]
    if size is None or (size != (height, width) and not any_size):
        raise ValueError(_other_size(segmentation, height, width))
    if isinstance(segmentation, CheckedMask):
        return segmentation
    if isinstance(counts, (str, bytes)):
        runs = _decoded(counts, *size)
        if runs[1:].all():
            return CheckedMask(size=list(size), counts=counts)
        return _from_runs(runs, size)
    if not isinstance(counts, list):
        raise ValueError(f"a mask's counts are {shown(counts)}, neither text nor a list of runs")
    runs = _runs_of_list(counts)
    _check_runs(runs, *size)
    return _from_runs(runs, size)


def _from_runs(runs: np.ndarray, size: tuple[int, int]) -> CheckedMask:
    return CheckedMask(_rle.frPyObjects({"size": list(size), "counts": _folded(runs)}, *size))


def _decoded(counts: Any, height: int, width: int) -> np.ndarray:
    """The runs of compressed counts, which add up to the size."""
    runs = _runs_of_text(counts)
    _check_runs(runs, height, width)
    return runs


def _runs_of_text(counts: Any) -> np.ndarray:
    """The runs of compressed counts, whatever they add up to."""
    try:
        if not isinstance(counts, (str, bytes)):
            raise ValueError(f"counts are {shown(counts)}")
        runs, _, faults = decode([counts.encode("ascii") if isinstance(counts, str) else counts])
        if faults[0]:
            raise ValueError(FAULTS[faults[0]])
    except ValueError as error:
        raise ValueError(f"a mask's runs are damaged ({error})") from error
    return runs


def _runs_of_list(counts: list[Any]) -> np.ndarray:
    try:
        return np.asarray([read_number_id(run) for run in counts], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"a mask's runs are damaged ({error})") from error


def _check_runs(runs: np.ndarray, height: int, width: int) -> None:
    if len(runs) and int(runs.min()) < 0:
        raise ValueError("a mask's runs are damaged (one is negative)")
    # As float64 beside: a sum of 64-bit integers could wrap to the right one.
    total = float(runs.sum(dtype=np.float64))
    if total != height * width:
        raise ValueError(f"a mask's runs cover {total:.0f} pixels, the image has {height * width}")


def _folded(runs: np.ndarray) -> list[int]:
    """Runs without empty ones behind the first: where two masks have one at the same place, IoU ends too early."""
    folded = [int(runs[0])] if len(runs) else []
    pixel = 1
    for run in runs[1:].tolist():
        if run and len(folded) % 2 == pixel:
            folded.append(run)
        elif run:
            folded[-1] += run
        pixel = 1 - pixel
    return folded


def _size(segmentation: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width as a mask states them, if they can be ones."""
    size = segmentation.get("size")
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        return None
    height, width = size
    if type(height) is not int or type(width) is not int:
        try:
            height, width = read_number_id(height), read_number_id(width)  # as text too, as ids and runs may be
        except ValueError:
            return None
    if not (0 < height <= LARGEST_SIDE and 0 < width <= LARGEST_SIDE):
        return None
    return (height, width) if height * width <= LARGEST_IMAGE else None


def _other_size(segmentation: dict[str, Any], height: int, width: int) -> str:
    return f"a mask's size (height, width) is {shown(segmentation.get('size'))}, the image's is [{height}, {width}]"
