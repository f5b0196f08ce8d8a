"""IoU of run-length masks: many images in one call give what each gives alone."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coder

import litetext.saco.mask_ious as room
from litetext.saco.mask_ious import image_ious, rle_ious

one_call: Any = coder.iou


def side(rng: np.random.Generator, count: int, size: tuple[int, int]) -> list[dict[str, Any]]:
    density = rng.random(count) ** 3
    pixels = [np.asfortranarray(rng.random(size) < share, dtype=np.uint8) for share in density]
    return [coder.encode(one) for one in pixels]


def plain(predicted: Any, truth: Any) -> np.ndarray:
    if not predicted or not truth:
        return np.zeros((len(predicted), len(truth)))
    return np.asarray(one_call(predicted, truth, [0] * len(truth)))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 9), st.integers(1, 9)), max_size=9),
    st.sampled_from([1, 20, 10_000]),
)
def test_images_that_share_a_call_give_what_each_gives_alone(
    seed: int, shapes: list[tuple[int, int, int, int]], pairs: int
) -> None:
    rng = np.random.default_rng(seed)
    images = [(side(rng, n, (h, w)), side(rng, m, (h, w))) for n, m, h, w in shapes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_PAIRS", pairs)
        found = image_ious(images)
    for ious, image in zip(found, images, strict=True):
        np.testing.assert_array_equal(ious, plain(*image))


def test_sizes_stay_apart_within_an_image_and_between_images() -> None:
    rng = np.random.default_rng(0)
    mixed = [*side(rng, 2, (6, 8)), *side(rng, 1, (6, 9)), *side(rng, 1, (8, 6))]
    others = [*side(rng, 1, (6, 9)), *side(rng, 2, (6, 8))]
    alone = plain(mixed, others)
    assert (alone == -1).any()
    assert (alone > 0).any()
    for ious in image_ious([(mixed, others), (others[1:], others), (mixed, others)])[::2]:
        np.testing.assert_array_equal(ious, alone)


def test_many_images_are_few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(a: Any, b: Any, crowd: Any) -> Any:
        calls.append(len(a))
        return one_call(a, b, crowd)

    rng = np.random.default_rng(0)
    images = [(side(rng, 2, (5, 7)), side(rng, 3, (5, 7))) for _ in range(60)]
    monkeypatch.setattr(room._rle, "iou", counted)
    image_ious(images)
    assert sum(calls) == 120
    assert len(calls) < 10


def test_a_damaged_mask_is_named() -> None:
    code = side(np.random.default_rng(0), 1, (6, 6))[0]
    with pytest.raises(ValueError, match="mask 0 of 1: "):
        rle_ious([{**code, "counts": code["counts"] + b"1"}], [code])
