"""Single fields of annotation files."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.saco.fields import category_phrase, counted, read_box, read_flag, read_id, read_size, repeated


@given(st.integers(-(10**12), 10**12))
def test_a_number_and_the_same_number_as_text_are_one_id(number: int) -> None:
    assert read_id(number) == read_id(str(number)) == read_id(float(number)) == number
    assert isinstance(read_id(float(number)), int)


@pytest.mark.parametrize("value", [None, True, 1.5, math.nan, [1], {}, "", " "])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(ValueError, match=r"image_id is .*; give"):
        read_id(value, "image_id")


def test_other_text_stays_an_id() -> None:
    assert read_id("ckq0a1") == "ckq0a1"
    assert read_id("١") == "١", "digits of other scripts are not certain"


@pytest.mark.parametrize(
    ("value", "means"),
    [(0, False), (1, True), (0.0, False), ("0", False), ("1", True), ("false", False), ("True", True), (True, True)],
)
def test_flags(value: Any, means: bool) -> None:
    assert read_flag(value, "iscrowd") is means


@pytest.mark.parametrize("value", [2, "2", "maybe", None, [], math.nan, ""])
def test_what_is_no_flag(value: Any) -> None:
    with pytest.raises(ValueError, match=r"iscrowd is .*; give 0 or 1"):
        read_flag(value, "iscrowd")


def test_sizes() -> None:
    assert read_size({"height": 3, "width": "4"}) == (3, 4)
    for entry in ({"height": 0, "width": 4}, {"height": 3.5, "width": 4}, {"height": 10**6, "width": 10**6}):
        with pytest.raises(ValueError, match="no size of an image"):
            read_size(entry)
    with pytest.raises(ValueError, match="width is missing"):
        read_size({"height": 3})


@pytest.mark.parametrize(
    "box", [None, [1, 2, 3], [1, 2, 3, None], ["1", 2, 3, 4], [math.nan, 1, 1, 1], [1, 1, -1, 1], 7]
)
def test_what_is_no_box(box: Any) -> None:
    with pytest.raises(ValueError, match="bbox is"):
        read_box(box)


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("red_circle", "red circle"),
        ("crab_(animal)", "crab"),
        ("bow_(decorative_ribbons)_tie", "bow tie"),
        (" traffic  light ", "traffic light"),
        ("(unknown)", "(unknown)"),
        ("hot-dog", "hot-dog"),
        ("_", "_"),
    ],
)
def test_category_names(name: str, phrase: str) -> None:
    assert category_phrase(name) == phrase


def test_lines_for_what_was_left_out() -> None:
    assert repeated([1, 2, 1, 3, 2, 1]) == [1, 2]
    assert counted("left out", [7]) == "left out: 1 (id 7)"
    assert counted("left out", list(range(2000)), "flat") == "left out: 2,000 (first: id 0, 1, 2, ...: flat)"
