"""IoU and assignment: exact numbers, three kinds of input, best sum instead of greed."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from torch import Tensor

from litetext.metrics.assess import THRESHOLDS
from litetext.metrics.matching import (
    as_boxes,
    assigned_ious,
    box_ious,
    mask_ious,
    to_rle,
)
from litetext.metrics.tensor_iou import tensor_ious
from litetext.saco.mask_ious import rle_ious
from litetext.saco.masks import read_mask


def random_masks(count: int, seed: int, size: int = 9) -> Tensor:
    """Masks of very different density, among them empty ones."""
    generator = torch.Generator().manual_seed(seed)
    density = torch.rand(count, 1, 1, generator=generator) ** 3 - 0.05
    return torch.rand(count, size, size + 2, generator=generator) < density


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10**6))
def test_tensors_and_run_lengths_agree_to_the_last_bit(n: int, m: int, seed: int) -> None:
    a, b = random_masks(n, seed), random_masks(m, seed + 1)
    by_rle = rle_ious(to_rle(a) if n else [], to_rle(b) if m else [])
    assert mask_ious(a, b).shape == (n, m)
    np.testing.assert_array_equal(mask_ious(a, b), by_rle)
    np.testing.assert_array_equal(mask_ious(a, to_rle(b) if m else []), by_rle)


@pytest.mark.parametrize("k", range(10, 20))
def test_an_iou_on_a_threshold_is_the_float64_ratio(k: int) -> None:
    a, b = torch.zeros(1, 4, 5, dtype=torch.bool), torch.ones(1, 4, 5, dtype=torch.bool)
    a.view(-1)[:k] = True
    for iou in (mask_ious(a, b), rle_ious(to_rle(a), to_rle(b))):
        assert iou[0, 0] == k / 20
        assert iou[0, 0] >= THRESHOLDS[k - 10]


def test_large_masks_are_counted_exactly() -> None:
    pixels = torch.ones(1, 4100, 4100, dtype=torch.bool)  # 2^24 and more: float32 would lose the last pixel
    pixels[0, 0, 0] = False
    full = torch.ones_like(pixels)
    assert tensor_ious(pixels, full)[0, 0] == (4100 * 4100 - 1) / (4100 * 4100)


def test_empty_masks_never_match() -> None:
    nothing = torch.zeros(1, 5, 5, dtype=torch.bool)
    assert mask_ious(nothing, nothing)[0, 0] == 0
    assert rle_ious(to_rle(nothing), to_rle(nothing))[0, 0] == 0


@pytest.mark.usefixtures("unchecked")
def test_masks_of_another_size_never_match() -> None:
    small, large = torch.ones(1, 5, 5, dtype=torch.bool), torch.ones(1, 6, 6, dtype=torch.bool)
    assert mask_ious(to_rle(small), to_rle(large))[0, 0] == -1
    with pytest.raises(ValueError, match=r"\(5, 5\).*\(6, 6\).*resize"):
        mask_ious(small, large)


def test_boxes_of_any_kind() -> None:
    a, b = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 0.5, 0.5]], [[0.25, 0.0, 0.5, 0.5]]
    expected = np.array([[1 / 3], [1 / 3]])
    np.testing.assert_array_equal(box_ious(a, b), expected)
    np.testing.assert_array_equal(box_ious(torch.tensor(a), np.array(b)), expected)
    assert box_ious(a[:1], a[1:])[0, 0] == 0, "boxes that touch do not overlap"
    assert box_ious([], b).shape == (0, 1)
    with pytest.raises(ValueError, match="width, height"):
        as_boxes([[1.0, 2.0]])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_the_assignment_has_the_largest_sum(n: int, m: int, seed: int) -> None:
    ious = np.random.default_rng(seed).random((n, m))
    wide = ious if n <= m else ious.T
    best = max(
        sum(wide[i, j] for i, j in enumerate(columns)) for columns in permutations(range(wide.shape[1]), len(wide))
    )
    pairs = assigned_ious(ious)
    assert len(pairs) == min(n, m)
    assert pairs.sum() == pytest.approx(best, abs=1e-12)


def test_the_assignment_is_not_greedy_and_knows_no_threshold() -> None:
    ious = np.array([[0.9, 0.8], [0.8, 0.0]])
    np.testing.assert_array_equal(np.sort(assigned_ious(ious)), [0.8, 0.8])
    low = np.array([[0.55, 0.45], [0.45, 0.30]])  # 0.9 together, although only 0.55 would pass a threshold
    np.testing.assert_array_equal(np.sort(assigned_ious(low)), [0.45, 0.45])


def test_segmentations_of_coco_files() -> None:
    polygon = read_mask([[1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]], 6, 8)
    assert polygon["size"] == [6, 8]
    assert rle.area(polygon) == 6
    column = read_mask({"size": [6, 8], "counts": [6, 6, 36]}, 6, 8)
    np.testing.assert_array_equal(rle.decode(column)[:, 1], 1)
    assert rle.area(column) == 6
    assert read_mask(column, 1, 1, any_size=True) == column, "a compressed mask keeps its own size"
    with pytest.raises(ValueError, match="polygons"):
        read_mask("nonsense", 6, 8)
