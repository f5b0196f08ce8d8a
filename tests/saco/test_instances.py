"""What users of `Segmenter` get: one type, boxes as corners, and the ways out of it."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coder

from litetext.saco import Segments

MASKS = torch.zeros(2, 6, 8, dtype=torch.bool)
MASKS[0, 1:3, 2:7] = True
MASKS[1, 4, 0] = True
XYWH = [[2.0, 1.0, 5.0, 2.0], [0.0, 4.0, 1.0, 1.0]]


def both() -> list[Segments]:
    """The same instances from pixels and from run lengths."""
    rles = coder.encode(np.asfortranarray(MASKS.permute(1, 2, 0).numpy().astype(np.uint8)))
    return [Segments("white dog", [0.9, 0.6], XYWH, masks, (6, 8)) for masks in (MASKS, rles)]


def test_pixels_and_run_lengths_say_the_same() -> None:
    for one in both():
        assert len(one) == 2
        assert one.boxes.tolist() == [[2, 1, 7, 3], [0, 4, 1, 5]]
        assert torch.equal(one.masks, MASKS)
        assert [int(coder.area(rle)) for rle in one.rles] == [10, 1]
        last = one.take([1])
        assert (last.scores.tolist(), last.xywh.tolist()) == ([0.6], [XYWH[1]])
        assert torch.equal(last.masks, MASKS[1:])


def test_coco_is_json_that_pycocotools_reads() -> None:
    for one in both():
        told = json.loads(json.dumps(one.to_coco(image_id=7, category_id=3, first_id=5)))
        assert [(a["id"], a["image_id"], a["category_id"], a["area"], a["bbox"]) for a in told] == [
            (5, 7, 3, 10, XYWH[0]),
            (6, 7, 3, 1, XYWH[1]),
        ]
        assert np.array_equal(coder.decode(told[0]["segmentation"]).astype(bool), MASKS[0].numpy())
        assert [a["score"] for a in told] == [0.9, 0.6]


def test_nothing_found_is_an_answer() -> None:
    none = Segments("cup", [], [], torch.zeros(0, 6, 8, dtype=torch.bool), (6, 8))
    assert (none.boxes.shape, none.to_coco(), none.rles) == ((0, 4), [], [])
    assert Segments("cup", [], [], [], (6, 8)).masks.shape == (0, 6, 8)


def test_supervision_takes_it() -> None:
    pytest.importorskip("supervision")
    for one in both():
        found = one.to_supervision(4)
        assert found.xyxy.tolist() == one.boxes.tolist()
        assert found.confidence.tolist() == [0.9, 0.6]
        assert found.class_id.tolist() == [4, 4]
        assert found.area.tolist() == [10, 1]
        assert list(found.data["class_name"]) == ["white dog", "white dog"]
