"""Pictures of an evaluation: ground truth, teacher and students side by side, the worst disagreements first."""

import heapq
import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from pycocotools import mask as coder
from scipy.optimize import linear_sum_assignment

from litetext.data.images.items import ImagePairs, Pair, decode
from litetext.metrics.matching import box_ious
from litetext.modules.records import Record, Records
from litetext.overlays import COLOURS, paint
from litetext.saco.instances import Instances, Truth
from litetext.saco.masks import box_masks, checked, read_mask

_rle: Any = coder
_SAME = 0.3
"""Boxes of at least this IoU show the same object."""
_DPI = 110


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

    Where one of two has no masks, both are compared by their boxes.

    Args:
        images: Images of one subset.
        records: The predictions.
        encoders: Names; disagreement is that of the others with the first (with the ground truth if it is alone).
        count: How many at most.
    """
    # Only the worst so far are in memory, not the masks of a whole subset.
    heap: list[tuple[float, int, Case]] = []
    numbers = itertools.count()
    for image in images if count else ():
        record = records.of(image)
        for pair in image.pairs if record is not None else ():
            own: Record = {name: {pair.id: record[name][pair.id]} for name in encoders}  # type: ignore[index]
            parts: list[Instances | Truth] = [own[name][pair.id] for name in encoders]
            first, others = parts[0], parts[1:] or [_truth(image, pair)]
            apart = max(1 - _overlap(image, first, other) for other in others)
            entry = apart, -next(numbers), Case(image, pair, own, apart)
            heapq.heappush(heap, entry) if len(heap) < count else heapq.heappushpop(heap, entry)
    return [case for _, _, case in sorted(heap, key=lambda entry: entry[:2], reverse=True)]


def _truth(image: ImagePairs, pair: Pair) -> Truth:
    """What the first annotator marked; data sets may hold polygons."""
    truth = pair.truths[0]
    masks = truth.masks and [read_mask(mask, image.height, image.width) for mask in truth.masks]
    return truth._replace(masks=masks)


def _overlap(image: ImagePairs, one: Instances | Truth, other: Instances | Truth) -> float:
    """IoU of the pixels that two answers cover; 1 if neither covers any."""
    if one.masks is None or other.masks is None:
        a, b = _rectangles(image, one.boxes), _rectangles(image, other.boxes)
    else:
        a, b = checked(one.masks), checked(other.masks)
    if not a or not b:
        return float(bool(a) == bool(b))
    return float(_rle.iou([_rle.merge(a)], [_rle.merge(b)], [0])[0, 0])


def _rectangles(image: ImagePairs, boxes: Sequence[Sequence[float]]) -> list[Any]:
    if not boxes:
        return []
    scale = np.array([image.width, image.height, image.width, image.height])
    return box_masks(np.asarray(boxes, dtype=np.float64) * scale, image.height, image.width)


def side_by_side(case: Case, encoders: Sequence[str]) -> Figure:
    """One row: the ground truth of the first annotator, then what each text encoder led to, with scores.

    An object has the same colour in every column; what has no masks is drawn as boxes.

    Args:
        case: The pair.
        encoders: Names, in the order of the columns.
    """
    pixels = decode(case.image.path, case.image.height, case.image.width, case.image.turn).permute(1, 2, 0).numpy()
    found = [case.record[name][case.pair.id] for name in encoders]
    answers: list[Instances | Truth] = [_truth(case.image, case.pair), *found]
    names = ["ground truth", *encoders]
    colours = objects([answer.boxes for answer in answers])
    height = 2.6 * min(2.0, max(0.5, case.image.height / case.image.width))
    figure = Figure(figsize=(2.6 * len(names), height + 0.7), layout="constrained")
    figure.suptitle(f"“{case.pair.phrase}”", fontsize=11)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name, answer, own in zip(panels, names, answers, colours, strict=True):
        axes.imshow(_painted(pixels, answer, own))
        axes.set_axis_off()
        axes.xaxis.set_visible(False)  # or its ticks are laid out all the same
        axes.yaxis.set_visible(False)
        if answer.masks is None:
            _frame(axes, case.image, answer.boxes, own)
        axes.set_title(f"{name}\n{_caption(answer)}", fontsize=8)
    return figure


def objects(columns: Sequence[Sequence[Sequence[float]]]) -> list[list[int]]:
    """Which boxes of several lists show the same object: a number for each box.

    Each list is assigned, with the largest sum of IoU, to the objects that earlier lists have shown; what overlaps
    none of them is a new object.

    Args:
        columns: Lists of boxes x, y, width, height.
    """
    known: list[Sequence[float]] = []
    numbers = []
    for boxes in columns:
        ious = box_ious(boxes, known)
        pairs = zip(*linear_sum_assignment(ious, maximize=True), strict=True)
        own = {int(i): int(j) for i, j in pairs if ious[i, j] >= _SAME}
        for i, box in enumerate(boxes):
            if i not in own:
                own[i] = len(known)
                known.append(box)
        numbers.append([own[i] for i in range(len(boxes))])
    return numbers


def _caption(answer: Instances | Truth) -> str:
    """What stands above a column: the scores, or how many there are."""
    if isinstance(answer, Truth):
        return f"{len(answer.boxes)} instance{'' if len(answer.boxes) == 1 else 's'}"
    scores = sorted(answer.scores, reverse=True)
    return ", ".join(f"{score:.2f}" for score in scores[:4]) + (", ..." if len(scores) > 4 else "") or "nothing"


def _painted(pixels: np.ndarray, answer: Instances | Truth, colours: Sequence[int]) -> np.ndarray:
    if not answer.boxes:
        return pixels
    masks = checked(answer.masks or [])
    return paint(pixels, (_rle.decode(mask).astype(bool) for mask in masks), colours[: len(masks)])


def _frame(axes: Any, image: ImagePairs, boxes: Sequence[Sequence[float]], colours: Sequence[int]) -> None:
    from matplotlib.patches import Rectangle

    for colour, (x, y, w, h) in zip(colours, boxes, strict=True):
        corner, extent = (x * image.width, y * image.height), (w * image.width, h * image.height)
        axes.add_patch(Rectangle(corner, *extent, fill=False, color=COLOURS[colour % len(COLOURS)] / 255))


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
        drawn = _pixels(figure)
        Image.fromarray(drawn).save(folder / f"{number:02}-{words or 'phrase'}.png")
        if board is not None:
            board.add_image(f"{folder.name}/{number:02}", drawn, 0, dataformats="HWC")


def _pixels(figure: Figure) -> np.ndarray:
    """A figure as RGB, uint8 (H, W, 3), laid out and drawn once: no step of an evaluation takes longer."""
    figure.set_dpi(_DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
