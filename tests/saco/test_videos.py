"""VEval files and tracks as people and their tools write them: what is read, what is told, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from litetext.metrics.veval_files import read_video_predictions, score_video_files
from litetext.saco.masklets import masklets, read_score
from litetext.saco.videos import read_video_annotations
from tests.fixtures.saco_world import rle

CASES = Path(__file__).parents[1] / "fixtures" / "damaged_videos"
PHOTA, TETA, CG = "video_mask_all_phrase_HOTA", "video_mask_teta", "video_mask_demo_cgf1_micro_50_95"


def loaded(name: str) -> Any:
    return json.loads((CASES / f"{name}.json").read_text())


def scored(folder: Path, gt: Any, found: Any, **options: bool) -> dict[str, Any]:
    (folder / "gt.json").write_text(json.dumps(gt))
    (folder / "found.json").write_text(json.dumps(found))
    return score_video_files(folder / "gt.json", folder / "found.json", **options)


@pytest.mark.parametrize("name", ["good", "areas_as_fractions"])
def test_an_area_is_absent_only_when_it_is_zero(name: str) -> None:
    scores = score_video_files(CASES / "gt.json", CASES / f"{name}.json")
    assert scores["dataset_results"][PHOTA] == pytest.approx(0.8947, abs=5e-5), "Meta's evaluator"
    assert scores["notes"] == []


def test_the_flag_zero_as_text_is_no_crowd() -> None:
    right = score_video_files(CASES / "gt.json", CASES / "good.json")
    assert score_video_files(CASES / "gt_iscrowd_text.json", CASES / "good.json") == right
    assert right["dataset_results"][CG] == pytest.approx(0.7999, abs=1e-4)


@pytest.mark.parametrize("name", ["one_character_lost", "characters_added"])
def test_a_damaged_predicted_mask_matches_nothing(name: str) -> None:
    scores = score_video_files(CASES / "gt.json", CASES / f"{name}.json")
    assert scores["notes"] == [
        f"{name}.json: damaged masks match nothing: 1 tracks (first: track 0: frame 0: a mask's runs are damaged "
        "(the text ends within a number))"
    ]
    right = score_video_files(CASES / "gt.json", CASES / "good.json")["dataset_results"]
    assert 0 < scores["dataset_results"][PHOTA] < right[PHOTA]
    boxes = [key for key in right if "bbox" in key]
    assert {key: scores["dataset_results"][key] for key in boxes} == {key: right[key] for key in boxes}


def test_a_damaged_true_mask_leaves_its_pair_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"negatives alone give no score; .*1 pairs are left out for a damaged mask"):
        score_video_files(CASES / "gt_one_character_lost.json", CASES / "good.json")
    gt, found = loaded("gt"), loaded("good")
    gt["annotations"].append({**gt["annotations"][0], "id": 2, "category_id": 2})
    gt["video_np_pairs"][1]["num_masklets"] = 1
    found.append({**found[0], "category_id": 2})
    whole = scored(tmp_path, gt, found)
    gt["annotations"][1]["segmentations"] = loaded("gt_one_character_lost")["annotations"][0]["segmentations"]
    scores = scored(tmp_path, gt, found)
    assert scores["left_out"] == 1
    assert [entry["category_id"] for entry in scores["video_np_results"]] == [1]
    assert scores["video_np_results"][0] == whole["video_np_results"][0]
    assert scores["dataset_results"][PHOTA] == pytest.approx(whole["dataset_results"][PHOTA])
    assert "gt.json: 1 pairs are left out for a damaged mask: 1 annotations (first: annotation 1" in scores["notes"][0]


def test_polygons_are_masks(tmp_path: Path) -> None:
    scores = score_video_files(CASES / "gt.json", CASES / "polygons.json")
    assert scores["dataset_results"][PHOTA] > 0.6
    assert scores["notes"] == []
    found = loaded("polygons")
    for bad in ([[float("nan"), 2, 3, 4, 5, 6]], [[1e9, 2, 3, 4, 5, 6]], [[1, 2]], "polygon", 7):
        found[0]["segmentations"][1] = bad
        assert "damaged masks match nothing: 1 tracks" in scored(tmp_path, loaded("gt"), found)["notes"][0]


def test_exchanged_sizes_are_told() -> None:
    scores = score_video_files(CASES / "gt.json", CASES / "width_before_height.json")
    assert scores["dataset_results"][PHOTA] == 0
    assert scores["notes"] == [
        "width_before_height.json: masks of another size than their video match nothing; [height, width] is right, "
        "theirs are exchanged: 3 (first: track 0)"
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"score": None}, r"track 0 \(video 0, category 1\): score is None; give a finite number"),
        ({"score": "0.9"}, "score is '0.9'"),
        ({"score": 90}, "score is 90; scores go from 0 to 1"),
        ({"category_id": [1]}, r"track 0: category_id is \[1\]"),
        ({"category_id": 7}, r"no track is of a category in gt\.json \(first: track 0 names category 7\)"),
        ({"video_id": None}, "track 0: video_id is None"),
        ({"video_id": 9}, r"no track is of a video in gt\.json \(first: track 0 names video 9\)"),
        ({"bboxes": [[1, 2, 3], None, None]}, r"frame 0: bbox is \[1, 2, 3\], not four numbers"),
        ({"bboxes": [None, [1, 2, 3, float("nan")], None]}, "frame 1: bbox is .*must be finite"),
        ({"bboxes": {}}, "bboxes is {}, not a list of one a frame"),
        ({"areas": [1, float("nan"), 1]}, "frame 1: areas has nan; give a number"),
        ({"areas": [1, 1, -4]}, "frame 2: areas has -4"),
        ({"areas": [1, 1, "4"]}, "frame 2: areas has '4'"),
        ({"segmentations": [None]}, "it has 1 segmentations for 3 frames"),
        ({"segmentations": "x"}, "segmentations is 'x', not a list"),
    ],
)
def test_bad_tracks_are_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"found\.json: {told}" if told.startswith(("track", "no")) else told):
        scored(tmp_path, loaded("gt"), [{**loaded("good")[0], **change}])


@pytest.mark.parametrize(
    ("key", "change", "told"),
    [
        ("videos", {"length": "x"}, r"video 0: length is 'x'; give a whole number"),
        ("videos", {"height": None}, "height None and width 64 are no size"),
        ("videos", {"height": -1}, "are no size of an image"),
        ("videos", {"file_names": "abc"}, "file_names is 'abc', not a list of file names"),
        ("videos", {"file_names": ["a", None, "c"]}, "not a list of file names"),
        ("videos", {"id": None}, r"entry 0 of 'videos': id is None"),
        ("categories", {"id": "one"}, r"category 'one': its id is text; give a whole number"),
        ("categories", {"id": 2}, r"ids that several entries of 'categories' have: 1 \(id 2\)"),
        ("categories", {"name": None}, "category 1: its name is None, not text"),
        ("annotations", {"iscrowd": "maybe"}, "annotation 0 .*iscrowd is 'maybe'; give 0 or 1"),
        ("annotations", {"video_id": 5}, r"1 of 1 annotations have no home: annotations\[0\] names video 5"),
        ("annotations", {"category_id": 5}, r"annotations\[0\] names category 5, which is not there"),
        ("annotations", {"segmentations": None}, "segmentations is None, not a list"),
        ("video_np_pairs", {"category_id": {}}, r"video_np_pairs\[0\]: category_id is {}"),
        ("video_np_pairs", {"video_id": 3}, "1 of 2 video_np_pairs have no home"),
    ],
)
def test_bad_ground_truth_is_named(tmp_path: Path, key: str, change: dict[str, Any], told: str) -> None:
    gt = loaded("gt")
    gt[key][0] |= change
    with pytest.raises(ValueError, match=told):
        scored(tmp_path, gt, loaded("good"))


@pytest.mark.parametrize("content", [[], 3, {}, {"videos": {}}, {"videos": [], "categories": [], "annotations": []}])
def test_what_is_no_veval_file_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "gt.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"gt\.json is not a SA-Co VEval file: the list \w+ is missing or misplaced"):
        read_video_annotations(tmp_path / "gt.json")


def test_ids_as_text_are_those_numbers(tmp_path: Path) -> None:
    gt, found = loaded("gt"), loaded("good")
    right = scored(tmp_path, gt, found)
    found[0] |= {"video_id": "0", "category_id": "1"}
    assert scored(tmp_path, gt, found) == right
    gt["annotations"][0] |= {"video_id": "0", "category_id": "1", "iscrowd": None}
    gt["videos"][0] |= {"id": "0", "height": "48", "width": 64.0, "length": "3"}
    gt["categories"][0]["id"] = "1"
    assert scored(tmp_path, gt, loaded("good")) == right
    gt["videos"].append({**gt["videos"][0], "id": 0})
    with pytest.raises(ValueError, match="ids that several entries of 'videos' have"):
        scored(tmp_path, gt, found)


def test_annotations_of_one_id_are_told(tmp_path: Path) -> None:
    gt = loaded("gt")
    right = scored(tmp_path, gt, loaded("good"))
    gt["annotations"] *= 2
    scores = scored(tmp_path, gt, loaded("good"))
    assert scores["dataset_results"] == right["dataset_results"]
    assert scores["notes"] == ["gt.json: annotations that are there twice count once: 1 (id 1)"]
    gt["annotations"][1] = {**gt["annotations"][0], "category_id": 2}
    gt["video_np_pairs"][1]["num_masklets"] = 1
    assert scored(tmp_path, gt, loaded("good"))["notes"] == [
        "gt.json: annotations that share their id with another one all count: 1 (id 1)"
    ]


def test_few_that_found_no_home_are_counted(tmp_path: Path) -> None:
    gt, found = loaded("gt"), loaded("good")
    right = scored(tmp_path, gt, found)
    gt["annotations"] = [{**gt["annotations"][0], "id": k} for k in range(5)]
    gt["annotations"][4]["video_id"] = 8
    gt["video_np_pairs"][0]["num_masklets"] = 4
    found += [{**found[0], "video_id": 77}, {**found[0], "category_id": 9, "score": 0.1}]
    notes = scored(tmp_path, gt, found, allow_unknown=True)["notes"]
    assert notes[0] == ("gt.json: 1 of 5 annotations are left out: annotations[4] names video 8, which is not there")
    assert notes[1].startswith("found.json: tracks of videos that gt.json does not hold are ignored: 1 (first: track 1")
    assert notes[2].startswith("found.json: tracks of categories that gt.json does not know are false alarms, as off")
    again = scored(tmp_path, loaded("gt"), [*loaded("good"), found[1]], allow_unknown=True)
    assert len(again["notes"]) == 1
    assert again["dataset_results"] == right["dataset_results"]


def test_what_was_not_predicted_is_not_scored(tmp_path: Path) -> None:
    gt, right = loaded("gt"), scored(tmp_path, loaded("gt"), loaded("good"))["dataset_results"]
    boxes_only = [{**loaded("good")[0], "segmentations": [None] * 3}]
    scores = scored(tmp_path, gt, boxes_only)
    assert {key for key, value in scores["dataset_results"].items() if value is None} == {
        k for k in right if "mask" in k
    }
    assert scores["dataset_results"]["video_bbox_all_phrase_HOTA"] == right["video_bbox_all_phrase_HOTA"]
    assert scores["notes"] == ["mask is left out: found.json does not hold it"]
    masks_only = [{**loaded("good")[0], "bboxes": [None] * 3}]
    scores = scored(tmp_path, gt, masks_only)
    assert scores["dataset_results"]["video_bbox_all_phrase_HOTA"] is None
    assert scores["dataset_results"][CG] == right[CG]
    assert "frames with a mask and without a box or an area count as empty for HOTA and TETA" in scores["notes"][0]
    nothing = scored(tmp_path, gt, [])
    assert nothing["dataset_results"][CG] == 0, "a system that finds nothing is scored, and has 0"


def test_boxes_as_fractions_and_repeats_are_told(tmp_path: Path) -> None:
    track = loaded("good")[0]
    small = {**track, "bboxes": [[0.1, 0.2, 0.3, 0.3]] * 3}
    assert (
        "no box is larger than 0.3: boxes of videos are in pixels"
        in scored(tmp_path, loaded("gt"), [small])["notes"][0]
    )
    told = scored(tmp_path, loaded("gt"), [track, track])["notes"]
    assert told == ["found.json: tracks that repeat another one count again: 1 (first: track 1)"]


def test_true_boxes_that_are_missing_are_those_of_the_masks(tmp_path: Path) -> None:
    gt = loaded("gt")
    right = scored(tmp_path, gt, loaded("good"))
    gt["annotations"][0]["bboxes"] = [None, [1, 2], gt["annotations"][0]["bboxes"][2]]
    scores = scored(tmp_path, gt, loaded("good"))
    assert scores["dataset_results"] == right["dataset_results"]
    assert scores["notes"] == ["gt.json: frames without a box get that of their mask: 2 (first: annotation 0)"]


def test_predictions_of_images_are_no_tracks(tmp_path: Path) -> None:
    annotations = read_video_annotations(CASES / "gt.json")
    (tmp_path / "found.json").write_text('[{"image_id": 1, "category_id": 1, "score": 1, "bbox": [1, 2, 3, 4]}]')
    with pytest.raises(ValueError, match="track 0 has an image_id: these are predictions of images"):
        read_video_predictions(tmp_path / "found.json", annotations)


def test_our_own_masklets_must_be_sound() -> None:
    video = read_video_annotations(CASES / "gt.json").videos[0]
    with pytest.raises(ValueError, match=r"masklet 0 .*frame 0: a mask's runs are damaged"):
        masklets(loaded("one_character_lost"), video, "masklet")
    assert read_score(1) == 1.0


def test_the_command_tells_what_is_left_out(tmp_path: Path, litetext: Callable[..., Any]) -> None:
    output = tmp_path / "out.json"
    answer = litetext(
        *("score", "--gt", str(CASES / "gt.json"), "--predictions", str(CASES / "one_character_lost.json")),
        *("--output", str(output)),
    )
    assert answer.code == 0
    assert "damaged masks match nothing: 1 tracks" in answer.out
    written = json.loads(output.read_text())
    assert written["notes"] == [line for line in answer.out.splitlines() if "damaged" in line]
    assert (written["partial"], written["left_out"]) == (False, 0)


def test_true_masklets_without_masks_are_no_zeros(tmp_path: Path) -> None:
    def changed(**fields: Any) -> Any:
        gt = loaded("gt")
        other = {**gt["annotations"][0], "id": 7, "category_id": 2}
        gt["video_np_pairs"][1]["num_masklets"] = 1
        return {**gt, "annotations": [gt["annotations"][0], {**other, **fields}]}

    track = loaded("good")[0]
    found = [track, {**track, "category_id": 2}]
    right = scored(tmp_path, loaded("gt"), [track])["dataset_results"]
    first = loaded("gt")["annotations"][0]["segmentations"]
    for fields, why in (
        ({"segmentations": [None] * 3}, "frame 0 has a box and no mask"),
        ({"segmentations": [*first[:2], None]}, "frame 2 has a box and no mask"),
        ({"segmentations": [None] * 3, "bboxes": [None] * 3}, "it marks nothing in any frame"),
        ({"segmentations": [None] * 3, "bboxes": [[0, 0, 0, 0]] * 3}, "it marks nothing in any frame"),
        ({"segmentations": [rle(np.zeros((48, 64), bool))] * 3, "bboxes": [None] * 3}, "it marks nothing in any frame"),
    ):
        scores = scored(tmp_path, changed(**fields), found)
        told = f"gt.json: 1 pairs are left out for an annotation without masks (first: annotation 1: {why})"
        assert scores["notes"] == [told]
        assert scores["left_out"] == 1
        # The other pair is scored alone; TETA and IL_MCC of the whole file know no negative any more.
        for name in ("video_mask_all_phrase_HOTA", "video_bbox_all_phrase_HOTA", "video_mask_teta"):
            assert scores["dataset_results"][name] == right[name]
    boxes = {**loaded("gt"), "annotations": [{**loaded("gt")["annotations"][0], "segmentations": [None] * 3}]}
    scores = scored(tmp_path, boxes, [track])
    assert scores["notes"] == ["mask is left out: gt.json does not hold it"]
    assert scores["dataset_results"]["video_mask_all_phrase_HOTA"] is None
    assert scores["dataset_results"]["video_bbox_all_phrase_HOTA"] == right["video_bbox_all_phrase_HOTA"]


def test_a_pair_whose_masklets_are_not_there_is_no_negative(tmp_path: Path) -> None:
    gt, found = loaded("gt"), loaded("good")
    assert [pair["num_masklets"] for pair in gt["video_np_pairs"]] == [1, 0]
    right = scored(tmp_path, gt, found)
    gt["video_np_pairs"].append({"video_id": 0, "category_id": 3, "num_masklets": "2"})
    gt["categories"].append({"id": 3, "name": "dog"})
    scores = scored(tmp_path, gt, found)
    assert scores["dataset_results"] == right["dataset_results"]
    assert scores["left_out"] == 1
    told = (
        "pairs left out since masklets are not there: 1 (id (0, 3): video_np_pairs counts 2 masklets, annotations hold"
    )
    assert scores["notes"] == [f"gt.json: {told} 0)"]
    gt["annotations"].append({**gt["annotations"][0], "id": 9, "category_id": 3})
    assert scored(tmp_path, gt, found)["left_out"] == 1, "half of them are there"
    gt["video_np_pairs"][-1]["num_masklets"] = 0
    scores = scored(tmp_path, gt, found)
    assert scores["left_out"] == 0
    told = "pairs with more masklets than video_np_pairs counts; all count: 1 (id (0, 3): 0, annotations hold 1)"
    assert scores["notes"] == [f"gt.json: {told}"]


def test_boxes_of_corners_are_told(tmp_path: Path) -> None:
    found = [{**track, "bboxes": [[40.0, 30.0, 60.0, 45.0]] * 3} for track in loaded("good")]
    notes = scored(tmp_path, loaded("gt"), found)["notes"]
    assert len(notes) == 1
    assert "boxes reach far over the edge of their frame, as corners [x1, y1, x2, y2] would" in notes[0]
