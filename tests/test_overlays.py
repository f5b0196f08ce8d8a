"""Masks painted over pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from litetext.metrics.matching import to_rle
from litetext.overlays import COLOURS, _eroded, overlay, paint


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 700), st.integers(0, 4), st.integers(0, 2**31))
def test_overlays_of_any_size(height: int, width: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = to_rle(torch.from_numpy(rng.random((count, height, width)) < rng.random()))
    picture = overlay(pixels, masks, range(count), [f"phrase {n}" for n in range(count)])
    factor = picture.shape[0] // height
    assert picture.shape == (height * factor, width * factor, 3)
    assert max(picture.shape) >= 480
    if not count:
        assert np.array_equal(picture[::factor, ::factor], pixels)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 7), st.integers(0, 2**31))
def test_the_margin_is_what_an_erosion_takes(height: int, width: int, margin: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.choice([0.5, 0.95, 1])
    square = np.ones((2 * margin + 1, 2 * margin + 1), dtype=bool)
    assert np.array_equal(_eroded(mask, margin), binary_erosion(mask, square))


def test_colours_lie_where_masks_are() -> None:
    pixels = np.full((600, 500, 3), 100, dtype=np.uint8)
    masks = np.zeros((3, 600, 500), dtype=bool)
    masks[0, 100:200, 100:200] = masks[1, 150:250, 150:250] = True  # the third is empty
    picture = overlay(pixels, to_rle(torch.from_numpy(masks)), [0, 21, 2], ["a", "b", "c"]).astype(int)
    assert (picture[300:] == 100).all()
    assert np.abs(picture[240, 240] - (0.4 * 100 + 0.6 * COLOURS[1])).max() <= 1, "colours begin again after the last"
    assert np.abs(picture[110, 110] - (0.4 * 100 + 0.6 * COLOURS[0])).max() <= 1
    assert (picture[199, 150:190] == COLOURS[0]).all(), "the first is on top, outline and all"
    assert len({tuple(colour) for colour in COLOURS.tolist()}) == len(COLOURS) == 20
    painted = paint(pixels, masks, [3, 4, 5]).astype(int)
    assert (painted[~masks.any(0)] == 100).all()
    assert np.abs(painted[110, 110] - (0.4 * 100 + 0.6 * COLOURS[3])).max() <= 1


@pytest.mark.parametrize("grey", [False, True])
def test_the_picture_is_half_as_colourful(grey: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    if grey:
        pixels[..., 1:] = pixels[..., :1]
    wanted = 0.5 * pixels.mean(-1, keepdims=True) + 0.5 * pixels
    assert np.abs(paint(pixels, [], []) - wanted).max() <= 1
