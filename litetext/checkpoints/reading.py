"""Reading some of a checkpoint's tensors safely, the rest staying on disk.

Safetensors files (one, or a folder of shards) are opened by key; torch files are memory-mapped and unpickled
with `weights_only`. So the text encoder of a SAM3 checkpoint is read without its vision weights.
"""

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from litetext.files import reason

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
WRAPPERS = ("model", "state_dict")
"""Where programs put the state dict: Meta and efficientsam3 under `model`, Lightning under `state_dict`."""
_AT_ONCE = 64 * 2**20
"""Bytes that are copied from one mapping of a file: what was read of it counts as memory until it is closed."""


@dataclass(frozen=True)
class StateFile:
    """A checkpoint that is open but not read.

    Attributes:
        path: what was opened.
        keys: names of all tensors in it.
        fetch: reads the named tensors, and no others, into memory.
    """

    path: Path
    keys: tuple[str, ...]
    fetch: Callable[[Sequence[str]], dict[str, Tensor]]

    def under(self, prefixes: Iterable[str]) -> dict[str, Tensor]:
        """Reads the tensors whose names begin with one of the prefixes."""
        starts = tuple(prefixes)
        return self.fetch([key for key in self.keys if key.startswith(starts)])


def open_state(path: str | os.PathLike[str]) -> StateFile:
    """Opens a checkpoint: a .safetensors file, a torch file, or a transformers folder.

    Raises:
        FileNotFoundError: no such path, or a folder without weights, or a shard is missing.
        ValueError: the file cannot be read as what its name says.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path}: no such file or folder.")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    if path.suffix in TORCH_SUFFIXES:
        return _open_torch(path)
    raise ValueError(f"{path}: unknown kind of checkpoint; its name must end in .safetensors or {TORCH_SUFFIXES}.")


def _open_safetensors(path: Path) -> StateFile:
    def fetch(keys: Sequence[str]) -> dict[str, Tensor]:
        held: dict[str, Tensor] = {}
        left, done = list(keys), {}
        try:
            while left:
                with safe_open(path, framework="pt") as file:
                    _copy(left, file.get_tensor, held, done)
        except SafetensorError as error:
            raise _unreadable(path, "a safetensors file", error) from error
        return held

    try:
        with safe_open(path, framework="pt") as file:
            return StateFile(path, tuple(file.keys()), fetch)
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, "a safetensors file", error) from error


def _open_folder(folder: Path) -> StateFile:
    if not (folder / INDEX).is_file():
        if (folder / SINGLE).is_file():
            return _open_safetensors(folder / SINGLE)
        raise FileNotFoundError(f"checkpoint folder {folder}: holds neither {SINGLE} nor {INDEX}.")
    try:
        homes = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        shards = {key: folder / name for key, name in homes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(folder / INDEX, "an index of shards", error) from error
    for shard in sorted(set(shards.values())):
        if shard.parent != folder:
            raise ValueError(f"{folder / INDEX}: the shard {shard.name} lies outside the folder.")
        if not shard.is_file():
            raise FileNotFoundError(f"checkpoint folder {folder}: the shard {shard.name} of its index is missing.")

    def fetch(keys: Sequence[str]) -> dict[str, Tensor]:
        wanted: dict[Path, list[str]] = {}
        for key in keys:
            wanted.setdefault(shards[key], []).append(key)
        return {k: t for shard, names in wanted.items() for k, t in _open_safetensors(shard).fetch(names).items()}

    return StateFile(folder, tuple(shards), fetch)


def _copy(left: list[str], read: Callable[[str], Tensor], into: dict[str, Tensor], done: dict[str, int]) -> None:
    """Copies tensors, the first of `left`, out of a mapped file; stops after `_AT_ONCE` bytes, inside a tensor too.

    Args:
        left: Names still to be copied; shortened.
        read: Gives a tensor of the mapped file, which may go away afterwards.
        into: Where the copies go.
        done: Elements of a tensor that was begun.
    """
    room = _AT_ONCE
    while left and room > 0:
        source = read(left[0])
        if not source.is_contiguous():
            into[left.pop(0)] = source.clone()
            room -= source.nbytes
            continue
        key, start = left[0], done.pop(left[0], 0)
        if start == 0:
            into[key] = torch.empty_like(source)
        end = min(source.numel(), start + max(1, room // max(1, source.element_size())))
        into[key].view(-1)[start:end] = source.view(-1)[start:end]
        room -= max(1, (end - start) * source.element_size())
        if end < source.numel():
            done[key] = end
        else:
            left.pop(0)


def _open_torch(path: Path) -> StateFile:
    tensors = _load_torch(path)
    if not tensors:
        raise ValueError(f"{path}: holds no state dict, neither at its top nor under {' or '.join(WRAPPERS)}.")
    # A file that cannot be mapped is in memory by now, and stays there.
    mapped, in_memory = zipfile.is_zipfile(path), tensors

    def fetch(keys: Sequence[str]) -> dict[str, Tensor]:
        held: dict[str, Tensor] = {}
        left, done = list(keys), {}
        while left:
            _copy(left, (_load_torch(path) if mapped else in_memory).__getitem__, held, done)
        return held

    if mapped:
        in_memory = {}
    return StateFile(path, tuple(tensors), fetch)


def _load_torch(path: Path) -> dict[str, Tensor]:
    try:
        # Only the zip format (torch 1.6 and later) can be mapped.
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        KeyError,
        IndexError,
    ) as error:
        raise _unreadable(path, "a torch checkpoint of plain tensors", error) from error
    return _state_dict(held)


def _state_dict(held: Any) -> dict[str, Tensor]:
    while isinstance(held, dict):
        tensors = {key: value for key, value in held.items() if isinstance(key, str) and isinstance(value, Tensor)}
        inner = next((held[name] for name in WRAPPERS if isinstance(held.get(name), dict)), None)
        if inner is None:
            return tensors
        held = inner
    return {}


def _unreadable(path: Path, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{path}: cannot be read as {kind} ({reason(error)}); copy or download it again.")
