"""Results of an evaluation and the records they come from."""

import json
from pathlib import Path

import pytest
import torch

from litetext.data.images.items import ImagePairs, Pair, SegItem, Truth
from litetext.modules.disagreements import objects
from litetext.modules.records import Instances, Records, coco_results
from litetext.modules.results import summarize, table

MASK = {"size": [2, 3], "counts": "06"}
FOUND = {1: Instances([0.91234, 0.5], [[0.1, 0.2, 0.3, 1 / 3], [0, 0, 1, 1]], [MASK, MASK]), 2: Instances([], [], [])}


def pairs(*ids: int) -> list[Pair]:
    return [Pair(i, f"thing {i}", (Truth([], [], [], True),), category=7) for i in ids]


def item(name: str, *ids: int) -> SegItem:
    return SegItem("crowded", name, torch.zeros(3, 2, 3, dtype=torch.uint8), pairs(*ids))


def test_records_come_back_exactly_and_only_when_whole(tmp_path: Path) -> None:
    records = Records(tmp_path / "r", 0)
    assert not (tmp_path / "r").exists(), "nothing is made before there is something to keep"
    records.add(item("a.png", 1, 2), {"teacher": FOUND})
    records.add(item("b.png", 3), {"teacher": {3: FOUND[1]}})
    again = Records(tmp_path / "r", 1)
    assert again.find(item("a.png", 1, 2), ["teacher"]) == {"teacher": FOUND}
    assert again.find(item("a.png", 1, 2), ["teacher", "student"]) is None
    assert again.find(item("a.png", 1, 2, 3), ["teacher"]) is None
    assert again.find(item("c.png", 1), ["teacher"]) is None


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    records = Records(tmp_path, 0)
    for name in ("a.png", "b.png"):
        records.add(item(name, 1, 2), {"teacher": FOUND})
    whole = records.journal.path.read_bytes()
    for cut in range(len(whole) // 2 + 2, len(whole)):
        records.journal.path.write_bytes(whole[:cut])
        torn = Records(tmp_path, 0)
        assert torn.find(item("a.png", 1, 2), ["teacher"]) is not None
        assert torn.find(item("b.png", 1, 2), ["teacher"]) is None
        torn.add(item("b.png", 1, 2), {"teacher": FOUND})
        assert Records(tmp_path, 0).find(item("b.png", 1, 2), ["teacher"]) == {"teacher": FOUND}


def test_predictions_leave_in_the_official_layout(tmp_path: Path) -> None:
    records = Records(tmp_path, 0)
    records.add(item("a.png", 1, 2), {"teacher": FOUND})
    images = [ImagePairs("crowded", name, Path(name), 2, 3, pairs(1, 2)) for name in ("a.png", "b.png")]
    found = list(coco_results(images, records, "teacher"))
    assert json.loads(json.dumps(found)) == [
        {"image_id": 1, "category_id": 7, "score": 0.91234, "bbox": [0.1, 0.2, 0.3, 1 / 3], "segmentation": MASK},
        {"image_id": 1, "category_id": 7, "score": 0.5, "bbox": [0, 0, 1, 1], "segmentation": MASK},
    ]


def test_a_detectors_predictions_have_no_masks(tmp_path: Path) -> None:
    boxes = {1: FOUND[1]._replace(masks=None), 2: Instances([], [], None)}
    Records(tmp_path, 0).add(item("a.png", 1, 2), {"owl": boxes})
    records = Records(tmp_path, 0)
    assert records.find(item("a.png", 1, 2), ["owl"]) == {"owl": boxes}
    found = list(coco_results([ImagePairs("crowded", "a.png", Path("a.png"), 2, 3, pairs(1, 2))], records, "owl"))
    assert [p["bbox"] for p in found] == [[0.1, 0.2, 0.3, 1 / 3], [0, 0, 1, 1]]
    assert not any("segmentation" in p for p in found)


def test_boxes_stand_beside_masks_and_detectors_have_boxes_only() -> None:
    def all_of(value: float) -> dict[str, dict[str, float]]:
        return {s: {"CG_F1": value, "IL_MCC": value / 100, "pmF1": value} for s in ("a", "b")}

    masks = {"teacher": all_of(50.0), "s0": all_of(40.0)}
    boxes = {"teacher": all_of(60.0), "s0": all_of(45.0), "owl": all_of(20.0)}
    results = summarize(masks, {"teacher": 3, "s0": 2, "owl": 1}, "teacher", boxes, {"owl": 9})
    teacher, student, owl = (results["encoders"][name] for name in ("teacher", "s0", "owl"))
    assert (teacher["iou"], student["iou"], owl["iou"]) == ("segm", "segm", "bbox")
    assert student["average"]["retention"] == pytest.approx(40 / 50)
    assert student["bbox"]["average"]["retention"] == pytest.approx(45 / 60)
    assert student["bbox"]["subsets"] == boxes["s0"]
    assert owl["average"] == {"CG_F1": 20.0, "IL_MCC": 0.2, "pmF1": 20.0, "retention": None}
    assert (owl["text_parameters"], owl["parameters"]) == (1, 9)
    assert "bbox" not in owl
    lines = table(results).splitlines()
    assert [" ".join(line.split()) for line in lines if "boxes" in line] == [
        "average, boxes 60.00 0.600 60.00 100.0%",
        "average, boxes 45.00 0.450 45.00 75.0%",
        "owl 0.00M average, boxes 20.00 0.200 20.00",
        "a, boxes 20.00 0.200 20.00",
        "b, boxes 20.00 0.200 20.00",
    ]
    # One subset without masks: all averages are those of boxes.
    del masks["teacher"]["b"], masks["s0"]["b"]
    mixed = summarize(masks, {"teacher": 3, "s0": 2, "owl": 1}, "teacher", boxes, {"owl": 9})["encoders"]
    assert mixed["s0"]["iou"] == "bbox"
    assert mixed["s0"]["average"]["CG_F1"] == 45.0
    assert mixed["s0"]["average"]["retention"] == pytest.approx(45 / 60)


def test_an_object_has_one_number_in_every_column() -> None:
    a, b, c, far = [0.1, 0.1, 0.2, 0.2], [0.5, 0.5, 0.2, 0.2], [0.8, 0.1, 0.1, 0.1], [0.0, 0.9, 0.05, 0.05]

    def near(box: list[float]) -> list[float]:
        return [box[0] + 0.02, box[1], box[2], box[3]]

    assert objects([[a, b], [near(b), c, near(a)], [], [far, c, b]]) == [[0, 1], [1, 2, 0], [], [3, 2, 1]]
    assert objects([[], [a], [a, a]]) == [[], [0], [0, 1]]


def test_averages_and_retention() -> None:
    scores = {
        "teacher": {
            "a": {"CG_F1": 60.0, "IL_MCC": 0.9, "pmF1": 70.0},
            "b": {"CG_F1": 20.0, "IL_MCC": 0.5, "pmF1": 30.0},
        },
        "s0": {"a": {"CG_F1": 55.0, "IL_MCC": 0.8, "pmF1": 66.0}, "b": {"CG_F1": 23.0, "IL_MCC": 0.6, "pmF1": 34.0}},
    }
    results = summarize(scores, {"teacher": 353_720_000, "s0": 42_540_000}, "teacher")
    teacher, student = results["encoders"]["teacher"], results["encoders"]["s0"]
    assert teacher["average"] == {"CG_F1": 40.0, "IL_MCC": 0.7, "pmF1": 50.0, "retention": 1.0}
    assert student["average"]["retention"] == pytest.approx(39 / 40)
    assert student["subsets"]["b"] == scores["s0"]["b"]
    assert student["text_parameters"] == 42_540_000
    text = table(results)
    assert [line.split() for line in text.splitlines()[4:6]] == [
        ["s0", "42.54M", "average", "39.00", "0.700", "50.00", "97.5%"],
        ["a", "55.00", "0.800", "66.00"],
    ]
    assert table(results, markdown=True).splitlines()[1].count("---") == 7


@pytest.mark.parametrize("score", [0.0, -3.0])
def test_retention_is_undefined_without_a_teacher_that_finds_something(score: float) -> None:
    low = {"a": {"CG_F1": score, "IL_MCC": 0.0, "pmF1": 0.0}}
    results = summarize({"teacher": low, "s0": low}, {"teacher": 2, "s0": 1}, "teacher")
    assert results["encoders"]["s0"]["average"]["retention"] is None
    alone = summarize({"s0": low}, {"s0": 1}, "teacher")
    assert alone["encoders"]["s0"]["average"]["retention"] is None
    assert "%" not in table(alone)
