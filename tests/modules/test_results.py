"""Results of an evaluation and the records they come from."""

import contextlib
import json
import os
from pathlib import Path

import pytest
import torch

from litetext.data.images.items import ImagePairs, Pair, SegItem
from litetext.modules.disagreements import objects, worst
from litetext.modules.records import Records, coco_results
from litetext.modules.results import defined, refuse_nothing, summarize, table
from litetext.modules.results_files import check_name, publish, replace_json, write_list
from litetext.modules.resume_cache import ResumeCache
from litetext.saco.instances import Instances, Truth

MASK = {"size": [2, 3], "counts": "06"}
FOUND = {1: Instances([0.91234, 0.5], [[0.1, 0.2, 0.3, 1 / 3], [0, 0, 1, 1]], [MASK, MASK]), 2: Instances([], [], [])}


def pairs(*ids: int) -> list[Pair]:
    return [Pair(i, f"thing {i}", (Truth([], [], [], True),), category=7) for i in ids]


def item(name: str, *ids: int, phrase: str = "thing {}", shade: int = 0) -> SegItem:
    asked = [pair._replace(phrase=phrase.format(pair.id)) for pair in pairs(*ids)]
    return SegItem("crowded", name, torch.full((3, 2, 3), shade, dtype=torch.uint8), asked)


def opened(folder: Path, rank: int = 0) -> Records:
    return Records(ResumeCache(folder, rank))


def test_records_come_back_exactly_and_only_for_the_same_pixels_and_phrases(tmp_path: Path) -> None:
    records = opened(tmp_path / "r")
    assert not (tmp_path / "r").exists(), "nothing is made before there is something to keep"
    records.add(records.key(item("a.png", 1, 2)), {"teacher": FOUND})
    records.add(records.key(item("b.png", 3)), {"teacher": {3: FOUND[1]}})
    again = opened(tmp_path / "r", 1)
    assert again.find(again.key(item("a.png", 1, 2))) == {"teacher": FOUND}
    assert again.reused == 1
    others = (
        item("a.png", 1, 2, 3),
        item("a.png", 2, 1),
        item("a.png", 1, 2, phrase="things {}"),
        item("a.png", 1, 2, shade=1),
        item("a.png", 1, 2)._replace(image=torch.zeros(3, 3, 2, dtype=torch.uint8)),
        item("a.png", 1, 2)._replace(subset="common"),
        item("a.png", 1, 2)._replace(pairs=[pair._replace(category=8) for pair in pairs(1, 2)]),
        item("c.png", 1, 2),
    )
    assert [again.find(again.key(other)) for other in others] == [None] * len(others)
    assert again.reused == 1


