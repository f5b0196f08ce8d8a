"""Images much larger than the model's square, tile by tile: overlapping tiles, and one instance where several see it.

Slicing-aided inference (Akyon et al. 2022) with masks. An edge inside the image where a tile ends is a seam:

1. What a seam cuts off counts only if no other tile sees it away from all seams.
2. What two tiles find in the pixels that they share is one object if it is the same there (IoU of at least a half, in
   the assignment with the largest sum). Objects that no tile sees whole are put together from their parts.
3. The whole image, at the model's scale, decides about objects that no tile sees whole: its mask stands for several
   parts of one. About smaller objects the tiles decide, which see them better.
4. Of two masks that still overlap by more than a half (IoU), as when a tile predicts one object twice,
   the one with the higher score stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from litetext.metrics.matching import to_rle
from litetext.modules.selecting import distinct
from litetext.saco.instances import Instances
from litetext.saco.masks import Rle
from litetext.saco.segments import Segments

_SAME = 0.5


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        top: First row.
        left: First column.
        bottom: Row after the last.
        right: Column after the last.
        height: Rows of the whole image.
        width: Columns of the whole image.
    """

    top: int
    left: int
    bottom: int
    right: int
    height: int
    width: int

    def away_from_seams(self, box: tuple[int, int, int, int], margin: int) -> bool:
        """Whether a box (top, left, bottom, right) lies inside, `margin` pixels or more from all seams."""
        top, left, bottom, right = box
        return (
            (not self.top or top >= self.top + margin)
            and (not self.left or left >= self.left + margin)
            and (self.bottom == self.height or bottom <= self.bottom - margin)
            and (self.right == self.width or right <= self.right - margin)
        )


@dataclass
class Piece:
    """What one tile shows of an object.

    Attributes:
        tile: Position of the tile.
        score: From 0 to 1.
        box: x, y, width, height in pixels of the image, as the model says.
        mask: Pixels in the rows and columns of `place`, bool.
        place: Top, left, bottom, right of the mask in the image.
        cut: A seam of its tile cuts it.
    """

    tile: int
    score: float
    box: list[float]
    mask: np.ndarray
    place: tuple[int, int, int, int]
    cut: bool


def make_tiles(height: int, width: int, side: int, overlap: float) -> list[Tile]:
    """Squares that cover an image, row by row; the last of a row or column ends with the image.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        side: Of a tile in pixels; an image that is smaller has one of its own size.
        overlap: Minimum part of a tile's side that its neighbour shares, from 0 to below 1.
    """
    rows, columns = (_starts(length, side, overlap) for length in (height, width))
    return [Tile(y, x, min(y + side, height), min(x + side, width), height, width) for y in rows for x in columns]


