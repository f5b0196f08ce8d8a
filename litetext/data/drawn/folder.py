"""A folder that a benchmark is drawn into: whole or not at all, once, and never over something else."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from litetext.shipped import code_version

WORLDS = ("shapes", "nouns", "probes")
_NOUNS = ("sheet", "scenes", "render", "lexicon", "meaning")
_DRAWING = {
    "shapes": [f"shapes/{part}" for part in ("world", "phrases", "gold", "veval")],
    "nouns": [f"nouns/{part}" for part in (*_NOUNS, "wording", "truths", "falsehoods", "phrases", "gold", "veval")],
    "probes": [f"nouns/{part}" for part in (*_NOUNS, "probes")],
}
_SHARED = ("folder", "gold", "veval")
_LIBRARIES = ("numpy", "pillow", "pycocotools")


class Drawn(NamedTuple):
    """A benchmark that is asked for by the name of its world.

    Attributes:
        world: shapes, nouns or probes.
        number: Its images a subset, its videos, or its pairs.
    """

    world: str
    number: int


def drawn_benchmark(root: str, what: str, worlds: Sequence[str] = WORLDS) -> Drawn | None:
    """What `shapes:40` or `nouns:40` asks for, or None where `root` is a folder.

    Args:
        root: As the user gave it.
        worlds: Those there are.
        what: For the message: what the number counts, with an example in which `{world}` is the world.

    Raises:
        ValueError: There is no number after the colon.
    """
    world, colon, number = root.partition(":")
    if not colon or world not in worlds:
        return None
    if not number.isdecimal() or not int(number):
        raise ValueError(f"data.root is {root!r}; give a number of {what.format(world=world)}")
    return Drawn(world, int(number))


def own_folder(folder: str, world: str) -> str:
    """Where litetext itself keeps a drawn benchmark.

    Args:
        folder: Where it lies unless another version drew what lies there.
        world: shapes, nouns or probes.

    Returns:
        `folder`, or its name with the hash of today's code where another version of litetext or its libraries drew
        what it holds: that stays, and this version draws its own beside it.
    """
    try:
        code = json.loads((Path(folder) / f"{world}.json").read_text(encoding="utf-8"))["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return folder  # nothing, or nothing that litetext drew: `write_once` says so
    mine = _code(world)
    return folder if code == mine else f"{folder}-{mine[:8]}"


def write_once(
    folder: str | Path, options: dict[str, Any], fill: Callable[[Path], None], world: str
) -> tuple[Path, bool]:
    """Fills a folder unless it holds just this already.

    It is written beside its place and renamed. Its manifest holds the options, the version of the code that drew it,
    and a hash of all files, so that neither other code nor a changed file passes for what was asked.

    Args:
        folder: Its place; its parent must be there.
        options: What decides the content, JSON-able; `kind` and `version` among them.
        fill: Writes the content into an empty folder.
        world: shapes, nouns or probes: what the benchmark is. WORLD.json in the folder keeps the options.

    Returns:
        The absolute path, and whether it was written now.

    Raises:
        ValueError: The folder holds something else, or its files were changed.
        FileNotFoundError: There is no folder to write it in.
    """
    folder = Path(folder).expanduser().absolute()
    options = {**options, "code": _code(world)}
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {folder.parent}; make it before {world} are written to {folder.name}")
    if _present(folder, options, world):
        return folder, False
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
        part = Path(place) / "part"  # not the temporary folder itself, which nobody else may read
        part.mkdir()
        fill(part)
        facts = {**options, "content": _content(part, world)}
        (part / f"{world}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        try:
            part.rename(folder)
        except OSError:
            if not _present(folder, options, world):  # another process was faster with the same
                raise
    return folder, True


def _code(world: str) -> str:
    """Version of what draws a world."""
    modules = [f"data/drawn/{part}.py" for part in _SHARED] + [f"data/{part}.py" for part in _DRAWING[world]]
    return code_version(tuple(modules), _LIBRARIES)


def _present(folder: Path, options: dict[str, Any], world: str) -> bool:
    """Whether the folder holds just this; refuses one that holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / f"{world}.json").read_text(encoding="utf-8"))
        content, shown = found.pop("content", None), _shown(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{folder} is there and holds no {world} benchmark; name another folder") from None
    way_out = "name another folder or remove it"
    if found == options:
        if content != _content(folder, world):
            raise ValueError(f"{folder} holds {world} ({shown}), but files in it were changed since; {way_out}")
        return True
    if any(found.get(key) != options[key] for key in ("version", "code")):
        shown += ", drawn by another version of litetext or its libraries"
    raise ValueError(f"{folder} holds {world} with other options ({shown}), asked for are {_shown(options)}; {way_out}")


def _content(folder: Path, world: str) -> str:
    """Hash of all files but the manifest, with their names."""
    hasher = hashlib.blake2b(digest_size=16)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / f"{world}.json"):
        data = path.read_bytes()
        hasher.update(f"{path.relative_to(folder).as_posix()} {len(data)}\n".encode())
        hasher.update(data)
    return hasher.hexdigest()


def _shown(options: dict[str, Any]) -> str:
    kind = options.get("kind", "images")
    return f"{kind} {options[kind]}, seed {options['seed']}"
