"""What is wrong in ground truth and predictions: found before they are scored, and reported; the rest is kept."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from litetext.metrics.assess import IouType
from litetext.saco.fields import read_box, read_size, shown
from litetext.saco.images import AnnotatorFile, contradictions, evaluated
from litetext.saco.masks import CheckedMask, mask_box, read_mask

Predictions = dict[int, list[dict[str, Any]]]


OVER = 1.05
"""Where a box ends that reaches far over the edge, as a share of the side."""
CORNERS = "as corners [x1, y1, x2, y2] would where [x, y, width, height] is meant"
UNKNOWN = "--allow_unknown where the rest is what you mean to score"
"""The way out where much of a predictions file belongs to nothing in the ground truth."""


class Checked(NamedTuple):
    """Files that can be scored.

    Attributes:
        annotators: Without the datapoints that cannot be scored.
        predictions: With masks that match nothing where one was damaged.
        notes: What is wrong, one line a kind.
        left_out: Datapoints that should count and were left out.
        kinds: What can be compared, `segm` and `bbox`.
    """

    annotators: list[AnnotatorFile]
    predictions: Predictions
    notes: list[str]
    left_out: int
    kinds: list[IouType]


def check_files(
    annotators: Sequence[AnnotatorFile],
    predictions: Predictions,
    source: str = "predictions",
    allow_unknown: bool = False,
) -> Checked:
    """Look through what counts.

    Predictions for ids or of categories that the ground truth lacks are ignored, and masks of another size than the
    image match nothing, both as officially; here they are reported. A damaged mask among the predictions is one that
    matches nothing, and a datapoint with a damaged mask in the ground truth, or without one where others have theirs,
    is left out. Boxes that the ground truth lacks are those of its masks.

    Args:
        annotators: One to three, in the order of the files.
        predictions: Predictions by datapoint id.
        source: Their file, for errors.
        allow_unknown: Whether a quarter or more of the predictions may belong to nothing in the ground truth, say
            since it is a part of what they were made for.

    Raises:
        ValueError: No datapoint counts, one has no size, the annotators' files are not of one subset, or a quarter of
            the predictions (with `allow_unknown`: all) belong to nothing in this ground truth.
    """
    first, counted = annotators[0], evaluated(annotators)
    if not counted:
        raise ValueError(
            f"{first.name}: none of its {len(first.images):,} datapoints counts: every one lacks instances for an "
            "annotator (is_instance_exhaustive 0)"
        )
    notes = [note for annotator in annotators for note in annotator.notes] + contradictions(annotators)
    for annotator in annotators[1:]:
        lacking = [i for i in counted if i not in annotator.images]
        text = f"{annotator.name} lacks datapoints and so marks nothing there, as officially: {{count}}"
        notes += _note(lacking, text)
    notes += _strangers(annotators, counted, predictions, source, allow_unknown)
    bad = set[int]()
    sound: list[AnnotatorFile] = []
    for annotator in annotators:
        marks, broken, lines = _sound_marks(annotator, counted, first)
        sound.append(replace(annotator, annotations=marks))
        notes += lines
        bad |= broken
    if len(bad) == len(counted):
        raise ValueError(f"all {len(counted):,} datapoints are left out for damaged masks; {'; '.join(notes)}")

    kept_found, damaged, odd = dict(predictions), dict[int, str](), list[int]()
    number = turned = 0
    for i in counted:
        if i in bad or i not in predictions:
            continue
        size, items = _size(first, i, first), list(predictions[i])
        for place, item in enumerate(items):
            if not item.get("segmentation"):
                continue
            mask, fault = _read(item["segmentation"], size)
            items[place] = {**item, "segmentation": mask}
            if mask is None:
                number += 1
                damaged.setdefault(i, fault)
            elif tuple(mask["size"]) != size:
                odd.append(i)
                turned += tuple(mask["size"]) == size[::-1]
        kept_found[i] = items
    notes += _note(damaged, f"predictions: damaged masks match nothing: {number:,}", damaged)
    way = "; [height, width] is right, theirs are exchanged" if odd and turned == len(odd) else ""
    notes += _note(odd, f"predictions: masks of another size than their image match nothing{way}: {{count}}")
    used = [i for i in counted if i not in bad]
    repeats = [i for i in used for k, item in enumerate(kept_found.get(i, ())) if item in kept_found[i][:k]]
    notes += _note(repeats, "predictions: those that repeat another one count as false alarms: {count}")
    if bad:
        sound[0] = replace(sound[0], images={i: image for i, image in first.images.items() if i not in bad})
    return Checked(sound, kept_found, notes, len(bad), _kinds(sound, used, kept_found, notes))


def _sound_marks(
    annotator: AnnotatorFile, counted: Sequence[int], first: AnnotatorFile
) -> tuple[dict[int, list[dict[str, Any]]], set[int], list[str]]:
    """An annotator's annotations with checked masks and boxes, the datapoints that cannot be scored, and lines."""
    marks = dict(annotator.annotations)
    masked = any(item.get("segmentation") for i in counted for item in marks.get(i, ()))
    broken, odd, boxed, crowds = dict[int, str](), list[int](), list[int](), list[int]()
    for i in counted:
        if not (items := marks.get(i)):
            continue
        size = _size(annotator, i, first)
        if all(item.get("iscrowd") for item in items):
            crowds.append(i)
        marks[i] = kept = []
        for item in items:
            code = item.get("segmentation")
            mask, fault = _read(code, size) if code else (None, "an annotation has no segmentation" if masked else "")
            box = _box(item.get("bbox"))
            if box is None and mask is not None and tuple(mask["size"]) == size:
                x, y, w, h = mask_box(mask)
                box = [x / size[1], y / size[0], w / size[1], h / size[0]]
                boxed.append(i)
            if fault or (mask is None and box is None):
                broken.setdefault(i, fault or "an annotation has neither mask nor box")
            elif mask is not None and tuple(mask["size"]) != size:
                odd.append(i)
            kept.append({**item, "segmentation": mask, "bbox": box})
    name = annotator.name
    lines = _note(broken, f"{name}: datapoints left out for a damaged mask: {{count}}", broken)
    lines += _note(odd, f"{name}: masks of another size than their image match nothing: {{count}}")
    lines += _note(
        crowds, f"{name}: datapoints of which crowds alone are marked are negatives, as officially: {{count}}"
    )
    lines += _note(boxed, f"{name}: boxes that are missing or no boxes are those of their masks: {{count}}")
    return marks, set(broken), lines


