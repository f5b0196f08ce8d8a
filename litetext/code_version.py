"""Which code computed something: a hash of sources and of the libraries that decide numbers.

Stored answers carry it, so that an answer of other code is never taken for one of this code.
"""

import ast
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_DECISIVE = ("torch", "transformers", "tokenizers", "numpy", "scipy", "pillow", "pycocotools", "torchvision", "av")
"""Libraries whose version may change an answer, where they are installed."""


@lru_cache(maxsize=8)
def code_version(modules: Sequence[str] = (), libraries: Sequence[str] = _DECISIVE) -> str:
    """Hash of source code and versions; comments, docstrings and layout do not count.

    Args:
        modules: Paths of modules relative to the package, such as `data/shapes.py`; empty means the whole package.
        libraries: Distributions whose versions count.

    Returns:
        16 hexadecimal digits.
    """
    hasher = hashlib.blake2b(digest_size=8)
    paths = [_PACKAGE / name for name in modules] or sorted(_PACKAGE.rglob("*.py"))
    for path in paths:
        hasher.update(f"{path.relative_to(_PACKAGE).as_posix()}\n{_bare(path)}\n".encode())
    for name in libraries:
        hasher.update(f"{name} {_version(name)}\n".encode())
    return hasher.hexdigest()


def _bare(path: Path) -> str:
    """A module without comments and docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [part for part in body if not _is_text(part)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
