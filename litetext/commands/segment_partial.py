"""What `litetext segment` has done so far, line by line on disk: after an end of any kind the same command goes on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litetext.commands.segment_inputs import Input
from litetext.models.text.encoder import digest
from litetext.modules.cache_key import files_hash
from litetext.segmenter import Segmenter
from litetext.shipped import source_version

PARTIAL = "predictions.partial.jsonl"
_HEAD = '{"key": "'


class PartialResults:
    """The file of partial results in an output folder: a line that says what decides all results, then one an input.

    A line that was cut off counts as not written.

    Attributes:
        done: Entries that an earlier run left, by name of the input.

    Args:
        folder: The output folder.
        anew: Ignore what an earlier run left.

    Raises:
        ValueError: A file of that name is there that `litetext segment` did not write.
    """

    def __init__(self, folder: Path, anew: bool = False) -> None:
        self.path = folder / PARTIAL
        self._key: str | None = None
        self.done: dict[str, dict[str, Any]] = {}
        text = "" if anew or not self.path.is_file() else self.path.read_text(encoding="utf-8", errors="replace")
        if text[: len(_HEAD)] != _HEAD[: len(text)]:  # the first line may be cut off as well
            raise ValueError(
                f"{self.path} is not of litetext segment; name another folder, or replace the file: --overwrite"
            )
        for number, line in enumerate(text.splitlines()):
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if number == 0:
                self._key = entry["key"]
            elif isinstance(entry, dict) and entry.keys() >= {"name", "file", "content"}:
                self.done[entry["name"]] = entry

    def begin(self, key: str, about: Mapping[str, Any]) -> None:
        """Opens it for a run.

        Args:
            key: Hash of all that decides the results besides the inputs, see `run_key`.
            about: A description for the first line, JSON-able.

        Raises:
            ValueError: It has entries of another key.
        """
        if self.done and self._key != key:
            count = len(self.done)
            raise ValueError(
                f"--output {self.path.parent} holds {count:,} result{'s' if count > 1 else ''} of an interrupted run "
                "with other phrases, options, models or code; name another folder, or replace them: --overwrite"
            )
        if self.done:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")  # a line that was cut off must not swallow the next
            return
        self.path.write_text(json.dumps({"key": key, **about}) + "\n", encoding="utf-8")

    def find(self, item: Input, content: str) -> dict[str, Any] | None:
        """The stored result of an input; None if there is none, or its file has changed."""
        entry = self.done.get(item.name)
        same = entry is not None and (entry["file"], entry["content"]) == (str(item.path), content)
        return entry if same else None

    def add(self, item: Input, content: str, **more: Any) -> None:
        """Stores the result of an input; it is in the file when this returns."""
        entry = {"name": item.name, "file": str(item.path), "content": content, **more}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        """Removes it: all is done, and stands elsewhere."""
        self.path.unlink(missing_ok=True)


def content_of(item: Input) -> str:
    """Hash of an input's file, or of the files of a folder of frames."""
    files = sorted(path for path in item.path.iterdir() if path.is_file()) if item.path.is_dir() else [item.path]
    return files_hash(files, " ".join(path.name for path in files))


def run_key(segmenter: Segmenter, phrases: Sequence[str], about: Mapping[str, Any]) -> str:
    """Hash of all that decides the results of a run besides its inputs.

    Args:
        segmenter: With the tracker, if there are clips.
        phrases: What is looked for, in order.
        about: The options.
    """
    said = {"code": source_version(), "device": segmenter.device.type, "phrases": list(phrases), **about}
    identity = hashlib.blake2b(json.dumps(said, sort_keys=True, default=str).encode(), digest_size=16)
    for part in segmenter.models:
        digest(identity, part, part.settings())
    features, lengths = segmenter.encode(phrases).take(phrases)
    for row, length in zip(features, lengths.tolist(), strict=True):
        identity.update(row[:length].float().cpu().numpy().tobytes())  # what a text encoder is, shows in these
    return identity.hexdigest()
