"""Prompt corpora: read by name and path, unique within a source, counted, and split by a hash of the text.

The paper's audit counts prompts once a source and removes nothing across sources, and so does this file.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from litetext.data.prompts.layouts import READERS, find_layout

Split = Callable[[Sequence[str]], tuple[list[int], list[int]]]
"""Positions of prompts to train on and of those to hold out; a prompt's side depends on its text alone."""


@dataclass(frozen=True)
class PromptSource:
    """One corpus after reading.

    Args:
        name: The user's name for it.
        path: Where it was read from, as the user wrote it.
        kind: Which reader read it.
        prompts: The prompts, unique, in the order they were first seen.
        total: How many entries the files hold, repeats and empty ones included.
        empty: How many of them were rejected because nothing is left without white space and control
            characters.
        files: How many files were read.
    """

    name: str
    path: str
    kind: str
    prompts: list[str]
    total: int
    empty: int
    files: int = 1


class CountRow(NamedTuple):
    """One line of the table of counts."""

    source: str
    kind: str
    files: int
    total: int
    unique: int
    empty: int


def is_empty(prompt: str) -> bool:
    """True when a prompt has no visible character: only white space and control or format characters."""
    text = prompt.strip()
    if text[:1].isalnum():
        return False
    return all(c.isspace() or unicodedata.category(c) in ("Cc", "Cf") for c in text)


WORLDS = ("shapes", "nouns")
"""Worlds whose phrases are drawn: `shapes:N` and `nouns:N` need no file."""


def drawn_world(path: str) -> str | None:
    """The world that a source is drawn from (`nouns:500` from nouns), or None where it is a file or folder."""
    world, colon, _ = path.partition(":")
    return world if colon and world in WORLDS else None


def _drawn(name: str, path: str, world: str) -> Iterator[str]:
    count, _, rest = path.removeprefix(f"{world}:").partition(":")
    if not count.isdecimal() or int(count) < 1 or rest not in ("", "held_out"):
        raise ValueError(f"source {name!r}: {path!r} is not understood; write {world}:N or {world}:N:held_out")
    held_out = rest == "held_out"
    try:  # only who asks for a world needs that room
        if world == "nouns":
            from litetext.data.nouns.phrases import list_phrases

            yield from list_phrases(int(count), 0, "test" if held_out else "train")
        else:
            from litetext.data.shapes.world import phrases

            yield from phrases(int(count), 0, held_out=held_out)
    except ValueError as error:
        raise ValueError(f"source {name!r}: {path}: {error}") from None


def locate(name: str, path: str) -> tuple[Path, str]:
    """Checks that a corpus is there, and splits PATH#FIELD; a file whose own name holds a # is taken as it is.

    Args:
        name: The source's name, for the message.
        path: As `read_prompts` takes it, other than of a drawn world.

    Returns:
        The path, and the field or "".

    Raises:
        FileNotFoundError: Nothing lies at the path.
    """
    whole = Path(path).expanduser()
    if path and whole.exists():
        return whole, ""
    bare, mark, field = path.rpartition("#")
    located = Path(bare if mark else path).expanduser()
    if not (bare if mark else path) or not located.exists():
        raise FileNotFoundError(
            f"source {name!r}: there is nothing at {path!r}; give the file or folder of your copy of "
            "the corpus, or nouns:N or shapes:N for phrases that need none"
        )
    return located, field if mark else ""


def read_prompts(name: str, path: str) -> PromptSource:
    """Reads one corpus in its own layout.

    What lies at the path chooses the reader: an LVIS annotation file, a REFER folder (refcoco, refcoco+,
    refcocog) or one of its pickles, gRefCOCO's folder or its grefs(unc).json, a folder of RF100-VL data sets or any
    COCO-style file, SA-Co Gold, Silver or VEval files, text (one prompt a line), JSON lines, JSON or CSV; all but
    pickles also gzipped. Case and inner text are kept; only line ends are taken off. A NUL or another control
    character inside a prompt is text; the tokenizer drops it.

    Args:
        name: The source's name. One that is a reader's name (lvis, refcoco, grefcoco, rf100vl, saco_gold,
            saco_silver, saco_veval) asks for that reader where a path could be read in several ways.
        path: A file or folder; ``PATH#FIELD`` names a column of a CSV or a field of JSON (``categories.name``
            goes deeper). Fields of the known corpora: lvis ``paper`` (default: as the paper counts, 1,199),
            ``strip`` (1,198), ``raw`` (1,203), ``synonyms``; refcoco and grefcoco ``sent`` (default), ``raw``;
            rf100vl and other COCO-style files ``name`` (default, read as a data set's phrases are), ``raw``; saco_veval
            ``categories`` (default: all 51,248), ``pairs`` (only those that are paired with a released video).
            ``nouns:N`` and ``shapes:N`` are N phrases about drawn scenes and need no file; ``nouns:N:held_out`` and
            ``shapes:N:held_out`` hold what training never shows.

    Returns:
        The prompts and the counts.

    Raises:
        FileNotFoundError: Nothing lies at the path.
        ValueError: The layout is not known, a field is missing, a file is damaged, not UTF-8 or not plain
            data, or no prompt is left.
    """
    if (world := drawn_world(path)) is not None:
        kind, entries, files = world, _drawn(name, path, world), 0
    else:
        located, field = locate(name, path)
        layout = find_layout(name, located, field)
        kind, entries, files = layout.kind, READERS[layout.kind](layout.files, field), len(layout.files)
    unique: dict[str, None] = {}
    total = empty = 0
    for entry in entries:
        total += 1
        if not isinstance(entry, str):
            raise ValueError(f"source {name!r}: entry {total} of {path} is {type(entry).__name__}, not text")
        prompt = entry.strip("\r\n")
        if prompt in unique:
            continue
        if is_empty(prompt):
            empty += 1
            continue
        try:
            prompt.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"source {name!r}: entry {total} of {path} holds half a character ({prompt[error.start]!a}), "
                "which no text can; repair the file"
            ) from error
        unique[prompt] = None
    if not unique:
        raise ValueError(f"source {name!r}: {path} holds no prompt ({total} entries read, {empty} of them empty)")
    return PromptSource(name, path, kind, list(unique), total, empty, files)


