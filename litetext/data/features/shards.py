"""Shards of a feature store: safetensors files that appear whole and say what they must hold.

A shard has three tensors: `keys` uint64 (rows, 2), the hashes of its token rows; `lengths` int32 (rows,), their
tokens; `features` float16 (tokens, width), the rows one after the other. Its header carries the store's digest and
two checksums: one of keys and lengths, read on opening, and one of the features, read before they are used.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from litetext.data.features.manifest import StoreKey
from litetext.files import write_bytes

SUFFIX = ".safetensors"
_ABOUT = "litetext"  # one entry: of several, safetensors writes now one first and now the other


class DamagedShard(ValueError):
    """A shard that does not hold what it held when it was written."""


@dataclass(eq=False)
class Shard:
    """One open shard; its features are mapped, not read.

    Attributes:
        path: The file.
        keys: Hashes of its rows, uint64 (rows, 2).
        starts: First token of each row and the end, int64 (rows + 1,).
        features: float16 (tokens, width).
        age: When it was written and its name: of two shards with a row, the older one counts.
        identity: Inode, size and time of the file that was read.
        crc: What the checksum of the features must be.
        sound: Whether it has been found to hold.
    """

    path: Path
    keys: np.ndarray
    starts: np.ndarray
    features: np.ndarray
    age: tuple[int, str]
    identity: tuple[int, int, int]
    crc: int
    sound: bool = field(default=False)

    def verify(self) -> None:
        """Reads all features, once.

        Raises:
            DamagedShard: Their checksum does not hold.
        """
        if not self.sound and zlib.crc32(self.features.data.cast("B")) != self.crc:
            raise DamagedShard("the checksum of its features does not hold")
        self.sound = True


def shard_name(keys: np.ndarray) -> str:
    """Name of the shard with these rows, so that two processes that make it write one file."""
    return hashlib.blake2b(np.ascontiguousarray(keys, "<u8").tobytes(), digest_size=12).hexdigest() + SUFFIX


def write_shard(folder: Path, key: StoreKey, keys: np.ndarray, lengths: np.ndarray, features: np.ndarray) -> Path:
    """Writes a shard beside its place, flushes it and renames it; one that another process has made stays.

    Args:
        folder: The store.
        key: What it holds.
        keys: Hashes of the rows, uint64 (rows, 2).
        lengths: Tokens of each row, (rows,).
        features: float16 (tokens, width).

    Raises:
        OSError: It could not be written, such as on a full disk.
    """
    keys, lengths = np.ascontiguousarray(keys, "<u8"), np.ascontiguousarray(lengths, "<i4")
    features = np.ascontiguousarray(features, "<f2")
    about = {
        "store": key.digest,
        "index_crc32": zlib.crc32(lengths.tobytes(), zlib.crc32(keys.tobytes())),
        "features_crc32": zlib.crc32(features.data.cast("B")),
    }
    path = folder / shard_name(keys)
    if not path.exists():
        text = json.dumps(about)
        metadata = {_ABOUT: f"{zlib.crc32(text.encode())} {text}"}
        write_bytes(path, save({"features": features, "keys": keys, "lengths": lengths}, metadata=metadata))
    return path


def open_shard(path: Path, key: StoreKey) -> Shard:
    """Opens a shard: its rows are read and checked, its features mapped.

    Args:
        path: The file.
        key: What the store holds.

    Raises:
        DamagedShard: It is no shard, or its keys or lengths have changed.
        ValueError: It is a shard of another store.
        OSError: It cannot be read, such as that of another user; FileNotFoundError where it is gone.
    """
    stat = path.stat()
    try:
        with open(path, "rb"):  # safetensors says of any file that it cannot open that it is not there
            pass
        with safe_open(path, framework="pt") as file:
            metadata, _, text = (file.metadata() or {})[_ABOUT].partition(" ")
            if int(metadata) != zlib.crc32(text.encode()):
                raise DamagedShard("the checksum of its header does not hold")
            about = json.loads(text)
            # Mapped by torch, which keeps no file open: a large store has more shards than a process may open.
            features, keys, lengths = (file.get_tensor(name).numpy() for name in ("features", "keys", "lengths"))
        index, crc = int(about["index_crc32"]), int(about["features_crc32"])
    except (FileNotFoundError, DamagedShard):
        raise
    except OSError as error:  # says nothing of what the file holds
        ways = "make it readable to you, or choose another folder (model.features_dir)"
        raise type(error)(error.errno, f"features cannot be read ({error.strerror}); {ways}", str(path)) from error
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DamagedShard(f"it cannot be read ({error})") from error
    if about.get("store") != key.digest:
        raise ValueError(f"{path} is of another store (other teacher, code or device): move it out of this folder")
    keys, lengths = keys.copy(), lengths.astype("<i4")
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if zlib.crc32(lengths.tobytes(), zlib.crc32(keys.tobytes())) != index or features.shape != (starts[-1], key.width):
        raise DamagedShard("the checksum of its rows does not hold")
    identity = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return Shard(path, keys, starts, features, (stat.st_mtime_ns, path.name), identity, crc)


def shard_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The shards of a folder, in no order."""
    with os.scandir(folder) as entries:
        yield from (e for e in entries if e.name.endswith(SUFFIX) and not e.name.startswith("."))
