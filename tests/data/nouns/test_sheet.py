"""The sheet of drawings, its nouns and their words."""

import json
from collections import Counter

import pytest

from litetext.data.nouns import (
    COLOURS,
    core,
    draw_sheet,
    drawings,
    meanings,
    nouns,
    styles,
    words,
)
from litetext.data.nouns import sheet as sheet_module
from litetext.data.nouns.lexicon import is_countable, plural


def test_sheet_holds_three_artists_drawings_of_the_same_nouns():
    assert styles() == ("fluent", "noto", "twemoji")
    assert core() >= 300
    assert len(nouns()) - core() == 30
    assert all(noun.open == (number >= core()) for number, noun in enumerate(nouns()))
    cover = (drawings()[..., 3] >= 128).mean((2, 3))
    assert cover.shape == (3, len(nouns()))
    assert cover.min() > 0.08
    assert draw_sheet("noto").size[0] == 24 * 48
    assert {"de", "fr", "es"} == set(nouns()[0].names)


def test_words_of_different_nouns_are_different():
    said = Counter(word for noun in nouns() for word in noun.words)
    assert said.most_common(1)[0][1] == 1
    assert meanings()["poodle"] < meanings()["dog"] < meanings()["mammal"] < meanings()["animal"]
    assert all(len(meanings()[category]) >= 3 for n in range(core()) for category in words(n).categories)


@pytest.mark.parametrize(
    ("word", "many"),
    [
        ("cup of coffee", "cups of coffee"),
        ("mouse", "mice"),
        ("cherry blossom", "cherry blossoms"),
        ("jeans", "jeans"),
        ("wine glass", "wine glasses"),
        ("knife", "knives"),
        ("tropical fish", "tropical fish"),
    ],
)
def test_plural(word, many):
    assert plural(word) == many
    assert is_countable(word) == (word not in ("jeans", "tropical fish"))


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("sheet.webp", b"no picture", "sheet.webp is damaged"),
        ("sheet.webp", None, "sheet.webp is damaged"),
        ("nouns.json", b"{", "nouns.json is damaged"),
        ("nouns.json", b"{}", "nouns.json is damaged"),
    ],
)
def test_damaged_files_are_named(tmp_path, monkeypatch, file, content, told):
    for name in ("sheet.webp", "nouns.json"):
        (tmp_path / name).write_bytes((sheet_module.HOME / name).read_bytes())
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    monkeypatch.setattr(sheet_module, "HOME", tmp_path)
    monkeypatch.setattr(sheet_module, "_table", sheet_module._table.__wrapped__)
    with pytest.raises(ValueError, match=told):
        drawings.__wrapped__()


def test_pixels_that_changed_are_noticed(tmp_path, monkeypatch):
    table = json.loads((sheet_module.HOME / "nouns.json").read_text(encoding="utf-8"))
    (tmp_path / "nouns.json").write_text(json.dumps(table | {"checksum": "0" * 64}), encoding="utf-8")
    (tmp_path / "sheet.webp").write_bytes((sheet_module.HOME / "sheet.webp").read_bytes())
    monkeypatch.setattr(sheet_module, "HOME", tmp_path)
    monkeypatch.setattr(sheet_module, "_table", sheet_module._table.__wrapped__)
    with pytest.raises(ValueError, match=r"its pixels have checksum \w{12}, not 000000000000"):
        drawings.__wrapped__()


def test_licences_are_named():
    notice = (sheet_module.HOME / "NOTICE").read_text(encoding="utf-8")
    assert all(name in notice for name in ("Microsoft", "Google", "Twitter", "CC-BY 4.0", "Apache-2.0", "MIT"))
    assert sum(path.stat().st_size for path in sheet_module.HOME.glob("*.*")) < 4_000_000
    assert set(COLOURS) == {"red", "green", "blue", "yellow", "purple", "orange", "white", "black"}