def test_a_line_that_was_cut_off_costs_only_itself(tmp_path: Path) -> None:
    records = opened(tmp_path)
    first, second = (records.key(item(name, 1, 2)) for name in ("a.png", "b.png"))
    for key in (first, second):
        records.add(key, {"teacher": FOUND})
    whole = records.cache.path.read_bytes()
    for cut in range(len(whole) // 2 + 2, len(whole)):
        records.cache.path.write_bytes(whole[:cut])
        torn = opened(tmp_path)
        assert torn.find(first) is not None
        assert torn.find(second) is None
        torn.add(second, {"teacher": FOUND})
        assert opened(tmp_path).find(second) == {"teacher": FOUND}


def test_clearing_the_cache_covers_all_processes(tmp_path: Path) -> None:
    for rank in (0, 1):
        ResumeCache(tmp_path, rank).add(f"{rank}a", [rank])
    cache = ResumeCache(tmp_path, 0)
    assert cache.find("1a") == [1]
    cache.clear()
    assert cache.find("1a") is None
    assert not ResumeCache(tmp_path, 0).known


def test_predictions_leave_in_the_official_layout(tmp_path: Path) -> None:
    records = opened(tmp_path)
    records.add(records.key(item("a.png", 1, 2)), {"teacher": FOUND})
    images = [ImagePairs("crowded", name, Path(name), 2, 3, pairs(1, 2)) for name in ("a.png", "b.png")]
    write_list(tmp_path / "p.json", coco_results(images, records, "teacher"))
    assert (tmp_path / "p.json").read_text().count("\n") == 1
    assert json.loads((tmp_path / "p.json").read_text()) == [
        {"image_id": 1, "category_id": 7, "score": 0.91234, "bbox": [0.1, 0.2, 0.3, 1 / 3], "segmentation": MASK},
        {"image_id": 1, "category_id": 7, "score": 0.5, "bbox": [0, 0, 1, 1], "segmentation": MASK},
    ]
    assert not list(coco_results(images, opened(tmp_path), "teacher")), "stored, but not asked by this evaluation"


def test_a_detectors_predictions_have_no_masks(tmp_path: Path) -> None:
    boxes = {1: FOUND[1]._replace(masks=None), 2: Instances([], [], None)}
    records = opened(tmp_path)
    records.add(records.key(item("a.png", 1, 2)), {"owl": boxes})
    assert records.find(records.key(item("a.png", 1, 2))) == {"owl": boxes}
    found = list(coco_results([ImagePairs("crowded", "a.png", Path("a.png"), 2, 3, pairs(1, 2))], records, "owl"))
    assert [p["bbox"] for p in found] == [[0.1, 0.2, 0.3, 1 / 3], [0, 0, 1, 1]]
    assert not any("segmentation" in p for p in found)


def test_the_worst_disagreements_come_first_and_alone_are_kept(tmp_path: Path) -> None:
    records = opened(tmp_path)
    full, empty, half = ({"size": [2, 3], "counts": counts} for counts in ("06", "6", "33"))

    def found(*masks: dict) -> Instances:
        return Instances([0.9] * len(masks), [[0, 0, 1, 1]] * len(masks), list(masks))

    other = {1: found(full), 2: found(empty), 3: found(half), 4: found(half)}
    ids = (1, 2, 3, 4)
    records.add(records.key(item("a.png", *ids)), {"teacher": dict.fromkeys(ids, found(full)), "s0": other})
    images = [ImagePairs("crowded", "a.png", Path("a.png"), 2, 3, pairs(*ids))]
    cases = worst(images, records, ["teacher", "s0"], 3)
    assert [(case.pair.id, case.disagreement) for case in cases] == [(2, 1.0), (3, 0.5), (4, 0.5)]
    assert worst(images, records, ["teacher", "s0"], 0) == []


def test_what_was_not_measured_is_null_and_not_part_of_an_average() -> None:
    row = {"CG_F1": 0.0, "IL_MCC": 0.0, "pmF1": 50.0}
    both = ("CG_F1", "IL_MCC")
    assert defined(row, 3, 2, both) == row
    assert defined(row, 3, 0, both) == {"CG_F1": None, "IL_MCC": None, "pmF1": 50.0}
    nothing = dict.fromkeys(row)
    assert defined(row, 0, 5, both) == defined(row, 0, 0, both) == nothing
    masks = {"a": {"CG_F1": 40.0, "IL_MCC": 0.5, "pmF1": 60.0}, "b": nothing, "c": defined(row, 3, 0, both)}
    results = summarize({"teacher": masks, "s0": masks}, {"teacher": 2, "s0": 1}, "teacher")
    average = results["encoders"]["s0"]["average"]
    assert average == {"CG_F1": 40.0, "IL_MCC": 0.5, "pmF1": 55.0, "retention": 1.0}
    lines = table(results).splitlines()
    assert [line.split() for line in lines[3:5]] == [["b", "-", "-", "-"], ["c", "-", "-", "50.00"]]
    refuse_nothing(results, "")
    empty = summarize({"teacher": {"b": nothing}}, {"teacher": 2}, "teacher")
    assert empty["encoders"]["teacher"]["average"] == {**nothing, "retention": None}
    with pytest.raises(ValueError, match=r"nothing was scored: .* \(5 pairs asked\)"):
        refuse_nothing(empty, "5 pairs asked")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a\\b", ".x", "a\0", "x" * 101, "c:x"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"data\.coco\.name is "):
        check_name("data.coco.name", name)
    check_name("data.coco.name", "my data (2), été")


def publish_some(folder: Path, evaluation: str, pictures: bool = True) -> Path | None:
    def fill(draft: Path) -> None:
        write_list(draft / "predictions" / "teacher" / "coco.json", [evaluation])
        if pictures:
            write_list(draft / "pictures" / "00.png", [evaluation])
        replace_json(draft / "results.json", {"evaluation": evaluation})

    return publish(folder, evaluation, fill)


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*.*")) if p.name != ".evaluation"}


def test_what_another_evaluation_wrote_is_put_aside_whole(tmp_path: Path) -> None:
    one, two = "1" * 32, "2" * 32
    assert publish_some(tmp_path, one) is None
    first = contents(tmp_path)
    assert publish_some(tmp_path, one, pictures=False) is None
    assert contents(tmp_path) == first, "its own pictures stay"
    assert publish_some(tmp_path, two, pictures=False) == tmp_path / "earlier" / one
    assert contents(tmp_path / "earlier" / one) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["earlier", "predictions", "results.json"]
    assert json.loads((tmp_path / "results.json").read_text()) == {"evaluation": two}


def test_a_kill_at_any_step_of_putting_aside_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = "1" * 32, "2" * 32
    real, steps = os.replace, 0
    for last in range(20):
        folder = tmp_path / str(last)
        publish_some(folder, one)
        first, steps = contents(folder), 0

        def replace(a: Path, b: Path, last: int = last) -> None:
            nonlocal steps
            if steps == last:
                raise KeyboardInterrupt
            steps += 1
            real(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with contextlib.suppress(KeyboardInterrupt):
                publish_some(folder, two)
        whole = steps < last
        results = folder / "results.json"
        if results.exists():
            owner = json.loads(results.read_text())["evaluation"]
            assert (folder / "predictions/teacher/coco.json").read_text() == f'["{owner}"]\n'
        publish_some(folder, two)
        assert contents(folder / "earlier" / one) == first
        assert json.loads(results.read_text()) == {"evaluation": two}
        if whole:
            break
    assert steps >= 6


def test_files_of_others_are_refused_and_nameless_results_put_aside(tmp_path: Path) -> None:
    write_list(tmp_path / "pictures" / "mine.png", [1])
    with pytest.raises(ValueError, match=r"pictures is there, and no evaluation of litetext wrote it"):
        publish_some(tmp_path, "1" * 32)
    assert contents(tmp_path) == {"pictures/mine.png": "[1]\n"}
    replace_json(tmp_path / "results.json", {"encoders": {}})
    assert publish_some(tmp_path, "1" * 32) == tmp_path / "earlier" / "unnamed-1"
    assert sorted(contents(tmp_path / "earlier" / "unnamed-1")) == ["pictures/mine.png", "results.json"]


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
