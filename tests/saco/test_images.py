"""Ground-truth files of SA-Co: ids, flags and annotations without a home."""

import json
from pathlib import Path
from typing import Any

import pytest

from litetext.saco.images import contradictions, evaluated, read_annotator, read_json
from tests.fixtures.saco_world import content, entry, mark


@pytest.fixture
def data() -> dict[str, Any]:
    images = [entry(k, f"{k}.png", f"thing {k}", exhaustive=int(k != 3)) for k in range(6)]
    return content(images, [mark(k, k) for k in range(6) if k % 2])


def read(tmp_path: Path, data: dict[str, Any]) -> Any:
    (tmp_path / "gt.json").write_text(json.dumps(data))
    return read_annotator(tmp_path / "gt.json")


def test_ids_and_flags_as_text_are_those_as_numbers(tmp_path: Path, data: dict[str, Any]) -> None:
    whole = read(tmp_path, data)
    for item in (*data["images"], *data["annotations"], *data["categories"]):
        for key in item.keys() & {"id", "image_id", "category_id", "iscrowd", "is_instance_exhaustive"}:
            item[key] = str(item[key])
    assert read(tmp_path, data) == whole
    assert evaluated([whole]) == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("key", ["images", "categories"])
def test_two_entries_of_one_id_are_refused(tmp_path: Path, data: dict[str, Any], key: str) -> None:
    data[key].append({**data[key][0], "id": str(data[key][0]["id"])})
    with pytest.raises(
        ValueError, match=rf"gt\.json: ids that several entries of '{key}' have: 1 \(id [01]\); give each"
    ):
        read(tmp_path, data)


def test_annotations_that_share_an_id_all_count_and_the_same_one_twice_counts_once(
    tmp_path: Path, data: dict[str, Any]
) -> None:
    data["annotations"] += [{**mark(1, 1), "id": "1"}, {**mark(1, 5), "id": 1}]
    found = read(tmp_path, data)
    assert {i: len(items) for i, items in found.annotations.items()} == {1: 1, 3: 1, 5: 2}
    assert found.notes == [
        "gt.json: annotations that are there twice count once: 1 (id 1)",
        "gt.json: annotations that share their id with another one all count: 1 (id 1)",
    ]


def test_annotations_without_a_home_are_counted_and_a_quarter_is_too_many(tmp_path: Path, data: dict[str, Any]) -> None:
    data["annotations"] = [{**mark(k, 1), "id": k} for k in range(9)]
    data["annotations"][0]["image_id"] = 77
    data["annotations"][1]["category_id"] = "2"
    found = read(tmp_path, data)
    assert len(found.annotations[1]) == 7
    assert found.notes == [
        "gt.json: annotations left out because the file holds no such image_id: 1 (id 0 with image_id 77)",
        "gt.json: annotations left out because the file holds no such category_id: 1 (id 1 with category_id 2)",
    ]
    del data["annotations"][2]["image_id"]
    with pytest.raises(
        ValueError, match=r"gt\.json: 3 of 9 annotations belong to nothing in the file: .*; give a file"
    ):
        read(tmp_path, data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["images"][2].pop("is_instance_exhaustive"), "datapoint 2: it has no is_instance_exhaustive"),
        (
            lambda d: d["images"][2].update(is_instance_exhaustive="some"),
            "datapoint 2: is_instance_exhaustive is 'some'",
        ),
        (lambda d: d["images"][2].update(id="two"), "datapoint two: id is 'two'; give a whole number"),
        (lambda d: d["annotations"][1].update(iscrowd=7), "annotation 3: iscrowd is 7; give 0 or 1"),
        (lambda d: d.pop("categories"), "is not a SA-Co ground-truth file: no 'categories'"),
        (lambda d: d["categories"].append(3), "entry 1 of 'categories' is 3, not a mapping"),
    ],
)
def test_what_is_no_ground_truth_is_told_by_its_place(
    tmp_path: Path, data: dict[str, Any], change: Any, told: str
) -> None:
    change(data)
    with pytest.raises(ValueError, match=rf"gt\.json.*{told}"):
        read(tmp_path, data)


def test_files_that_are_no_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    for raw in (b"{}", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03garbage", b"\x1f\x8b"):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=r"x\.json\.gz cannot be read as JSON"):
            read_json(path)
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "bom.json") == [1]


def test_annotators_of_another_subset_are_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    first, other = read(tmp_path, data), read(tmp_path, data)
    other.images[1]["text_input"] = " Thing  1"
    assert contradictions([first, other]) == []
    other.images[1]["text_input"] = "thing 7"
    told = "datapoints of another text_input in gt.json than in gt.json: 1 (id 1: 'thing 7', not 'thing 1')"
    assert contradictions([first, other]) == [told]
    other.images[2]["text_input"] = "thing 8"
    with pytest.raises(ValueError, match=r"another text_input .*: 2 .*; give the files of annotators of one subset"):
        contradictions([first, other])
    moved = read(tmp_path, data)
    for image in moved.images.values():
        image["file_name"] = "elsewhere/" + image["file_name"]
    assert [line.split(":")[0] for line in contradictions([first, moved])] == [
        "datapoints of another file_name in gt.json than in gt.json"
    ]
