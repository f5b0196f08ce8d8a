"""The sheet of nouns: what there is to draw, by whom it was drawn, and what it is called."""

import difflib
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

HOME = Path(__file__).parent
CELL = 48
"""Side of a drawing in the sheet in pixels."""
INNER = 46
"""Longest side of what is drawn in it."""


class Noun(NamedTuple):
    """A thing that can be drawn and named.

    Attributes:
        words: Its name, then its synonyms.
        categories: What it is a kind of, narrow ones first.
        rare: Its name is an uncommon word.
        open: It is neither named nor drawn in training.
        emoji: Hexadecimal code points of the emoji.
        names: Its name by language code: de, fr, es.
    """

    words: tuple[str, ...]
    categories: tuple[str, ...]
    rare: bool
    open: bool
    emoji: str
    names: dict[str, str]

    @property
    def name(self) -> str:
        """Its usual name."""
        return self.words[0]


class _Sheet(NamedTuple):
    nouns: tuple[Noun, ...]
    styles: tuple[str, ...]
    columns: int
    checksum: str


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"{path} is damaged ({why}); install litetext again")


@cache
def _table() -> _Sheet:
    path = HOME / "nouns.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        nouns = tuple(
            Noun(tuple(n["words"]), tuple(n["categories"]), n["rare"], n["open"], n["emoji"], n["names"])
            for n in content["nouns"]
        )
        return _Sheet(nouns, tuple(content["styles"]), content["columns"], content["checksum"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None


def nouns() -> tuple[Noun, ...]:
    """All nouns; those of training first, then the open ones. A noun's number is its position here.

    Raises:
        ValueError: The table is damaged.
    """
    return _table().nouns


def styles() -> tuple[str, ...]:
    """Names of the styles, one for each artist. The first is the one of training."""
    return _table().styles


@cache
def checksum() -> str:
    """Of the table and the drawings: what is drawn from."""
    _table()  # says what is damaged
    return hashlib.sha256((HOME / "nouns.json").read_bytes()).hexdigest()[:16]  # it holds that of the sheet


@cache
def core() -> int:
    """How many nouns training names and draws; the numbers from here on are open."""
    return sum(not noun.open for noun in nouns())


def find_style(style: str | int) -> int:
    """The number of a style given by name or number.

    Raises:
        ValueError: There is none such.
    """
    known = styles()
    if isinstance(style, str) and style in known:
        return known.index(style)
    if isinstance(style, int) and not isinstance(style, bool) and 0 <= style < len(known):
        return style
    raise ValueError(f"style is {style!r}; the sheet of nouns has {', '.join(known)} (0 to {len(known) - 1})")


def find_noun(word: str) -> int:
    """The number of the noun with this name or synonym.

    Raises:
        ValueError: There is none such.
    """
    known = {name: number for number, noun in enumerate(nouns()) for name in noun.words}
    if word in known:
        return known[word]
    near = difflib.get_close_matches(word, known, 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; it has {len(nouns())}, such as dog and pizza"
    raise ValueError(f"noun {word!r} is not in the sheet of nouns{hint}")


@cache
def drawings() -> np.ndarray:
    """The drawings, uint8 RGBA (styles, nouns, CELL, CELL, 4); read-only.

    Raises:
        ValueError: The sheet is damaged.
    """
    table, path = _table(), HOME / "sheet.webp"
    try:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGBA"))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from None
    if (found := hashlib.sha256(pixels.tobytes()).hexdigest()) != table.checksum:
        raise _damaged(path, f"its pixels have checksum {found[:12]}, not {table.checksum[:12]}")
    rows = -(-len(table.nouns) // table.columns)
    cells = pixels.reshape(len(table.styles), rows, CELL, table.columns, CELL, 4).swapaxes(2, 3)
    cells = cells.reshape(len(table.styles), rows * table.columns, CELL, CELL, 4)[:, : len(table.nouns)]
    cells.flags.writeable = False
    return cells


@cache
def _greys() -> np.ndarray:
    """Which drawings hold hardly any colour, bool (styles, nouns)."""
    cells = drawings().astype(np.int64)
    spread = (cells[..., :3].max(-1) - cells[..., :3].min(-1)) * (cells[..., 3] >= 128)
    shown = (cells[..., 3] >= 128).sum((-1, -2))
    return spread.sum((-1, -2)) < 36 * shown  # a mean difference of channels of 36 grey levels


def colourless(style: int, noun: int) -> bool:
    """Whether a drawing is grey by nature, so that it looks the same in black and white."""
    return bool(_greys()[style, noun])