def read_sources(sources: Mapping[str, str]) -> list[PromptSource]:
    """Reads several corpora; prompts that two of them share stay in both.

    Args:
        sources: Name to path, as `read_prompts` takes them.

    Returns:
        The sources in the mapping's order.

    Raises:
        FileNotFoundError: A path has nothing.
        ValueError: There are no sources, or one cannot be read.
    """
    if not sources:
        raise ValueError("sources is empty; give at least one, e.g. {'lvis': 'lvis_v1_train.json'}")
    return [read_prompts(name, path) for name, path in sources.items()]


def counts_table(sources: Iterable[PromptSource]) -> list[CountRow]:
    """Counts prompts a source.

    Args:
        sources: What `read_sources` gave.

    Returns:
        One row a source and, where there are several, a last row ``all`` with the sums (nothing is removed
        across sources, as in the paper's count of 404,796).
    """
    rows = [CountRow(s.name, s.kind, s.files, s.total, len(s.prompts), s.empty) for s in sources]
    if len(rows) > 1:
        sums = [sum(column) for column in zip(*(row[2:] for row in rows), strict=True)]
        rows.append(CountRow("all", "", *sums))
    return rows


def counts_text(sources: Iterable[PromptSource]) -> str:
    """The table of `counts_table` as aligned lines, to be printed.

    Args:
        sources: What `read_sources` gave.

    Returns:
        Lines joined by newlines, a header first.
    """
    rows = [CountRow._fields] + [
        tuple(f"{cell:,}" if isinstance(cell, int) else cell for cell in row) for row in counts_table(sources)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def check_val_sources(sources: Mapping[str, str], val_sources: Sequence[str]) -> None:
    """Refuses names of corpora to hold out whole that leave nothing, or are none.

    Args:
        sources: Name to path.
        val_sources: Names of those to hold out.

    Raises:
        ValueError: One is no source, or all are held out.
    """
    for name in val_sources:
        if name not in sources:
            raise ValueError(f"data.val_sources: {name!r} is no source; data.sources has {', '.join(sources)}")
    if val_sources and not set(sources) - set(val_sources):
        raise ValueError("data.val_sources holds out every source; leave one of data.sources to train on")


def arrange(
    sources: Sequence[PromptSource], val_sources: Sequence[str], val_fraction: float
) -> tuple[Iterator[str], Split]:
    """Puts the prompts of all sources in one order and says which to hold out.

    Args:
        sources: The sources.
        val_sources: Names of those to hold out whole, whatever their prompts' case and spacing in another source. They
            come first: of several prompts that a tokenizer cannot tell apart the first counts.
        val_fraction: Without names, the share to hold out by a hash of the text.

    Returns:
        The prompts, repeats among them, and what splits prompts as `split_prompts` does.
    """
    first = [source for source in sources if source.name in val_sources]
    rest = [source for source in sources if source.name not in val_sources]
    texts = chain.from_iterable(source.prompts for source in (*first, *rest))
    if not first:
        return texts, partial(split_prompts, val_fraction=val_fraction)
    held_out = {_spelling(prompt) for source in first for prompt in source.prompts}
    return texts, lambda prompts: _sides(_spelling(prompt) in held_out for prompt in prompts)


def split_prompts(prompts: Sequence[str], val_fraction: float, salt: str = "") -> tuple[list[int], list[int]]:
    """Splits prompts into training and validation by a hash of their text.

    A prompt's side depends on nothing but its text, `val_fraction` and `salt`: not on order, other prompts,
    sources or machine. Case and spacing are left out of the hash, because the tokenizer drops them and a
    prompt should not be trained on and validated in two spellings. A larger fraction only adds to the
    validation side.

    Args:
        prompts: The prompts, repeats allowed.
        val_fraction: Expected share of the validation side, 0 (none) up to but not including 1.
        salt: Any text; another salt gives another split.

    Returns:
        Positions in `prompts` of the training and of the validation side, ascending.

    Raises:
        ValueError: `val_fraction` is outside [0, 1).
    """
    if not 0.0 <= val_fraction < 1.0:
        raise ValueError(f"val_fraction={val_fraction} is outside [0, 1); 0.02 holds out one prompt in fifty")
    limit = int(val_fraction * 2**64)
    texts = (f"{salt}\n{_spelling(prompt)}".encode("utf-8", "surrogatepass") for prompt in prompts)
    return _sides(int.from_bytes(blake2b(text, digest_size=8).digest(), "big") < limit for text in texts)


def _sides(held_out: Iterable[bool]) -> tuple[list[int], list[int]]:
    sides: tuple[list[int], list[int]] = ([], [])
    for i, side in enumerate(held_out):
        sides[side].append(i)
    return sides


def _spelling(prompt: str) -> str:
    return " ".join(prompt.lower().split())
