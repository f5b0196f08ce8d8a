"""Linking detections to masklets: identity through gaps, no duplicates, nothing short or unsure."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litetext.metrics.matching import rle
from litetext.models.sam3.linking import Linker
from litetext.saco.instances import Instances

SIZE = 32


def found(*places: int, scores: list[float] | None = None) -> Instances:
    """Bars of 6 columns that begin at the places."""
    masks = torch.zeros(len(places), SIZE, SIZE, dtype=torch.bool)
    for n, x in enumerate(places):
        masks[n, 4:20, x : x + 6] = True
    values = torch.tensor([0.9] * len(places) if scores is None else scores, dtype=torch.float64)
    return Instances(values, torch.zeros(len(places), 4, dtype=torch.float64), masks)


def run(frames: list[Instances], **options: float) -> list[dict]:
    linker = Linker(**options)  # type: ignore[arg-type]
    for t, part in enumerate(frames):
        linker.add(t, part)
    return linker.entries(len(frames))


def left(entry: dict) -> list[int | None]:
    return [int(box[0]) if area else None for box, area in zip(entry["bboxes"], entry["areas"], strict=True)]


def test_two_objects_keep_their_identity_whatever_the_order_of_detections() -> None:
    entries = run([found(0, 20), found(19, 1), found(2, 18), found(17, 3)])
    assert [left(entry) for entry in entries] == [[0, 1, 2, 3], [20, 19, 18, 17]]


def test_an_object_that_is_hidden_for_a_while_is_the_same_afterwards() -> None:
    frames = [found(4), found(5), found(), found(), found(6), found(7)]
    assert [left(entry) for entry in run(frames)] == [[4, 5, None, None, 6, 7]]
    assert len(run(frames, max_age=1, min_hits=1)) == 2


def test_absent_frames_have_no_mask_an_empty_box_and_no_area() -> None:
    (entry,) = run([found(4), found(), found(5), found(5)])
    assert entry["segmentations"][1] is None
    assert entry["bboxes"][1] == [0, 0, 0, 0]
    assert entry["areas"] == [96, 0, 96, 96]


def test_unsure_detections_continue_but_do_not_begin() -> None:
    weak = [found(4, scores=[0.35]), found(5, scores=[0.9]), found(6, scores=[0.35]), found(7, scores=[0.35])]
    (entry,) = run(weak)
    assert left(entry) == [None, 5, 6, 7]
    assert entry["score"] == 0.9


def test_short_masklets_are_dropped_but_not_in_short_videos() -> None:
    assert run([found(4), found(5), found(), found()]) == []
    assert len(run([found(4), found(5)])) == 1


def test_of_two_detections_of_one_object_the_surer_counts() -> None:
    frames = [found(4, 5, scores=[0.6, 0.8]) for _ in range(3)]
    (entry,) = run(frames)
    assert left(entry) == [5, 5, 5]


def test_empty_masks_are_no_objects() -> None:
    nothing = Instances(
        torch.ones(1, dtype=torch.float64), torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, SIZE, SIZE) > 0
    )
    assert run([nothing] * 4) == []


@given(st.lists(st.lists(st.integers(0, SIZE - 6), max_size=3, unique=True), min_size=1, max_size=6))
def test_masklets_share_no_detection_and_lose_none(places: list[list[int]]) -> None:
    entries = run([found(*part) for part in places], min_hits=1, duplicate=1.0)
    for t, part in enumerate(places):
        assert sorted(x for entry in entries if (x := left(entry)[t]) is not None) == sorted(part)


def test_masks_are_those_that_were_found() -> None:
    (entry,) = run([found(4)] * 3)
    assert np.array_equal(rle.decode(entry["segmentations"][0]).astype(bool), found(4).masks[0].numpy())


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_found_is_nothing(count: int) -> None:
    assert run([found()] * count) == []
