"""Masks as polygons along the edges of their pixels: exact, so that drawing them gives the mask again.

A polygon knows no holes. A hole is joined to its outline by a slit of no width, which every renderer that fills by
even-odd or winding leaves closed; where one polygon an object is asked for, its parts are joined in the same way.
"""

import numpy as np
from jaxtyping import Bool, Int64
from scipy.ndimage import label
from scipy.spatial import KDTree

Ring = Int64[np.ndarray, "n 2"]
"""Corners x, y of a closed line, in pixels from the image's upper left corner; the first is not repeated."""


def polygons(mask: Bool[np.ndarray, "h w"]) -> list[Ring]:
    """Outlines of a mask, one for each part that hangs together by edges of pixels.

    Args:
        mask: One object.

    Returns:
        Rings, clockwise as seen, the largest first; none for an empty mask.
    """
    inside = np.pad(mask.astype(bool), 1)
    numbers, count = label(inside)  # pyright: ignore[reportGeneralTypeIssues]
    outer: dict[int, np.ndarray] = {}
    holes: dict[int, list[np.ndarray]] = {}
    for ring, pixel in _rings(inside):
        part = int(numbers[pixel])
        if _area(ring) > 0:
            outer[part] = ring
        else:
            holes.setdefault(part, []).append(ring)
    found = []
    for part in range(1, count + 1):
        ring = outer[part]
        for hole in sorted(holes.get(part, []), key=_area):
            ring = _slit(ring, hole)
        found.append(ring - 1)
    return sorted(found, key=_area, reverse=True)


def one_polygon(rings: list[Ring]) -> Ring:
    """Several outlines as one, joined by slits of no width.

    Args:
        rings: At least one.
    """
    whole = rings[0]
    for ring in rings[1:]:
        whole = _slit(whole, ring)
    return whole


def _rings(inside: np.ndarray) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """Closed lines between inside and outside with the inside on their right, each with one of its inner pixels."""
    following: dict[tuple[int, int], dict[tuple[int, int], tuple[int, int]]] = {}
    # Between (row - 1, column) and (row, column); to the right where the lower one is inside.
    for y, x in np.argwhere(inside[1:] != inside[:-1]).tolist():
        lower = inside[y + 1, x]
        start, step = ((x, y + 1), (1, 0)) if lower else ((x + 1, y + 1), (-1, 0))
        following.setdefault(start, {})[step] = (y + 1 if lower else y, x)
    # Between (row, column - 1) and (row, column); upwards where the right one is inside.
    for y, x in np.argwhere(inside[:, 1:] != inside[:, :-1]).tolist():
        right = inside[y, x + 1]
        start, step = ((x + 1, y + 1), (0, -1)) if right else ((x + 1, y), (0, 1))
        following.setdefault(start, {})[step] = (y, x + 1 if right else x)
    rings = []
    while following:
        start = place = next(iter(following))
        step = next(iter(following[place]))
        pixel = following[place][step]
        first, corners = step, []
        while True:
            del following[place][step]
            if not following[place]:
                del following[place]
            place = (place[0] + step[0], place[1] + step[1])
            # Where two pixels touch at a corner alone, turning right stays with the own one.
            turns = ((-step[1], step[0]), step, (step[1], -step[0]))
            if place == start and (place not in following or not any(turn in following[place] for turn in turns)):
                if step != first:
                    corners.append(place)
                break
            after = next(turn for turn in turns if turn in following[place])
            if after != step:
                corners.append(place)
            step = after
        rings.append((np.array(corners, dtype=np.int64), pixel))
    return rings


def _area(ring: np.ndarray) -> float:
    """Positive where the ring runs clockwise as seen (y points down)."""
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def _slit(ring: np.ndarray, other: np.ndarray) -> np.ndarray:
    """One line along both, over their nearest corners and back."""
    distances, nearest = KDTree(ring).query(other)
    j = int(np.argmin(distances))
    i = int(np.asarray(nearest)[j])
    return np.concatenate([ring[: i + 1], other[j:], other[: j + 1], ring[i:]])
