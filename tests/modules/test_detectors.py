"""`litetext test` with zero-shot detectors alone, and on data sets that have boxes but no masks."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from litetext.models.sam3.image import Sam3Image
from litetext.modules.seg_eval import SegEvalModule
from tests.fixtures.detectors_world import save_dino, save_owl, save_sam
from tests.fixtures.runs import Answer

COMMON = ("--config", "shapes.yaml", "--data.root", "null", "--trainer.enable_progress_bar", "false")
RESULTS = Path("lightning_logs/shapes/results.json")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two detectors, and two images as a COCO data set: with masks, and with boxes alone."""
    from litetext.data.shapes.gold import write_shapes

    folder = tmp_path_factory.mktemp("world")
    save_dino(folder / "dino")
    save_owl(folder / "owl")
    write_shapes(folder / "saco", 2)
    gt = json.loads((folder / "saco/gold_common_merged_a_release_test.json").read_text())
    files = list(dict.fromkeys(entry["file_name"] for entry in gt["images"]))
    images = {f: {"id": i, "file_name": f, "height": 0, "width": 0} for i, f in enumerate(files)}
    categories: dict[str, int] = {}
    asked = {}
    for entry in gt["images"]:
        images[entry["file_name"]] |= {"height": entry["height"], "width": entry["width"]}
        asked[entry["id"]] = entry
    marks = []
    for mark in gt["annotations"]:
        entry = asked[mark["image_id"]]
        x, y, w, h = mark["bbox"]
        marks.append(
            {
                "id": len(marks) + 1,
                "image_id": images[entry["file_name"]]["id"],
                "category_id": categories.setdefault(entry["text_input"], len(categories) + 1),
                "bbox": [x * entry["width"], y * entry["height"], w * entry["width"], h * entry["height"]],
                "segmentation": mark["segmentation"],
                "iscrowd": 0,
            }
        )
    named = [{"id": number, "name": name} for name, number in categories.items()]
    content = {"images": list(images.values()), "categories": named, "annotations": marks}
    (folder / "masks.json").write_text(json.dumps(content))
    bare = [{key: value for key, value in mark.items() if key != "segmentation"} for mark in marks]
    (folder / "boxes.json").write_text(json.dumps(content | {"annotations": bare}))
    return folder


def coco(world: Path, kind: str) -> list[str]:
    return [
        "--data.coco.annotations",
        str(world / f"{kind}.json"),
        "--data.coco.images",
        str(world / "saco/images/common"),
    ]