def _starts(length: int, side: int, overlap: float) -> list[int]:
    if length <= side:
        return [0]
    step = max(1, int(side * (1 - overlap)))
    count = -(-(length - side) // step) + 1
    return [round(n * (length - side) / (count - 1)) for n in range(count)]


def pieces(found: Instances, number: int, tile: Tile, margin: int) -> list[Piece]:
    """The instances predicted in a tile, in the image's place; empty masks are left out.

    Args:
        found: From the model, for the tile.
        number: The tile's position.
        tile: The tile.
        margin: Pixels from a seam within which it cuts.
    """
    height, width = tile.bottom - tile.top, tile.right - tile.left
    made = []
    for score, (x, y, w, h), mask in zip(found.scores.tolist(), found.boxes.tolist(), found.masks, strict=True):
        rows, columns = (np.flatnonzero(mask.any(axis).cpu().numpy()) for axis in (1, 0))
        if not len(rows):
            continue
        top, left, bottom, right = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
        place = (tile.top + top, tile.left + left, tile.top + bottom, tile.left + right)
        box = [tile.left + x * width, tile.top + y * height, w * width, h * height]
        inside = mask[top:bottom, left:right].cpu().numpy().copy()
        made.append(Piece(number, score, box, inside, place, not tile.away_from_seams(place, margin)))
    return made


def join(phrase: str, parts: Sequence[Piece], whole: Sequence[Piece], tiles: Sequence[Tile], margin: int) -> Segments:
    """One instance for each object of a phrase.

    Args:
        phrase: The phrase.
        parts: What was predicted in the tiles, in any order.
        whole: What the whole image showed at once.
        tiles: All tiles.
        margin: As in `pieces`.
    """

    def seen_whole(place: tuple[int, int, int, int]) -> bool:
        return any(tile.away_from_seams(place, margin) for tile in tiles)

    kept = [piece for piece in parts if not piece.cut or not seen_whole(piece.place)]
    joined = [_one(group) for group in _groups(kept, tiles)]
    for large in (piece for piece in whole if not seen_whole(piece.place)):
        own = [piece for piece in joined if piece.cut and _shared(piece, large) >= _SAME * piece.mask.sum()]
        union = (
            sum(int(piece.mask.sum()) for piece in own) + int(large.mask.sum()) - sum(_shared(p, large) for p in own)
        )
        if len(own) == 1 and _shared(own[0], large) >= _SAME * union:
            own[0].score = max(own[0].score, large.score)  # the parts have the finer mask
            continue
        joined = [piece for piece in joined if not any(piece is other for other in own)] + [large]
    joined.sort(key=lambda piece: -piece.score)
    size = (tiles[0].height, tiles[0].width)
    masks = [_code(piece, size) for piece in joined]
    scores = [piece.score for piece in joined]
    found = Segments(phrase, scores, [piece.box for piece in joined], masks, size)
    return found.take(distinct(scores, masks, _SAME))


def _groups(parts: Sequence[Piece], tiles: Sequence[Tile]) -> list[list[Piece]]:
    """Pieces of one object together, each object's in one list."""
    leader = list(range(len(parts)))

    def find(n: int) -> int:
        while leader[n] != n:
            n = leader[n]
        return n

    by_tile: dict[int, list[int]] = {}
    for n, piece in enumerate(parts):
        by_tile.setdefault(piece.tile, []).append(n)
    for a, b in combinations(sorted(by_tile), 2):
        one, other = tiles[a], tiles[b]
        common = (
            *(max(one.top, other.top), max(one.left, other.left)),
            *(min(one.bottom, other.bottom), min(one.right, other.right)),
        )
        if common[0] >= common[2] or common[1] >= common[3]:
            continue
        ious = np.zeros((len(by_tile[a]), len(by_tile[b])))
        for i, n in enumerate(by_tile[a]):
            for j, m in enumerate(by_tile[b]):
                shared = _shared(parts[n], parts[m])
                if shared:
                    ious[i, j] = shared / (_within(parts[n], common) + _within(parts[m], common) - shared)
        for i, j in zip(*linear_sum_assignment(ious, maximize=True), strict=True):
            if ious[i, j] >= _SAME:
                leader[find(by_tile[b][j])] = find(by_tile[a][i])
    groups: dict[int, list[Piece]] = {}
    for n, piece in enumerate(parts):
        groups.setdefault(find(n), []).append(piece)
    return list(groups.values())


def _one(group: list[Piece]) -> Piece:
    """The surest that is seen whole, or else all parts put together, with the highest score."""
    entire = [piece for piece in group if not piece.cut]
    if entire or len(group) == 1:
        return max(entire or group, key=lambda piece: piece.score)
    corners = np.array([piece.place for piece in group])
    top, left, bottom, right = (*map(int, corners[:, :2].min(0)), *map(int, corners[:, 2:].max(0)))
    mask = np.zeros((bottom - top, right - left), dtype=bool)
    for piece in group:
        y, x, to_y, to_x = piece.place
        mask[y - top : to_y - top, x - left : to_x - left] |= piece.mask
    box = [float(left), float(top), float(right - left), float(bottom - top)]
    return Piece(-1, max(piece.score for piece in group), box, mask, (top, left, bottom, right), True)


def _shared(one: Piece, other: Piece) -> int:
    """Pixels of both."""
    top, left = (max(one.place[n], other.place[n]) for n in (0, 1))
    bottom, right = (min(one.place[n], other.place[n]) for n in (2, 3))
    if top >= bottom or left >= right:
        return 0
    common = (top, left, bottom, right)
    return int((_part(one, common) & _part(other, common)).sum())


def _within(piece: Piece, common: tuple[int, ...]) -> int:
    return int(_part(piece, common).sum())


def _part(piece: Piece, common: tuple[int, ...]) -> np.ndarray:
    top, left, _, _ = piece.place
    return piece.mask[
        max(0, common[0] - top) : max(0, common[2] - top), max(0, common[1] - left) : max(0, common[3] - left)
    ]


def _code(piece: Piece, size: tuple[int, int]) -> Rle:
    full = torch.zeros(1, *size, dtype=torch.bool)
    top, left, bottom, right = piece.place
    full[0, top:bottom, left:right] = torch.from_numpy(piece.mask)
    return to_rle(full)[0]
