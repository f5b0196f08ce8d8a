"""Masks as polygons and back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coder

from litetext.saco.polygons import one_polygon, polygons


def drawn(rings: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """As pycocotools and so every COCO reader draws them."""
    codes = coder.frPyObjects([ring.astype(float).ravel().tolist() for ring in rings], height, width)
    return coder.decode(coder.merge(codes)).astype(bool)


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def covered(ring: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels whose centre the ring winds around."""
    y, x = np.mgrid[:height, :width] + 0.5
    winding = np.zeros((height, width), dtype=int)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
        if y0 != y1:
            at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            winding += ((y > min(y0, y1)) & (y < max(y0, y1)) & (x > at)) * (1 if y1 > y0 else -1)
    return winding != 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 2**31))
def test_polygons_cover_exactly_the_mask(height: int, width: int, density: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    rings = polygons(mask)
    assert sum(map(area, rings)) == mask.sum(), "slits have no area"
    seen = np.zeros_like(mask)
    for ring in rings:
        assert area(ring) > 0
        seen |= covered(ring, height, width)
    assert np.array_equal(seen, mask)
    if rings:
        whole = one_polygon(rings)
        assert area(whole) == mask.sum()
        assert np.array_equal(covered(whole, height, width), mask)


def blobs() -> np.ndarray:
    y, x = np.mgrid[:120, :160]
    ring = (np.hypot(y - 60, x - 60) < 50) & (np.hypot(y - 60, x - 60) > 20)
    return ring | (np.hypot(y - 30, x - 140) < 15) | ((abs(y - 60) < 4) & (abs(x - 60) < 6))


def test_coco_readers_draw_the_same_mask() -> None:
    mask = blobs()
    rings = polygons(mask)
    assert len(rings) == 3
    for parts in (rings, [one_polygon(rings)]):
        again = drawn(parts, *mask.shape)
        assert (again & mask).sum() / (again | mask).sum() > 0.98
    plain = np.zeros((20, 30), dtype=bool)
    plain[3:9, 5:25] = plain[9:15, 10:12] = True
    assert np.array_equal(drawn(polygons(plain), 20, 30), plain)
    assert not polygons(np.zeros((5, 5), dtype=bool))
    assert polygons(np.ones((1, 1), dtype=bool))[0].shape == (4, 2)
