"""Where an evaluation writes: whole or not at all, and never over what another evaluation wrote."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule

from litetext.files import write_json

RESULTS = "results.json"
PIECES = ("predictions", "pictures", RESULTS)
"""What an evaluation leaves in its run's folder; the results come last."""
EARLIER = "earlier"
_MARK = ".evaluation"
_DRAFT = ".writing"
BOARDS = ".boards.json"


def run_folder(module: LightningModule) -> Path:
    """The folder of the run: the logger's, or the trainer's."""
    return Path(getattr(module.trainer.logger, "log_dir", None) or module.trainer.default_root_dir)


def check_name(option: str, name: str) -> None:
    """Refuses a name that cannot be that of one file or folder in the run's folder.

    Args:
        option: What the name was given to, for the message.
        name: The name.

    Raises:
        ValueError: It is empty, begins with a dot, is longer than 100 characters, or holds a separator or a control
            character.
    """
    if not name or name.startswith(".") or len(name) > 100 or re.search(r"[/\\:\x00-\x1f]", name):
        raise ValueError(
            f"{option} is {name!r}; files are named after it: give 1 to 100 characters without '/', '\\' and ':' that "
            "do not begin with a dot"
        )


def replace_json(path: Path, content: Any) -> None:
    """Writes JSON beside its place and renames it; lists on one line, objects indented."""
    write_json(path, content, None if isinstance(content, list) else 1)


def write_list(path: Path, entries: Iterable[Any]) -> None:
    """Writes a JSON list on one line; one entry is in memory at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, entry in enumerate(entries):
            file.write((", " if number else "") + json.dumps(entry))
        file.write("]\n")


def publish(folder: Path, evaluation: str, fill: Callable[[Path], None]) -> Path | None:
    """Puts predictions, pictures and results into a run's folder, and aside what another evaluation left there.

    All is written in a folder beside its place and then renamed, `results.json` last. What the same evaluation wrote
    before is replaced; what another one wrote goes to `earlier/ITS_ID`, whole.

    Args:
        folder: The run's folder.
        evaluation: Id of this evaluation, by its content.
        fill: Writes some of `PIECES` into an empty folder, `results.json` with the id as its `evaluation`.

    Returns:
        The folder into which something was put aside, or None.

    Raises:
        ValueError: See `check_place`.
    """
    check_place(folder)
    draft = folder / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    fill(draft)
    unnamed, aside = _unnamed(folder / EARLIER), None
    # Where results are, the rest is theirs: they go first, but last where they alone tell whose the rest is.
    for piece in PIECES if _is_nameless(folder / RESULTS) else PIECES[::-1]:
        here, owner = folder / piece, _owner(folder / piece)
        if not here.exists() or (owner == evaluation and not (draft / piece).exists()):
            continue
        if owner == evaluation:
            _remove(here)
            continue
        aside = folder / EARLIER / (owner or unnamed)
        aside.mkdir(parents=True, exist_ok=True)
        _remove(aside / piece)
        os.replace(here, aside / piece)
    for piece in PIECES:
        new = draft / piece
        if not new.exists():
            continue
        if new.is_dir():
            (new / _MARK).write_text(evaluation + "\n", encoding="utf-8")
        os.replace(new, folder / piece)
    draft.rmdir()
    return aside


def check_place(folder: Path) -> None:
    """Refuses a run's folder in which somebody else's files have the names of an evaluation's.

    Raises:
        ValueError: There is such a file or folder, and no evaluation wrote it.
    """
    if _is_nameless(folder / RESULTS):
        return
    for piece in PIECES:
        if (folder / piece).exists() and _owner(folder / piece) is None:
            raise ValueError(
                f"{folder / piece} is there, and no evaluation of litetext wrote it; choose another --run, or move it"
            )


def claim_boards(folder: Path, evaluation: str) -> None:
    """Puts event files of other evaluations aside, so that TensorBoard does not mix their curves.

    Only files that an evaluation claimed are moved; those of a training stay.

    Args:
        folder: The run's folder; event files that nobody claimed are this evaluation's if this process made them.
        evaluation: Its id.
    """
    path = folder / BOARDS
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    here = {file.name: file for file in folder.glob("events.out.tfevents.*")}
    own = {name: evaluation for name in here if name not in known and f".{os.getpid()}." in name}
    for name, owner in known.items():
        if owner != evaluation and name in here and isinstance(owner, str):
            (folder / EARLIER / owner).mkdir(parents=True, exist_ok=True)
            os.replace(here[name], folder / EARLIER / owner / name)
    kept = {name: owner for name, owner in known.items() if owner == evaluation and name in here}
    write_json(path, kept | own)


def _owner(path: Path) -> str | None:
    """Id of the evaluation that wrote a piece, None if it does not say."""
    try:
        if path.is_dir():
            stored = (path / _MARK).read_text(encoding="utf-8").strip()
        else:
            stored = json.loads(path.read_text(encoding="utf-8"))["evaluation"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stored if isinstance(stored, str) and re.fullmatch(r"[0-9a-f]{8,64}", stored) else None


def _is_nameless(path: Path) -> bool:
    """Whether these are results from before evaluations had ids."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and "encoders" in stored and "evaluation" not in stored


def _unnamed(folder: Path) -> str:
    number = 1
    while (folder / f"unnamed-{number}").exists():
        number += 1
    return f"unnamed-{number}"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