def _box(value: Any) -> list[float] | None:
    try:
        return read_box(value)
    except ValueError:
        return None


def _kinds(
    annotators: Sequence[AnnotatorFile], counted: Sequence[int], predictions: Predictions, notes: list[str]
) -> list[IouType]:
    """What can be compared; a line for what cannot."""
    marks = [mark for a in annotators for i in counted for mark in a.annotations.get(i, ())]
    items = [(i, item) for i in counted for item in predictions.get(i, ())]
    kinds: list[IouType] = []
    fields: tuple[tuple[IouType, str], ...] = (("segm", "segmentation"), ("bbox", "bbox"))
    for kind, key in fields:
        lacking = [i for i, item in items if not item.get(key)]
        # A prediction without a mask matches nothing; one without a box would have to be guessed at.
        if kind == "segm" and 0 < len(lacking) < len(items):
            notes += _note(lacking, "predictions without a mask match nothing: {count}")
        if lacking and (kind == "bbox" or len(lacking) == len(items)):
            notes.append(f"{kind} is left out: the predictions do not hold it (first without one: id {lacking[0]})")
        elif not all(mark[key] is not None for mark in marks):
            notes.append(f"{kind} is left out: the ground truth does not hold it")
        elif kind == "bbox" and (why := _other_unit(marks, items, notes)):
            notes.append(f"bbox is left out: {why}")
        else:
            kinds.append(kind)
    return kinds


