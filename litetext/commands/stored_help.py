"""The help of the LightningCLI commands: the shipped one, or that of the last time it was asked for.

Their options are those of Lightning's classes, which cost seconds to import. Where the sources or versions are not
those of the shipped text, the parser is built, and its text is kept under all that decides it; where any of that has
changed, and where nothing can be kept, it is built anew.
"""

import contextlib
import hashlib
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from litetext.commands.shipped_help import shipped_help

_DECIDING = ("JSONARGPARSE_", "PL_", "LC_", "LANG", "NO_COLOR", "FORCE_COLOR", "PYTHON_COLORS", "TERM", "PYTHONPATH")


def show_help(command: str, build: Callable[[], int]) -> int:
    """Prints the help of a command.

    Args:
        command: Its name.
        build: Prints it the long way, and returns its exit code or raises SystemExit.

    Returns:
        The exit code.
    """
    if (shipped := shipped_help(command)) is not None:
        sys.stdout.write(shipped)
        return 0
    key = _key(command)
    path = _folder() / f"{command}.txt"
    try:
        first, _, text = path.read_text(encoding="utf-8").partition("\n")
        if first == key and text:
            sys.stdout.write(text)
            return 0
    except (OSError, UnicodeDecodeError):
        pass
    copy = _Copy(sys.stdout)
    code: object = 0
    with contextlib.redirect_stdout(copy):
        try:
            code = build()
        except SystemExit as stop:
            code = stop.code
    if code in (0, None) and (text := copy.kept.getvalue()).startswith("usage:"):
        _keep(path, f"{key}\n{text}")
    return code if isinstance(code, int) else int(code is not None)


class _Copy(io.TextIOBase):
    """Writes on, and keeps what was written."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.kept = stream, io.StringIO()

    def write(self, text: str) -> int:
        self.kept.write(text)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


def _keep(path: Path, content: str) -> None:
    from litetext.files import write_text

    with contextlib.suppress(OSError):  # a home that cannot be written: the help stays slow
        write_text(path, content)


def _folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(home) / "litetext" / "help"


def _key(command: str) -> str:
    """A hash of what decides the text: our sources, the installed packages, Python, and how it is laid out."""
    rows = [command, sys.version, sys.prefix, str(shutil.get_terminal_size().columns), str(sys.stdout.isatty())]
    rows += sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_DECIDING))
    package = Path(__file__).parent.parent
    for file in sorted(package.rglob("*.py")):
        about = file.stat()
        rows.append(f"{file} {about.st_size} {about.st_mtime_ns}")
    for folder in sys.path:
        # The versions of packages are in the names beside them, such as lightning-2.6.1.dist-info.
        with contextlib.suppress(OSError):
            rows += sorted(f"{folder} {name}" for name in os.listdir(folder) if name.endswith((".dist-info", ".pth")))
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()
