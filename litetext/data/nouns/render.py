"""Paints scenes of the world of nouns with integer arithmetic only: the same bytes on every machine."""

import math
from functools import cache

import numpy as np

from litetext.data.nouns.scenes import COLOURS, SIZE, Background, Scene, Sprite
from litetext.data.nouns.sheet import CELL, INNER, drawings, nouns

_RGB = np.array(
    [
        (214, 39, 40),
        (44, 160, 44),
        (40, 90, 220),
        (250, 215, 50),
        (140, 60, 190),
        (245, 130, 30),
        (245, 245, 245),
        (20, 20, 20),
    ],
    dtype=np.int32,
)
_BORDER = 5  # around a sprite: outline, and corners that turn out of their square
_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.int32)
_BLOTCHES = 8


def render(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Paints a scene.

    Args:
        scene: The scene.

    Returns:
        The image, uint8 RGB (SIZE, SIZE, 3), and for each sprite which pixels show it, bool (K, SIZE, SIZE). A
        sprite's mask is the drawing without card and outline, as far as nothing nearer hides it.

    Raises:
        ValueError: A noun, a style or a colour is not in the sheet, or the sheet is damaged.
    """
    image = _background(scene.background)
    masks = np.zeros((len(scene.sprites), SIZE, SIZE), dtype=bool)
    for position, sprite in enumerate(scene.sprites):
        tile, drawn = _tile(sprite)
        half = len(tile) // 2
        top, left = sprite.y - half, sprite.x - half
        rows, columns = (slice(*(min(max(end, 0), SIZE) for end in (first, first + 2 * half))) for first in (top, left))
        inside = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        tile, drawn = tile[inside], drawn[inside]
        alpha = tile[..., 3:]
        under = image[rows, columns]
        image[rows, columns] = (under * (255 - alpha) + 255 * tile[..., :3] + 127) // 255
        masks[:position, rows, columns] &= (alpha < 128)[..., 0]
        masks[position, rows, columns] = drawn
    return _noisy(image, scene.background), masks


def boxes(masks: np.ndarray) -> np.ndarray:
    """Boxes of masks, (K, S, S): left, top, right, bottom in pixels, int64 (K, 4); zeros where a mask is empty."""
    found = np.zeros((len(masks), 4), dtype=np.int64)
    for k, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            found[k] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return found


@cache
def _levels() -> tuple[np.ndarray, np.ndarray]:
    """The sheet at full and half size, colours multiplied by alpha, with a border of two pixels, as uint8."""
    cells = drawings().astype(np.int32)
    cells[..., :3] = (cells[..., :3] * cells[..., 3:] + 127) // 255
    pairs = cells[..., ::2, :, :] + cells[..., 1::2, :, :]
    halves = (pairs[..., ::2, :] + pairs[..., 1::2, :]) >> 2
    border = ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0))
    return np.pad(cells, border).astype(np.uint8), np.pad(halves, border).astype(np.uint8)


def _tile(sprite: Sprite) -> tuple[np.ndarray, np.ndarray]:
    """The sprite with card and outline, int32 premultiplied RGBA (T, T, 4), and its pixels, bool (T, T)."""
    _check(sprite)
    half = sprite.size // 2 + _BORDER
    tile = _sample(sprite, 2 * half)
    alpha = tile[..., 3].copy()
    if sprite.bw:
        tile[..., :3] = ((tile[..., :3] @ np.array((77, 150, 29), dtype=np.int32)) >> 8)[..., None]
    tile[..., :3] = np.minimum(tile[..., :3] * sprite.gain >> 8, tile[..., 3:])
    if sprite.outline is not None:
        _behind(tile, _around(alpha), sprite.outline)
    if sprite.card is not None:
        near = abs(2 * np.arange(2 * half) - 2 * half + 1) < 2 * (sprite.size // 2 + 2)
        _behind(tile, 255 * (near[:, None] & near).astype(np.int32), sprite.card)
    return tile, alpha >= 128


def _check(sprite: Sprite) -> None:
    sheet = drawings()
    if not 0 <= sprite.noun < sheet.shape[1]:
        raise ValueError(f"noun is {sprite.noun}; the sheet of nouns has 0 to {len(nouns()) - 1}")
    if not 0 <= sprite.style < sheet.shape[0]:
        raise ValueError(f"style is {sprite.style}; the sheet of nouns has 0 to {len(sheet) - 1}")
    for name in ("card", "outline"):
        if (colour := getattr(sprite, name)) is not None and colour not in COLOURS:
            raise ValueError(f"{name} is {colour!r}; it must be one of {', '.join(COLOURS)}")


def _sample(sprite: Sprite, side: int) -> np.ndarray:
    """The drawing turned, mirrored and scaled, int32 premultiplied RGBA (side, side, 4); bilinear, 16 bits."""
    small = sprite.size < 32
    level, cell = _levels()[small], CELL // 2 if small else CELL
    scale = (INNER // 2 if small else INNER) / sprite.size
    turn = math.radians(sprite.angle)
    cos, sin = round(math.cos(turn) * scale * 65536), round(math.sin(turn) * scale * 65536)
    steps = 2 * np.arange(side, dtype=np.int32) - side + 1
    across = steps if not sprite.flip else -steps
    u = ((cos * across + sin * steps[:, None]) >> 1) + ((cell - 1) << 15)
    v = ((-sin * across + cos * steps[:, None]) >> 1) + ((cell - 1) << 15)
    column, row = np.clip(u >> 16, -2, cell) + 2, np.clip(v >> 16, -2, cell) + 2
    right, down = ((u >> 8) & 255)[..., None], ((v >> 8) & 255)[..., None]
    flat = level[sprite.style, sprite.noun].reshape(-1, 4)
    first = row * (cell + 4) + column
    upper = flat[first] * (256 - right) + flat[first + 1] * right
    lower = flat[first + cell + 4] * (256 - right) + flat[first + cell + 5] * right
    return (upper * (256 - down) + lower * down + 32768) >> 16


def _around(alpha: np.ndarray) -> np.ndarray:
    """Coverage of two pixels around a drawing, 0 to 255."""
    wide = np.pad(alpha >= 100, 3)
    side = len(alpha)
    wide = np.logical_or.reduce([wide[:, k : k + side + 2] for k in range(5)])
    wide = np.logical_or.reduce([wide[k : k + side + 2] for k in range(5)]).astype(np.int32)
    soft = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    return (soft[:-2] + soft[1:-1] + soft[2:]) * 255 // 9


def _behind(tile: np.ndarray, cover: np.ndarray, colour: str) -> None:
    """Puts a colour behind what is painted already."""
    rest = (cover * (255 - tile[..., 3]) + 127) // 255
    tile[..., :3] += (rest[..., None] * _RGB[COLOURS.index(colour)] + 127) // 255
    tile[..., 3] += rest


def _random_bytes(seed: int, count: int) -> np.ndarray:
    """Bytes from the raw stream of PCG64, which numpy promises to keep."""
    raw = np.random.PCG64(seed).random_raw(-(-count // 8))
    return raw.astype("<u8").view(np.uint8)[:count]


@cache
def _spread() -> np.ndarray:
    """Weights that spread a coarse grid over the image, int32 (SIZE, _BLOTCHES); each row sums to 64."""
    place = np.arange(SIZE) * (_BLOTCHES - 1) * 64 // (SIZE - 1)
    distance = abs(place[:, None] - 64 * np.arange(_BLOTCHES))
    return np.maximum(64 - distance, 0).astype(np.int32)


def _background(background: Background) -> np.ndarray:
    """What is behind the objects, int32 (SIZE, SIZE, 3)."""
    turn = math.radians(background.angle)
    cos, sin = round(math.cos(turn) * 1024), round(math.sin(turn) * 1024)
    along = 128 + (cos * (2 * _X - SIZE + 1) + sin * (2 * _Y - SIZE + 1)) * 128 // (1449 * (SIZE - 1))
    along = along[..., None]
    image = (np.array(background.first, dtype=np.int32) * (256 - along)) + np.array(background.last, np.int32) * along
    image >>= 8
    strength = background.contrast
    if background.texture == "blotches":
        coarse = _random_bytes(background.seed, 3 * _BLOTCHES**2).astype(np.int32) - 128
        rows = (_spread() @ coarse.reshape(_BLOTCHES, -1)).reshape(SIZE, _BLOTCHES, 3)
        image += (_spread() @ rows) * (2 * strength) >> 19
    elif background.texture == "stripes":
        shift = background.seed % 12
        image += (((cos * _Y - sin * _X) // 1024 + shift) % 12 < 6)[..., None] * strength - strength // 2
    elif background.texture == "checks":
        image += (((_X // 9) ^ (_Y // 9)) & 1)[..., None] * strength - strength // 2
    return image


def _noisy(image: np.ndarray, background: Background) -> np.ndarray:
    raw = (
        _random_bytes(background.seed + 1 + background.grain, 2 * image.size).astype(np.int32).reshape(2, *image.shape)
    )
    image += (raw[0] + raw[1] - 255) * background.noise >> 7
    return np.clip(image, 0, 255).astype(np.uint8)
