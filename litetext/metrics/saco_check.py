"""What is amiss in ground truth and predictions: found before they are scored, told in words, and the rest is kept."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from litetext.saco.images import Annotator, check_rle, evaluated, read_segmentation

Predictions = dict[int, list[dict[str, Any]]]


class Checked(NamedTuple):
    """Files that can be scored.

    Attributes:
        annotators: Without the datapoints that cannot be scored.
        predictions: With masks that match nothing where one was damaged.
        notes: What is amiss, one line a kind.
        left_out: Datapoints that should count and were left out.
    """

    annotators: list[Annotator]
    predictions: Predictions
    notes: list[str]
    left_out: int


def check_files(annotators: Sequence[Annotator], predictions: Predictions) -> Checked:
    """Look through what counts.

    Predictions for ids or of categories that the ground truth lacks are ignored, and masks of another size than the
    image match nothing, both as officially; here they are told. `pycocotools` reads past the end of damaged runs
    without a word: a damaged mask among the predictions is one that matches nothing, and a datapoint with a damaged
    mask in the ground truth is left out.

    Args:
        annotators: One to three, in the order of the files.
        predictions: Predictions by datapoint id.
    """
    first, counted = annotators[0], evaluated(annotators)
    notes: list[str] = []
    unknown = [i for i in predictions if i not in first.images]
    lost = sum(len(predictions[i]) for i in unknown)
    notes += _note(unknown, f"predictions for ids that {first.name} does not hold are ignored: {lost:,} for {{count}}")
    categories = frozenset[int]().union(*(a.categories for a in annotators))
    strange = [i for i in counted for item in predictions.get(i, ()) if item["category_id"] not in categories]
    notes += _note(strange, "predictions of categories that the ground truth does not know are ignored: {count}")

    bad, odd = set[int](), list[int]()
    for annotator in annotators:
        broken: dict[int, str] = {}
        for i in counted:
            size = _size(annotator.images.get(i, first.images[i]))
            for item in annotator.annotations.get(i, ()):
                if "segmentation" not in item:
                    continue
                fault, other = _fault(item["segmentation"], size)
                odd += [i] * other
                if fault:
                    broken.setdefault(i, fault)
        notes += _note(broken, f"{annotator.name}: datapoints left out for a damaged mask: {{count}}", broken)
        notes += _note(odd, f"{annotator.name}: masks of another size than their image match nothing: {{count}}")
        odd.clear()
        bad |= broken.keys()

    kept, damaged = dict(predictions), dict[int, str]()
    number = 0
    for i in counted:
        if i in bad or i not in predictions:
            continue
        size, items = _size(first.images[i]), list(predictions[i])
        for place, item in enumerate(items):
            if not item.get("segmentation"):
                continue
            fault, other = _fault(item["segmentation"], size)
            odd += [i] * other
            if fault:
                items[place], number = {**item, "segmentation": None}, number + 1
                damaged.setdefault(i, fault)
        kept[i] = items
    notes += _note(damaged, f"predictions: damaged masks match nothing: {number:,}", damaged)
    notes += _note(odd, "predictions: masks of another size than their image match nothing: {count}")
    if not bad:
        return Checked(list(annotators), kept, notes, 0)
    images = {i: image for i, image in first.images.items() if i not in bad}
    return Checked([replace(first, images=images), *annotators[1:]], kept, notes, len(bad))


def _note(ids: Iterable[int], text: str, reasons: dict[int, str] | None = None) -> list[str]:
    every = list(ids)
    if not every:
        return []
    reason = f": {reasons[every[0]]}" if reasons else ""
    return [f"{text.format(count=f'{len(every):,}')} (first: id {every[0]}{reason})"]


def _size(image: dict[str, Any]) -> tuple[int, int]:
    return int(image["height"]), int(image["width"])


def _fault(segmentation: Any, size: tuple[int, int]) -> tuple[str, bool]:
    """What is wrong with a mask (nothing: an empty text), and whether it has another size than the image."""
    try:
        mask = read_segmentation(segmentation, *size)
        height, width = (int(x) for x in mask["size"])
        check_rle(mask, height, width)
    except Exception as error:  # pycocotools raises whatever it meets
        return " ".join(str(error).split()) or type(error).__name__, False
    return "", (height, width) != size
