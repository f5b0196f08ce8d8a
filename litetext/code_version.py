"""Which code computed something: a hash of sources and of the libraries that decide numbers.

Stored answers carry it, so that an answer of other code is never taken for one of this code.
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
