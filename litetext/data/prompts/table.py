"""Prompts, their token rows, their permutations and their split, in flat arrays that processes share as mapped files.

A million prompts take some 60 MB this way, once a machine: what each process adds lies beside it.
"""

import ctypes
import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from litetext.checkpoints.hub_tokenizer import AnyTokenizer
from litetext.data.permutation import Mode, permute
from litetext.data.prompts.augment import recombine
from litetext.data.prompts.corpora import Split
from litetext.tokenizer.token_rows import TokenRows, order_keys

_PIECE = 1 << 16


class Texts(Sequence[str]):
    """Strings end to end in one array.

    Attributes:
        data: Their UTF-8, uint8 (bytes,).
        bounds: Where each begins, and the end, int64 (count + 1,).
    """

    def __init__(self, data: np.ndarray, bounds: np.ndarray) -> None:
        """Takes arrays as they are."""
        self.data, self.bounds = data, bounds

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Texts":
        """Lays strings end to end; half surrogate pairs are kept."""
        pieces = [np.zeros(0, np.uint8)]
        lengths = np.empty(len(texts), dtype=np.int64)
        for first in range(0, len(texts), _PIECE):
            piece = [text.encode("utf-8", "surrogatepass") for text in texts[first : first + _PIECE]]
            lengths[first : first + len(piece)] = [len(text) for text in piece]
            pieces.append(np.frombuffer(b"".join(piece), dtype=np.uint8))
        return cls(np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        """Number of strings."""
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One string, or several.

        Raises:
            IndexError: No such string.
        """
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self)} prompts, no prompt {index}")
        index %= len(self)
        return bytes(self.data[self.bounds[index] : self.bounds[index + 1]]).decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        """Whether other strings are the same, be they a list."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]


class SomeRows(Mapping[int, list[int]]):
    """Token rows that some prompts have and others have not.

    Attributes:
        numbers: Numbers of the prompts that have one, ascending, int64.
        rows: Their rows.
    """

    def __init__(self, numbers: np.ndarray, rows: TokenRows) -> None:
        """Takes arrays as they are."""
        self.numbers, self.rows = numbers, rows

    def place(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which row each of some prompts has, int64; -1 for none."""
        numbers = np.asarray(numbers, dtype=np.int64)
        if not len(self.numbers):
            return np.full(len(numbers), -1)
        at = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[at] == numbers, at, -1)

    def __getitem__(self, number: int) -> list[int]:
        """The row of a prompt.

        Raises:
            KeyError: It has none.
        """
        place = int(self.place([number])[0])
        if place < 0:
            raise KeyError(number)
        return self.rows[place]

    def __iter__(self) -> Iterator[int]:
        """Numbers of the prompts that have a row."""
        return iter(self.numbers.tolist())

    def __len__(self) -> int:
        """How many have one."""
        return len(self.numbers)


class PromptTable(NamedTuple):
    """All prompts of a run.

    Attributes:
        prompts: Their texts.
        rows: Their token rows, all different.
        permuted: The rows of their fixed permutations, of those that have one.
        train: Numbers of the prompts to train on, ascending, int64.
        val: Numbers of the held-out prompts, ascending, int64.
    """

    prompts: Texts
    rows: TokenRows
    permuted: SomeRows
    train: np.ndarray
    val: np.ndarray

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        tokenizer: AnyTokenizer,
        reordered: AnyTokenizer,
        mode: Mode | None,
        split: Split,
        most: int | None = None,
    ) -> "PromptTable":
        """Tokenizes, splits and permutes prompts, a piece at a time.

        Args:
            texts: The prompts; of several with one token row the first counts.
            tokenizer: Cuts them, or refuses them.
            reordered: Cuts permutations.
            mode: How prompts are permuted, with seed 0; None for not at all.
            split: Which of them are held out.
            most: Keep only so many prompts, the first by hash.
        """
        prompts = list(dict.fromkeys(texts))
        rows = _encoded(tokenizer, prompts)
        kept = _first_of_each(rows)
        if most is not None and most < len(kept):
            kept = kept[first_by_hash([prompts[i] for i in kept], most)]
        prompts, rows = [prompts[i] for i in kept], rows.take(kept)
        train, val = (np.asarray(side, dtype=np.int64) for side in split(prompts))
        return cls(Texts.of(prompts), rows, _permuted(prompts, rows, reordered, mode), train, val)

    def augmented(
        self, count: int, seed: int, tokenizer: AnyTokenizer, reordered: AnyTokenizer, mode: Mode | None, split: Split
    ) -> "PromptTable":
        """The table with new phrases of the training prompts' own words behind its prompts, to train on.

        None is a held-out prompt, a permutation of one, or a phrase that `split` would hold out, in any spelling that
        gives the same tokens; and none is too long for a tokenizer that refuses such prompts.

        Args:
            count: How many phrases are wanted; see `recombine`.
            seed: Seed of the draw.
            tokenizer: As for `build`, and so are the others.
            reordered: Cuts permutations.
            mode: How prompts are permuted.
            split: As for `build`.
        """
        longer = tokenizer.cut_to(tokenizer.context_length + 1) if tokenizer.overflow == "error" else None

        def refused(phrase: str) -> bool:
            too_long = longer is not None and len(longer.encode([phrase])[0]) > tokenizer.context_length
            return too_long or bool(split([phrase])[1])

        made = recombine([self.prompts[i] for i in self.train.tolist()], count, seed, refused)
        rows = _encoded(tokenizer, made)
        of_val = self.permuted.place(self.val)
        known = self.rows.joined(self.permuted.rows.take(of_val[of_val >= 0]))
        kept = _first_of_each(known.joined(rows))
        kept = kept[kept >= len(known)] - len(known)
        made, rows = [made[i] for i in kept.tolist()], rows.take(kept)
        moved, before = _permuted(made, rows, reordered, mode), len(self.rows)
        return PromptTable(
            Texts.of([*self.prompts, *made]),
            self.rows.joined(rows),
            SomeRows(
                np.concatenate([self.permuted.numbers, moved.numbers + before]), self.permuted.rows.joined(moved.rows)
            ),
            np.concatenate([self.train, np.arange(before, before + len(made))]),
            self.val,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {
            "texts": self.prompts.data,
            "text_bounds": self.prompts.bounds,
            "ids": self.rows.ids,
            "bounds": self.rows.bounds,
            "moved": self.permuted.numbers,
            "moved_ids": self.permuted.rows.ids,
            "moved_bounds": self.permuted.rows.bounds,
            "train": self.train,
            "val": self.val,
        }

    def save(self, folder: Path) -> None:
        """Writes one file an array.

        Raises:
            OSError: The disk is full.
        """
        for name, array in self.arrays().items():
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> "PromptTable":
        """Maps the files that `save` wrote; they may be deleted then."""

        def mapped(name: str) -> np.ndarray:
            found = np.load(folder / f"{name}.npy", mmap_mode=None if name in ("train", "val") else "r")
            return found.view(np.ndarray)  # indexes faster than the subclass

        rows = TokenRows(mapped("ids"), mapped("bounds"))
        permuted = SomeRows(mapped("moved"), TokenRows(mapped("moved_ids"), mapped("moved_bounds")))
        return cls(Texts(mapped("texts"), mapped("text_bounds")), rows, permuted, mapped("train"), mapped("val"))


def is_permutation(row: list[int], of: list[int]) -> bool:
    """Whether a row has the tokens of another in another order: a cut prompt may lose other words in another order."""
    return row != of and sorted(row) == sorted(of)


def first_by_hash(prompts: Sequence[str], count: int) -> list[int]:
    """Positions of the prompts whose text has the least hash, ascending.

    Args:
        prompts: Texts.
        count: How many.
    """
    digests = [blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).digest() for prompt in prompts]
    return sorted(sorted(range(len(prompts)), key=digests.__getitem__)[:count])


def give_back() -> None:
    """Gives memory that is free in this process back to the system, where the C library can."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _pieces(count: int) -> Iterator[slice]:
    return (slice(first, first + _PIECE) for first in range(0, count, _PIECE))


def _encoded(tokenizer: AnyTokenizer, prompts: Sequence[str]) -> TokenRows:
    return TokenRows.concatenated(tokenizer.rows(prompts[piece]) for piece in _pieces(len(prompts)))


def _first_of_each(rows: TokenRows) -> np.ndarray:
    # "Dog" and "dog" are one prompt to every encoder; two would be each other's nearest neighbour.
    keys = rows.keys()
    order = order_keys(keys)
    sorted_keys = keys[order]
    new = np.ones(len(keys), dtype=bool)
    new[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(1)
    return np.sort(order[new])


def _permuted(prompts: Sequence[str], rows: TokenRows, reordered: AnyTokenizer, mode: Mode | None) -> SomeRows:
    numbers: list[np.ndarray] = []
    parts: list[TokenRows] = []
    for piece in _pieces(len(prompts) if mode is not None else 0):
        texts = [permute(prompt, 0, mode or "swap") for prompt in prompts[piece]]
        moved = [k for k, (text, prompt) in enumerate(zip(texts, prompts[piece], strict=True)) if text != prompt]
        found = reordered.rows([texts[k] for k in moved])
        first, before = piece.start, list(rows[piece])
        good = [is_permutation(row, before[k]) for k, row in zip(moved, found, strict=True)]
        numbers.append(first + np.asarray(moved, dtype=np.int64)[good])
        parts.append(found.take(np.flatnonzero(good)))
    return SomeRows(np.concatenate([np.zeros(0, np.int64), *numbers]), TokenRows.concatenated(parts))
