"""CG_F1 and its parts: official numbers, rules one by one, laws of the states."""

import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from litetext.bench.metrics import bench_metrics, make_case, plain_counts
from litetext.metrics.assess import assess
from litetext.metrics.cgf1 import PhraseCounts, phrase_metrics
from litetext.metrics.counts import official, per_threshold, tally
from litetext.metrics.saco_files import count_files, datapoints, read_predictions, score_files
from litetext.saco.images import read_annotator
from litetext.saco.instances import Instances, Truth

ORACLE = Path(__file__).parent.parent / "fixtures" / "oracle"
CASES = ("case1", "case2", "case3")
MODES = {"oracle": "abc", "single_a": "a", "single_b": "b", "single_c": "c"}


def files(case: str, letters: str) -> tuple[list[Any], dict[int, list[dict[str, Any]]]]:
    folder = ORACLE / case
    return [read_annotator(folder / f"gt_{x}.json.gz") for x in letters], read_predictions(folder / "pred.json.gz")


def expected(case: str) -> dict[str, Any]:
    return json.loads((ORACLE / case / "official.json").read_text())


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_all_official_numbers(case: str, mode: str, iou_type: Any) -> None:
    truth = expected(case)[mode][iou_type]
    counts = count_files(*files(case, MODES[mode]), iou_type)
    for row, name in enumerate(("TPs", "FPs", "FNs", "positive_micro_FPs")):
        assert counts.boxes[row].tolist() == truth[name]
    assert counts.images.tolist() == [truth["IL"]["IL_" + name] for name in ("TP", "FP", "TN", "FN")]
    assert counts.images.sum() == truth["n_eval"]
    numbers = official(counts, iou_type)
    assert len(numbers) == 26
    assert numbers == pytest.approx(truth["metrics"], abs=1e-9, rel=0)
    curves = per_threshold(counts)
    assert curves["positive_micro_F1"] == pytest.approx(truth["pmF1_per_iou"], abs=1e-9, rel=0)
    assert curves["positive_macro_F1"] == pytest.approx(truth["positive_macro_F1_per_iou"], abs=1e-9, rel=0)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("case", CASES)
def test_every_datapoint_has_the_official_outcome(case: str, iou_type: Any) -> None:
    ids, found, truths = datapoints(*files(case, "abc"), iou_type)
    rows = dict(zip(ids, assess(found, truths, iou_type), strict=True))
    with gzip.open(ORACLE / case / "official_per_datapoint.json.gz") as file:
        truth = json.load(file)[iou_type]
    assert [entry["image_id"] for entry in truth] == ids
    for entry in truth:
        row = rows[entry["image_id"]]
        if entry["il"] == "TN":
            assert not row.any()
            continue
        assert row[2:].tolist() == entry["TP"]
        assert (row[0] - row[2:]).tolist() == entry["FP"]
        assert (row[1] - row[2:]).tolist() == entry["FN"]


def square(*cells: tuple[int, int]) -> Tensor:
    masks = torch.zeros(len(cells), 12, 12, dtype=torch.bool)
    for mask, (row, column) in zip(masks, cells, strict=True):
        mask[row : row + 4, column : column + 4] = True
    return masks


def images(found: Instances, *annotators: Truth) -> list[int]:
    return tally(assess([found], [list(annotators)])).images.tolist()


def test_scores_on_the_border_count() -> None:
    truth = Truth(square((0, 0)))
    assert images(Instances([0.5], masks=square((0, 0))), truth) == [1, 0, 0, 0]
    assert images(Instances([0.49999], masks=square((0, 0))), truth) == [0, 0, 0, 1]


def test_crowds_are_deleted_and_not_ignored() -> None:
    crowd = Truth(square((0, 0)), crowd=[True])
    assert images(Instances([0.9], masks=square((0, 0))), crowd) == [0, 1, 0, 0]
    assert images(Instances([]), crowd) == [0, 0, 1, 0]


