"""Pictures of an evaluation: ground truth, teacher and students side by side, the worst disagreements first."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from pycocotools import mask as coder

from litetext.data.seg_items import ImagePairs, Pair, decode
from litetext.modules.seg_records import Instances, Record, Records

_rle: Any = coder


class Case(NamedTuple):
    """A pair to be drawn.

    Attributes:
        image: Its image.
        pair: The phrase and its ground truth.
        record: What the text encoders led to.
        disagreement: 0 where all of them cover the same pixels, 1 where one covers none of another's.
    """

    image: ImagePairs
    pair: Pair
    record: Record
    disagreement: float


def worst(images: Iterable[ImagePairs], records: Records, encoders: Sequence[str], count: int) -> list[Case]:
    """The pairs on which text encoders disagree most, in that order; ties in the order of the files.

    Args:
        images: Images of one subset.
        records: What was found.
        encoders: Names; disagreement is that of the others with the first (with the ground truth if it is alone).
        count: How many at most.
    """
    cases = []
    for image in images:
        record = records.find(image, encoders)
        for pair in image.pairs if record is not None else ():
            parts = [record[name][pair.id].masks for name in encoders]  # type: ignore[index]
            first, others = parts[0], parts[1:] or [pair.truths[0].masks or []]
            cases.append(Case(image, pair, record, max(1 - _overlap(first, other) for other in others)))  # type: ignore[arg-type]
    return sorted(cases, key=lambda case: -case.disagreement)[:count]


def _overlap(one: list[Any], other: list[Any]) -> float:
    """IoU of the pixels that two sets of masks cover; 1 if neither covers any."""
    if not one or not other:
        return float(bool(one) == bool(other))
    return float(_rle.iou([_rle.merge(one)], [_rle.merge(other)], [0])[0, 0])


def side_by_side(case: Case, encoders: Sequence[str]) -> Figure:
    """One row: the ground truth of the first annotator, then what each text encoder led to, with scores.

    Args:
        case: The pair.
        encoders: Names, in the order of the columns.
    """
    pixels = decode(case.image.path, case.image.height, case.image.width).permute(1, 2, 0).numpy()
    truth = case.pair.truths[0]
    columns = [("ground truth", truth.masks or [], [])]
    for name in encoders:
        found: Instances = case.record[name][case.pair.id]
        columns.append((name, found.masks, found.scores))
    height = 2.6 * min(2.0, max(0.5, case.image.height / case.image.width))
    figure = Figure(figsize=(2.6 * len(columns), height + 0.7), layout="constrained")
    figure.suptitle(f"“{case.pair.phrase}”", fontsize=11)
    for axes, (name, masks, scores) in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        axes.imshow(_painted(pixels, masks))
        axes.set_axis_off()
        told = ", ".join(f"{score:.2f}" for score in scores[:4]) + (", ..." if len(scores) > 4 else "")
        if name == "ground truth":
            told = f"{len(masks)} instances"
        axes.set_title(f"{name}\n{told or 'nothing'}", fontsize=8)
    return figure


_COLOURS = np.array([(230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240)])


def _painted(pixels: np.ndarray, masks: list[Any]) -> np.ndarray:
    grey = pixels.mean(-1, keepdims=True)
    image = 0.5 * grey + 0.5 * pixels if masks else pixels.astype(float)
    for number, mask in enumerate(masks):
        inside = _rle.decode(mask).astype(bool)
        image[inside] = 0.4 * image[inside] + 0.6 * _COLOURS[number % len(_COLOURS)]
    return image.clip(0, 255).astype(np.uint8)


def save(cases: Sequence[Case], encoders: Sequence[str], folder: Path, board: Any = None) -> None:
    """Writes one PNG a case, and shows it in TensorBoard.

    Args:
        cases: From `worst`.
        encoders: Names, in the order of the columns.
        folder: Where to; made if need be.
        board: A SummaryWriter, or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, case in enumerate(cases):
        figure = side_by_side(case, encoders)
        words = re.sub(r"\W+", "-", case.pair.phrase).strip("-")[:40]
        figure.savefig(folder / f"{number:02}-{words or 'phrase'}.png", dpi=110)
        if board is not None:
            board.add_figure(f"{folder.name}/{number:02}", figure, 0)
