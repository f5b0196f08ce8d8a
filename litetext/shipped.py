"""What is installed of litetext: where the configs and the tiny SAM3s lie, and which code it is.

Stored answers carry a hash of the code, so that an answer of other code is never taken for one of this code.
"""

import hashlib
import marshal
import opcode
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from types import CodeType

_PACKAGE = Path(__file__).resolve().parent
_DECISIVE = ("torch", "transformers", "tokenizers", "numpy", "scipy", "pillow", "pycocotools", "torchvision", "av")
"""Libraries whose version may change an answer, where they are installed."""
_NOTHING = bytes([opcode.opmap["NOP"], 0])

SHORT = {"nouns": "checkpoints/sam3-nouns", "shapes": "checkpoints/sam3-tiny"}
"""The shipped SAM3s by the worlds that they know."""
BY_WIDTH = {96: SHORT["nouns"], 64: SHORT["shapes"]}
"""The shipped SAM3s by the values a token that they read."""
STUDENTS = {"nouns": "checkpoints/student-nouns/student.ckpt", "shapes": "checkpoints/student-tiny/student.ckpt"}
"""The shipped students of their text encoders."""


def _roots() -> list[Path]:
    # In an installed wheel the files lie inside the package; in a checkout they are the project's own folders.
    return [_PACKAGE / "shipped_files", _PACKAGE.parent]


def shipped(path: str) -> str:
    """Finds a file by the user's path first, and otherwise among the shipped files.

    Args:
        path: A path, or a shipped name such as `checkpoints/sam3-nouns`, for which `nouns` is short (see `SHORT`).

    Returns:
        `path` itself when it exists or is not shipped, otherwise the shipped file's absolute path. A short name means
        the shipped SAM3 unless a folder with a config.json has it: the world's drawings may lie in `nouns`, too.
    """
    if path in SHORT and not Path(path, "config.json").is_file():
        path = SHORT[path]
    if Path(path).is_absolute() or Path(path).exists():
        return path
    return next((str(root / path) for root in _roots() if (root / path).exists()), path)


def world_of(model: str) -> str:
    """The world whose scenes suit a SAM3: `shapes` for the shipped one that knows nothing else, otherwise `nouns`.

    Args:
        model: As `shipped` takes it.
    """
    return "shapes" if Path(shipped(model)).name == Path(SHORT["shapes"]).name else "nouns"


def config_names() -> list[str]:
    """Names of the shipped configs, relative to `configs/`, for messages."""
    for root in _roots():
        folder = root / "configs"
        if folder.is_dir():
            return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.yaml"))
    return []


def config_path(name: str) -> Path:
    """Resolves `--config NAME` from any folder.

    Args:
        name: A file's path, or the name of a shipped config with or without its leading `configs/`.

    Returns:
        The file's path.

    Raises:
        FileNotFoundError: If there is neither such a file nor such a shipped config.
    """
    if Path(name).is_file():
        return Path(name)
    if not Path(name).is_absolute():
        for root in _roots():
            for candidate in (root / "configs" / name, root / name):
                if candidate.is_file():
                    return candidate
    raise FileNotFoundError(
        f"--config {name}: no such file, and no shipped config of that name (shipped: {', '.join(config_names())})"
    )


@lru_cache(maxsize=8)
def code_version(modules: Sequence[str] = (), libraries: Sequence[str] = _DECISIVE) -> str:
    """Hash of source code and versions; comments, docstrings, assertions and layout do not count.

    Args:
        modules: Paths of modules relative to the package, such as `data/shapes.py`; empty means the whole package.
        libraries: Distributions whose versions count.

    Returns:
        16 hexadecimal digits.
    """
    hasher = hashlib.blake2b(digest_size=8)
    paths = [_PACKAGE / name for name in modules] or sorted(_PACKAGE.rglob("*.py"))
    for path in paths:
        code = _bare(path)
        hasher.update(f"{path.relative_to(_PACKAGE).as_posix()}\n{len(code)}\n".encode() + code)
    for name in libraries:
        hasher.update(f"{name} {_version(name)}\n".encode())
    return hasher.hexdigest()


@lru_cache(maxsize=1)
def source_version() -> str:
    """Hash of all source code as it is written, and of versions: stricter than `code_version`, and without compiling.

    Returns:
        16 hexadecimal digits.
    """
    hasher = hashlib.blake2b(digest_size=8)
    for path in sorted(_PACKAGE.rglob("*.py")):
        source = path.read_bytes()
        hasher.update(f"{path.relative_to(_PACKAGE).as_posix()}\n{len(source)}\n".encode() + source)
    for name in _DECISIVE:
        hasher.update(f"{name} {_version(name)}\n".encode())
    return hasher.hexdigest()


def _bare(path: Path) -> bytes:
    """What Python compiles a module to, without docstrings, line numbers and its place."""
    source = path.read_text(encoding="utf-8")
    # Version 2 of the format: later ones write what is referred to more than once in another way, which may differ.
    return marshal.dumps(_without_places(compile(source, "", "exec", dont_inherit=True, optimize=2)), 2)


def _without_places(code: CodeType) -> CodeType:
    inner = tuple(_without_places(part) if isinstance(part, CodeType) else part for part in code.co_consts)
    begin, rest = code.co_code[:2], code.co_code[2:]
    body = begin + rest.removeprefix(_NOTHING)  # what a docstring leaves behind
    return code.replace(co_code=body, co_firstlineno=1, co_linetable=b"", co_consts=inner)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
