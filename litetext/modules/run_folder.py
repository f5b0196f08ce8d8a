"""Who writes into a run's folder: one process at a time, and never over what another run left there.

`checkpoints/NAME` and `lightning_logs/NAME` belong to the run NAME. A process that writes into a folder holds its
`run.json`, which says who that is; the system lets go of it when the process ends, however it ends.
"""

import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities import rank_zero_only

from litetext.files import drafts

try:
    import fcntl
except ImportError:  # not a POSIX system: as a file system without locks
    fcntl = None

MARK = "run.json"
_PATIENCE = 6.0  # seconds: children of a killed process keep its lock until they notice


def check_run_name(name: str) -> None:
    """Refuses names that lead out of the runs' folders, or that a YAML file would read as something else than text.

    Raises:
        ValueError: Naming the fault.
    """
    if not re.fullmatch(r"[^/\\\0]+(/[^/\\\0]+)*", name) or {".", ".."} & set(name.split("/")):
        raise ValueError(
            f"--run {name}: a run is named, not placed: its folders are checkpoints/NAME and lightning_logs/NAME; "
            "give a name such as trial1 or trials/1"
        )
    try:
        read = yaml.safe_load(name)
    except yaml.YAMLError:
        read = name
    # The logger's version takes a number or nothing for something else than a name.
    if read is None or type(read) is int or name != name.strip() or name.startswith("-"):
        raise ValueError(f"--run {name}: a config file reads that as no text; give a name with a letter, such as run1")


@contextmanager
def sole_writer(folders: Iterable[Path], command: str, run: str) -> Iterator[None]:
    """Holds folders for writing; made if need be. Other processes of the same job (ranks) hold nothing.

    What a process that was killed left unfinished in them is removed.

    Args:
        folders: The folders, such as `[Path("lightning_logs/NAME")]`.
        command: Who writes, such as `litetext fit`, for the messages of others.
        run: The run's name.

    Raises:
        ValueError: Another process writes there.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    with ExitStack() as held:
        for folder in folders:
            held.enter_context(_held(folder, command, run))
        yield


@contextmanager
def _held(folder: Path, command: str, run: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    mine = {"run": run, "command": command, "pid": os.getpid(), "host": socket.gethostname()}
    with open(folder / MARK, "a+b", buffering=0) as file:
        _lock(file.fileno(), folder, run)
        for draft in drafts(folder):
            if draft.is_file():
                draft.unlink(missing_ok=True)
        file.truncate(0)
        file.write(json.dumps(mine | {"since": datetime.now().isoformat(" ", "seconds")}, indent=1).encode() + b"\n")
        yield


def _lock(descriptor: int, folder: Path, run: str) -> None:
    if fcntl is None:
        return
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = read_mark(folder)
            if time.monotonic() < end and _gone(owner):
                time.sleep(0.2)
                continue
        except OSError:  # a file system without locks
            return
        who = f"{owner.get('command', 'a command')}, process {owner.get('pid', '?')} on {owner.get('host', '?')}"
        raise ValueError(
            f"{folder} is being written by another process ({who}, since {owner.get('since', '?')}); "
            f"wait until it ends, or give this run a name of its own: --run NAME instead of {run}"
        )


def _gone(owner: dict[str, Any]) -> bool:
    """Whether the process that a mark names has ended, as far as can be told from here."""
    if owner.get("host") != socket.gethostname() or not isinstance(owner.get("pid"), int):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def read_mark(folder: Path) -> dict[str, Any]:
    """What `run.json` says: `run`, `command`, `pid`, `host`, `since`; nothing where there is none."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
