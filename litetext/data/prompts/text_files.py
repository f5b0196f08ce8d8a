"""Text files as people save them: UTF-8 or marked UTF-16, with any line ends, plain or gzipped."""

import codecs
import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from litetext.files import RepeatedKeyError, parse_json

# UTF-32's mark begins with that of UTF-16, so that it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 4096


def is_gzipped(path: Path) -> bool:
    """Whether a file's name says that it is gzipped."""
    return path.suffix.lower() == ".gz"


def suffix(path: Path) -> str:
    """The suffix that says what a file holds, in lower case: of `prompts.txt.gz` it is `.txt`."""
    return (path.with_suffix("") if is_gzipped(path) else path).suffix.lower()


def read_text(path: Path) -> str:
    """Reads a text file: UTF-8 with or without a byte order mark, or UTF-16 and UTF-32 with one; `.gz` is unpacked.

    Raises:
        ValueError: The file is in another encoding (byte, offset and line are named), or not gzip, or cut short.
    """
    content = path.read_bytes()
    if is_gzipped(path):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unpacked ({error}): is it gzip, and complete?") from error
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", "utf-8"))
    if not mark and (found := _unmarked(content)):
        raise ValueError(
            f"{path} is not UTF-8: every other byte at its beginning is NUL, as in {found} without a byte order mark; "
            "save it as UTF-8"
        )
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        start = error.start + len(mark)
        line = content[len(mark) : start].decode(encoding, "replace").count("\n") + 1
        raise ValueError(
            f"{path} is not {encoding.upper()}: byte 0x{content[start]:02x} at offset {start}, line {line}; "
            "save it as UTF-8"
        ) from error


def _unmarked(content: bytes) -> str:
    """UTF-16 without its mark would pass as UTF-8 with a NUL in front of, or behind, each letter."""
    part = content[: min(_LOOKED_AT, len(content) // 2 * 2)]
    if not part:
        return ""
    if not any(part[1::2]):
        return "UTF-16-LE"
    return "" if any(part[::2]) else "UTF-16-BE"


def lines_of(text: str) -> Sequence[str]:
    r"""The lines of a text, without the one that the last line end would open.

    Lines end with \n or \r\n; with \r where there is no \n at all, as old Macs and some spreadsheets write. Everything
    else (U+2028, form feeds) is text.

    Args:
        text: What a file holds.

    Returns:
        The lines; a \r before \n stays at their end.
    """
    if not text:
        return ()
    end = "\r" if "\n" not in text and "\r" in text else "\n"
    return text.removesuffix(end).split(end)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ValueError: The file cannot be read as text or is not JSON, or a mapping names a key twice; the place is named.
    """
    try:
        return parse_json(read_text(path))
    except RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be a list of prompts") from error
