"""The store of teacher features: valid tokens only, half precision, one folder a corpus.

A store is a folder with four files:

* ``features.f16``: the features of all tokens, ``(tokens, width)`` little-endian float16, the prompts sorted
  by length (longest first, ties in corpus order), so that a chunk of prompts is one stretch of the file;
* ``lengths.i32``: the number of tokens of each prompt, in corpus order; offsets follow from it;
* ``checksums.txt``: one line ``first last crc32`` a finished chunk, positions in the sorted order;
* ``manifest.json``: what the features were made from. It appears last, so a folder with it is complete.

The reference trainer stores padded rows of a fixed length with neither lengths nor origin beside them, and
reads misaligned features without a word when the context length changes; here every such difference is an
error. Filling lives in :mod:`litetext.data.features.fill`.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Int64
from torch import Tensor

from litetext.data.features.fill import FeatureError, fill
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
    prompts_hash,
    read_checksums,
    read_manifest,
    sorted_order,
    store_path,
)

__all__ = ["FeatureError", "FeatureManifest", "FeatureStore", "prompts_hash", "store_path"]


class FeatureStore:
    """Teacher features of one corpus, read from a memory map.

    Opening checks the manifest, the file size and the lengths (a quarter of a million prompts open in some
    ten milliseconds); the checksums of the values are checked by ``verify=True``, and when an interrupted
    fill resumes. A store pickles as its folder and opens its own memory map in each worker.

    Attributes:
        path: The folder.
        manifest: What the features were made from.
        lengths: Number of tokens of each prompt, int64 ``(count,)``.
    """

    def __init__(self, path: Path, manifest: FeatureManifest, lengths: np.ndarray) -> None:
        """Maps the files of a folder that :meth:`open` has checked.

        Args:
            path: The folder.
            manifest: Its manifest.
            lengths: Number of tokens of each prompt.
        """
        self.path = path
        self.manifest = manifest
        self.lengths = lengths.astype(np.int64)
        order, bounds = sorted_order(self.lengths)
        self._starts = np.empty_like(self.lengths)
        self._starts[order] = bounds[:-1]
        mapped = np.memmap(path / FEATURES, dtype="<f2", mode="r", shape=(manifest.tokens, manifest.width))
        self._values = mapped.view(np.ndarray)  # the plain view indexes faster than the subclass

    @classmethod
    def fill(
        cls,
        path: str | Path,
        rows: Rows,
        encode: Encode,
        *,
        teacher: str,
        tokenizer: str,
        context_length: int,
        width: int,
        chunk: int = 4096,
        progress: Callable[[int, int], None] | bool = True,
    ) -> "FeatureStore":
        """Encodes a corpus into ``path``, or finishes an interrupted fill, or reuses a complete store.

        Finished chunks are never encoded again (``chunk`` may change in between), except those whose checksum
        no longer holds. A second process that fills the same folder waits for the first and then reuses its
        store; on a file system without locks a warning says that only one process may fill at a time. The
        checksums of a store that was complete are verified: a disk may have changed it since.

        Args:
            path: Folder of the store (:func:`store_path` gives one that no other corpus shares).
            rows: Token ids of every prompt, unpadded, in corpus order.
            encode: Gives for a list of rows, of about equal length, their features ``(n_i, width)`` in order.
            teacher: Fingerprint of the teacher.
            tokenizer: Fingerprint of the tokenizer.
            context_length: Longest row allowed.
            width: Width of the features.
            chunk: Prompts handed to ``encode`` at once, and lost at most by an interruption.
            progress: A function of (prompts done, prompts in all), or True for a bar on a terminal and one
                line elsewhere, or False for silence.

        Raises:
            ValueError: Another store, a damaged one or foreign files in ``path``; rows that do not fit the
                manifest; features of the wrong shape. :class:`~litetext.data.features.fill.FeatureError`,
                which knows the row, for features that are not finite or beyond the range of float16.
            OSError: The disk is full; what is finished stays and the same call goes on from there.
        """
        wanted = FeatureManifest.of(
            rows, teacher=teacher, tokenizer=tokenizer, context_length=context_length, width=width
        )
        complete = (Path(path) / MANIFEST).exists()
        if not complete:  # a complete store needs no lock, and may be read-only
            fill(Path(path), rows, encode, wanted, chunk, progress)
        return cls.open(path, verify=complete, **asdict(wanted))

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = False, **expected: Any) -> "FeatureStore":
        """Opens a complete store.

        Args:
            path: Folder of the store.
            verify: Also read all features and compare their checksums.
            **expected: Fields of :class:`FeatureManifest` that must agree, e.g. ``teacher="..."``.

        Raises:
            FileNotFoundError: There is no store.
            ValueError: The store is unfinished, damaged, or made from something else.
        """
        path = Path(path)
        if not (path / MANIFEST).exists():
            if (path / PARTIAL).exists():
                raise ValueError(f"the feature store {path} is unfinished: run the same fill again to finish it")
            raise FileNotFoundError(f"there is no feature store at {path} ({MANIFEST} is missing)")
        manifest, entries = read_manifest(path / MANIFEST)
        check_manifest(path, manifest, expected)
        for name, size in ((FEATURES, manifest.bytes), (LENGTHS, manifest.count * 4)):
            found = (path / name).stat().st_size if (path / name).exists() else 0
            if found != size:
                raise _damaged(path, f"{name} has {found:,} bytes instead of {size:,}")
        raw = (path / LENGTHS).read_bytes()
        if zlib.crc32(raw) != entries.get("lengths_crc32"):
            raise _damaged(path, f"the checksum of {LENGTHS} does not hold")
        store = cls(path, manifest, np.frombuffer(raw, dtype="<i4"))
        if verify:
            store._verify()
        return store

    def _verify(self) -> None:
        bounds, position = sorted_order(self.lengths)[1], 0
        for first, last, crc in sorted(read_checksums(self.path / CHECKSUMS)):
            if first != position or not first < last <= len(self):
                break
            if zlib.crc32(self._values[bounds[first] : bounds[last]].data) != crc:
                raise _damaged(self.path, f"the checksum of prompts {first} to {last} (by length) does not hold")
            position = last
        if position != len(self):
            raise _damaged(self.path, f"{CHECKSUMS} covers {position} of {len(self)} prompts")

    def __len__(self) -> int:
        """Number of prompts."""
        return self.manifest.count

    def __getitem__(self, index: int) -> np.ndarray:
        """Features of one prompt, float16 ``(n, width)``, a copy.

        Raises:
            IndexError: No such prompt.
        """
        start = self._starts[index]
        return self._values[start : start + self.lengths[index]].copy()

    def gather(
        self, indices: Iterable[int] | np.ndarray | Tensor
    ) -> tuple[Float16[Tensor, "n width"], Int64[Tensor, " b"]]:
        """Features of some prompts, one after the other.

        Args:
            indices: The prompts, ``(b,)``, in any order, repeats allowed.

        Returns:
            Their features ``(n, width)``, n the sum of the lengths, and the lengths ``(b,)``.

        Raises:
            IndexError: No such prompt.
        """
        tokens, lengths, _ = self._tokens(indices)
        return torch.from_numpy(self._values.take(tokens, axis=0)), torch.from_numpy(lengths)

    def padded(
        self, indices: Iterable[int] | np.ndarray | Tensor, length: int | None = None
    ) -> Float16[Tensor, "b l width"]:
        """Features of some prompts with zeros after each prompt's end.

        Args:
            indices: The prompts, ``(b,)``.
            length: Tokens a prompt; the longest of these prompts when None.

        Returns:
            ``(b, length, width)``.

        Raises:
            IndexError: No such prompt.
            ValueError: ``length`` is shorter than one of the prompts.
        """
        tokens, lengths, within = self._tokens(indices)
        longest = int(lengths.max(initial=0))
        length = longest if length is None else length
        if length < longest:
            raise ValueError(f"length={length} is shorter than a prompt of {longest} tokens: give at least that")
        out = np.zeros((len(lengths), length, self.manifest.width), dtype=np.float16)
        out[np.repeat(np.arange(len(lengths)), lengths), within] = self._values.take(tokens, axis=0)
        return torch.from_numpy(out)

    def _tokens(self, indices: Iterable[int] | np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions of all tokens of some prompts in the file, the lengths, and positions in the prompts."""
        if isinstance(indices, Iterable) and not isinstance(indices, (np.ndarray, Tensor, Sequence)):
            indices = list(indices)
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise IndexError(f"indices must be a row of whole numbers, not {chosen.dtype} {chosen.shape}")
        chosen = chosen.astype(np.int64, copy=False)
        lengths = self.lengths[chosen]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self._starts[chosen], lengths) + within, lengths, within

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as the folder and the manifest that must still be there."""
        return _reopen, (self.path, self.manifest)


def _reopen(path: Path, manifest: FeatureManifest) -> FeatureStore:
    return FeatureStore.open(path, **asdict(manifest))


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(f"the feature store {path} is damaged: {why}. Delete the folder and fill it again")