def test_presence_needs_no_overlap_and_empty_masks_are_predictions() -> None:
    assert images(Instances([0.9], masks=square((8, 8))), Truth(square((0, 0)))) == [1, 0, 0, 0]
    assert images(Instances([0.9], masks=torch.zeros(1, 12, 12, dtype=torch.bool)), Truth()) == [0, 1, 0, 0]


def test_unknown_categories_vanish_per_annotator() -> None:
    found = Instances([0.9], masks=square((0, 0)))
    assert images(found, Truth(square((0, 0)), known=[False])) == [0, 0, 0, 1]


def test_without_predictions_any_empty_annotator_makes_a_true_negative() -> None:
    two, one, none = Truth(square((0, 0), (8, 8))), Truth(square((0, 0))), Truth()
    assert images(Instances([]), two, none, one) == [0, 0, 1, 0]
    assert assess([Instances([])], [[two, one]])[0, :2].tolist() == [0, 2], "all miss: the first annotator counts"
    wrong = Instances([0.9], masks=square((4, 4)))
    assert images(wrong, none, one) == [0, 1, 0, 0], "all at zero: the first annotator counts"
    assert images(wrong, one, none) == [1, 0, 0, 0]


@pytest.mark.parametrize("kind", ["nothing", "no positives", "no negatives", "no predictions", "all wrong"])
def test_degenerate_sets_have_defined_values(kind: str) -> None:
    mask, hit, miss = square((0, 0)), Instances([0.9], masks=square((0, 0))), Instances([])
    pairs = {
        "nothing": [],
        "no positives": [(miss, Truth()), (hit, Truth())],
        "no negatives": [(hit, Truth(mask)), (miss, Truth(mask))],
        "no predictions": [(miss, Truth(mask)), (miss, Truth())],
        "all wrong": [(hit, Truth()), (miss, Truth(mask))],
    }[kind]
    metric = PhraseCounts()
    metric.update(range(len(pairs)), [p for p, _ in pairs], [g for _, g in pairs])
    numbers = metric.compute()
    assert all(np.isfinite(value) for value in numbers.values())
    if kind in ("nothing", "no predictions"):
        macro = ("positive_macro_F1", "positive_macro_F1@0.5", "positive_macro_F1@0.75")
        assert numbers == {name: -1 if name.endswith(macro) else 0 for name in numbers}
    assert numbers["cgF1_eval_segm_cgF1"] == 0
    assert numbers["cgF1_eval_segm_IL_MCC"] == pytest.approx(-1 if kind == "all wrong" else 0, abs=1e-5)
    assert numbers["cgF1_eval_segm_positive_macro_F1"] == (
        pytest.approx(0.99985, abs=1e-4) if kind == "no negatives" else -1
    )


def small_world(seed: int) -> tuple[list[Instances], list[list[Truth]]]:
    return make_case(12, 24, 1 + seed % 3, seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["segm", "bbox"]))
def test_equals_the_plain_loop(seed: int, iou_type: Any) -> None:
    found, truths = small_world(seed)
    ours, plain = tally(assess(found, truths, iou_type)), plain_counts(found, truths, iou_type)
    np.testing.assert_array_equal(ours.images, plain.images)
    np.testing.assert_array_equal(ours.boxes[:4], plain.boxes[:4])
    assert official(ours) == pytest.approx(official(plain), abs=1e-11)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_batches_order_ranks_and_repetitions_change_nothing(seed: int, data: st.DataObject) -> None:
    found, truths = small_world(seed)
    whole = PhraseCounts()
    whole.update(range(12), found, truths)
    order = data.draw(st.permutations(range(12))) + data.draw(st.lists(st.integers(0, 11), max_size=6))
    ranks = [PhraseCounts() for _ in range(data.draw(st.integers(1, 3)))]
    while order:
        size = data.draw(st.integers(1, len(order)))
        batch, order = order[:size], order[size:]
        rank = data.draw(st.sampled_from(ranks))
        step = rank.update if data.draw(st.booleans()) else rank.forward
        step(batch, [found[i] for i in batch], [truths[i] for i in batch])
    merged = ranks[0]
    for other in ranks[1:]:
        merged.merge_state(other)
    assert merged.compute() == whole.compute(), "equal to the last bit"


