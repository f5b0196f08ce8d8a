"""How long the image metrics take: ours against a plain loop over annotators and thresholds on one case."""

from itertools import islice
from typing import Any

import numpy as np
from pycocotools import mask
from scipy.optimize import linear_sum_assignment

from litetext.bench.timing import Timings
from litetext.metrics.assess import THRESHOLDS, IouType
from litetext.metrics.cgf1 import PhraseCounts
from litetext.metrics.counts import Counts, official
from litetext.metrics.matching import Rle
from litetext.saco.instances import Instances, Truth
from litetext.saco.masks import checked

_rle: Any = mask
_VARIANTS = 8


def bench_metrics(
    datapoints: int = 20_000,
    size: int = 256,
    annotators: int = 3,
    iou_type: IouType = "segm",
    seed: int = 0,
    batch: int = 256,
    rounds: int = 3,
) -> dict[str, Any]:
    """Time the metrics on generated datapoints of about three instances.

    Args:
        datapoints: Number of pairs (image, phrase); a third of them are negatives.
        size: Height and width of the masks in pixels.
        annotators: Annotators per datapoint.
        iou_type: "segm" or "bbox".
        seed: Seed of the generator.
        batch: Datapoints per update.
        rounds: Rounds, both ways in turn; medians count.

    Returns:
        Seconds in all and microseconds per datapoint of `litetext` and of the plain loop, their ratio, what checking
        the masks takes beside (once, when a file is read; the plain loop trusts them), the largest difference between
        their 26 numbers, and CG_F1 as a sign that the case is not trivial.
    """
    found, truths = make_case(datapoints, size, annotators, seed)

    def check() -> tuple[list[Instances], list[list[Truth]]]:
        """What the readers of files do once: `pycocotools` trusts its masks, the plain loop does too."""
        holders = [*found, *(one for part in truths for one in part)]
        sound = iter(checked([mask for one in holders for mask in one.masks]))
        return (
            [one._replace(masks=list(islice(sound, len(one.masks)))) for one in found],
            [[one._replace(masks=list(islice(sound, len(one.masks)))) for one in part] for part in truths],
        )

    def count(found: list[Instances], truths: list[list[Truth]]) -> dict[str, float]:
        metric = PhraseCounts(iou_type)
        for i in range(0, datapoints, batch):
            part = slice(i, i + batch)
            metric.update(range(datapoints)[part], found[part], truths[part])
        return metric.compute()

    timings, ours, plain = Timings(), {}, {}
    for _ in range(rounds):
        read = timings.run("check", check)
        ours = timings.run("ours", lambda read=read: count(*read))
        plain = timings.run("plain", lambda: official(plain_counts(found, truths, iou_type), iou_type))
    return {
        "datapoints": datapoints,
        "size": size,
        "annotators": annotators,
        "iou_type": iou_type,
        "seconds": timings.median("ours"),
        "us_per_datapoint": timings.median("ours", 1e6 / datapoints),
        "checking_us_per_datapoint": timings.median("check", 1e6 / datapoints),
        "plain_seconds": timings.median("plain"),
        "plain_us_per_datapoint": timings.median("plain", 1e6 / datapoints),
        "speedup": timings.ratio("plain", "ours"),
        "largest_difference": max(abs(ours[name] - plain[name]) for name in ours),
        "CG_F1": 100 * ours[f"cgF1_eval_{iou_type}_cgF1"],
    }


def make_case(datapoints: int, size: int, annotators: int, seed: int) -> tuple[list[Instances], list[list[Truth]]]:
    """Datapoints with run-length masks and boxes: objects that everybody outlines a little differently.

    Args:
        datapoints: How many.
        size: Height and width in pixels.
        annotators: Annotators per datapoint.
        seed: The same seed gives the same case.
    """
    rng = np.random.default_rng(seed)
    pool = [_outlines(rng, size) for _ in range(min(400, 2 + datapoints))]
    found, truths = [], []
    for _ in range(datapoints):
        count = int(rng.poisson(4.5)) if rng.random() < 2 / 3 else 0
        objects = rng.integers(0, len(pool), size=count)
        seen = [
            [pool[k][int(rng.integers(_VARIANTS))] for k in objects if rng.random() < 0.95] for _ in range(annotators)
        ]
        guessed = [pool[k][int(rng.integers(_VARIANTS))] for k in objects if rng.random() < 0.9]
        guessed += [pool[int(rng.integers(len(pool)))][0] for _ in range(int(rng.poisson(0.3)))]
        scores = rng.uniform(0.3, 1, size=len(guessed)).round(5)
        found.append(Instances(scores, [b for _, b in guessed], [m for m, _ in guessed]))
        truths.append([Truth([m for m, _ in part], [b for _, b in part]) for part in seen])
    return found, truths


