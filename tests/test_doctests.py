"""The examples in the docstrings are true."""

import doctest
import importlib

import pytest

MODULES = [
    "litetext.data.permutation",
    "litetext.losses",
    "litetext.metrics.agreement",
    "litetext.metrics.cgf1",
    "litetext.metrics.matching",
    "litetext.tokenizer",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
