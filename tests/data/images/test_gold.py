"""Reading SA-Co Gold and Silver files."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from litetext.data.images.gold import Subset, find_subsets, read_subset
from litetext.data.images.items import inside
from litetext.saco.subsets import GOLD, SILVER
from tests.fixtures.saco_world import H, entry, mark, small_gold, write_gold


def edit(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def only(root: Path, name: str = "crowded") -> Subset:
    return find_subsets(root, [name], {})[0]


def test_official_names_are_found_and_folders_follow_the_official_layout(tmp_path: Path) -> None:
    for name in GOLD:
        for x in "abc":
            (tmp_path / f"gold_{name}_merged_{x}_release_test.json").write_text("{}")
    for name in SILVER:
        (tmp_path / f"silver_{name}{'' if name == 'fathomnet' else '_merged'}_test.json").write_text("{}")
    folders = {"metaclip": "/m", "sa1b": "/s", "silver": "/v", "bdd100k": "/b"}
    found = {s.name: s for s in find_subsets(tmp_path, "all", folders)}
    assert list(found) == [*GOLD, *SILVER]
    assert [s.name for s in find_subsets(tmp_path, "silver", folders)] == list(SILVER)
    assert [p.name[-19] for p in found["sa1b"].files] == list("abc")
    assert len(found["droid"].files) == 1
    shown = {name: str(found[name].images) for name in ("sa1b", "crowded", "nga_art", "yt1b", "bdd100k")}
    assert shown == {"sa1b": "/s", "crowded": "/m", "nga_art": "/v/nga", "yt1b": "/v/yt1b", "bdd100k": "/b"}


def test_missing_annotation_files_are_all_named(tmp_path: Path) -> None:
    paths = small_gold(tmp_path)
    paths[1].unlink()
    with pytest.raises(FileNotFoundError) as caught:
        find_subsets(tmp_path, ["crowded", "sa1b", "fathomnet", "droid"], {})
    text = str(caught.value)
    assert "lacks 6 annotation files" in text
    for name in ("gold_crowded_merged_b_", "gold_sa1b_merged_a_", "silver_fathomnet_test", "silver_droid_merged_test"):
        assert name in text
    assert "subsets found: crowded" in text
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_subsets(tmp_path / "none", "gold", {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no annotation file"):
        find_subsets(tmp_path / "empty", "all", {})
    small_gold(tmp_path)
    with pytest.raises(ValueError, match=r"data\.images\.metclip is no subset"):
        find_subsets(tmp_path, ["crowded"], {"metclip": "x"})


@settings(max_examples=25, deadline=None)
@given(owners=st.lists(st.integers(0, 5), min_size=1, max_size=30), data=st.data())
def test_grouping_keeps_every_pair_once(tmp_path_factory: pytest.TempPathFactory, owners: list[int], data: Any) -> None:
    root = tmp_path_factory.mktemp("gold")
    images = [entry(100 + k, f"d/{o}.png", f"p{k}") for k, o in enumerate(owners)]
    marked = data.draw(st.lists(st.sampled_from([i["id"] for i in images]), max_size=20))
    write_gold(root, "crowded", images, [mark(n + 1, i) for n, i in enumerate(marked)])
    read = read_subset(only(root))
    assert [i.file_name for i in read.images] == list(dict.fromkeys(i["file_name"] for i in images))
    pairs = [(i.file_name, p.id, p.phrase) for i in read.images for p in i.pairs]
    assert sorted(pairs) == sorted((i["file_name"], i["id"], i["text_input"]) for i in images)
    for image in read.images:
        assert [p.id for p in image.pairs] == sorted(p.id for p in image.pairs), "the order of the file"
        for pair in image.pairs:
            assert [len(t.boxes) for t in pair.truths] == [marked.count(pair.id)] * 3


def test_annotators_keep_their_own_marks_in_the_order_a_b_c(tmp_path: Path) -> None:
    small_gold(tmp_path)
    pair = read_subset(only(tmp_path)).images[1].pairs[0]
    assert [round(t.boxes[0][1] * H) for t in pair.truths] == [2, 3, 4]


def test_pairs_of_an_annotator_who_is_not_exhaustive_do_not_count(tmp_path: Path) -> None:
    paths = small_gold(tmp_path)
    edit(paths[2], lambda d: d["images"][0].update(is_instance_exhaustive=0))
    read = read_subset(only(tmp_path))
    assert (read.total, read.unevaluated) == (15, 1)
    assert 10_000_000 not in {p.id for i in read.images for p in i.pairs}
    every = {p.id: p for i in read_subset(only(tmp_path), evaluated_only=False).images for p in i.pairs}
    assert len(every) == 15
    assert not every[10_000_000].evaluated
    assert [t.exhaustive for t in every[10_000_000].truths] == [True, True, False]


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png", "", "..\\x.png", "a/\0.png"])
def test_paths_that_leave_the_folder_are_refused_and_the_rest_is_kept(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="leaves the image folder"):
        inside(tmp_path, name)
    paths = small_gold(tmp_path)
    for path in paths:
        edit(path, lambda d: d["images"][0].update(file_name=name))
    read = read_subset(only(tmp_path))
    assert [s.ids for s in read.skips] == [(10_000_000,)]
    assert "leaves the image folder" in str(read.skips[0])
    assert "id 10000000" in str(read.skips[0])
    assert sum(len(i.pairs) for i in read.images) == 14


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["images"][0].pop("text_input"), "text_input is None"),
        (lambda d: d["images"][0].update(height="tall"), "no size of an image"),
        (lambda d: d["images"][5].update(height=13), "annotated as 13 x 16 and, by another pair, 12 x 16"),
        (
            lambda d: d["annotations"][0].pop("segmentation"),
            "a_release_test.json: annotation 2: it has no segmentation",
        ),
        (lambda d: d["annotations"][0].update(bbox=None, segmentation=[]), "no segmentation, and it has no bbox"),
    ],
)
def test_one_bad_pair_is_left_out(tmp_path: Path, change: Any, told: str) -> None:
    edit(small_gold(tmp_path)[0], change)
    read = read_subset(only(tmp_path))
    assert len(read.skips) == 1
    assert told in read.skips[0].reason
    assert sum(len(i.pairs) for i in read.images) == 14


def test_a_pair_that_a_later_file_lacks_is_left_out(tmp_path: Path) -> None:
    edit(small_gold(tmp_path)[1], lambda d: d["images"].pop(3))
    (skip,) = read_subset(only(tmp_path)).skips
    assert skip.ids == (10_000_003,)
    assert "not in gold_crowded_merged_b_release_test.json" in skip.reason


def test_a_corrupt_annotation_file_ends_the_run_in_one_line(tmp_path: Path) -> None:
    path = small_gold(tmp_path)[1]
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=r"merged_b_release_test\.json cannot be read as JSON.*is it complete"):
        read_subset(only(tmp_path))
    path.write_text(json.dumps({"images": []}))
    with pytest.raises(ValueError, match=r"merged_b_.*is not a SA-Co ground-truth file: no .annotations."):
        read_subset(only(tmp_path))


def test_a_box_that_is_missing_or_in_pixels_is_that_of_the_mask(tmp_path: Path) -> None:
    paths = small_gold(tmp_path)
    whole = read_subset(only(tmp_path))
    for change in (lambda m: m.pop("bbox"), lambda m: m.update(bbox=[1, 2, 4, 3]), lambda m: m.update(bbox="1 2 4 3")):
        edit(paths[0], lambda d: change(d["annotations"][0]))  # noqa: B023
        read = read_subset(only(tmp_path))
        pair = read.images[1].pairs[0]
        assert pair.truths[0].boxes == whole.images[1].pairs[0].truths[0].boxes
        assert [len(i.pairs) for i in read.images] == [len(i.pairs) for i in whole.images]
        assert len(read.notes) == 1
        assert "annotations whose box was taken from their mask: 1 (id 2: " in read.notes[0]
    edit(paths[0], lambda d: d["annotations"][0].update(bbox=[0, 0, 0, 0], segmentation=[]))
    read = read_subset(only(tmp_path))
    assert [len(t.boxes) for t in read.images[1].pairs[0].truths] == [0, 1, 1], "a click without extent"
    assert "annotations left out because they mark nothing: 1 (id 2" in read.notes[0]


def test_a_subset_of_which_only_negatives_are_left_is_refused(tmp_path: Path) -> None:
    for path in small_gold(tmp_path):
        edit(path, lambda d: [m.pop("segmentation") for m in d["annotations"]])
    with pytest.raises(
        ValueError, match=r"crowded: no pair with an instance can be used; the first reason: .*segmentat"
    ):
        read_subset(only(tmp_path))


def test_the_fixture_marks_what_its_boxes_say() -> None:
    coder: Any = mask
    assert coder.toBbox(mark(1, 1)["segmentation"]).tolist() == [1, 2, 4, 3]
