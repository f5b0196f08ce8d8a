"""Exports are compared in few images here; the command compares in more."""

import pytest

from litetext.export import masks


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "PAIRS", 8)
