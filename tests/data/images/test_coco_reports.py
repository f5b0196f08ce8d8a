"""COCO-style files as public reports describe them, each with the right result of the file that it was made from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from litetext.data.images.coco import CocoSet, read_coco
from litetext.data.images.gold import Contents
from tests.fixtures.runs import Answer

FILES = Path(__file__).parents[2] / "fixtures" / "damaged_images"


def read(name: str) -> Contents:
    return read_coco(CocoSet(str(FILES / f"{name}.json"), str(FILES / "val2017")))


def answers(contents: Contents) -> list[tuple[str, str, int, list[bool]]]:
    return [
        (image.file_name, pair.phrase, len(pair.truths[0].masks or ()), pair.truths[0].crowd)
        for image in contents.images
        for pair in image.pairs
    ]


@pytest.mark.parametrize("name", ["image_id_text", "some_category_ids_text", "iscrowd_text", "no_bbox"])
def test_what_is_certain_is_read_as_what_it_means(name: str) -> None:
    good, found = read("good"), read(name)
    assert answers(found) == answers(good)
    assert len(answers(good)) == 15
    for one, other in zip(found.images, good.images, strict=True):
        for pair, right in zip(one.pairs, other.pairs, strict=True):
            for box, true in zip(pair.truths[0].boxes, right.truths[0].boxes, strict=True):
                assert box == pytest.approx(true, abs=1 / 112), "a box of a mask ends at a whole pixel"


def test_one_annotation_costs_one_pair_or_nothing() -> None:
    good = answers(read("good"))
    empty = read("empty_annotation")
    assert [row for row in answers(empty) if row in good] == good
    assert not any(row[2] for row in answers(empty) if row not in good), "its category is absent everywhere"
    assert len(empty.notes) == 1
    without = read("one_empty_segmentation")
    assert len(answers(without)) == 14
    for name, told in (
        ("nan", "not finite"),
        ("far_outside", "far outside"),
        ("one_empty_segmentation", "no segmentation"),
    ):
        (skip,) = read(name).skips
        assert skip.reason.startswith("annotation 1: ")
        assert told in skip.reason


def test_files_that_contradict_themselves_are_refused() -> None:
    for name, told in (
        ("image_ids_of_another_file", "9 of 9 annotations belong to nothing in the file"),
        ("categories_from_zero", "count categories from 0 and `categories` from 1"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.json: .*{told}"):
            read(name)


def test_lvis_images_are_found_from_the_folder_and_from_its_parent() -> None:
    for folder in (FILES, FILES / "val2017"):
        images = read_coco(CocoSet(str(FILES / "lvis_v1_val.json"), str(folder))).images
        assert [image.file_name for image in images] == [f"val2017/00{i}.png" for i in range(3)]
        assert all(image.path.is_file() for image in images)


def test_all_of_them_in_one_file_score_as_the_right_one(
    tmp_path: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads((FILES / "empty_annotation.json").read_text())
    for item in data["annotations"]:
        item |= {"image_id": str(item["image_id"]), "category_id": str(item["category_id"]), "iscrowd": "0"}
        if item["segmentation"]:
            del item["bbox"]
    (tmp_path / "odd.json").write_text(json.dumps(data))
    monkeypatch.chdir(tmp_path)
    answer = litetext(
        *("test", "--config", "shapes.yaml", "--data.root", "null", "--model.text_encoders", "null", "--run", "odd"),
        *("--model.pictures", "0", "--data.coco.annotations", str(tmp_path / "odd.json")),
        *("--data.coco.images", str(FILES / "val2017")),
    )
    assert answer.code == 0, answer.err
    results = json.loads((tmp_path / "lightning_logs" / "odd" / "results.json").read_text())
    numbers = results["encoders"]["teacher"]["subsets"]["coco"]
    assert numbers["CG_F1"] == pytest.approx(87.36, abs=1)
    assert numbers["IL_MCC"] == pytest.approx(1, abs=1e-3)
