"""Where an export may be written: over nothing but an earlier export, and never over an input."""

from collections.abc import Sequence
from pathlib import Path

from litetext.export.evaluation import FOLDER
from litetext.files import drafts
from litetext.shipped import shipped

_SUFFIXES = (".safetensors", ".onnx", ".pt2", ".pt", ".json", ".md", ".txt", ".model", ".jinja", ".vocab")
_FOLDERS = (FOLDER, ".cache")
"""Scores for the hub, and what its client leaves in a folder that it has downloaded."""
EXPORTED = "exported by litetext."
"""Words of each card, by which an export is known."""


def check_place(output: str | Path, overwrite: bool, inputs: Sequence[str]) -> None:
    """Refuses a place for an export that holds something else, before any work is done.

    Args:
        output: The folder to be made.
        overwrite: Whether an earlier export there may be replaced: a folder with such a card.
        inputs: What is read, as the user wrote it.

    Raises:
        ValueError: Something is there that may not be replaced, also beside an earlier export; or the place is an
            input or holds one.
    """
    place = Path(output).resolve()
    for name in inputs:
        source = Path(shipped(name)).resolve()
        if source.exists() and (place == source or place in source.parents):
            raise ValueError(f"--output {output} is or holds the input {name}; give another name")
    if not Path(output).exists() or (Path(output).is_dir() and not any(Path(output).iterdir())):
        return
    if not overwrite:
        raise ValueError(f"--output {output} is there already; name another folder, or give --overwrite to replace it")
    try:
        card = (Path(output) / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        card = ""
    if EXPORTED not in card:
        raise ValueError(
            f"--output {output} is there already and is no export of litetext, which --overwrite replaces; name "
            "another folder"
        )
    if others := [entry.name for entry in sorted(Path(output).iterdir()) if not _of_an_export(entry)]:
        more = f" and {len(others) - 1:,} more" if len(others) > 1 else ""
        raise ValueError(
            f"--output {output} holds {others[0]}{more} beside an export, and --overwrite would remove it; move it, or "
            "name another folder"
        )


def left_behind(output: str | Path) -> list[Path]:
    """Drafts of this export beside its place: of runs that were killed, or that go on."""
    place = Path(output).resolve()
    return [draft for draft in drafts(place.parent) if draft.name.startswith(f".{place.name}.")]


def _of_an_export(entry: Path) -> bool:
    """Whether an export may have written a file or folder of this name."""
    return entry.name in _FOLDERS if entry.is_dir() else entry.suffix in _SUFFIXES or entry.name == ".gitattributes"
