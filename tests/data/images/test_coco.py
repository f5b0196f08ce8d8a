"""Reading COCO-style data sets: what is certain is read, what is not is left out by itself and told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.data.images.coco import CocoSet, read_coco
from litetext.data.images.gold import Contents
from tests.fixtures.saco_world import H, W, content, paint, rle


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def coco_file(folder: Path, **more: Any) -> CocoSet:
    names = ["Parent", "red_ball", "crab_(animal)", "cup", "box", "tree"]
    images = [{"id": 7 * i, "file_name": f"{i}.png", "height": H, "width": W} for i in range(4)]
    square = [1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0]
    marks = [
        {"id": n, "image_id": 7 * i, "category_id": c, "bbox": [1, 1, 4, 3], "segmentation": [square], "iscrowd": 0}
        for n, (i, c) in enumerate([(0, 1), (0, 1), (1, 2), (2, 3), (3, 4), (3, 5)])
    ]
    (folder / "coco.json").write_text(
        json.dumps(
            {"images": images, "annotations": marks, "categories": [{"id": i, "name": n} for i, n in enumerate(names)]}
        )
    )
    return CocoSet(str(folder / "coco.json"), **more)


def test_coco_categories_become_phrases_with_exhaustive_negatives(tmp_path: Path) -> None:
    read = read_coco(coco_file(tmp_path))
    assert [[p.phrase for p in i.pairs] for i in read.images] == [["red ball", "crab", "cup", "box", "tree"]] * 4
    ids = [p.id for i in read.images for p in i.pairs]
    assert ids == list(range(1, 21))
    present = {
        (i.file_name, p.phrase): len(p.truths[0].boxes) for i in read.images for p in i.pairs if p.truths[0].boxes
    }
    assert present[("0.png", "red ball")] == 2
    assert len(present) == 5
    assert read.images[0].pairs[0].truths[0].boxes[0] == [1 / W, 1 / H, 4 / W, 3 / H]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 6), seed=st.integers(0, 99))
def test_drawn_negatives_are_a_seeded_part_of_all(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("coco")
    every = {p.id: p for i in read_coco(coco_file(folder)).images for p in i.pairs}
    drawn = [p for i in read_coco(coco_file(folder, negatives=count, seed=seed)).images for p in i.pairs]
    assert all(every[p.id] == p for p in drawn)
    assert sum(bool(p.truths[0].boxes) for p in drawn) == 5, "every positive is there"
    assert sum(not p.truths[0].boxes for p in drawn) == sum(min(count, n) for n in (4, 4, 4, 3))
    assert drawn == [p for i in read_coco(coco_file(folder, negatives=count, seed=seed)).images for p in i.pairs]


def test_lvis_flags_limit_what_is_asked(tmp_path: Path) -> None:
    source = coco_file(tmp_path)
    edit(tmp_path / "coco.json", lambda d: d["images"][0].update(neg_category_ids=[3], not_exhaustive_category_ids=[1]))
    read = read_coco(source)
    assert [p.phrase for p in read.images[0].pairs] == ["cup"], "positives that are not exhaustive do not count"
    assert (read.total, read.unevaluated) == (17, 1)


def test_coco_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negatives is -1"):
        read_coco(coco_file(tmp_path, negatives=-1))
    source = coco_file(tmp_path)
    edit(tmp_path / "coco.json", lambda d: d["images"][0].update(file_name="../0.png"))
    edit(tmp_path / "coco.json", lambda d: d["images"][1].pop("height"))
    edit(tmp_path / "coco.json", lambda d: d["annotations"][3].update(segmentation=[[1, 1, 5, 5]]))
    read = read_coco(source)
    assert [len(s.ids) for s in read.skips] == [5, 5, 1]
    assert sum(len(i.pairs) for i in read.images) == 9
    edit(tmp_path / "coco.json", lambda d: d["annotations"].clear())
    with pytest.raises(ValueError, match="nothing to ask for"):
        read_coco(source)
    (tmp_path / "coco.json").write_text(json.dumps(content([], [])["images"]))
    with pytest.raises(ValueError, match="not a COCO-style file"):
        read_coco(source)


@pytest.fixture
def source(tmp_path: Path) -> CocoSet:
    return coco_file(tmp_path)


def changed(source: CocoSet, change: Any) -> Contents:
    edit(Path(source.annotations), change)
    return read_coco(source)


def asked(contents: Contents) -> dict[tuple[str, str], int]:
    """Instances of each pair."""
    return {(i.file_name, p.phrase): len(p.truths[0].boxes) for i in contents.images for p in i.pairs}


def as_text(data: dict[str, Any]) -> None:
    for item in data["annotations"]:
        item.update(image_id=str(item["image_id"]), category_id=str(item["category_id"]), iscrowd="0")
    for image in data["images"]:
        image.update(id=float(image["id"]), height=str(image["height"]))


def test_ids_and_flags_as_text_are_those_as_numbers(source: CocoSet) -> None:
    whole = read_coco(source)
    assert changed(source, as_text) == whole
    crowds = changed(source, lambda d: d["annotations"][0].update(iscrowd="1"))
    assert crowds.images[0].pairs[0].truths[0].crowd == [True, False]
    with pytest.raises(ValueError, match=r"coco\.json: annotation 0: iscrowd is 'maybe'; give 0 or 1"):
        changed(source, lambda d: d["annotations"][0].update(iscrowd="maybe"))


@pytest.mark.parametrize("key", ["images", "categories"])
def test_two_entries_of_one_id_are_refused(source: CocoSet, key: str) -> None:
    with pytest.raises(
        ValueError, match=rf"coco\.json: ids that several entries of '{key}' have: 1 \(id 1?[0-9]?\); give"
    ):
        changed(source, lambda d: d[key].append({**d[key][-1], "id": str(d[key][1]["id"])}))


def test_annotations_without_a_home_are_counted_and_a_quarter_is_too_many(source: CocoSet) -> None:
    whole = read_coco(source)
    read = changed(source, lambda d: d["annotations"][0].update(image_id=99))
    assert read.notes == ["annotations left out because the file holds no such image_id: 1 (id 0 with image_id 99)"]
    assert asked(read) == {**asked(whole), ("0.png", "red ball"): 1}
    with pytest.raises(
        ValueError, match=r"2 of 6 annotations belong to nothing in the file: .*image_id: 1 .*category_id: 1"
    ):
        changed(source, lambda d: d["annotations"][1].update(category_id=None))


def test_categories_counted_from_another_number_are_refused(source: CocoSet) -> None:
    def renumber(data: dict[str, Any], annotations: int, categories: int) -> None:
        data["categories"] = [{"id": i + categories, "name": f"thing {i}"} for i in range(5)]
        for n, item in enumerate(data["annotations"]):
            item["category_id"] = max(n - 1, 0) + annotations

    with pytest.raises(
        ValueError, match=r"coco\.json: annotations count categories from 0 and `categories` from 1: .* 0 wi"
    ):
        changed(source, lambda d: renumber(d, 0, 1))
    with pytest.raises(ValueError, match="annotations count categories from 1 and `categories` from 0"):
        changed(source, lambda d: renumber(d, 1, 0))
    assert len(changed(source, lambda d: renumber(d, 1, 1)).images) == 4


def test_a_box_that_is_missing_or_unreadable_is_that_of_the_mask(source: CocoSet) -> None:
    whole = read_coco(source)
    for bbox in (None, [], [1, 2, 3], ["a", 1, 2, 3], [float("nan"), 1, 2, 3], [900, 900, 4, 4], [1, 1, -2, 4], {}):
        read = changed(source, lambda d: [m.update(bbox=bbox) for m in d["annotations"]])  # noqa: B023
        assert read.images == whole.images
        assert read.notes[0].startswith("annotations whose box was taken from their mask: 6 (first: id 0, 1, 2, ...: ")
    read = changed(source, lambda d: [m.pop("bbox") for m in d["annotations"]])
    assert read.images == whole.images


def test_boxes_as_fractions_are_told_from_pixels(source: CocoSet) -> None:
    whole = read_coco(source)
    read = changed(source, lambda d: [m.update(bbox=[1 / W, 1 / H, 4 / W, 3 / H]) for m in d["annotations"]])
    assert read.images == whole.images
    assert "every bbox lies in 0..1" in read.notes[0]
    read = changed(source, lambda d: [m.update(bbox=[9, 7, 3, 3]) for m in d["annotations"]])
    assert "annotations whose bbox lies elsewhere than their mask: 6 " in read.notes[0]
    read = changed(source, lambda d: [m.update(bbox=[1, 1, 4, 3]) for m in d["annotations"][1:]])
    assert not read.notes, "one box round a hidden part is none of our business"


@pytest.mark.parametrize(
    "segmentation",
    [[], None, [[1, 1, 5, 5]], [[1, 1, 1, 1, 1, 1]], [[float("nan"), 2, 3, 4, 5, 6]], [[1e9, 2, 3, 4, 5, 6]], "mask"],
)
def test_one_mask_that_cannot_be_used_costs_one_pair_and_masks_are_scored(source: CocoSet, segmentation: Any) -> None:
    whole = asked(read_coco(source))
    read = changed(source, lambda d: d["annotations"][3].update(segmentation=segmentation))
    assert {**asked(read), ("14.png", "cup"): 1, ("2.png", "cup"): 1} == {**whole, ("14.png", "cup"): 1}
    (skip,) = read.skips
    assert skip.file_name == "2.png"
    assert "annotation 3: " in skip.reason
    assert all(t.masks is not None for i in read.images for p in i.pairs for t in p.truths)


def test_an_annotation_that_marks_nothing_does_not_make_a_positive(source: CocoSet) -> None:
    whole = read_coco(source)
    empty = {"id": 90, "image_id": 0, "category_id": 5, "segmentation": [], "bbox": [0, 0, 0, 0]}
    read = changed(source, lambda d: d["annotations"].append(empty))
    assert read.images == whole.images
    assert read.notes == [
        "annotations left out because they mark nothing: 1 (id 90: it has no segmentation, its box has no extent)"
    ]
    zeros = rle(np.zeros((H, W), bool))
    for bbox in (None, [3, 3, 0, 0]):
        read = changed(source, lambda d: d["annotations"][-1].update(segmentation=zeros, bbox=bbox))  # noqa: B023
        assert read.images == whole.images
        assert "annotations left out because they mark nothing: 1 (id 90: its mask is empty" in read.notes[0]
    read = changed(source, lambda d: d["annotations"][-1].update(segmentation=zeros, bbox=[1, 1, 3, 3]))
    assert [s.reason for s in read.skips] == ["annotation 90: its mask is empty"], "there is something"
    read = changed(source, lambda d: d["annotations"][-1].update(segmentation=None, bbox=None))
    assert [s.reason for s in read.skips] == ["annotation 90: it has no segmentation, and it has no bbox"]


def test_boxes_of_two_corners_are_told(source: CocoSet) -> None:
    read = changed(source, lambda d: [m.update(segmentation=[], bbox=[8, 6, 12, 9]) for m in d["annotations"]])
    assert "annotations whose bbox [x, y, width, height] reaches far over the edge" in read.notes[0]
    assert ": 6 (first: id 0, 1, 2, ...: bbox [8, 6, 12, 9] in 12 x 16 pixels)" in read.notes[0]


def test_a_set_of_boxes_with_a_few_masks_is_one_of_boxes(source: CocoSet) -> None:
    read = changed(source, lambda d: [m.update(segmentation=[]) for m in d["annotations"][:4]])
    assert not read.skips
    assert all(t.masks is None for i in read.images for p in i.pairs for t in p.truths)
    assert read.notes == ["most annotations have no segmentation, so boxes are scored and masks are not: 2 (id 4, 5)"]


def test_a_set_of_which_only_negatives_are_left_is_refused(source: CocoSet) -> None:
    with pytest.raises(ValueError, match=r"no pair with an instance can be used; the first reason: coco: 0\.png"):
        changed(source, lambda d: [m.update(segmentation=[[1e9, 0, 1, 1, 2, 2]]) for m in d["annotations"]])


def lvis(data: dict[str, Any]) -> None:
    for image in data["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
        image["neg_category_ids"] = ["3"]


def test_lvis_files_name_their_images_by_address(source: CocoSet, tmp_path: Path) -> None:
    for i in range(4):
        paint(tmp_path / "images" / "val2017" / f"{i}.png")
    edit(Path(source.annotations), lvis)
    for folder in ("images", "images/val2017"):
        read = read_coco(CocoSet(source.annotations, str(tmp_path / folder)))
        assert [i.file_name for i in read.images] == [f"val2017/{i}.png" for i in range(4)]
        assert all(i.path.is_file() for i in read.images)
    assert asked(read)["val2017/0.png", "cup"] == 0
    assert ("val2017/0.png", "tree") not in asked(read)
    read = changed(source, lambda d: d["images"][0].pop("coco_url"))
    assert "neither file_name nor coco_url" in read.skips[0].reason


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(images={}), "its 'images' is {}"),
        (lambda d: d["annotations"].append([]), "entry 6 of 'annotations' is \\[\\], not a mapping"),
        (lambda d: d["categories"][1].pop("name"), "category 1 has the name None"),
        (lambda d: d["images"][1].pop("id"), "entry 1 of 'images' has no id"),
        (lambda d: d["images"][1].update(id=None), "entry 1 of 'images': id is None"),
        (lambda d: d["images"][1].update(neg_category_ids=3), "neg_category_ids is 3; give a list"),
    ],
)
def test_what_is_no_coco_file_is_told_by_its_place(source: CocoSet, change: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        changed(source, change)


def test_categories_that_differ_in_case_or_in_form_of_accents_are_one_phrase(tmp_path: Path) -> None:
    source = coco_file(tmp_path)
    names = ["Parent", "Red_Ball", "red ball", "caf\u00e9", "cafe\u0301", "tree"]
    edit(tmp_path / "coco.json", lambda d: [c.update(name=n) for c, n in zip(d["categories"], names, strict=True)])
    read = read_coco(source)
    assert [[p.phrase for p in i.pairs] for i in read.images] == [["Red Ball", "caf\u00e9", "tree"]] * 4
    assert [[len(p.truths[0].boxes) for p in i.pairs] for i in read.images] == [
        [2, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 1, 1],
    ]
    assert read.notes == ["categories of another spelling of a phrase are that phrase: 2 (id 2, 4: red ball: Red Ball)"]


def test_a_pair_of_crowds_alone_is_told(tmp_path: Path) -> None:
    source = coco_file(tmp_path)
    edit(tmp_path / "coco.json", lambda d: [d["annotations"][n].update(iscrowd=1) for n in (0, 2)])
    told = "pairs of which crowds alone are marked are negatives, as officially: 1 (id 7)"
    assert read_coco(source).notes == [told], "the first image has a ball that is no crowd"