def run_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    found, truths = make_case(7, 24, 3, 5)
    padded, lonely = phrase_metrics(), PhraseCounts()
    for i in [0, 2, 4, 6] if rank == 0 else [1, 3, 5, 0]:  # what a DistributedSampler makes of 7 datapoints
        padded.update([i], [found[i]], [truths[i]])
    if rank == 0:
        lonely.update(range(7), found, truths)
    numbers = {name: float(value) for name, value in padded.compute().items()} | lonely.compute()
    Path(folder, f"{rank}.json").write_text(json.dumps(numbers))
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("copied")
def test_two_processes_with_a_padded_sampler_and_an_idle_rank(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(run_rank, (str(tmp_path),), nprocs=2)
    found, truths = make_case(7, 24, 3, 5)
    alone, numbers = phrase_metrics(), PhraseCounts()
    alone.update(range(7), found, truths)
    numbers.update(range(7), found, truths)
    expected_numbers = {name: float(value) for name, value in alone.compute().items()} | numbers.compute()
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected_numbers


def test_the_collection_matches_once_and_speaks_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    import litetext.metrics.cgf1 as core

    calls: list[int] = []
    monkeypatch.setattr(core, "assess", lambda *args: calls.append(1) or assess(*args))
    metrics = phrase_metrics(prefix="val/")
    metrics.update(*datapoints(*files("case1", "abc")))
    assert len(calls) == 1
    table = expected("case1")["oracle"]["segm"]["table"]
    assert {name: round(float(value), 2) for name, value in metrics.compute().items()} == {
        "val/" + name: value for name, value in table.items()
    }


def test_tensors_give_the_numbers_of_run_lengths() -> None:
    from pycocotools import mask as rle

    found, truths = make_case(20, 24, 3, 1)

    def dense(masks: Any) -> Tensor:
        return (
            torch.stack([torch.from_numpy(rle.decode(m)).bool() for m in masks])
            if masks
            else torch.zeros(0, 24, 24).bool()
        )

    tensors = [Instances(torch.from_numpy(d.scores), masks=dense(d.masks)) for d in found]
    marked = [[Truth(dense(g.masks)) for g in annotators] for annotators in truths]
    np.testing.assert_array_equal(assess(tensors, marked), assess(found, truths))


@pytest.mark.usefixtures("unchecked")
def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="1 ids, 1 detections and 0 truths"):
        PhraseCounts().update([1], [Instances([])], [])
    with pytest.raises(ValueError, match=r"2 instances but 1 masks"):
        images(Instances([0.9, 0.9], masks=square((0, 0))), Truth())
    with pytest.raises(ValueError, match="no masks"):
        images(Instances([0.9]), Truth())
    with pytest.raises(ValueError, match="no annotator"):
        assess([Instances([])], [[]])
    with pytest.raises(ValueError, match="iou_type"):
        PhraseCounts("mask")  # type: ignore[arg-type]


