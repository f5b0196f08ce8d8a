"""The examples in the docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "litetext").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_what_people_compute_with_has_examples() -> None:
    wanted = ("data.permutation", "losses", "metrics.agreement", "metrics.cgf1", "metrics.matching", "tokenizer.bpe")
    assert {f"litetext.{name}" for name in wanted} <= set(MODULES)