def results(run: str = "shapes") -> dict[str, Any]:
    return json.loads(Path(f"lightning_logs/{run}/results.json").read_text())


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("there")
def test_data_sets_without_masks_are_scored_by_boxes(
    world: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    systems = ["--model.detectors.dino", str(world / "dino"), "--model.pictures", "1"]
    masked = litetext("test", *COMMON, *coco(world, "masks"), *systems)
    assert masked.code == 0, masked.err
    with_masks = results()["encoders"]
    assert "has no masks" not in caplog.text
    # A small memory: few phrases at once, and the same numbers.
    small = ("--model.memory_gb", "0.003", "--run", "small")
    boxed = litetext("test", *COMMON, *coco(world, "boxes"), *systems, *small)
    assert boxed.code == 0, boxed.err
    without = results("small")["encoders"]
    assert "subset coco has no masks: there and on average boxes are scored" in caplog.text
    assert re.search(r"0\.003 GB: 1 phrases at once, 2\.\d MB each", caplog.text)
    for name in ("teacher", "student"):
        assert with_masks[name]["iou"] == "segm"
        assert without[name]["iou"] == "bbox"
        assert without[name]["subsets"] == with_masks[name]["bbox"]["subsets"]
        assert without[name]["average"] == with_masks[name]["bbox"]["average"]
        assert "bbox" not in without[name]
    assert without["teacher"]["average"]["CG_F1"] > 30
    assert without["dino"] == with_masks["dino"]
    assert {key.split("_")[2] for key in results("small")["official"]["teacher"]["coco"]} == {"bbox"}
    assert len(list(Path("lightning_logs/small").glob("pictures/coco/*.png"))) == 1


@pytest.mark.usefixtures("there")
def test_detectors_need_no_sam3_and_go_on_where_they_stopped(
    world: Path,
    litetext: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("no SAM3 is asked for")

    monkeypatch.setattr(Sam3Image, "from_pretrained", never)
    segment, calls = SegEvalModule.segment, []

    def counts(self: SegEvalModule, item: Any) -> Any:
        calls.append(item.file_name)
        return segment(self, item)

    monkeypatch.setattr(SegEvalModule, "segment", counts)
    alone = ("test", *COMMON, *coco(world, "boxes"), "--model.sam3", "null", "--model.text_encoders", "null")
    alone += ("--model.pictures", "0", "--model.detectors.owl")
    answer = litetext(*alone, str(world / "owl"))
    assert answer.code == 0, answer.err
    first = RESULTS.read_bytes()
    owl = results()["encoders"]["owl"]
    assert (owl["iou"], owl["parameters"]) == ("bbox", 16_760)
    assert owl["average"]["retention"] is None
    assert re.search(r"owl +0\.00M +average, boxes", answer.out)
    assert "scores from 0.2 on count, boxes only" in caplog.text
    images = len(calls)
    assert images == 2

    assert litetext(*alone, str(world / "owl"), "--model.chunk", "1").code == 0
    assert len(calls) == images, "what was done is not done again"
    assert RESULTS.read_bytes() == first
    # Another threshold of its own, and another detector of that name, are another evaluation.
    low = predictions()
    assert litetext(*alone, str(world / "owl"), "--model.detector_thresholds.owl", "0.51").code == 0
    assert len(calls) == 2 * images
    assert 0 < len(predictions()) < len(low), "fewer reach a higher threshold"
    assert litetext(*alone, str(world / "dino"), "--model.phrases_per_prompt", "4").code == 0
    assert len(calls) == 3 * images
    assert litetext(*alone, str(world / "dino")).code == 0
    assert len(calls) == 4 * images


@pytest.mark.usefixtures("there")
def test_boxes_prompt_a_sam_and_its_masks_are_scored(
    world: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    alone = ("test", *COMMON, *coco(world, "masks"), "--model.sam3", "null", "--model.text_encoders", "null")
    alone += ("--model.pictures", "1", "--model.detectors.owl", str(world / "owl"))
    assert litetext(*alone).code == 0
    boxes, boxed = predictions(), results()["encoders"]["owl"]
    answer = litetext(*alone, "--model.box_segmenter", str(save_sam(tmp_path / "sam")))
    assert answer.code == 0, answer.err
    assert f"their boxes prompt {tmp_path / 'sam'}" in caplog.text
    found, owl = predictions(), results()["encoders"]["owl"]
    assert owl["iou"] == "segm"
    assert owl["bbox"]["average"] == boxed["average"], "boxes are what they were"
    assert owl["parameters"] > boxed["parameters"]
    assert [{k: v for k, v in one.items() if k != "segmentation"} for one in found] == boxes
    sizes = {(i["height"], i["width"]) for i in json.loads((world / "masks.json").read_text())["images"]}
    assert {tuple(one["segmentation"]["size"]) for one in found} <= sizes
    refused = litetext("test", *COMMON, *coco(world, "masks"), "--model.box_segmenter", "x")
    assert refused.code == 2
    assert "model.box_segmenter makes masks of detectors' boxes" in refused.err


def predictions() -> list[dict[str, Any]]:
    return json.loads((RESULTS.parent / "predictions/owl/coco.json").read_text())


@pytest.mark.usefixtures("there")
def test_a_pair_that_cannot_be_used_costs_no_other_its_predictions(
    world: Path, litetext: Callable[..., Answer]
) -> None:
    content = json.loads((world / "masks.json").read_text())
    content["annotations"][0]["segmentation"] = {"size": [3, 3], "counts": "9"}
    Path("bad.json").write_text(json.dumps(content))
    folder = coco(world, "masks")[2:]
    systems = ("--model.sam3", "null", "--model.text_encoders", "null", "--model.detectors.owl", str(world / "owl"))
    answer = litetext("test", *COMMON, "--data.coco.annotations", "bad.json", *folder, *systems)
    assert answer.code == 0, answer.err
    assert results()["left_out"] == 1
    found = {p["image_id"] for p in predictions()}
    asked = len(content["categories"])
    assert found == set(range(1, 2 * asked + 1)) - {content["annotations"][0]["category_id"]}
    assert len(list(RESULTS.parent.glob("pictures/coco/*.png"))) == 4