def _strangers(
    annotators: Sequence[AnnotatorFile], counted: Sequence[int], predictions: Predictions, source: str, allow: bool
) -> list[str]:
    """Lines about predictions that belong to no datapoint or to no category; many of them are an error."""
    first = annotators[0]
    unknown = [i for i in predictions if i not in first.images]
    lost = sum(len(predictions[i]) for i in unknown)
    if unknown and len(unknown) == len(predictions):
        raise ValueError(
            f"{source}: none of its {len(unknown):,} ids (first: {unknown[0]}) is one of {first.name} "
            f"(first: {next(iter(first.images), None)}); give the ground truth that they are for"
        )
    if not allow and unknown and 4 * lost >= (every := sum(map(len, predictions.values()))):
        raise ValueError(
            f"{source}: {lost:,} of {every:,} predictions are for ids that {first.name} does not hold (first: "
            f"{unknown[0]}); give the ground truth that they are for, or {UNKNOWN}"
        )
    notes = _note(unknown, f"predictions for ids that {first.name} does not hold are ignored: {lost:,} for {{count}}")
    categories = frozenset[int]().union(*(a.categories for a in annotators))
    pairs = [(i, item["category_id"]) for i in counted for item in predictions.get(i, ())]
    strange = [i for i, category in pairs if category not in categories]
    if strange and len(strange) == len(pairs):
        raise ValueError(
            f"{source}: no prediction is of a category that {first.name} knows ({shown(sorted(categories))}; the first "
            f"has category_id {pairs[0][1]}); give the ids of the ground truth's categories"
        )
    if not allow and strange and 4 * len(strange) >= len(pairs):
        raise ValueError(
            f"{source}: {len(strange):,} of {len(pairs):,} predictions are of categories that {first.name} does not "
            f"know ({shown(sorted(categories))}; the first is for id {strange[0]}); correct their category_id, or "
            f"{UNKNOWN}"
        )
    return notes + _note(strange, "predictions of categories that the ground truth does not know are ignored: {count}")


def _other_unit(marks: Sequence[Any], items: Sequence[tuple[int, Any]], notes: list[str]) -> str:
    """Why predicted boxes cannot be compared with true ones, if they are in another unit; few of them are reported."""
    true, found = [mark["bbox"] for mark in marks], [(i, item["bbox"]) for i, item in items]
    if not true or not found:
        return ""
    fractions = max(map(max, true)) <= 1.5
    # A box of fractions may reach over the edge a little, one in pixels of a small image is hardly below 2.
    strange = [(i, box) for i, box in found if (max(box) > 2 if fractions else 0 < max(box) <= 1.5)]
    ends = [(i, box, max(box[0] + box[2], box[1] + box[3])) for i, box in found if fractions and max(box) <= 2]
    over = [(i, box) for i, box, end in ends if end > OVER]
    if over and 4 * len(over) >= len(found):
        first = f"id {over[0][0]}: {over[0][1]}"
        notes.append(
            f"predictions: {len(over):,} of {len(found):,} boxes reach far over the edge, {CORNERS} (first: {first})"
        )
    if not strange:
        return ""
    units = (
        "pixels where fractions of the image are meant: write [x / width, y / height, w / width, h / height]"
        if fractions
        else "fractions of the image where pixels are meant, as in the ground truth"
    )
    message = f"{len(strange):,} of {len(found):,} boxes are in {units} (first: id {strange[0][0]}: {strange[0][1]})"
    if 4 * len(strange) >= len(found):
        return message
    notes.append(f"predictions: {message}; they match nothing")
    return ""


def _note(ids: Iterable[int], text: str, reasons: dict[int, str] | None = None) -> list[str]:
    every = list(ids)
    if not every:
        return []
    reason = f": {reasons[every[0]]}" if reasons else ""
    return [f"{text.format(count=f'{len(every):,}')} (first: id {every[0]}{reason})"]


def _size(annotator: AnnotatorFile, datapoint: int, first: AnnotatorFile) -> tuple[int, int]:
    owner = annotator if datapoint in annotator.images else first
    try:
        return read_size(owner.images[datapoint])
    except ValueError as error:
        raise ValueError(
            f"{owner.name}: datapoint {datapoint}: {error}; give the image's height and width in pixels"
        ) from error


def _read(segmentation: Any, size: tuple[int, int]) -> tuple[CheckedMask | None, str]:
    """A mask of any size, or what is wrong with it."""
    try:
        return read_mask(segmentation, *size, any_size=True), ""
    except ValueError as error:
        return None, " ".join(str(error).split())
