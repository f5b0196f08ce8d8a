"""Each known way to misread the official evaluator, done wrong on purpose: the official cases must notice it.

I1 to I16 are the traps of the image metric. A mistake is planted by replacing a part of the code or by changing what is
read; then the 26 numbers of the three official cases must move by more than the tolerance of 1e-9.
"""

import gzip
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coder

from litetext.metrics import assess as room
from litetext.metrics import counts as core
from litetext.metrics import saco_files
from litetext.metrics.cgf1 import PhraseCounts
from litetext.metrics.counts import Counts, headline, official
from litetext.metrics.saco_files import count_files, datapoints, read_predictions
from litetext.modules.results import summarize
from litetext.saco.images import AnnotatorFile, read_annotator

ORACLE = Path(__file__).parent.parent / "fixtures" / "oracle"
CASES = ("case1", "case2", "case3")
Patch = pytest.MonkeyPatch
Predictions = dict[int, list[dict[str, Any]]]
rle: Any = coder
exact, take, match, tally, local_f1 = room.assigned_ious, room._take, room._match, core.tally, room.local_f1


@cache
def files(case: str) -> tuple[list[AnnotatorFile], Predictions]:
    folder = ORACLE / case
    return [read_annotator(folder / f"gt_{x}.json.gz") for x in "abc"], read_predictions(folder / "pred.json.gz")


def largest(
    change: Callable[[list[AnnotatorFile], Predictions], Predictions] | None = None, kind: Any = "segm"
) -> float:
    """The largest difference from the official numbers over the three cases; later ones only if none was found."""
    difference = 0.0
    for case in CASES:
        if difference > 1e-9:
            break
        annotators, found = files(case)
        found = change(annotators, found) if change else found
        numbers = saco_files.official(count_files(annotators, found, kind), kind)
        truth = json.loads((ORACLE / case / "official.json").read_text())["oracle"][kind]["metrics"]
        difference = max(difference, *(abs(numbers[key] - truth[key]) for key in truth))
    return difference


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_without_a_mistake_nothing_differs(kind: str) -> None:
    assert largest(kind=kind) < 1e-9


# Replacements for the assignment (I3).


def greedy(ious: Any) -> Any:
    left, pairs = ious.copy(), []
    for _ in range(min(ious.shape)):
        i, j = np.unravel_index(left.argmax(), left.shape)
        pairs.append(ious[i, j])
        left[i], left[:, j] = -2, -2
    return np.array(pairs)


def greedy_by_score(patch: Patch) -> None:
    def in_order(ious: Any) -> Any:
        left, pairs = ious.copy(), []
        for i in range(min(ious.shape)):
            j = left[i].argmax()
            pairs.append(ious[i, j])
            left[:, j] = -2
        return np.array(pairs)

    def ranked(found: Any, annotators: Any, kind: Any) -> Any:
        order = np.argsort(-found.scores, kind="stable")
        annotators = [a if a.known is None else a._replace(known=np.asarray(a.known)[order]) for a in annotators]
        masks = [found.masks[i] for i in order]
        return take(room.Instances(found.scores[order], masks=masks), annotators, kind)

    patch.setattr(room, "assigned_ious", in_order)
    patch.setattr(room, "_take", ranked)


# Replacements for the choice of the annotator (I6).


def oracle(better: Callable[[Any, Any], Any]) -> Callable[[Patch], None]:
    def choose(sizes: Any, hits: Any, present: Any) -> Any:
        rows = np.concatenate([sizes, hits], axis=2)
        best = rows[:, 0]
        for j in range(1, rows.shape[1]):
            best = np.where(better(rows[:, j], best)[:, None], rows[:, j], best)
        return best

    return lambda patch: patch.setattr(room, "_oracle", choose)


def f1(rows: Any) -> Any:
    return local_f1(rows[:, 0], rows[:, 1], rows[:, 2:])


def negative(rows: Any) -> Any:
    return rows[:, :2].sum(1) == 0


def by_mean_iou(patch: Patch) -> None:
    means: list[list[float]] = []

    def noting(taken: Any, annotators: Any, ious: Any) -> Any:
        matched = match(taken, annotators, ious)
        means.append([0.0 if ious is None else float(ious.mean()) for _, _, ious in matched])
        return matched

    def choose(sizes: Any, hits: Any, present: Any) -> Any:
        rows, mean = np.concatenate([sizes, hits], axis=2), np.array(means)
        best, best_mean = rows[:, 0].copy(), mean[:, 0].copy()
        for j in range(1, rows.shape[1]):
            swap = negative(rows[:, j]) | (~negative(best) & (mean[:, j] > best_mean))
            best[swap], best_mean[swap] = rows[swap, j], mean[swap, j]
        means.clear()
        return best

    patch.setattr(room, "_match", noting)
    patch.setattr(room, "_oracle", choose)


