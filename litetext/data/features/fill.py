"""Filling a feature store so that an interruption at any moment loses at most one chunk.

The order of the writes is the whole trick: the values of a chunk reach the disk (fsync) before its line in
the checksum file, and the manifest appears, by a rename, after everything else. Values are written with
``pwrite``: on a full disk that raises an OSError, where a memory map ends the process with a SIGBUS.
"""

import errno
import json
import os
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from litetext.data.features.manifest import (
    CHECKSUMS,
    FEATURES,
    LENGTHS,
    MANIFEST,
    PARTIAL,
    Encode,
    FeatureManifest,
    Rows,
    check_manifest,
    read_checksums,
    read_manifest,
    row_lengths,
    sorted_order,
)
from litetext.files import sync_folder, write_bytes

try:
    import fcntl
except ImportError:  # not a POSIX system: as a file system without locks
    fcntl = None

LARGEST = 65504.0
"""Largest finite float16."""
LOCK = "lock"
_OURS = {FEATURES, LENGTHS, CHECKSUMS, MANIFEST, PARTIAL, LOCK}


class FeatureError(ValueError):
    """A feature that cannot be stored.

    Attributes:
        row: Index of the prompt in the corpus.
    """

    def __init__(self, row: int, why: str) -> None:
        """Names the row.

        Args:
            row: Index of the prompt in the corpus.
            why: What is wrong with its features.
        """
        super().__init__(f"the features of row {row} {why}")
        self.row = row


def fill(
    path: Path,
    rows: Rows,
    encode: Encode,
    wanted: FeatureManifest,
    chunk: int,
    progress: Callable[[int, int], None] | bool,
) -> None:
    """Makes the store at ``path`` complete; :meth:`FeatureStore.fill` documents arguments and errors."""
    if chunk < 1:
        raise ValueError(f"chunk={chunk}: give a number of at least 1")
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file: give a folder for the feature store")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            if not (path / MANIFEST).exists():  # else another process has finished it meanwhile
                _fill(path, rows, encode, wanted, chunk, progress)
    except NotADirectoryError as error:
        raise ValueError(f"{path}: a part of this path is a file; give a folder for the feature store") from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"the disk is full while writing features ({wanted.bytes / 1e9:.3g} GB in all); the finished "
            "chunks are kept: free some space and run again, or choose another folder",
            str(path),
        ) from error


