"""Counts what the house is made of at two revisions: `python .ci/house.py BEFORE [AFTER]` prints a Markdown table."""

import ast
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TYPES = {"Found", "Instances", "Detections", "Boxes", "Segments", "Detected", "Truth", "GroundTruth", "Objects"}
"""Names that stood, or stand, for what a model finds or an annotator marks."""
ENCODERS = {
    "TextEncoder",
    "Sam3TextEncoder",
    "Student",
    "MobileClipText",
    "FastStudent",
    "TextTower",
    "HubTower",
    "HubTextEncoder",
    "Tower",
}
"""Names that stood, or stand, for a text encoder."""
LOADERS = re.compile(r"_?(load|open|read|from_pretrained|student_from_pretrained)(_\w+)?")
COMMANDS = {
    "export": ("litetext.commands.export", "litetext.export_command"),
    "test": ("litetext.commands.lightning", "litetext.lightning_cli", "litetext.modules.seg_eval"),
}
"""Modules in which a command begins, by their names of then and now."""
GRAPH = """
import json, sys
import grimp
from tests.test_imports import circles
graph = grimp.build_graph("litetext", exclude_type_checking_imports=False, cache_dir=None)
found = len(circles({one: set(graph.find_modules_directly_imported_by(one)) for one in graph.modules}))
reached = {}
for command, begins in json.loads(sys.argv[1]).items():
    there = [one for one in begins if one in graph.modules]
    reached[command] = len(set(there).union(*(graph.find_upstream_modules(one) for one in there)))
print(json.dumps([found, reached]))
"""


def loaders(tree: ast.AST) -> int:
    """Functions of a file that load a text encoder, by their name and what they say they return."""
    return sum(
        isinstance(node, ast.FunctionDef)
        and LOADERS.fullmatch(node.name) is not None
        and node.returns is not None
        and any(word in ENCODERS for word in re.findall(r"\w+", ast.unparse(node.returns)))
        for node in ast.walk(tree)
    )


def imports(tree: ast.AST) -> set[str]:
    """Names that a file imports when it is imported itself: not in functions, and not for types alone."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            names |= imports(node)
    return names


def at_once(trees: dict[str, ast.AST], begins: tuple[str, ...]) -> int:
    """Modules that are imported with those in which a command begins, themselves included."""
    reached: set[str] = set()
    waiting = [name for name in begins if name in trees]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [other for other in imports(trees[name]) if other in trees]
    return len(reached)


def count(revision: str) -> dict[str, object]:
    """The numbers of one revision, by what they count."""
    archive = subprocess.run(["git", "archive", revision, "litetext", "README.md"], capture_output=True, check=True)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files_of_then:
            files_of_then.extractall(folder, filter="data")
        root = Path(folder)
        (root / "tests").mkdir()
        (root / "tests" / "test_imports.py").write_text(Path("tests/test_imports.py").read_text())
        files = sorted((root / "litetext").rglob("*.py"))
        longest = max(files, key=lambda file: len(file.read_text().splitlines()))
        trees = [ast.parse(file.read_text()) for file in files]
        names = [".".join(file.relative_to(root).with_suffix("").parts) for file in files]
        by_name = dict(zip(names, trees, strict=True))
        classes = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        command = [sys.executable, "-c", GRAPH, json.dumps(COMMANDS)]
        ran = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        found, reached = json.loads(ran.stdout)
        return {
            "Python files of the package": len(files),
            "rooms on its first floor (folders and files)": sum(
                one.is_dir() or one.suffix == ".py" for one in (root / "litetext").iterdir()
            ),
            "import circles, type-only imports included": found,
            "longest file, lines": f"{len(longest.read_text().splitlines())} ({longest.relative_to(root)})",
            "types for instances and marks": sum(name in TYPES for name in classes),
            "functions that load a text encoder": sum(map(loaders, trees)),
            **{f"modules that `litetext {command}` reaches by imports": count for command, count in reached.items()},
            **{
                f"modules that `litetext {command}` imports before it begins": at_once(by_name, begins)
                for command, begins in COMMANDS.items()
            },
            "words of README.md": len((root / "README.md").read_text().split()),
        }


if __name__ == "__main__":
    before, after = (count(revision) for revision in (sys.argv[1], (sys.argv[2:] or ["HEAD"])[0]))
    print("| | before | after |\n|---|---|---|")
    for name, value in before.items():
        print(f"| {name} | {value} | {after[name]} |")
