"""Filling a feature store: what no shard holds is encoded, a shard at a time.

A shard appears by a rename once it has reached the disk, so that a kill at any moment loses the shard at hand and
nothing else. Several processes may fill one store, those of one run or of several: the processes of a run share the
missing rows by their hash, all look at the folder before each shard, and none waits in a collective, whose patience
would end. A process whose own share is done waits for the files of the others, and after a while encodes what has
not come: whoever else may have died, the store is filled in the end.
"""

import errno
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litetext.data.features.manifest import StoreKey, write_manifest
from litetext.data.features.shards import write_shard
from litetext.data.features.store import FeatureStore, ShardIndex
from litetext.files import drafts
from litetext.tokenizer.token_rows import TokenRows, find_keys, order_keys

Rows = Sequence[Sequence[int]]
Encode = Callable[[Rows], Sequence[Tensor]]
LARGEST = 65504.0
"""Largest finite float16."""
PATIENCE = 30.0
"""Seconds without a new shard after which a process encodes what others should have."""
_STALE = 3600.0


class FeatureError(ValueError):
    """A feature that cannot be stored.

    Attributes:
        row: Index of the prompt among the rows that were given.
    """

    def __init__(self, row: int, why: str) -> None:
        """Names the row.

        Args:
            row: Index of the prompt.
            why: What is wrong with its features.
        """
        super().__init__(f"the features of row {row} {why}")
        self.row = row


def fill(
    path: str | Path,
    rows: Rows,
    encode: Encode,
    key: StoreKey,
    *,
    share: tuple[int, int] = (0, 1),
    chunk: int = 4096,
    progress: Callable[[int, int], None] | bool = True,
) -> FeatureStore:
    """Encodes the token rows that the store lacks, and opens the features of all of them.

    Shards that were there are read and their checksums compared: a disk may have changed them since. A damaged one is
    named in a warning, and its rows are encoded again.

    Args:
        path: Folder of the store (`StoreKey.folder` names one).
        rows: Token ids of every prompt, unpadded; repeats are encoded once.
        encode: Gives for a list of rows, of about equal length, their features ``(n_i, width)`` in order. Not called
            where nothing is missing.
        key: What the store holds.
        share: This process and the number of processes that fill the store for these rows together.
        chunk: Rows of a shard: what is handed to ``encode`` at once, and lost at most by a kill.
        progress: A function of (rows done, rows that were missing), or True for a bar on a terminal, or False.

    Raises:
        ValueError: ``path`` is a file, or a shard in it is of another store; rows without tokens; features of the
            wrong shape. :class:`FeatureError`, which knows the row, for features that are not finite or beyond
            float16.
        OSError: The disk is full; finished shards stay, and the same call goes on from there.
    """
    path = Path(path)
    rows = TokenRows.of(rows)
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: give a number of at least 1")
    if not len(rows):
        raise ValueError("rows is empty: a feature store needs at least one prompt")
    if rows.lengths.min() < 1:
        raise ValueError(f"row {int(rows.lengths.argmin())} has no tokens: drop empty prompts first")
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: give a folder for the feature store")
    index, keys = ShardIndex(path, key), rows.keys()
    index.refresh()
    encoded = None
    while True:
        shards, places = index.find(keys)
        if not index.verify(np.unique(shards[shards >= 0]).tolist()):
            continue
        missing = np.flatnonzero(shards < 0)
        if encoded is None:
            encoded = len(np.unique(keys[missing], axis=0))
        if not len(missing):
            return FeatureStore(index, shards, places, encoded)
        _prepared(path, key)
        _Filling(index, rows, keys, missing, encode, share, chunk).run(progress)


