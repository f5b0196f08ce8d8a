"""Pictures of the world of nouns for people: the drawings of a style, and a page of scenes and phrases about them."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from litetext.data.nouns.phrases import Phrase, draw_phrases
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, SIZE, Scene, draw_scene
from litetext.data.nouns.sheet import CELL, drawings, find_style, styles
from litetext.data.options import check_minimum

_ZOOM = 2
_LINES = 3
_MARK = np.array((255, 40, 160))


def draw_sheet(style: str | int = 0, columns: int = 24) -> Image.Image:
    """A picture of all drawings of a style, in the order of their numbers."""
    cells = drawings()[find_style(style)]
    picture = Image.new("RGB", (columns * CELL, -(-len(cells) // columns) * CELL), (236, 236, 236))
    for number, cell in enumerate(cells):
        drawn = Image.fromarray(np.ascontiguousarray(cell))
        picture.paste(drawn, (number % columns * CELL, number // columns * CELL), drawn)
    return picture


def draw_page(items: Iterable[tuple[Scene, Phrase]], columns: int = 6) -> Image.Image:
    """A page of scenes, each with a phrase below it; what the phrase means is framed by its outline.

    Args:
        items: Scenes and phrases about them; a phrase that means nothing there is marked so.
        columns: Scenes in a row.
    """
    tiles = [_tile(scene, phrase) for scene, phrase in items]
    width, height = tiles[0].size
    page = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    for k, tile in enumerate(tiles):
        page.paste(tile, (k % columns * width, k // columns * height))
    return page


def _tile(scene: Scene, phrase: Phrase) -> Image.Image:
    image, masks = render(scene)
    large = image.repeat(_ZOOM, 0).repeat(_ZOOM, 1)
    for k in phrase.targets:
        mask = np.pad(masks[k].repeat(_ZOOM, 0).repeat(_ZOOM, 1), 2)
        inner = mask[2:-2, 2:-2]
        wide = np.logical_or.reduce([np.roll(mask, step, axis) for step in (-2, -1, 1, 2) for axis in (0, 1)])
        large[wide[2:-2, 2:-2] & ~inner] = _MARK
    side, font = SIZE * _ZOOM, ImageFont.load_default(11)
    tile = Image.new("RGB", (side + 8, side + 14 * _LINES + 8), "white")
    tile.paste(Image.fromarray(large), (4, 4))
    text = phrase.text if phrase.targets else f"{phrase.text} (nothing)"
    lines = wrap(text, 40)
    if len(lines) > _LINES:
        lines = [*lines[: _LINES - 1], lines[_LINES - 1][:37] + "..."]
    ImageDraw.Draw(tile).multiline_text((4, side + 6), "\n".join(lines), fill="black", font=font, spacing=2)
    return tile


def write_pictures(folder: str | Path, scenes: int = 24, seed: int = 0) -> Sequence[Path]:
    """Writes a picture of each style's drawings, and a page of held-out scenes.

    Args:
        folder: A folder that is not there yet, or is empty; its parent must be there.
        scenes: Scenes on the page.
        seed: Scenes and phrases follow from it.

    Returns:
        The files.

    Raises:
        ValueError: The folder holds something, or an option is out of its range.
        FileNotFoundError: There is no folder to write it in.
    """
    folder = Path(folder).expanduser()
    if not 1 <= scenes <= 1_000:
        raise ValueError(f"number is {scenes}; a page holds from 1 to 1000 scenes")
    check_minimum(0, seed=seed)
    if not folder.parent.is_dir():
        raise FileNotFoundError(
            f"no such folder: {folder.parent}; make it before pictures are written to {folder.name}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there and is no empty folder; name another folder")
    items = []
    for number in range(scenes):
        scene = draw_scene(FIRST_HELD_OUT + 1_000 * seed + number)
        rng = random.Random(f"page {seed} {number}")
        items += [(scene, phrase) for phrase in draw_phrases(scene, 1, rng, negatives=0.2)]
    pictures = {f"sheet_{style}.png": draw_sheet(style) for style in styles()}
    pictures["scenes.png"] = draw_page(items)
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / name)
    return [folder / name for name in pictures]
