"""The VEval metrics: equal to the official numbers, trap by trap, in any order and on any number of ranks."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from litetext.metrics import hota
from litetext.metrics.hota import hota_numbers, hota_sums
from litetext.metrics.teta import teta_numbers, teta_rows
from litetext.metrics.veval_files import asked_categories, dataset_results, read_video_predictions, score_video_files
from litetext.metrics.video import assess_video, phrase_numbers
from litetext.metrics.video_iou import overlaps
from litetext.metrics.video_metrics import TETA, PhraseHOTA, VideoCGF1
from litetext.saco.videos import Video, masklets, read_video_annotations

SYNTH = Path(__file__).parent.parent / "fixtures" / "oracle" / "video_synth"
TETA_PARTS = ("teta", "_loc_", "_assoc_", "_cls_")


def tolerance(key: str) -> float:
    return 1e-7 if "bbox" in key else 1e-9


@pytest.fixture(scope="module")
def official() -> dict[str, Any]:
    return json.loads((SYNTH / "official.json").read_text())


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    return score_video_files(SYNTH / "gt.json.gz", SYNTH / "pred.json.gz")


def test_data_set_numbers_are_the_official_ones(official: dict, ours: dict) -> None:
    expected = {key: value for key, value in official["dataset_results"].items() if "phrase_ap" not in key}
    found = ours["dataset_results"]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if any(part in key for part in TETA_PARTS):
            assert found[key] == value, key
        else:
            assert found[key] == pytest.approx(value, abs=tolerance(key)), key


def test_numbers_of_each_pair_are_the_official_ones(official: dict, ours: dict) -> None:
    found = {(entry["video_id"], entry["category_id"]): entry for entry in ours["video_np_results"]}
    assert len(found) == len(official["video_np_results"])
    for entry in official["video_np_results"]:
        mine = found[entry["video_id"], entry["category_id"]]
        assert mine.keys() == entry.keys()
        for key, value in entry.items():
            assert mine[key] == pytest.approx(value, abs=tolerance(key)), key


# A world of two videos of four frames, 20 x 20 pixels; an object is a column range of three columns.

SIZE = 20


def box(x: int, width: int = 4) -> list[float]:
    return [float(x), 2.0, float(width), 10.0]


def rle(x: int, width: int = 4) -> dict[str, Any]:
    image = np.zeros((SIZE, SIZE), dtype=np.uint8, order="F")
    image[2:12, x : x + width] = 1
    made = coco.encode(image)
    return {"size": [SIZE, SIZE], "counts": made["counts"].decode()}


def track(places: list[int | None], category: int, video: int | str = 0, width: int = 4, **more: Any) -> dict[str, Any]:
    """A masklet whose left edge is at `places`; None where it is absent."""
    return {
        "video_id": video,
        "category_id": category,
        "bboxes": [None if x is None else box(x, width) for x in places],
        "segmentations": [None if x is None else rle(x, width) for x in places],
        "areas": [None if x is None else 10 * width for x in places],
        **more,
    }


def scored(places: list[int | None], category: int, score: float = 0.9, **more: Any) -> dict[str, Any]:
    return track(places, category, score=score, **more)


def truth_file(folder: Path, annotations: list[dict], pairs: list[tuple[Any, int]], categories: int = 3) -> Path:
    ids = list(dict.fromkeys([video for video, _ in pairs] + [a["video_id"] for a in annotations]))
    content = {
        "videos": [
            {"id": i, "video_name": f"v{i}", "file_names": [f"v{i}/{t}.jpg" for t in range(4)], "height": SIZE,
             "width": SIZE, "length": 4}
            for i in ids
        ],
        "annotations": [{"id": n, "iscrowd": 0, **a} for n, a in enumerate(annotations)],
        "categories": [{"id": c, "name": f"thing {c}"} for c in range(1, categories + 1)],
        "video_np_pairs": [
            {"id": n, "video_id": v, "category_id": c, "noun_phrase": f"thing {c}", "num_masklets": 0}
            for n, (v, c) in enumerate(pairs)
        ],
    }  # fmt: skip
    path = folder / "gt.json"
    path.write_text(json.dumps(content))
    return path


def numbers(folder: Path, annotations: list, pairs: list, predictions: list, categories: int = 3) -> dict[str, float]:
    gt = truth_file(folder, annotations, pairs, categories)
    (folder / "pred.json").write_text(json.dumps(predictions))
    return score_video_files(gt, folder / "pred.json")["dataset_results"]


STILL = [2, 2, 2, 2]
CG, MCC, PM = (f"video_mask_demo_{part}_50_95" for part in ("cgf1_micro", "ilmcc", "positive_micro_f1"))
DET, HOTA = "video_mask_all_phrase_DetA", "video_mask_all_phrase_HOTA"


def test_v3_half_counts_for_cgf1_and_teta_but_not_for_hota(tmp_path: Path) -> None:
    found = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], [scored(STILL, 1, score=0.5)])
    assert found[PM] == pytest.approx(1, abs=1e-3)
    assert found["video_mask_teta"] == 100
    assert found[HOTA] == 0
    below = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], [scored(STILL, 1, score=0.499)])
    assert below[PM] == below["video_mask_teta"] == 0


def test_v4_crowd_is_left_out_by_cgf1_and_ordinary_for_hota_and_teta(tmp_path: Path) -> None:
    found = numbers(tmp_path, [track(STILL, 1, iscrowd=1)], [(0, 1), (0, 2)], [scored(STILL, 1)])
    assert found[PM] == 0
    assert found[HOTA] == pytest.approx(1)
    assert found["video_mask_teta"] == 100


def test_v5_a_weak_prediction_on_an_unlisted_pair_is_a_true_negative(tmp_path: Path) -> None:
    marked, pairs = [track(STILL, 1), track(STILL, 2)], [(0, 1), (0, 2)]
    strong, weak = [scored(STILL, 1)], scored(STILL, 3, score=0.1)
    assert numbers(tmp_path, marked, pairs, strong)[MCC] == 0  # no negatives: a margin is empty
    assert numbers(tmp_path, marked, pairs, [*strong, weak])[MCC] == pytest.approx(0.5, abs=1e-6)
    assert numbers(tmp_path, marked, pairs, [*strong, weak | {"score": 0.8}])[MCC] < 0


def test_v6_false_tracks_of_negative_phrases_lower_deta_and_empty_frames_do_not(tmp_path: Path) -> None:
    right = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], [scored(STILL, 1)])
    wrong = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], [scored(STILL, 1), scored(STILL, 2)])
    assert right[DET] == pytest.approx(1)
    assert wrong[DET] == pytest.approx(0.5)
    gone = scored([2, 2, None, None], 2)
    gone["bboxes"][2:] = [[0, 0, 0, 0]] * 2
    gone["areas"][2:] = [0, 0]
    gone["segmentations"][2:] = [{"size": [SIZE, SIZE], "counts": coco.encode(np.zeros((SIZE, SIZE), np.uint8, "F"))["counts"].decode()}] * 2  # fmt: skip  # noqa: E501
    partly = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], [scored(STILL, 1), gone])
    assert partly[DET] == pytest.approx(4 / 6)


def test_v6_hota_is_a_mean_of_roots() -> None:
    sums = np.zeros((7, 19))
    sums[0, :10], sums[1] = 4, 1
    sums[3, :10] = np.arange(10) / 4
    curves = hota.hota_curves(sums)
    assert hota_numbers(sums)["HOTA"] == pytest.approx(np.sqrt(curves["DetA"] * curves["AssA"]).mean())
    assert hota_numbers(sums)["HOTA"] != pytest.approx(np.sqrt(curves["DetA"].mean() * curves["AssA"].mean()), abs=1e-3)


def test_v7_frames_without_ground_truth_are_dropped_by_teta_and_counted_by_hota(tmp_path: Path) -> None:
    found = numbers(tmp_path, [track([2, 2, None, None], 1)], [(0, 1)], [scored(STILL, 1)])
    assert found["video_mask_teta"] == 100
    assert found[DET] == pytest.approx(0.5)


def test_v7_thresholds_of_teta_begin_at_zero_and_its_numbers_have_five_digits(tmp_path: Path) -> None:
    # IoU 2/6 in every frame: located at 0, 0.05 ... 0.3 (7 of 20) where a neighbour makes it a candidate.
    marked = [track(STILL, 1)]
    found = numbers(tmp_path, marked, [(0, 1)], [scored([2, 4, 4, 4], 1)])
    assert found["video_mask_loc_re"] == float(f"{100 * (7 + 13 / 4) / 20:.5g}")


def test_v7_a_class_whose_turn_comes_later_forgets_what_earlier_ones_called_wrong() -> None:
    """Class 1's instance is labelled 2; with the turn of class 2 after it, its own count replaces that."""
    similarity = np.ones((1, 1, 1))
    here, there = np.ones((1, 1), dtype=bool), np.ones((1, 1), dtype=bool)
    label, wrong = np.asarray([1]), np.asarray([2])
    after = teta_rows(similarity, here, there, label, wrong, [1, 2])
    before = teta_rows(similarity, here, there, label, wrong, [2, 1])
    assert after[2][140:].tolist() == [1.0] * 10
    assert before[2][140:].tolist() == [2.0] * 10


