"""What an evaluation has done so far, entry by entry on disk: interrupted, it goes on where it stopped."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info

_HEAD = re.compile(rb'\{"key": "([0-9a-f]+)", "bytes": (\d+), "content": ')
_TAIL = b"}"


class ResumeCache:
    """Entries of one evaluation in a folder; each process appends to a file of its own.

    A line that was cut off by an interruption is not taken up. Only the places of the entries are in memory: the masks
    of a whole evaluation would fill it.

    Args:
        folder: Its folder, made when the first entry is written. What decides all outcomes (weights, thresholds)
            belongs into its name, what decides one of them into the key.
        rank: This process.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder, self.rank, self.path = folder, rank, folder / f"rank{rank}.jsonl"
        self.known: dict[str, tuple[Path, int]] = {}
        for path in sorted(folder.glob("rank*.jsonl")):
            begin = 0
            with path.open("rb") as file:
                for line in file:
                    head = _HEAD.match(line)
                    if head and line.rstrip(b"\n")[head.end() + int(head[2]) :] == _TAIL:
                        self.known[head[1].decode()] = path, begin
                    begin += len(line)

    def find(self, key: str) -> Any:
        """The content under a key, None if there is none."""
        if key not in self.known:
            return None
        path, begin = self.known[key]
        with path.open("rb") as file:
            file.seek(begin)
            return json.loads(file.readline())["content"]

    def add(self, key: str, content: Any) -> None:
        """Keeps JSON-able content under a key of hexadecimal digits, in the file before this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        body = json.dumps(content).encode()
        head = json.dumps({"key": key, "bytes": len(body)})[:-1].encode() + b', "content": '
        with self.path.open("ab") as file:
            if file.tell():
                file.write(b"\n")  # a line that an interruption cut off must not swallow this one
            self.known[key] = self.path, file.tell()
            file.write(head + body + _TAIL)

    def clear(self) -> None:
        """Removes all entries from the folder; one process alone may do so."""
        self.known.clear()
        for path in self.folder.glob("rank*.jsonl"):
            path.unlink()


def open_resume_cache(folder: Path, module: LightningModule, fresh: bool) -> ResumeCache:
    """The resume cache of a run, on every process; every process must call it.

    Args:
        folder: See `ResumeCache`.
        module: The module that keeps it.
        fresh: Begin without what is there.
    """
    if fresh:
        if module.trainer.is_global_zero:
            ResumeCache(folder, 0).clear()
        module.trainer.strategy.barrier()
    cache = ResumeCache(folder, module.trainer.global_rank)
    if cache.known:
        rank_zero_info(
            f"{len(cache.known):,} stored answers of the same models, options and code: {folder}; they are reused "
            "where pixels and phrases are the same"
        )
    return cache


def describe_reuse(reused: int, total: int, what: str, cache: ResumeCache) -> str:
    """The line that says what was not computed anew.

    Args:
        reused: Items whose answers were stored before.
        total: All items.
        what: What they are.
        cache: Where they lie.
    """
    way_out = "; --fresh computes all anew" if reused else ""
    return f"records     {cache.folder}: {reused:,} of {total:,} {what} reused{way_out}"


def of_ranks(own: Any) -> list[Any]:
    """What each process has, in order; every process must call it."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [own]
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return parts