def presence_of_the_first(patch: Patch) -> None:
    right, firsts = room._oracle, []

    def choose(sizes: Any, hits: Any, present: Any) -> Any:
        firsts.append(sizes[:, 0])
        return right(sizes, hits, present)

    def wrong(rows: Any) -> Counts:
        n, m = firsts[-1].T
        outcomes = ((m > 0) & (n > 0), (m == 0) & (n > 0), (m == 0) & (n == 0), (m > 0) & (n == 0))
        return Counts(tally(rows).boxes, np.array([outcome.sum() for outcome in outcomes]))

    patch.setattr(room, "_oracle", choose)
    patch.setattr(saco_files, "tally", wrong)


# Replacements for what follows from the counts (I7 to I11).


def counted(change: Callable[[Any, Counts], Counts]) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(saco_files, "tally", lambda rows: change(rows, tally(rows)))


def curves(**wrong: Callable[[Counts, dict[str, Any]], Any]) -> Callable[[Patch], None]:
    right = core.per_threshold

    def replaced(counts: Counts) -> dict[str, Any]:
        values = right(counts)
        return values | {name: rule(counts, values) for name, rule in wrong.items()}

    return lambda patch: patch.setattr(core, "per_threshold", replaced)


def boxes_with(counts: Counts, row: int, values: Any) -> Counts:
    boxes = counts.boxes.copy()
    boxes[row] = values
    return counts._replace(boxes=boxes)


def a_hit_at_half(rows: Any, counts: Counts) -> Counts:
    missed = int(((rows[:, 0] > 0) & (rows[:, 1] > 0) & (rows[:, 2] == 0)).sum())
    return counts._replace(images=counts.images + np.array([-missed, 0, 0, missed]))


def without_epsilon(where: str) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        for module in (room, core):
            if hasattr(module, where):
                patch.setattr(module, where, 1e-12)

    return plant


def per_datapoint(patch: Patch) -> None:
    def wrong(rows: Any) -> Counts:
        counts = tally(rows)
        there = (rows[:, 0] > 0) | (rows[:, 1] > 0)
        patch.setattr(core, "per_threshold", lambda _: right(counts) | {"cgF1": f1(rows[there]).mean(0) * mcc(counts)})
        return counts

    right = core.per_threshold
    patch.setattr(saco_files, "tally", wrong)


def mcc(counts: Counts) -> float:
    return core.image_level(counts)["IL_MCC"]