def test_v8_two_masklets_that_are_empty_throughout_match_for_cgf1(tmp_path: Path) -> None:
    nothing = [None] * 4
    found = numbers(tmp_path, [track(STILL, 1), track(nothing, 2)], [(0, 1), (0, 2), (0, 3)],
                    [scored(STILL, 1), scored(nothing, 2)])  # fmt: skip
    assert found[PM] == pytest.approx(1, abs=1e-3)
    alone = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], [scored(STILL, 1), scored(nothing, 2)])
    assert alone[MCC] == 0  # an empty predicted masklet says that the phrase is there
    assert alone[HOTA] == pytest.approx(1)  # and has no detections


@pytest.mark.parametrize("predictions", [[], [scored(STILL, 1, score=0.2)]])
def test_v9_nothing_predicted_is_zero(tmp_path: Path, predictions: list) -> None:
    found = numbers(tmp_path, [track(STILL, 1)], [(0, 1), (0, 2)], predictions)
    assert {key: value for key, value in found.items() if value and "LocA" not in key} == {}
    assert found["video_mask_all_phrase_LocA"] == 1
    assert all(np.isfinite(value) for value in found.values())


def test_v9_without_ground_truth_there_is_no_score(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gt\.json holds no masklet to be found: negatives alone give no score"):
        numbers(tmp_path, [], [(0, 1), (0, 2)], [scored(STILL, 1)])


def test_v11_areas_of_many_large_frames_do_not_wrap() -> None:
    """300 frames of 4096 x 4096 full pixels are more than 32 bits hold."""
    frame = {"size": [4096, 4096], "counts": coco.encode(np.ones((4096, 4096), np.uint8, "F"))["counts"].decode()}
    video = Video(0, tuple(f"{t}.jpg" for t in range(300)), 4096, 4096)
    item = {"video_id": 0, "category_id": 1, "segmentations": [frame] * 300, "bboxes": [[0, 0, 4096, 4096]] * 300,
            "areas": [4096 * 4096] * 300}  # fmt: skip
    some = masklets([item], video, "x")
    half = {"size": [4096, 4096], "counts": coco.encode(_half())["counts"].decode()}
    other = masklets([item | {"segmentations": [half] * 300}], video, "x")
    assert overlaps(some, other).tubes[0, 0] == 0.5


def _half() -> np.ndarray:
    image = np.ones((4096, 4096), np.uint8, "F")
    image[:, 2048:] = 0
    return image


def test_v1_boxes_on_a_threshold_count_in_float32_whatever_the_version_of_numpy() -> None:
    least = np.float32(0.35)  # below the float64 0.35
    similarity = np.full((1, 1, 1), least, dtype=np.float32)
    present = np.ones((1, 1), dtype=bool)
    at = int(np.argmin(np.abs(hota.ALPHAS - 0.35)))
    assert hota_sums(similarity, present, present)[0, at] == 1


def test_hota_is_that_of_trackeval() -> None:
    trackeval = pytest.importorskip("trackeval")
    rng = np.random.default_rng(0)
    frames, m, n = 12, 4, 5
    similarity = rng.uniform(0, 1, (frames, m, n)) * (rng.uniform(size=(frames, m, n)) < 0.6)
    truth, predicted = rng.uniform(size=(m, frames)) < 0.7, rng.uniform(size=(n, frames)) < 0.7
    mine = hota_numbers(hota_sums(similarity, truth, predicted))
    data = {
        "num_timesteps": frames,
        "gt_ids": [np.flatnonzero(truth[:, t]) for t in range(frames)],
        "tracker_ids": [np.flatnonzero(predicted[:, t]) for t in range(frames)],
        "similarity_scores": [similarity[t][truth[:, t]][:, predicted[:, t]] for t in range(frames)],
        "num_gt_dets": int(truth.sum()),
        "num_tracker_dets": int(predicted.sum()),
        "num_gt_ids": m,
        "num_tracker_ids": n,
    }
    theirs = trackeval.metrics.HOTA({"PRINT_CONFIG": False}).eval_sequence(data)
    for name in hota.NAMES:
        assert mine[name] == pytest.approx(float(np.mean(theirs[name])), abs=1e-12), name


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_neither_order_nor_ranks_nor_repetition_change_a_bit(random: Any) -> None:
    annotations = read_video_annotations(SYNTH / "gt.json.gz")
    found = read_video_predictions(SYNTH / "pred.json.gz", annotations).found
    questions = asked_categories(annotations, found)
    rows = {
        v: assess_video(annotations.truth[v], found[v], questions[v], annotations.evaluated) for v in annotations.videos
    }
    expected = dataset_results(rows.values(), "segm")
    videos = list(annotations.videos) + random.choices(list(annotations.videos), k=2)
    random.shuffle(videos)
    ranks = [[VideoCGF1(), PhraseHOTA(), TETA(annotations.evaluated)] for _ in range(2)]
    for number, video in enumerate(videos):
        row, metrics = rows[video], ranks[number % 2]
        metrics[0].update([[int(video), c] for c in questions[video]], row.phrases)
        metrics[1].update([[int(video), c] for c in row.hota], np.stack(list(row.hota.values())))
        metrics[2].update(int(video), row.teta)
    for mine, other in zip(*ranks, strict=True):
        mine.merge_state(other)
    found_numbers = {f"video_mask_demo_{k}": v for k, v in ranks[0][0].compute().items()}
    assert found_numbers == {key: value for key, value in expected.items() if "_demo_" in key}
    assert ranks[0][2].compute() == {key.removeprefix("video_mask_"): value for key, value in expected.items()
                                     if any(part in key for part in TETA_PARTS)}  # fmt: skip
    hotas = {f"video_mask_all_phrase_{key}": value for key, value in ranks[0][1].compute().items()}
    assert all(value == pytest.approx(expected[key], abs=1e-12) for key, value in hotas.items())
    again = [VideoCGF1(), PhraseHOTA()]
    for video in sorted(rows):
        again[0].update([[int(video), c] for c in questions[video]], rows[video].phrases)
        again[1].update([[int(video), c] for c in rows[video].hota], np.stack(list(rows[video].hota.values())))
    assert again[0].compute() == ranks[0][0].compute()
    assert again[1].compute() == ranks[0][1].compute()


def test_metrics_without_anything_are_defined() -> None:
    assert set(VideoCGF1().compute().values()) == {0.0}
    assert PhraseHOTA().compute()["HOTA"] == 0
    assert TETA([]).compute() == teta_numbers(np.zeros((0, 150)))
    assert phrase_numbers(np.zeros((0, 12), dtype=np.int64))["ilmcc_50"] == 0


def test_a_repeated_row_that_is_not_defined_is_no_other_row(recwarn: pytest.WarningsRecorder) -> None:
    metric = VideoCGF1()
    row = np.full((1, metric.width), np.nan)
    metric.add([[0, 1]], row)
    metric.add([[0, 1]], row)
    keys, values = metric.rows()
    assert keys.tolist() == [[0, 1]]
    assert np.isnan(values).all()
    assert not [one for one in recwarn if "earlier row" in str(one.message)]
    metric.add([[0, 1]], np.ones_like(row))
    with pytest.warns(UserWarning, match="1 of 3 rows have the id of an earlier row"):
        metric.rows()


def test_rows_need_a_key_each() -> None:
    with pytest.raises(ValueError, match="2 keys but rows"):
        VideoCGF1().update([[0, 1], [0, 2]], torch.zeros(1, 12))


def test_video_ids_may_be_text(tmp_path: Path) -> None:
    found = numbers(tmp_path, [track(STILL, 1, video="a")], [("a", 1), ("a", 2)], [scored(STILL, 1, video="a")])
    assert found[MCC] == pytest.approx(1, abs=1e-5)
    assert found[HOTA] == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"segmentations": [None] * 3}, "has 3 segmentations for 4 frames"),
        ({"video_id": 7}, "names video 7"),
        ({"bboxes": None}, "annotation 0 .*: bboxes is None, not a list of one a frame"),
    ],
)
def test_damaged_ground_truth_is_refused(tmp_path: Path, change: dict, told: str) -> None:
    path = truth_file(tmp_path, [track(STILL, 1)], [(0, 1)])
    content = json.loads(path.read_text())
    content["annotations"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        read_video_annotations(path)


@pytest.mark.parametrize(
    ("tracks", "told"),
    [
        ({"a": 1}, "must hold a JSON list"),
        ([{"video_id": 0, "category_id": 1}], "track 0 has no score"),
        ([scored([2, 2], 1)], "has 2 bboxes for 4 frames"),
        ([scored(STILL, 1, video=9)], "names video 9"),
    ],
)
def test_damaged_predictions_are_refused(tmp_path: Path, tracks: Any, told: str) -> None:
    annotations = read_video_annotations(truth_file(tmp_path, [track(STILL, 1)], [(0, 1)]))
    with gzip.open(tmp_path / "pred.json.gz", "wt") as file:
        json.dump(tracks, file)
    with pytest.raises(ValueError, match=told):
        read_video_predictions(tmp_path / "pred.json.gz", annotations)
