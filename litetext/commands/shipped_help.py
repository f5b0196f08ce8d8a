"""The help of the LightningCLI commands as it ships with the package: laid out at any width without Lightning.

`.ci/write_help.py` takes `shipped_help.json` from the parsers themselves. It holds for the sources and the versions
that decide the text; a test compares each text with what the parser prints.
"""

import argparse
import ast
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SHIPPED = Path(__file__).with_name("shipped_help.json")
WHOLE = ("litetext.commands.lightning", "litetext.modules.callbacks", "litetext.modules.checkpointing")
"""Modules whose options, signatures and docstrings are shown, and whose code jsonargparse reads."""
_PACKAGES = ("lightning", "jsonargparse", "docstring-parser", "typeshed-client")


def shipped_help(command: str) -> str | None:
    """The help of a command, as wide as the terminal.

    Args:
        command: fit, validate, test or predict.

    Returns:
        The text, or None if other sources or other versions than the shipped ones decide it.
    """
    try:
        shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
        if any(name.startswith("JSONARGPARSE_") for name in os.environ) or shipped["versions"] != versions():
            return None
        if shipped["sources"] != sources(shipped["modules"]):
            return None
        return _lay_out(shipped["commands"][command], shipped["options"])
    except (OSError, ValueError, KeyError, TypeError, importlib.metadata.PackageNotFoundError):
        return None


def versions() -> dict[str, str]:
    """The versions of what prints the texts; of torch and Python, which decide what Lightning offers, two parts."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    torch = ".".join(importlib.metadata.version("torch").split(".")[:2])
    return {**found, "torch": torch, "python": ".".join(map(str, sys.version_info[:2]))}


def sources(modules: Sequence[str]) -> str:
    """A hash of what decides the texts in the sources of litetext.

    Of the modules whose signatures are shown this is all; of the others it is what they import of litetext and
    Lightning, and the classes that they define: the parser lists subclasses by name. Bodies of functions elsewhere
    decide nothing.

    Args:
        modules: litetext's modules that the parser imports.
    """
    rows = []
    root = Path(__file__).parents[1]
    rows += [(root / stub).read_text(encoding="utf-8") for stub in ("__init__.pyi", "modules/__init__.pyi")]
    for module in modules:
        path = root.joinpath(*module.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        tree = ast.parse(file.read_bytes())
        rows += [module, ast.dump(tree) if module in WHOLE else "\n".join(_skeleton(tree))]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _skeleton(tree: ast.AST) -> list[str]:
    """What a module imports of litetext and Lightning when it is imported, and its classes."""
    rows = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            rows += [f"import {name.name}" for name in node.names if name.name.startswith(("litetext", "lightning"))]
        elif isinstance(node, ast.ImportFrom):
            if (node.module or "").startswith(("litetext", "lightning")):
                rows.append(f"from {node.module}")
        elif isinstance(node, ast.ClassDef):
            rows.append(f"class {node.name}({', '.join(ast.unparse(base) for base in node.bases)})")
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            rows += _skeleton(node)
    return rows


class _Option(argparse.Action):
    """An option as the parser shows it: nothing is left to be worked out."""

    def __init__(self, shown: dict[str, str]) -> None:
        nargs = None if shown.get("values") else 0
        super().__init__([shown["name"]], "option", nargs, required=bool(shown.get("required")), help=shown.get("help"))
        self.shown = shown

    def __call__(self, *_: Any) -> None:
        raise NotImplementedError


class _Formatter(argparse.HelpFormatter):
    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return action.shown["values"] if isinstance(action, _Option) else ""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return action.shown["invocation"] if isinstance(action, _Option) else ""

    def _expand_help(self, action: argparse.Action) -> str:
        return action.help or ""


def _lay_out(command: dict[str, Any], options: list[dict[str, str]]) -> str:
    """The text from its parts, by the formatter of this Python and to the width of this terminal."""
    formatter = _Formatter(prog=command["prog"])
    shown = [_Option(option) for option in options]
    formatter.add_usage(None, [shown[number] for number in command["usage"]], [])
    formatter.add_text(command["description"])
    for group in command["groups"]:
        formatter.start_section(group["title"])
        formatter.add_text(group["description"])
        formatter.add_arguments([shown[number] for number in group["options"]])
        formatter.end_section()
    return formatter.format_help()
