"""Masks from files: what is damaged never reaches pycocotools, what is sound stays as it is."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from litetext.saco.mask_ious import rle_ious
from litetext.saco.masks import (
    box_masks,
    check_rle,
    checked,
    empty_mask,
    encode_masks,
    mask_area,
    mask_box,
    read_mask,
)
from tests.fixtures.saco_world import rle

coder: Any = mask


def drawn(height: int, width: int, share: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 70), st.floats(0, 1), st.integers(0, 1000))
def test_every_mask_that_pycocotools_writes_passes(height: int, width: int, share: float, seed: int) -> None:
    pixels = drawn(height, width, share, seed)
    code = rle(pixels)
    found = read_mask(code, height, width)
    assert found == code
    assert read_mask(found, height, width) is found
    runs = np.flatnonzero(np.diff(pixels.ravel(order="F").astype(int), prepend=0, append=2))
    plain = {"size": [height, width], "counts": np.diff(runs, prepend=0).tolist()}
    assert (coder.decode(read_mask(plain, height, width)) == pixels).all()
    assert mask_area(found) == pixels.sum()
    for size in ((height + 1, width), (width + 100, height)):
        with pytest.raises(ValueError, match="size"):
            read_mask(code, *size)
        assert read_mask(code, *size, any_size=True) == code, "as officially: it matches nothing"
    as_text = {**code, "size": [str(side) for side in code["size"]]}
    assert read_mask(as_text, *code["size"]) == code, "numbers may be written as text, as ids may"
    for damaged in (
        {**code, "counts": code["counts"][:-1]},
        {**code, "size": [height, width + 1]},
        {**plain, "counts": [*plain["counts"], 1]},
        {**plain, "counts": [*plain["counts"], 2, -2]},
    ):
        with pytest.raises(ValueError, match="runs"):
            read_mask(damaged, height, width, any_size=True)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 3),
    st.integers(0, 40),
    st.integers(0, 70),
    st.sampled_from([0, 0.01, 0.5, 0.99, 1]),
    st.integers(0, 99),
)
def test_masks_are_encoded_as_by_pycocotools(count: int, height: int, width: int, share: float, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((count, height, width)) < share
    expected = [coder.encode(np.asfortranarray(one.astype(np.uint8))) for one in pixels]
    assert encode_masks(pixels) == expected
    assert encode_masks(np.asfortranarray(pixels)) == expected


@settings(max_examples=200, deadline=None)
@given(data=st.data(), seed=st.integers(0, 99))
def test_a_mask_with_a_changed_character_is_refused_or_has_all_its_pixels(data: Any, seed: int) -> None:
    code = rle(drawn(9, 14, 0.4, seed))
    text = list(code["counts"])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        text[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.text(st.characters(codec="latin-1"), max_size=2)
        )
        if not text:
            break
    try:
        found = read_mask({**code, "counts": "".join(text)}, 9, 14)
    except ValueError:
        return
    assert coder.decode(found).sum() == mask_area(found), "runs that add up are read as they are written"


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ({"size": [4, 5], "counts": "\x10"}, "no run-length code"),
        ({"size": [4, 5], "counts": "é"}, "damaged"),
        ({"size": [4, 5], "counts": "000P"}, "ends within a number"),
        ({"size": [4, 5], "counts": "PPPPPPPP0"}, "more than 32 bits"),
        ({"size": [4, 5], "counts": ""}, "cover 0 pixels"),
        ({"size": [4, 5], "counts": 5}, "neither text nor a list"),
        ({"size": [4, 5], "counts": None}, "neither text nor a list"),
        ({"size": [4, 5], "counts": [20.5]}, "whole number"),
        ({"size": [4, 5], "counts": [10**30]}, "damaged"),
        ({"size": [4, 5], "counts": [2**63 - 1, 2**63 - 1, 22]}, "cover"),
        ({"size": [4, float("nan")], "counts": "d0"}, "size"),
        ({"size": [10**9, 10**9], "counts": "d0"}, "size"),
        ({"size": "45", "counts": "d0"}, "size"),
        ({"counts": "d0"}, "size"),
        ({"size": [4, 5]}, "must be a run-length mask or polygons"),
        ([], "must be a run-length mask or polygons"),
        (None, "must be a run-length mask or polygons"),
        ("nonsense", "must be a run-length mask or polygons"),
        ([[1.0]], "odd count"),
        ([[1, 1, 3, 1, 3]], "odd count"),
        ([[1, 1, 3, 3]], "no polygon has three points"),
        ([[]], "no polygon has three points"),
        ([[float("nan"), 1, 3, 1, 3, 3]], "polygon 1 of 1 has a coordinate that is not finite"),
        ([[1, 1, 3, 1, 3, 3], [float("inf"), 1, 3, 1, 3, 3]], "polygon 2 of 2"),
        ([[1e9, 1, 3, 1, 3, 3]], "far outside the image of 4 x 5 pixels: x 1e.09, y 1"),
        ([[1, -5, 3, 1, 3, 3]], "far outside"),
        ([[10**400, 1, 3, 1, 3, 3]], "not finite"),
        ([["1", "1", "3", "1", "3", "3"]], "not a list of numbers"),
        ([[1, 1, 1, 1, 1, 1]], "cover no pixel"),
        ([[0, 0, 5, 4] * 400_000], "pixels long"),
        ([[[1, 1], [3, 1], [3, 3]]], "not a list of numbers"),
        ([None], "not a list of numbers"),
        ([{"x": 1}], "not a list of numbers"),
    ],
)
def test_what_is_no_mask_is_refused_by_what_is_wrong(segmentation: Any, told: str) -> None:
    for any_size in (False, True):
        with pytest.raises(ValueError, match=told):
            read_mask(segmentation, 4, 5, any_size)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-20, 40), st.floats(-20, 40)), min_size=3, max_size=8))
def test_sound_polygons_are_drawn_as_pycocotools_draws_them(points: list[tuple[float, float]]) -> None:
    polygon = [x for point in points for x in point]
    own = coder.merge(coder.frPyObjects([polygon], 20, 20))
    for written in ([polygon], polygon, [polygon, [3, 3, 9, 9]]):
        if coder.area(own):
            assert read_mask(written, 20, 20) == own
        else:
            with pytest.raises(ValueError, match="cover no pixel"):
                read_mask(written, 20, 20)


def test_runs_of_no_length_between_others_do_not_hide_an_overlap() -> None:
    whole = {"size": [4, 5], "counts": [4, 6, 0, 0, 0, 6, 4]}
    found = read_mask(whole, 4, 5)
    same = rle(coder.decode(found).astype(bool))
    assert mask_area(found) == 12
    packed = coder.frPyObjects({"size": [4, 5], "counts": [4, 6, 0, 6, 4]}, 4, 5)
    for one in (found, read_mask(packed, 4, 5)):
        assert rle_ious([one], [same])[0, 0] == 1


def test_boxes_as_masks_stay_in_the_image() -> None:
    boxes = [[1, 1, 2, 2], [-1e9, 0, 3e9, 1e9], [4, 3, 1e300, 1], [9, 9, 1, 1]]
    assert [mask_area(one) for one in box_masks(boxes, 4, 5)] == [4, 20, 1, 0]
    assert box_masks([], 4, 5) == []
    assert mask_box(box_masks(boxes[:1], 4, 5)[0]) == [1, 1, 2, 2]
    assert mask_area(empty_mask(4, 5)) == 0


def test_masks_handed_to_the_metrics_are_checked_once() -> None:
    code = rle(np.eye(6, dtype=bool))
    found = checked([code, read_mask(code, 6, 6)])
    assert all(one is two for one, two in zip(checked(found), found, strict=True))
    for damaged in ({**code, "counts": code["counts"] + "1"}, {"size": [6, 6]}, None):
        with pytest.raises(ValueError, match=r"mask 1 of 2( is a NoneType, not run lengths of pycocotools;|: )"):
            checked([code, damaged])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="mask 0 of 1: "):
        rle_ious([{**code, "counts": code["counts"] + "1"}], [code])


def test_large_masks() -> None:
    check_rle(rle(np.indices((3000, 4000)).sum(0) % 1700 < 800), 3000, 4000)
