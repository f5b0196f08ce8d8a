"""Mappings that name a key twice are refused, in every file that litetext reads them from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.commands.config_files import read_config
from litetext.commands.lightning import merge_configs
from litetext.data.prompts.layouts import READERS
from litetext.files import RepeatedKeyError, parse_json, parse_yaml
from litetext.metrics.answer_files import read_answers
from litetext.metrics.saco_files import read_predictions
from litetext.saco.images import AnnotatorFile, read_annotator
from litetext.saco.videos import read_video_annotations

_KEYS = st.text(alphabet="ab<", max_size=2)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(_VALUES)
def test_what_repeats_nothing_is_read_as_ever(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode("utf-16")) == value
    assert parse_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "c": 2, "a": 1}}]'])
def test_a_repeated_key_is_named(text: str) -> None:
    for parse in (parse_json, parse_yaml):
        with pytest.raises(RepeatedKeyError, match="'a' stands twice in one mapping"):
            parse(text)


def test_a_merge_of_yaml_may_be_named_again() -> None:
    text = "x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  a: 3\n"
    assert parse_yaml(text) == yaml.safe_load(text) == {"x": {"a": 1, "b": 2}, "y": {"a": 3, "b": 2}}
    with pytest.raises(RepeatedKeyError, match="'a' stands twice in one mapping, lines 1 and 3"):
        parse_yaml("a: 1\nb: 2\na: 3\n")


_NOBODY = AnnotatorFile("gt.json", {}, {}, frozenset())


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.json", read_annotator),
        ("a.json", read_video_annotations),
        ("a.json", read_predictions),
        ("a.json", lambda path: read_answers(path, "gemini", [_NOBODY])),
        ("a.json", lambda path: list(READERS["json"]([path], "score"))),
        ("a.jsonl", lambda path: list(READERS["jsonl"]([path], "score"))),
        ("a.yaml", lambda path: read_config(str(path))),
        ("a.json", lambda path: merge_configs(["--config", path.read_text()])),
    ],
)
def test_every_reader_refuses_it(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text('{"score": 0.5, "score": 0.7}')
    with pytest.raises(ValueError, match=r"'score' stands twice in one mapping.*; keep one") as caught:
        read(path)
    assert name in str(caught.value) or "--config {" in str(caught.value)