def put(module: Any, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(module, name, value)


MISTAKES: dict[str, Callable[[Patch], None]] = {
    "I1 score > 0.5": put(room, "MIN_SCORE", float(np.nextafter(0.5, 1))),
    "I1 score of 0.49999": put(room, "MIN_SCORE", 0.5 - 1e-5),
    "I2 arange": put(room, "THRESHOLDS", np.arange(0.5, 1, 0.05)),
    "I2 float32 thresholds": put(room, "THRESHOLDS", np.linspace(0.5, 0.95, 10, dtype=np.float32).astype(float)),
    "I2 float32 IoU": put(room, "assigned_ious", lambda x: exact(x.astype(np.float32).astype(float))),
    "I2 bfloat16 IoU": put(room, "assigned_ious", lambda x: exact(torch.tensor(x).bfloat16().double().numpy())),
    "I2 strict >": put(room, "THRESHOLDS", np.nextafter(np.linspace(0.5, 0.95, 10), 1)),
    "I3 greedy by score": greedy_by_score,
    "I3 greedy by IoU": put(room, "assigned_ious", greedy),
    "I3 gated before matching": put(room, "assigned_ious", lambda x: exact(np.where(x >= 0.5, x, 0))),
    "I4 crowd kept": put(room, "_instances", lambda truth, kind: truth.masks),
    "I5 exhaustivity of a only": put(
        saco_files, "evaluated", lambda a: [i for i, x in a[0].images.items() if x["is_instance_exhaustive"]]
    ),
    "I5 exhaustivity ignored": put(saco_files, "evaluated", lambda a: list(a[0].images)),
    "I5 exhaustivity of any": put(
        saco_files,
        "evaluated",
        lambda a: [i for i in a[0].images if any(x.images.get(i, {}).get("is_instance_exhaustive") for x in a)],
    ),
    "I6 ties to the last": oracle(lambda c, b: negative(c) | (~negative(b) & (f1(c).mean(1) >= f1(b).mean(1)))),
    "I6 choice at 0.5": oracle(lambda c, b: negative(c) | (~negative(b) & (f1(c)[:, 0] > f1(b)[:, 0]))),
    "I6 choice by mean IoU": by_mean_iou,
    "I6 no true-negative rule": oracle(lambda c, b: f1(c).mean(1) > f1(b).mean(1)),
    "I6 always the first": oracle(lambda c, b: np.zeros(len(c), dtype=bool)),
    "I6 fewest instances on a miss": oracle(
        lambda c, b: (
            negative(c) | (~negative(b) & ((f1(c).mean(1) > f1(b).mean(1)) | ((c[:, 0] == 0) & (c[:, 1] < b[:, 1]))))
        )
    ),
    "I7 no epsilon on boxes": without_epsilon("BOX_EPS"),
    "I7 no epsilon on images": without_epsilon("_IMAGE_EPS"),
    "I7 F1 by counts": curves(F1=lambda c, _: 2 * c.boxes[0] / (2 * c.boxes[0] + c.boxes[1] + c.boxes[2])),
    "I8 misses left out of pmF1": counted(
        lambda rows, c: boxes_with(c, 2, c.boxes[2] - rows[rows[:, 0] == 0, 1].sum())
    ),
    "I8 negatives in pmF1": counted(lambda rows, c: boxes_with(c, 3, c.boxes[1])),
    "I9 macro over all positives": counted(
        lambda rows, c: boxes_with(c, 4, c.boxes[4] * c.images[0] // max(1, c.images[0] + c.images[3]))
    ),
    "I9 CG_F1 from the macro F1": curves(cgF1=lambda c, values: values["positive_macro_F1"] * mcc(c)),
    "I10 presence needs a hit": counted(a_hit_at_half),
    "I10 presence of the first annotator": presence_of_the_first,
    "I11 CG_F1 by datapoint": per_datapoint,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_misreading_moves_the_numbers(name: str, monkeypatch: Patch) -> None:
    MISTAKES[name](monkeypatch)
    assert largest() > 1e-9, "the official cases would not notice this mistake"


# What is read wrongly (I12 to I16).


def any_category(annotators: list[AnnotatorFile], found: Predictions) -> Predictions:
    known = next(iter(annotators[0].categories))
    return {i: [{**item, "category_id": known} for item in items] for i, items in found.items()}


def no_empty_masks(annotators: list[AnnotatorFile], found: Predictions) -> Predictions:
    return {i: [item for item in items if rle.area(item["segmentation"])] for i, items in found.items()}


def boxes_in_pixels(annotators: list[AnnotatorFile], found: Predictions) -> Predictions:
    return {
        i: [{**item, "bbox": rle.toBbox(item["segmentation"]).tolist()} for item in items] for i, items in found.items()
    }


def sizes_believed(annotators: list[AnnotatorFile], found: Predictions) -> Predictions:
    """A mask of another size is read as one of the image's."""
    changed: Predictions = {}
    for i, items in found.items():
        image = annotators[0].images.get(i, {})
        size = [image.get("height"), image.get("width")]
        changed[i] = [{**item, "segmentation": resized(item["segmentation"], size)} for item in items]
    return changed


def resized(mask: dict[str, Any], size: list[Any]) -> dict[str, Any]:
    if None in size or list(mask["size"]) == size:
        return mask
    pixels = torch.from_numpy(rle.decode(mask))[None, None].float()
    fitted = torch.nn.functional.interpolate(pixels, size)[0, 0].numpy().astype(np.uint8)
    code = rle.encode(np.asfortranarray(fitted))
    return {"size": size, "counts": code["counts"].decode()}


MISREADINGS: dict[str, tuple[Callable[[list[AnnotatorFile], Predictions], Predictions], str]] = {
    "I12 unknown categories counted": (any_category, "segm"),
    "I12 empty masks dropped": (no_empty_masks, "segm"),
    "I13 boxes in pixels": (boxes_in_pixels, "bbox"),
    "I14 masks of another size fitted": (sizes_believed, "segm"),
}


@pytest.mark.parametrize("name", MISREADINGS)
def test_predictions_read_wrongly_move_the_numbers(name: str) -> None:
    change, kind = MISREADINGS[name]
    assert largest(change, kind) > 1e-9, "the official cases would not notice this mistake"


def test_i4_a_crowd_is_no_region_to_ignore() -> None:
    def ignoring(annotators: list[AnnotatorFile], found: Predictions) -> Predictions:
        left = dict(found)
        for i in found:
            marks = [mark for a in annotators for mark in a.annotations.get(i, [])]
            crowds = [dict(mark["segmentation"]) for mark in marks if mark.get("iscrowd")]
            if crowds:
                left[i] = [
                    item
                    for item in found[i]
                    if rle.iou([dict(item["segmentation"])], crowds, [1] * len(crowds)).max() < 0.5
                ]
        return left

    assert largest(ignoring) > 1e-9


def test_i11_the_average_is_over_subsets_and_not_over_pooled_datapoints() -> None:
    counts = {case: count_files(*files(case)) for case in CASES}
    entry = summarize({"x": {case: headline(c) for case, c in counts.items()}}, {"x": 1}, "teacher")["encoders"]["x"]
    pooled = headline(counts["case1"] + counts["case2"] + counts["case3"])
    for column in ("CG_F1", "IL_MCC", "pmF1"):
        mean = np.mean([headline(c)[column] for c in counts.values()])
        assert entry["average"][column] == pytest.approx(mean, abs=1e-12)
        assert entry["average"][column] != pytest.approx(pooled[column], abs=1e-3)
    # Each column is averaged by itself: CG_F1 is not the product of the other two.
    assert entry["average"]["CG_F1"] != pytest.approx(entry["average"]["IL_MCC"] * entry["average"]["pmF1"], abs=1e-3)


def test_i13_predictions_without_masks_say_only_that_the_phrase_is_there() -> None:
    annotators, found = files("case1")
    bare = {
        i: [{key: value for key, value in item.items() if key != "segmentation"} for item in items]
        for i, items in found.items()
    }
    numbers = official(count_files(annotators[:1], bare))
    truth = json.loads((ORACLE / "case1" / "official.json").read_text())["single_a"]["segm"]["metrics"]
    assert numbers["cgF1_eval_segm_positive_micro_F1"] == 0
    assert numbers["cgF1_eval_segm_IL_MCC"] == pytest.approx(truth["cgF1_eval_segm_IL_MCC"], abs=1e-12)


def test_i14_annotations_that_share_an_id_all_count(tmp_path: Path) -> None:
    # The official evaluator would take the last of them for all, without a word.
    paths = []
    for x in "abc":
        content = json.loads(gzip.decompress((ORACLE / "case1" / f"gt_{x}.json.gz").read_bytes()))
        for mark in content["annotations"]:
            mark["id"] = 1
        paths.append(tmp_path / f"gt_{x}.json")
        paths[-1].write_text(json.dumps(content))
    annotators, found = files("case1")
    assert official(count_files([read_annotator(path) for path in paths], found)) == official(
        count_files(annotators, found)
    )


@pytest.mark.parametrize("deduplicate", [True, False])
def test_i15_repeated_datapoints_count_once(deduplicate: bool) -> None:
    ids, found, truths = datapoints(*files("case1"))
    metric = PhraseCounts(deduplicate=deduplicate)
    metric.update(ids, found, truths)
    metric.update(ids[:5], found[:5], truths[:5])  # what a padded sampler makes of it
    truth = json.loads((ORACLE / "case1" / "official.json").read_text())["oracle"]["segm"]["metrics"]
    same = metric.compute() == pytest.approx(truth, abs=1e-9, rel=0)
    assert same is deduplicate, "without the ledger the repetition would show"


def test_i16_datapoints_without_predictions_are_seen() -> None:
    ids, found, truths = datapoints(*files("case1"))
    truth = json.loads((ORACLE / "case1" / "official.json").read_text())["oracle"]["segm"]["metrics"]
    whole, some = PhraseCounts(), PhraseCounts()
    whole.update(ids, found, truths)
    kept = [k for k, one in enumerate(found) if len(one.scores)]
    some.update([ids[k] for k in kept], [found[k] for k in kept], [truths[k] for k in kept])
    assert whole.compute() == pytest.approx(truth, abs=1e-9, rel=0)
    assert some.compute() != pytest.approx(truth, abs=1e-6, rel=0)
