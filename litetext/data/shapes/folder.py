"""A folder that a benchmark is drawn into: whole or not at all, once, and never over something else."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

MANIFEST = "shapes.json"


def write_once(folder: str | Path, options: dict[str, Any], fill: Callable[[Path], None]) -> tuple[Path, bool]:
    """Fills a folder unless it holds just this already.

    It is written beside its place and renamed.

    Args:
        folder: Its place; its parent must be there.
        options: What decides the content, JSON-able; `kind` and `version` among them.
        fill: Writes the content into an empty folder.

    Returns:
        The absolute path, and whether it was written now.

    Raises:
        ValueError: The folder holds something else.
        FileNotFoundError: There is no folder to write it in.
    """
    folder = Path(folder).expanduser().absolute()
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {folder.parent}; make it before shapes are written to {folder.name}")
    if _present(folder, options):
        return folder, False
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
        part = Path(place) / "part"  # not the temporary folder itself, which nobody else may read
        part.mkdir()
        fill(part)
        (part / MANIFEST).write_text(json.dumps(options, indent=1) + "\n", encoding="utf-8")
        try:
            part.rename(folder)
        except OSError:
            if not _present(folder, options):  # another process was faster with the same
                raise
    return folder, True


def _present(folder: Path, options: dict[str, Any]) -> bool:
    """Whether the folder holds just this; refuses one that holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        told = _told(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder} is there and holds no shapes benchmark; name another folder") from None
    if found == options:
        return True
    if found.get("version") != options["version"]:
        told += ", of another version of litetext"
    raise ValueError(
        f"{folder} holds shapes with other options ({told}), asked for are {_told(options)}; "
        "name another folder or remove it"
    )


def _told(options: dict[str, Any]) -> str:
    kind = options.get("kind", "images")
    return f"{kind} {options[kind]}, seed {options['seed']}"
