"""What an evaluation has done so far, entry by entry on disk: interrupted, it goes on where it stopped."""

import json
from pathlib import Path
from typing import Any

Key = tuple[str, str]


class Journal:
    """Entries of one evaluation in a folder; each process appends to a file of its own.

    A line that was cut off by an interruption is not taken up. Only the places of the entries are in memory: the masks
    of a whole evaluation would fill it.

    Args:
        folder: Its folder, made when the first entry is written. What decides the outcome (weights, thresholds)
            belongs into its name.
        rank: This process.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        self.folder, self.path = folder, folder / f"rank{rank}.jsonl"
        self.known: dict[Key, tuple[Path, int]] = {}
        for path in sorted(folder.glob("rank*.jsonl")):
            begin = 0
            with path.open("rb") as file:
                for line in file:
                    try:
                        subset, name = json.loads(line)["key"]
                        self.known[subset, name] = path, begin
                    except (ValueError, KeyError, TypeError):
                        pass
                    begin += len(line)

    def find(self, key: Key) -> Any:
        """The content under a key, None if there is none."""
        if key not in self.known:
            return None
        path, begin = self.known[key]
        with path.open("rb") as file:
            file.seek(begin)
            return json.loads(file.readline())["content"]

    def add(self, key: Key, content: Any) -> None:
        """Keeps JSON-able content, on disk before this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, "content": content})
        with self.path.open("ab") as file:
            if file.tell():
                file.write(b"\n")  # a line that an interruption cut off must not swallow this one
            self.known[key] = self.path, file.tell()
            file.write(line.encode())