def _prepared(path: Path, key: StoreKey) -> None:
    """Makes the folder; removes what killed processes left there long ago."""
    with _on_full_disk(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (NotADirectoryError, FileExistsError) as error:
            raise ValueError(f"{path}: a part of this path is a file; give a folder for the feature store") from error
        write_manifest(path, key)
        for draft in drafts(path):
            with suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > _STALE:
                    draft.unlink()


class _Filling:
    """Encodes what is missing, in this process's order."""

    def __init__(
        self,
        index: ShardIndex,
        rows: TokenRows,
        keys: np.ndarray,
        missing: np.ndarray,
        encode: Encode,
        share: tuple[int, int],
        chunk: int,
    ) -> None:
        self.index, self.rows, self.encode, self.chunk = index, rows, encode, chunk
        self.rank, self.world = share
        missing = missing[np.sort(np.unique(keys[missing], axis=0, return_index=True)[1])]
        # Longest first, so that a lack of memory shows in the first shard.
        self.missing = missing[np.argsort(-rows.lengths[missing], kind="stable")]
        self.keys = keys[self.missing]
        self._sorted = order_keys(self.keys)
        self._table = self.keys[self._sorted]
        self.lacking = np.ones(len(missing), dtype=bool)
        self.slowest = 0.0
        disk = shutil.disk_usage(index.path)
        if disk.total > 0 and disk.free < int(rows.lengths[missing].sum()) * index.key.width * 2:
            with _on_full_disk(index.path):  # better now than after hours of encoding
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(index.path))

    def run(self, progress: Callable[[int, int], None] | bool) -> None:
        """Returns when no row is missing, whoever has encoded it."""
        total = len(self.missing)
        with _reporter(progress) as report:
            report(0, total)
            for part in self._order(np.flatnonzero(self.keys[:, 0] % self.world == self.rank)):
                self._encode(self._lacking(part))
                report(total - len(self._lacking(self._all)), total)
            if self.world > 1:
                self._await(report, total)

    @property
    def _all(self) -> np.ndarray:
        return np.arange(len(self.missing))

    def _order(self, mine: np.ndarray) -> Iterator[np.ndarray]:
        """The first shard, then the others at random: two runs that fill one store then seldom meet at one."""
        parts = [mine[i : i + self.chunk] for i in range(0, len(mine), self.chunk)]
        rest = parts[1:]
        random.Random(os.urandom(8)).shuffle(rest)
        yield from [*parts[:1], *rest]

    def _lacking(self, chosen: np.ndarray) -> np.ndarray:
        """Those of some of the missing rows that are in no shard yet."""
        for shard in self.index.refresh():
            found = find_keys(self._table, shard.keys)
            self.lacking[self._sorted[found[found >= 0]]] = False
        return chosen[self.lacking[chosen]]

    def _await(self, report: Callable[[int, int], None], total: int) -> None:
        """Waits for the shards of other processes, and takes over what does not come."""
        since, before = time.monotonic(), -1
        while len(lacking := self._lacking(self._all)):
            if len(lacking) != before:
                since, before = time.monotonic(), len(lacking)
                report(total - before, total)
            elif time.monotonic() - since > max(PATIENCE, 3 * self.slowest):
                start = random.randrange(0, len(lacking), self.chunk)
                self._encode(lacking[start : start + self.chunk])
            else:
                time.sleep(0.1)
        report(total, total)

    def _encode(self, part: np.ndarray) -> None:
        if not len(part):
            return
        began = time.monotonic()
        chosen = self.missing[part]
        lengths = self.rows.lengths[chosen]
        features = self.encode([self.rows[i] for i in chosen])
        block = half(features, chosen, lengths, self.index.key.width)
        with _on_full_disk(self.index.path):
            write_shard(self.index.path, self.index.key, self.keys[part], lengths, block)
        self.slowest = max(self.slowest, time.monotonic() - began)


def half(features: Sequence[Tensor], chosen: np.ndarray, lengths: np.ndarray, width: int) -> np.ndarray:
    """Features of some rows, checked and rounded to float16, one after the other.

    Args:
        features: ``(n_i, width)`` of each row.
        chosen: Index of each row, for messages.
        lengths: Tokens of each row.
        width: Width of the features.

    Returns:
        float16 ``(tokens, width)``.

    Raises:
        ValueError: Features of another shape.
        FeatureError: Features that are not finite or that float16 cannot hold.
    """
    if len(features) != len(chosen):
        raise ValueError(f"encode gave features of {len(features)} prompts for {len(chosen)} rows")
    for row, length, feature in zip(chosen, lengths, features, strict=True):
        if tuple(feature.shape) != (length, width):
            found = tuple(feature.shape)
            raise FeatureError(int(row), f"have the shape {found}, not (tokens, width) = ({length}, {width})")
    packed = torch.cat([feature.detach() for feature in features])
    bad = ~(packed.abs() <= LARGEST)  # also true for nan
    if bad.any():
        token, channel = (int(position) for position in bad.nonzero()[0])
        ends = np.cumsum(lengths)
        which = int(np.searchsorted(ends, token, side="right"))
        value, place = float(packed[token, channel]), f"at token {token - int(ends[which] - lengths[which])}"
        if np.isfinite(value):
            why = f"hold {value:g} {place}, beyond the range of float16 (at most {LARGEST:g})"
        else:
            why = f"are not finite: {value} {place}, channel {channel}"
        raise FeatureError(int(chosen[which]), why)
    return packed.to("cpu", torch.float16).contiguous().numpy()


@contextmanager
def _on_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise OSError(
            error.errno,
            "the disk is full while writing features; the finished shards are kept: free some space and run again, "
            "or choose another folder",
            str(path),
        ) from error


@contextmanager
def _reporter(progress: Callable[[int, int], None] | bool) -> Iterator[Callable[[int, int], None]]:
    if not isinstance(progress, bool):
        yield progress
    elif not progress or not sys.stderr.isatty():
        yield lambda done, total: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("teacher features"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