def _fill(
    path: Path,
    rows: Rows,
    encode: Encode,
    wanted: FeatureManifest,
    chunk: int,
    progress: Callable[[int, int], None] | bool,
) -> None:
    _claim(path, wanted)
    lengths = row_lengths(rows)
    order, bounds = sorted_order(lengths)
    with open(os.open(path / FEATURES, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0) as values:
        kept = _intact(path, values.fileno(), bounds, wanted.width * 2)
        gaps = list(_gaps(kept, len(rows), chunk))
        missing = sum(int(bounds[last] - bounds[first]) for first, last in gaps) * wanted.width * 2
        disk = shutil.disk_usage(path)
        if disk.total > 0 and disk.free < missing:  # better now than after hours of encoding
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        done = len(rows) - sum(last - first for first, last in gaps)
        with open(path / CHECKSUMS, "ab", buffering=0) as sums, _reporter(path, progress) as report:
            sync_folder(path)
            report(done, len(rows))
            for first, last in gaps:
                chosen = order[first:last]
                features = encode([rows[i] for i in chosen])
                block = _half(features, chosen, lengths[chosen], wanted.width)
                _write(values.fileno(), block, int(bounds[first]) * wanted.width * 2)
                os.fsync(values.fileno())
                _write(sums.fileno(), f"{first} {last} {zlib.crc32(block):08x}\n".encode())
                os.fsync(sums.fileno())
                done += last - first
                report(done, len(rows))
    raw = lengths.tobytes()
    write_bytes(path / LENGTHS, raw)
    write_bytes(path / MANIFEST, json.dumps({**asdict(wanted), "lengths_crc32": zlib.crc32(raw)}, indent=1).encode())
    (path / PARTIAL).unlink()


def _claim(path: Path, wanted: FeatureManifest) -> None:
    """Writes down what this folder is going to hold, or checks what an earlier fill wrote down."""
    foreign = sorted(
        entry.name
        for entry in path.iterdir()
        if entry.name.removesuffix(".tmp") not in _OURS and not entry.name.startswith(".")
    )
    if foreign:
        raise ValueError(f"{path} holds other files ({foreign[0]}): give the feature store a folder of its own")
    if (path / PARTIAL).exists():
        check_manifest(path, read_manifest(path / PARTIAL)[0], asdict(wanted))
        return
    (path / CHECKSUMS).unlink(missing_ok=True)  # of unknown origin
    write_bytes(path / PARTIAL, json.dumps(asdict(wanted), indent=1).encode())


def _intact(path: Path, values: int, bounds: np.ndarray, token_bytes: int) -> list[tuple[int, int]]:
    """Finished chunks whose values are on disk as they were written; the checksum file keeps only those."""
    count, end = len(bounds) - 1, 0
    listed = sorted(read_checksums(path / CHECKSUMS))
    kept: list[tuple[int, int, int]] = []
    for first, last, crc in listed:
        if not end <= first < last <= count:
            continue
        start, stop = (int(bounds[position]) * token_bytes for position in (first, last))
        if zlib.crc32(_read(values, stop - start, start)) == crc:
            kept.append((first, last, crc))
            end = last
    if len(kept) < len(listed):
        damaged = len(listed) - len(kept)
        warnings.warn(f"{path}: {damaged} of {len(listed)} chunks are damaged, encoding them again", stacklevel=2)
    clean = "".join(f"{first} {last} {crc:08x}\n" for first, last, crc in kept).encode()
    if (path / CHECKSUMS).exists() and (path / CHECKSUMS).read_bytes() != clean:
        write_bytes(path / CHECKSUMS, clean)  # without a torn last line, to which the next would stick
    return [(first, last) for first, last, _ in kept]


def _gaps(kept: list[tuple[int, int]], count: int, chunk: int) -> Iterator[tuple[int, int]]:
    """The stretches between finished chunks, cut into chunks."""
    position = 0
    for first, last in [*kept, (count, count)]:
        for start in range(position, first, chunk):
            yield start, min(start + chunk, first)
        position = last


def _half(features: Sequence[Tensor], chosen: np.ndarray, lengths: np.ndarray, width: int) -> memoryview:
    """The bytes of a chunk's features, checked and rounded to float16, ``(tokens, width)`` as in the file."""
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
        value, place = (
            float(packed[token, channel]),
            f"at token {token - int(ends[which] - lengths[which])}",
        )
        if np.isfinite(value):
            why = f"hold {value:g} {place}, beyond the range of float16 (at most {LARGEST:g})"
        else:
            why = f"are not finite: {value} {place}, channel {channel}"
        raise FeatureError(int(chosen[which]), why)
    half = packed.to("cpu", torch.float16).contiguous().numpy()
    return half.astype("<f2", copy=False).view(np.uint8).reshape(-1).data


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system drops when the process ends, however it ends."""
    while True:
        with open(path / LOCK, "ab") as file:
            if not _lock(file.fileno(), path):
                warnings.warn(f"{path}: no file locks here, let one process at a time fill it", stacklevel=2)
            elif not _same(file.fileno(), path / LOCK):  # the folder was deleted while we waited
                path.mkdir(parents=True, exist_ok=True)
                continue
            yield
            return


def _lock(descriptor: int, path: Path) -> bool:
    """Waits for the lock; False where the system or the file system has none."""
    if fcntl is None:
        return False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that fills {path}", file=sys.stderr)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL):
            raise
        return False
    return True


def _same(descriptor: int, file: Path) -> bool:
    return file.exists() and os.path.samestat(os.fstat(descriptor), file.stat())


@contextmanager
def _reporter(path: Path, progress: Callable[[int, int], None] | bool) -> Iterator[Callable[[int, int], None]]:
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield lambda done, total: None
    elif not sys.stderr.isatty():
        seen = [0]
        yield lambda done, total: seen.append(total)
        print(f"teacher features of {seen[-1]:,} prompts written to {path}", file=sys.stderr)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("teacher features"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)


def _write(descriptor: int, data: bytes | memoryview, offset: int | None = None) -> None:
    """Writes all bytes, at ``offset`` or, when None, where the file stands."""
    view = memoryview(data).cast("B")
    while view:
        written = os.write(descriptor, view) if offset is None else os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset = None if offset is None else offset + written


def _read(descriptor: int, size: int, offset: int) -> bytes:
    """Reads ``size`` bytes, fewer when the file ends before."""
    parts: list[bytes] = []
    while size and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size, offset = size - len(part), offset + len(part)
    return b"".join(parts)
