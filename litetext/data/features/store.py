"""The store of teacher features: by token row, in half precision, one folder for all corpora of a teacher.

A feature is found by the hash of its token row, in a folder that is named by whatever else decides it
(:class:`~litetext.data.features.manifest.StoreKey`). What any run has encoded is known to all later ones: of other
corpora, splits, seeds and permutations only the rows that nobody has encoded are new. The folder holds shards
(:mod:`litetext.data.features.shards`), which appear whole by a rename; :mod:`litetext.data.features.fill` makes them.

The reference trainer stores padded rows of a fixed length with neither lengths nor origin beside them, and
reads misaligned features without a word when the context length changes.
"""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, Int64
from torch import Tensor

from litetext.data.features.manifest import StoreKey
from litetext.data.features.shards import DamagedShard, Shard, open_shard, shard_files
from litetext.tokenizer.token_rows import TokenRows, find_keys, order_keys

__all__ = ["FeatureStore", "ShardIndex"]


class ShardIndex:
    """The shards of a folder and where each token row lies in them.

    Attributes:
        path: The folder.
        key: What it holds.
        shards: Those that were readable when :meth:`refresh` last looked, oldest first.
    """

    def __init__(self, path: Path, key: StoreKey) -> None:
        """Looks at nothing yet.

        Args:
            path: The folder, which need not be there.
            key: What it holds.
        """
        self.path, self.key = path, key
        self.shards: list[Shard] = []
        self._known: dict[str, Shard] = {}
        self._table: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def refresh(self) -> list[Shard]:
        """Opens shards that have appeared, and gives them.

        A damaged one is named in a warning and removed, so that its rows are encoded again.

        Raises:
            ValueError: A shard is of another store.
        """
        new: list[Shard] = []
        for entry in shard_files(self.path) if self.path.is_dir() else ():
            if entry.name in self._known:
                continue
            path = self.path / entry.name
            try:
                new.append(open_shard(path, self.key))
            except FileNotFoundError:
                continue
            except DamagedShard as error:
                _remove(path, None, error)
                continue
            self._known[entry.name] = new[-1]
        if new:
            self.shards = sorted(self._known.values(), key=lambda shard: shard.age)
            self._table = None
        return new

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where rows lie.

        Args:
            keys: Hashes of the rows, uint64 (n, 2).

        Returns:
            For each row the number of its shard in `shards` and its place in it, int64 (n,) each; -1 where no shard
            holds it.
        """
        if not self.shards:
            return np.full(len(keys), -1), np.full(len(keys), -1)
        if self._table is None:
            counts = np.cumsum([0, *(len(shard.keys) for shard in self.shards)])
            joined = np.concatenate([shard.keys for shard in self.shards])
            order = order_keys(joined)  # stable: of two shards with a row the older one comes first
            self._table = (joined[order], order, counts)
        table, order, counts = self._table
        place = find_keys(table, keys)
        number = order[place]
        shard = np.searchsorted(counts, number, side="right") - 1
        return np.where(place < 0, -1, shard), np.where(place < 0, -1, number - counts[shard])

    def verify(self, numbers: Iterable[int]) -> bool:
        """Reads the features of some shards and compares their checksums; whether all hold.

        A damaged one is named in a warning, removed and forgotten.
        """
        damaged = []
        for number in numbers:
            try:
                self.shards[number].verify()
            except DamagedShard as error:
                damaged.append(self.shards[number])
                _remove(damaged[-1].path, damaged[-1].identity, error)
        for shard in damaged:
            del self._known[shard.path.name]
            self.shards.remove(shard)
            self._table = None
        return not damaged


class FeatureStore:
    """Teacher features of the token rows of one run, read from mapped shards.

    Attributes:
        path: The folder.
        key: What it holds.
        lengths: Tokens of each row, int64 (rows,).
        encoded: Rows that no shard held before this store was filled.
        reused: Rows that were known.
    """

    def __init__(self, index: ShardIndex, shards: np.ndarray, places: np.ndarray, encoded: int = 0) -> None:
        """Takes rows that have been found, in verified shards.

        Args:
            index: The folder's shards.
            shards: Number of the shard of each row, (rows,).
            places: Its place in that shard, (rows,).
            encoded: Rows that were encoded for this store.
        """
        self.path, self.key = index.path, index.key
        used, self._shard = np.unique(shards, return_inverse=True)
        chosen = [index.shards[number] for number in used]
        self._values = [shard.features for shard in chosen]
        self._start, self.lengths = np.empty(len(shards), np.int64), np.empty(len(shards), np.int64)
        for number, shard in enumerate(chosen):
            mine = self._shard == number
            self._start[mine] = shard.starts[places[mine]]
            self.lengths[mine] = shard.starts[places[mine] + 1] - self._start[mine]
        self._shard = self._shard.astype(np.int32)
        self.encoded, self.reused = encoded, len(shards) - encoded

    @classmethod
    def open(cls, path: str | Path, rows: Iterable[Sequence[int]], key: StoreKey) -> "FeatureStore":
        """Opens the features of some token rows, all of which must be there.

        Args:
            path: Folder of the store.
            rows: Token ids of each prompt, unpadded.
            key: What the store holds.

        Raises:
            FileNotFoundError: Some rows are not there, or lay in a shard that is damaged.
            ValueError: A shard is of another store.
        """
        rows, index = TokenRows.of(rows), ShardIndex(Path(path), key)
        index.refresh()
        keys = rows.keys()
        shards, places = index.find(keys)
        if not index.verify(np.unique(shards[shards >= 0]).tolist()):
            shards, places = index.find(keys)
        missing = int((shards < 0).sum())
        if missing:
            raise FileNotFoundError(f"{path} lacks the features of {missing:,} of {len(rows):,} token rows: fill it")
        return cls(index, shards, places)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    @property
    def bytes(self) -> int:
        """Size of the features of these rows in bytes."""
        return int(self.lengths.sum()) * self.key.width * 2

    def __getitem__(self, index: int) -> np.ndarray:
        """Features of one row, float16 ``(n, width)``, a copy.

        Raises:
            IndexError: No such row.
        """
        start = self._start[index]
        return self._values[self._shard[index]][start : start + self.lengths[index]].copy()

    def gather(
        self, indices: Iterable[int] | np.ndarray | Tensor
    ) -> tuple[Float16[Tensor, "n width"], Int64[Tensor, " b"]]:
        """Features of some rows, one after the other.

        Args:
            indices: The rows, ``(b,)``, in any order, repeats allowed.

        Returns:
            Their features ``(n, width)``, n the sum of the lengths, and the lengths ``(b,)``.

        Raises:
            IndexError: No such row.
        """
        chosen = _numbers(indices)
        lengths = self.lengths[chosen]
        out = np.empty((int(lengths.sum()), self.key.width), dtype=np.float16)
        end = 0
        for shard, start, count in self._places(chosen):
            out[end : end + count] = self._values[shard][start : start + count]
            end += count
        return torch.from_numpy(out), torch.from_numpy(lengths)

    def padded(
        self, indices: Iterable[int] | np.ndarray | Tensor, length: int | None = None
    ) -> Float16[Tensor, "b l width"]:
        """Features of some rows with zeros after each row's end.

        Args:
            indices: The rows, ``(b,)``.
            length: Tokens a row; the longest of these rows when None.

        Returns:
            ``(b, length, width)``.

        Raises:
            IndexError: No such row.
            ValueError: ``length`` is shorter than one of the rows.
        """
        chosen = _numbers(indices)
        longest = int(self.lengths[chosen].max(initial=0))
        length = longest if length is None else length
        if length < longest:
            raise ValueError(f"length={length} is shorter than a prompt of {longest} tokens: give at least that")
        out = np.zeros((len(chosen), length, self.key.width), dtype=np.float16)
        for line, (shard, start, count) in zip(out, self._places(chosen), strict=True):
            line[:count] = self._values[shard][start : start + count]
        return torch.from_numpy(out)

    def _places(self, chosen: np.ndarray) -> Iterable[tuple[int, int, int]]:
        columns = (self._shard[chosen], self._start[chosen], self.lengths[chosen])
        return zip(*(column.tolist() for column in columns), strict=True)


def _numbers(indices: Iterable[int] | np.ndarray | Tensor) -> np.ndarray:
    if not isinstance(indices, (np.ndarray, Tensor, Sequence)):
        indices = list(indices)
    chosen = np.asarray(indices)
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise IndexError(f"indices must be a row of whole numbers, not {chosen.dtype} {chosen.shape}")
    return chosen.astype(np.int64, copy=False)


def _remove(path: Path, identity: tuple[int, int, int] | None, error: DamagedShard) -> None:
    """Removes a damaged shard, unless another process has made it again meanwhile."""
    warnings.warn(f"{path} is damaged: {error}; its features are encoded again", stacklevel=4)
    try:
        stat = path.stat()
        if identity is None or (stat.st_ino, stat.st_size, stat.st_mtime_ns) == identity:
            path.unlink()
    except FileNotFoundError:
        pass
