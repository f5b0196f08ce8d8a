"""Token rows of many prompts in two flat arrays, which may lie in memory or in a mapped file."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import overload

import numpy as np

from litetext.garbage import no_collection

_PIECE = 1 << 20


class TokenRows(Sequence[list[int]]):
    """Token ids of prompts, end to end.

    A row costs its ids and eight bytes, where a list of lists takes some hundred bytes more.

    Attributes:
        ids: Token ids of all rows, int32 (tokens,).
        bounds: Where each row begins, and the end of the last, int64 (count + 1,).
    """

    def __init__(self, ids: np.ndarray, bounds: np.ndarray) -> None:
        """Takes arrays as they are, without a copy.

        Args:
            ids: Token ids of all rows, int32.
            bounds: First token of each row, and the end.
        """
        self.ids, self.bounds = ids, bounds

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> "TokenRows":
        """Token rows of lists; TokenRows are given back as they are."""
        if isinstance(rows, TokenRows):
            return rows
        rows = list(rows)
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        bounds = _bounds(lengths)
        return cls(np.fromiter(chain.from_iterable(rows), dtype="<i4", count=int(bounds[-1])), bounds)

    @classmethod
    def concatenated(cls, parts: Iterable["TokenRows"]) -> "TokenRows":
        """The rows of all parts, in order."""
        parts = list(parts)
        lengths = np.concatenate([np.zeros(0, np.int64), *(part.lengths for part in parts)])
        ids = np.concatenate([np.zeros(0, "<i4"), *(part.ids for part in parts)])
        return cls(ids, _bounds(lengths))

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> "TokenRows": ...
    def __getitem__(self, index: int | slice) -> "list[int] | TokenRows":
        """One row, or several.

        Raises:
            IndexError: No such row.
        """
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index, count = int(index), len(self.bounds) - 1
        if not -count <= index < count:
            raise IndexError(f"there are {count} rows, no row {index}")
        index %= count
        return self.ids[self.bounds[index] : self.bounds[index + 1]].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        """The rows, in order."""
        for first in range(0, len(self), 4096):
            yield from self._lists(first, 4096)

    def tolist(self) -> list[list[int]]:
        """The rows as lists."""
        with no_collection():
            return self._lists(0, len(self))

    def _lists(self, first: int, count: int) -> list[list[int]]:
        bounds = self.bounds[first : first + count + 1]
        ids = self.ids[bounds[0] : bounds[-1]].tolist()
        return [ids[start:end] for start, end in pairwise((bounds - bounds[0]).tolist())]

    def __eq__(self, other: object) -> bool:
        """Whether other rows are the same, be they lists."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == list(b) for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (count,)."""
        return np.diff(self.bounds)

    def take(self, index: Sequence[int] | np.ndarray) -> "TokenRows":
        """Some rows, in the order given."""
        index = np.asarray(index, dtype=np.int64)
        lengths = self.bounds[index + 1] - self.bounds[index]
        bounds = _bounds(lengths)
        return TokenRows(self.ids[np.repeat(self.bounds[index] - bounds[:-1], lengths) + np.arange(bounds[-1])], bounds)

    def joined(self, others: "TokenRows") -> "TokenRows":
        """These rows and then others."""
        ids = np.concatenate([self.ids, others.ids])
        return TokenRows(ids, np.concatenate([self.bounds, others.bounds[1:] + self.bounds[-1]]))

    def cut(self, most: int, end: int) -> "TokenRows":
        """The first ids of each row.

        Args:
            most: Ids that a row keeps at most, 1 or more.
            end: What the last id of a row that was longer becomes.
        """
        lengths = self.lengths
        kept = np.minimum(lengths, most)
        bounds = _bounds(kept)
        ids = self.ids[np.repeat(self.bounds[:-1] - bounds[:-1], kept) + np.arange(bounds[-1])]
        ids[bounds[1:][lengths > most] - 1] = end
        return TokenRows(ids, bounds)

    def keys(self) -> np.ndarray:
        """Content of each row as a number of 128 bits: two uint64, (count, 2)."""
        found = bytearray()
        for row in self._bytes():
            found += hashlib.blake2b(row, digest_size=16).digest()
        return np.frombuffer(bytes(found), dtype="<u8").reshape(-1, 2)

    def _bytes(self) -> Iterator[memoryview]:
        for first in range(0, len(self), _PIECE):
            bounds = self.bounds[first : first + _PIECE + 1].tolist()
            data = memoryview(np.ascontiguousarray(self.ids[bounds[0] : bounds[-1]], dtype="<i4").tobytes())
            for start, end in pairwise(bounds):
                yield data[(start - bounds[0]) * 4 : (end - bounds[0]) * 4]

    def digest(self) -> str:
        """SHA-256 over the rows in order: the lengths as int32, then the ids as int64."""
        digest = hashlib.sha256()
        for first in range(0, len(self), _PIECE):
            digest.update(np.diff(self.bounds[first : first + _PIECE + 1]).astype("<i4").tobytes())
        for first in range(0, len(self.ids), _PIECE):
            digest.update(self.ids[first : first + _PIECE].astype("<i8").tobytes())
        return digest.hexdigest()


def _bounds(lengths: np.ndarray) -> np.ndarray:
    """Where rows of these lengths begin, and the end of the last."""
    bounds = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=bounds[1:])
    return bounds


def order_keys(keys: np.ndarray) -> np.ndarray:
    """The order that sorts hashes of rows, uint64 (n, 2); equal ones keep theirs."""
    return np.lexsort((keys[:, 1], keys[:, 0]))


def find_keys(table: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Where hashes stand in a sorted table.

    Args:
        table: Sorted by `order_keys`, uint64 (m, 2), m at least 1.
        keys: What is looked for, uint64 (n, 2).

    Returns:
        The first place of each, -1 where it is not there, int64 (n,).
    """
    place = np.searchsorted(table[:, 0], keys[:, 0])
    while True:
        at = np.minimum(place, len(table) - 1)
        same = (place < len(table)) & (table[at, 0] == keys[:, 0])
        other = same & (table[at, 1] != keys[:, 1])
        if not other.any():  # as nearly always: rows that share the first half of the hash are rare
            return np.where(same, at, -1)
        place = place + other
