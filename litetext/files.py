"""Files and folders that are there whole or not at all, also after a kill, on a full disk and after a power failure.

What is written goes into a draft beside its place, on the same file system; once it has reached the disk, the draft
takes the name by a rename. Until then what stood there stays. What is read may name no key of a mapping twice, of which
the parsers alone would keep the last without a word.
"""

import errno
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import yaml

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Opens a binary file for writing that takes its name when all went well.

    Args:
        path: The name in the end; a file there is replaced, a missing folder is made.

    Yields:
        The draft, open for writing.

    Raises:
        OSError: The file could not be written, such as on a full disk; what stood there is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    # Not tempfile's: what that makes is readable by its owner alone.
    raw = _Watched(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb")
    try:
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        # Libraries that write through a file object hide the reason (torch: "failed writing file").
        _tell_full_disk(raw.fault or error, path)
        raise
    sync_folder(path.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file whole or not at all; raises as `whole_file`."""
    with whole_file(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 file whole or not at all; raises as `whole_file`."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 1) -> None:
    """Writes JSON and a newline, whole or not at all; raises as `whole_file`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


@contextmanager
def whole_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A path for a library that opens its files itself; the file takes its name when all went well.

    Args:
        path: The name in the end; a file there is replaced. Its folder must be there.

    Yields:
        The draft, an empty file.

    Raises:
        OSError: The file could not be written, such as on a full disk; what stood there is as it was.
    """
    path = Path(path)
    draft = _draft(path)
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        mode = draft.stat().st_mode
        yield draft
        draft.chmod(mode)  # some libraries leave a file to its owner alone
        with open(draft, "rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    except Exception as error:
        _tell_full_disk(error, path)
        raise
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def whole_folder(path: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """A folder to write into that takes its name when all went well, and is removed when not.

    Args:
        path: The name in the end; nothing may be there but an empty folder, or a link to one.
        replace: Whether a folder there is removed when the new one is complete; for a caller that wrote it itself.

    Yields:
        The draft, an empty folder.

    Raises:
        ValueError: Something is there already, or has been put there meanwhile.
        OSError: The folder could not be written, such as on a full disk; what stood there is as it was.
    """
    path = Path(path)
    if path.is_symlink():  # which is no folder that can be removed or renamed over
        path = Path(os.path.realpath(path))
    if not replace and not _free(path):
        raise ValueError(f"{path} is there already; name another folder, or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(path)
    draft.mkdir()
    try:
        yield draft
        for file in (entry for entry in draft.rglob("*") if entry.is_file()):
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        _take_place(draft, path, replace)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        _tell_full_disk(error, path)
        raise
    sync_folder(path.parent)


def _take_place(draft: Path, path: Path, replace: bool) -> None:
    """Gives a folder its name; one that is replaced goes aside first, so that a kill loses neither.

    Raises:
        ValueError: Something has been put there since it was free.
    """
    if replace and path.is_dir():
        aside = _draft(path)
        path.rename(aside)
        try:
            draft.rename(path)
        except BaseException:
            aside.rename(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)
        return
    try:
        if path.is_dir():
            path.rmdir()
        draft.rename(path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise ValueError(f"{path} was made by something else meanwhile, and stays; name another folder") from error
        raise


def check_output(output: str, overwrite: bool) -> None:
    """Checks the one file that `--output` names, before minutes of work for it.

    Raises:
        FileNotFoundError: If its folder does not exist.
        ValueError: If it is there already, and `--overwrite` was not given.
    """
    folder = Path(output).absolute().parent
    if not folder.is_dir():
        what = "is a file, no folder" if folder.exists() else "is not there; make it first"
        raise FileNotFoundError(f"--output {output}: the folder {Path(output).parent} {what}")
    refuse_existing([output], f"--output {output}", overwrite)


def refuse_existing(paths: Iterable[str | os.PathLike[str]], option: str, overwrite: bool) -> None:
    """Refuses to write over results that are there, before the work for new ones begins.

    Args:
        paths: The files and folders that a command is going to write.
        option: The option that placed them, such as `--output DIR`, for the message.
        overwrite: Whether `--overwrite` was given.

    Raises:
        ValueError: One of them is there.
    """
    there = next((path for path in map(Path, paths) if not _free(path)), None)
    if there is not None and not overwrite:
        raise ValueError(f"{option}: {there} is there already; name another place, or give --overwrite to replace it")


def reason(error: BaseException, most: int = 160) -> str:
    """Why a library failed, in one line: the first one of its message, or the kind of error where it says nothing.

    Args:
        error: The error.
        most: Characters of it.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip()[:most]


def drafts(folder: str | os.PathLike[str]) -> list[Path]:
    """What killed processes left unfinished in a folder; only the folder's sole writer may remove them."""
    return sorted(Path(folder).glob(".*.draft"))


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Makes the names in a folder durable, where the system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # folders cannot be opened everywhere
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def _tell_full_disk(error: BaseException, path: Path) -> None:
    """Raises what tells of a full disk in plain words where that is why an error came.

    Libraries written in Rust raise exceptions of their own with the number in their text.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"\bos error (\d+)", str(error))):
        number = int(found[1])
    if number in _FULL:
        raise OSError(number, "the disk is full; what stood there is as it was", str(path)) from error


def _draft(path: Path) -> Path:
    # File systems take names of 255 bytes; a draft of one that is nearly as long has a part of it.
    name = os.fsencode(path.name)[:200].decode(errors="ignore")
    return path.with_name(f".{name}.{secrets.token_hex(4)}.draft")


def _free(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


class _Watched(io.FileIO):
    """A file that remembers why a write failed."""

    fault: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes, or remembers why not."""
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise


class RepeatedKeyError(ValueError):
    """A mapping names a key twice."""


def parse_json(text: str | bytes) -> Any:
    """Parses JSON.

    Args:
        text: The whole text; bytes in UTF-8, 16 or 32.

    Raises:
        json.JSONDecodeError: It is not JSON (UnicodeDecodeError: no text).
        RecursionError: It is nested too deeply.
        RepeatedKeyError: A mapping names a key twice.
    """
    return json.loads(text, object_pairs_hook=_mapping)


def parse_yaml(text: str) -> Any:
    """Parses YAML of plain values.

    Raises:
        yaml.YAMLError: It is not YAML.
        RepeatedKeyError: A mapping names a key twice; what a merge (`<<`) brings in may be named again.
    """
    return yaml.load(text, _StrictLoader)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    key = next(key for key, _ in pairs if key in seen or seen.add(key))
    text = " ".join(repr(found).split())
    raise RepeatedKeyError(
        f"{key!r} stands twice in one mapping, {text if len(text) <= 80 else text[:77] + '...'}; keep one"
    )


class _StrictLoader(yaml.SafeLoader):
    """Compares the keys of a mapping before merges are resolved."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise RepeatedKeyError(
                    f"{key.value!r} stands twice in one mapping, lines {lines[name]} and {line}; keep one"
                )
            lines[name] = line
        return node