def test_files_plain_and_broken(tmp_path: Path) -> None:
    image = {"id": 1, "width": 4, "height": 4, "is_instance_exhaustive": 1}
    gt: dict[str, Any] = {"images": [image], "annotations": [], "categories": [{"id": 1}]}
    (tmp_path / "a.json").write_text(json.dumps(gt))
    (tmp_path / "b.json").write_text(json.dumps(gt | {"images": []}))
    (tmp_path / "none.json").write_text("[]")
    boxless = [
        {"image_id": 1, "category_id": 1, "score": 0.9},
        {"image_id": 77, "category_id": 1, "score": 0.9},
    ]
    (tmp_path / "some.json").write_text(json.dumps(boxless))
    a, b, none, some = (tmp_path / name for name in ("a.json", "b.json", "none.json", "some.json"))
    assert score_files([a, b], none)["cgF1_eval_segm_IL_FPR"] == 0
    assert score_files([a], some)["cgF1_eval_segm_IL_FPR"] == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match=r"without bbox"):
        score_files([a], some, "bbox")
    with pytest.raises(ValueError, match=r"datapoint 1 has predictions.*not in b\.json"):
        score_files([a, b], some)
    with pytest.raises(FileNotFoundError, match="missing"):
        score_files([tmp_path / "missing.json"], none)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"[1, 2")[:-4])
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        score_files([tmp_path / "cut.json.gz"], none)
    del image["is_instance_exhaustive"]
    a.write_text(json.dumps(gt))
    with pytest.raises(ValueError, match="is_instance_exhaustive"):
        score_files([a], none)


def test_the_benchmark_reports_and_agrees() -> None:
    result = bench_metrics(datapoints=60, size=48, batch=16)
    assert result["largest_difference"] < 1e-11
    assert result["us_per_datapoint"] > 0
    assert result["CG_F1"] > 5


def test_positives_alone_are_told() -> None:
    box = [[0.1, 0.1, 0.5, 0.5]]
    metrics = phrase_metrics("bbox")
    metrics.update([0], [Instances([0.9], box)], [Truth(boxes=box)])
    with pytest.warns(UserWarning, match="is 0, as officially, since no datapoint is a negative") as told:
        numbers = metrics.compute()
    assert (numbers["CG_F1"], numbers["IL_MCC"]) == (0, 0)
    assert numbers["pmF1"] > 99
    assert len(told) == 2


def test_ids_that_start_anew_with_each_batch_are_told() -> None:
    box, metric = [[0.1, 0.1, 0.5, 0.5]], PhraseCounts("bbox")
    found, nothing, truth = Instances([0.9], box), Instances([], []), Truth(boxes=box)
    for _ in range(2):  # a sampler that fills the last batch up
        metric.update([0, 1], [found, nothing], [truth, Truth(boxes=[])])
    with warnings.catch_warnings(action="error"):
        assert metric.counts().images.tolist() == [1, 0, 1, 0]
    metric.update([0, 1], [nothing, nothing], [truth, Truth(boxes=[])])
    with pytest.warns(UserWarning, match=r"1 of 6 rows have the id of an earlier row .* \(first: id 0\)"):
        assert metric.counts().images.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Instances([float("nan")], [[0, 0, 1, 1]]), "scores are .nan."),
        (Instances([3.2], [[0, 0, 1, 1]]), "give one from 0 to 1"),
        (Instances([[0.9]], [[0, 0, 1, 1]]), "give one from 0 to 1"),
        (Instances([0.9], [[0, 0, float("nan"), 1]]), "finite numbers"),
        (Instances([0.9], [[0.6, 0.6, -0.5, -0.5]]), "finite numbers"),
    ],
)
def test_scores_and_boxes_that_are_none_are_refused(found: Instances, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        assess([found], [[Truth(boxes=[[0, 0, 1, 1]])]], "bbox")


def test_masks_are_cut_before_they_are_compared() -> None:
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, :4, :4] = True
    right = assess([Instances([0.9], masks=mask)], [[Truth(masks=mask)]])
    of_a_file = {"size": [8, 8], "counts": [0, 4, 4, 4, 4, 4, 4, 4, 36]}
    for truth in (mask, [of_a_file]):
        for values in (mask.to(torch.uint8), mask.to(torch.uint8) * 255):
            assert (assess([Instances([0.9], masks=values)], [[Truth(masks=truth)]]) == right).all()
        with pytest.raises(ValueError, match=r"masks are torch.float32: cut them first"):
            assess([Instances([0.9], masks=mask.float())], [[Truth(masks=truth)]])
        with pytest.raises(ValueError, match=r"\(n, height, width\)"):
            assess([Instances([0.9], masks=mask[:, None])], [[Truth(masks=truth)]])
