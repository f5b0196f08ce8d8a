"""Names of classes: one name, one meaning, and none of the words that the field does not use."""

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "litetext"
OURS = {"Found", "Subject", "Order", "Outcome", "Journal", "Ledger"}


def test_no_two_classes_share_a_name():
    places = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    assert len(places) > 100
    assert {name: where for name, where in places.items() if len(where) > 1 or name in OURS} == {}