def _outlines(rng: np.random.Generator, size: int) -> list[tuple[Rle, list[float]]]:
    """Several outlines of one wobbly ellipse: masks and normalised boxes."""
    centre, radii = rng.uniform(0.2, 0.8, 2) * size, rng.uniform(0.05, 0.2, 2) * size
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    wobble = rng.uniform(0.8, 1.2, 24)
    outlines = []
    for _ in range(_VARIANTS):
        spread = wobble * rng.normal(1, 0.06, 24)
        shift = rng.normal(0, 0.06, 2) * radii
        points = centre + shift + np.stack([np.cos(angles), np.sin(angles)], 1) * radii * spread[:, None]
        encoded = _rle.merge(_rle.frPyObjects([points.clip(0, size).ravel().tolist()], size, size))
        text = {"size": encoded["size"], "counts": encoded["counts"].decode()}
        outlines.append((text, (_rle.toBbox(encoded) / size).tolist()))
    return outlines


def plain_counts(found: list[Instances], truths: list[list[Truth]], iou_type: IouType) -> Counts:
    """The same counts the straightforward way: one annotator, one datapoint, one threshold at a time.

    Written independently of `litetext.metrics.assess`, so that it also serves as a check of it.
    """
    boxes, images = np.zeros((5, 10)), np.zeros(4, dtype=np.int64)
    runs = [[_plain_one(d, t[a], iou_type) for d, t in zip(found, truths, strict=True)] for a in range(len(truths[0]))]
    for results in zip(*runs, strict=True):
        best = results[0]
        for current in results[1:]:
            ahead = best["outcome"] != 2 and np.mean(current["f1"]) > np.mean(best["f1"])
            if current["outcome"] == 2 or ahead:
                best = current
        images[best["outcome"]] += 1
        if best["outcome"] == 2:
            continue
        for k in range(len(THRESHOLDS)):
            boxes[0, k] += best["tp"][k]
            boxes[1, k] += best["fp"][k]
            boxes[2, k] += best["fn"][k]
            if best["outcome"] in (0, 3):
                boxes[3, k] += best["fp"][k]
            boxes[4, k] += round(best["f1"][k] * (1 << 40))
    return Counts(boxes.astype(np.int64), images)


def _plain_one(found: Instances, truth: Truth, iou_type: IouType) -> dict[str, Any]:
    """Outcome (0 TP, 1 FP, 2 TN, 3 FN) and counts of one datapoint against one annotator."""
    kept = [i for i, score in enumerate(found.scores) if score >= 0.5]
    predicted: Any = found.masks if iou_type == "segm" else found.boxes
    true: Any = truth.masks if iou_type == "segm" else truth.boxes
    predicted = [predicted[i] for i in kept]
    result: dict[str, Any] = {"tp": [], "fp": [], "fn": [], "f1": []}
    result["outcome"] = (0 if true else 1) if predicted else (3 if true else 2)
    pairs: list[float] = []
    if predicted and true:
        sides = (predicted, true) if iou_type == "segm" else (np.asarray(predicted), np.asarray(true))
        ious = _rle.iou(*sides, [0] * len(true))
        pairs = ious[linear_sum_assignment(-ious)]
    for threshold in THRESHOLDS:
        tp = sum(1 for iou in pairs if iou >= threshold)
        fp, fn = len(predicted) - tp, len(true) - tp
        precision, recall = tp / (tp + fp + 1e-4), tp / (tp + fn + 1e-4)
        result["tp"].append(tp)
        result["fp"].append(fp)
        result["fn"].append(fn)
        result["f1"].append(2 * precision * recall / (precision + recall + 1e-4))
    return result
