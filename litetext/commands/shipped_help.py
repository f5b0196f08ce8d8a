"""The help of the LightningCLI commands as it ships with the package: laid out at any width without Lightning.

`.ci/write_help.py` takes `shipped_help.json` from the parsers themselves. It holds for the sources and the versions
that decide the text; a test compares each text with what the parser prints.
"""

import argparse
import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
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
        if shipped["sources"] != sources():
            return None
        return _lay_out(shipped["commands"][command], shipped["options"])
    except (OSError, ValueError, KeyError, TypeError, importlib.metadata.PackageNotFoundError):
        return None


def versions() -> dict[str, str]:
    """The versions of what prints the texts; of torch and Python, which decide what Lightning offers, two parts."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    found["ruamel.yaml"] = (
        "installed" if importlib.util.find_spec("ruamel") else "absent"
    )  # gives --print_config a flag
    torch = ".".join(importlib.metadata.version("torch").split(".")[:2])
    return {**found, "torch": torch, "python": ".".join(map(str, sys.version_info[:2]))}


def sources() -> str:
    """A hash of what decides the texts in the sources of litetext.

    Of the modules whose signatures are shown this is all. Of the others that the parser imports it is the classes of
    those that know Lightning, in the order of import: the parser lists subclasses by name. Bodies of functions
    elsewhere decide nothing.
    """
    root = Path(__file__).parents[1]
    rows = [(root / stub).read_text(encoding="utf-8") for stub in ("__init__.pyi", "modules/__init__.pyi")]
    for module, tree in imported_modules(root).items():
        if module in WHOLE:
            rows += [module, ast.dump(tree)]
        elif any(name.startswith(("lightning", "litetext.modules", "litetext.commands")) for name in _imports(tree)):
            bases = [(node.name, *map(ast.unparse, node.bases)) for node in _at_import(tree, ast.ClassDef)]
            rows += [module, *map(str, bases)]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def imported_modules(root: Path) -> dict[str, ast.Module]:
    """The modules of litetext that are imported with the parser, each after those that it imports.

    Args:
        root: The package's folder.
    """
    found: dict[str, ast.Module] = {}

    def visit(module: str) -> None:
        path = root.joinpath(*module.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module in seen or not file.is_file():  # a name of a module, not a module
            return
        seen.add(module)
        if "." in module:
            visit(module.rpartition(".")[0])
        tree = ast.parse(file.read_bytes())
        for name in _imports(tree):
            if name.split(".")[0] == "litetext":
                visit(name)
        found[module] = tree

    seen = set[str]()
    visit(WHOLE[0])
    return found


def _imports(tree: ast.AST) -> list[str]:
    """What a module imports when it is imported: modules, and names of modules, which may be modules too."""
    names = []
    for node in _at_import(tree, ast.Import | ast.ImportFrom):
        if isinstance(node, ast.ImportFrom):
            names += [node.module or "", *(f"{node.module}.{name.name}" for name in node.names)]
        else:
            names += [name.name for name in node.names]
    return names


def _at_import(tree: ast.AST, kind: Any) -> list[Any]:
    """The nodes of a kind that are executed when a module is imported: all but those in functions."""
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, kind):
            found.append(node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            found += _at_import(node, kind)
    return found


class _ShownOption(argparse.Action):
    """An option as the parser shows it: nothing is left to be worked out."""

    def __init__(self, shown: dict[str, str]) -> None:
        nargs = None if shown.get("values") else 0
        super().__init__([shown["name"]], "option", nargs, required=bool(shown.get("required")), help=shown.get("help"))
        self.shown = shown


class _Formatter(argparse.HelpFormatter):
    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return action.shown["values"] if isinstance(action, _ShownOption) else ""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return action.shown["invocation"] if isinstance(action, _ShownOption) else ""

    def _expand_help(self, action: argparse.Action) -> str:
        return action.help or ""


def _lay_out(command: dict[str, Any], options: list[dict[str, str]]) -> str:
    """The text from its parts, by the formatter of this Python and to the width of this terminal."""
    formatter = _Formatter(prog=command["prog"])
    shown = [_ShownOption(option) for option in options]
    formatter.add_usage(None, [shown[number] for number in command["usage"]], [])
    formatter.add_text(command["description"])
    for group in command["groups"]:
        formatter.start_section(group["title"])
        formatter.add_text(group["description"])
        formatter.add_arguments([shown[number] for number in group["options"]])
        formatter.end_section()
    return formatter.format_help()
