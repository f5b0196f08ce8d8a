"""SA-Co annotation files as released: one COCO-like JSON per annotator, plain or gzipped.

One entry of `images` is a *datapoint*, a pair (image, noun phrase). Scoring a predictions file and running a model
read the same files, so that the reader lies below both.
"""

import gzip
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litetext.files import RepeatedKeyError, parse_json
from litetext.garbage import no_collection
from litetext.saco.fields import Id, counted, read_flag, read_id, repeated, shown
from litetext.saco.masks import sound_masks

_SHARED = "annotations that share their id with another one all count"


@dataclass
class AnnotatorFile:
    """One annotator's file.

    Attributes:
        name: File name, for messages.
        images: Entries of `images` by datapoint id, in the order of the file.
        annotations: Annotations of each datapoint, in the order of the file, of known categories only.
        categories: Category ids that the file knows.
        notes: Contradictions in the file, one line a kind.
    """

    name: str
    images: dict[int, dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: frozenset[int]
    notes: list[str] = field(default_factory=list)


def read_json(path: str | Path) -> Any:
    """Read a JSON file, gzipped if its name ends in `.gz`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not JSON, names a key of a mapping twice, or is not gzip although its name says so.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return parse_json(raw)
    except RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}") from error
    except (ValueError, EOFError, OSError, RecursionError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): is it complete?") from error


@no_collection()
def read_annotator(path: str | Path) -> AnnotatorFile:
    """Read one ground-truth file of SA-Co Gold, Silver or any COCO-like file with exhaustivity flags.

    Ids and flags that are written as text are read as the numbers that they are. Annotations that name a datapoint or a
    category that the file does not hold are left out and noted.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON, lacks what the metrics need, holds two images or categories of one id, a flag that
            is neither 0 nor 1, or a quarter of its annotations belong to nothing that it holds.
    """
    content, name = read_json(path), Path(path).name
    entries = {
        key: read_entries(content, key, path, "SA-Co ground-truth") for key in ("images", "annotations", "categories")
    }
    images, categories = (by_id(entries[key], key, path) for key in ("images", "categories"))
    for number, image in images.items():
        try:
            if isinstance(number, str):
                raise ValueError(f"id is {shown(number)}; give a whole number")
            if "is_instance_exhaustive" not in image:
                raise ValueError("it has no is_instance_exhaustive (1: every instance is marked)")
            for key in ("is_instance_exhaustive", "is_pixel_exhaustive"):
                if key in image:
                    image[key] = int(read_flag(image[key], key))
        except ValueError as error:
            raise ValueError(f"{path}: datapoint {number}: {error}") from error
    annotations, notes = by_image(entries["annotations"], images, categories, path)
    found: Any = images, annotations, frozenset(categories)  # ids are numbers now
    images, annotations, known = found
    return AnnotatorFile(name, images, annotations, known, [f"{name}: {note}" for note in notes])


def read_entries(content: Any, key: str, path: str | Path, what: str = "COCO-style") -> list[dict[str, Any]]:
    """One of the lists of a COCO-like file.

    Args:
        content: The file.
        key: The list.
        path: Its name.
        what: Which kind of file it should be, for messages.

    Raises:
        ValueError: It is missing, no list, or an entry of it is no mapping.
    """
    there = content.get(key) if isinstance(content, dict) else None
    if not isinstance(there, list):
        notice = f"its {key!r} is {shown(there)}" if isinstance(content, dict) and key in content else f"no {key!r}"
        raise ValueError(f"{path} is not a {what} file: {notice}; it needs the lists images, annotations, categories")
    for number, entry in enumerate(there):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: entry {number} of {key!r} is {shown(entry)}, not a mapping")
    return there


def by_id(entries: Sequence[dict[str, Any]], key: str, path: str | Path) -> dict[Id, dict[str, Any]]:
    """Entries by their id, in the order of the file.

    Args:
        entries: Mappings with `id`, which becomes a number where it is one.
        key: What they are, for messages.
        path: Their file.

    Raises:
        ValueError: One has no id, or two have the same.
    """
    for number, entry in enumerate(entries):
        if "id" not in entry:
            raise ValueError(f"{path}: entry {number} of {key!r} has no id")
        try:
            entry["id"] = read_id(entry["id"])
        except ValueError as error:
            raise ValueError(f"{path}: entry {number} of {key!r}: {error}") from error
    if again := repeated(entry["id"] for entry in entries):
        notice = counted(f"{path}: ids that several entries of {key!r} have", again)
        raise ValueError(f"{notice}; give each its own, so that it is clear which one is meant")
    return {entry["id"]: entry for entry in entries}


def by_image(
    items: Sequence[dict[str, Any]],
    images: Mapping[Id, Any],
    categories: Mapping[Id, Any],
    path: str | Path,
) -> tuple[dict[Id, list[dict[str, Any]]], list[str]]:
    """Annotations by their image, in the order of the file.

    Their ids become numbers, `iscrowd` 0 or 1, and sound run-length masks checked ones.

    Args:
        items: Entries of `annotations`.
        images: The file's images by id.
        categories: The file's categories by id.
        path: The file.

    Returns:
        The annotations, and lines about those that are left out because their image or category is not there, and
        about those that share an id.

    Raises:
        ValueError: A crowd flag is neither 0 nor 1, or a quarter are left out.
    """
    grouped: dict[Id, list[dict[str, Any]]] = defaultdict(list)
    seen: dict[Id, dict[str, Any]] = {}
    shared: dict[bool, list[Id]] = {False: [], True: []}
    homeless: dict[str, list[str]] = {"image_id": [], "category_id": []}
    for number, item in enumerate(items):
        lost = None
        image, category = item.get("image_id"), item.get("category_id")
        as_written = type(image) is int and type(category) is int and image in images and category in categories
        for key, there in () if as_written else (("image_id", images), ("category_id", categories)):
            try:
                item[key] = read_id(item.get(key), key)
            except ValueError:
                lost = key
            else:
                lost = None if item[key] in there else key
            if lost:
                homeless[lost].append(f"{item.get('id', number)} with {key} {shown(item.get(key), 30)}")
                break
        if lost:
            continue
        try:
            item["iscrowd"] = int(read_flag(item.get("iscrowd"), "iscrowd", default=False))
            if "id" in item:
                item["id"] = read_id(item["id"])
        except ValueError as error:
            raise ValueError(f"{path}: annotation {item.get('id', number)}: {error}") from error
        if "id" in item:
            # Official evaluators index by id, and would take the last annotation of an id for all of them.
            first = seen.setdefault(item["id"], item)
            if first is not item:
                shared[first == item].append(item["id"])
                if first == item:
                    continue
        grouped[item["image_id"]].append(item)
    notes = [
        counted(text, ids)
        for text, ids in (("annotations that are there twice count once", shared[True]), (_SHARED, shared[False]))
        if ids
    ]
    notes += [
        counted(f"annotations left out because the file holds no such {key}", where)
        for key, where in homeless.items()
        if where
    ]
    total = sum(map(len, homeless.values()))
    if homeless["category_id"] and (shift := _shift(items, categories)):
        raise ValueError(f"{path}: {shift}: {notes[-1]}; every name would be one off, so correct the ids in the file")
    if total and 4 * total >= len(items):
        raise ValueError(
            f"{path}: {total:,} of {len(items):,} annotations belong to nothing in the file: {'; '.join(notes)}; "
            "give a file whose annotations name the ids of its own images and categories"
        )
    check_segmentations([item for some in grouped.values() for item in some])
    return dict(grouped), notes


def check_segmentations(items: Sequence[dict[str, Any]]) -> None:
    """Check the run-length masks of annotations or predictions in one pass; what is not sound stays as it is.

    Args:
        items: Mappings, with `segmentation` or without.
    """
    masked = [item for item in items if "segmentation" in item]
    for item, mask in zip(masked, sound_masks([item["segmentation"] for item in masked]), strict=True):
        item["segmentation"] = mask


def _shift(items: Sequence[dict[str, Any]], categories: Mapping[Id, Any]) -> str:
    """Whether annotations count categories from 0 and the file from 1, or the reverse."""
    used = {item["category_id"] for item in items if isinstance(item.get("category_id"), int)}
    known = {number for number in categories if isinstance(number, int)}
    if not used or not known or len(used - known) != 1:
        return ""
    first = min(known)
    if min(used) == first - 1 == 0 and max(known) not in used:
        return "annotations count categories from 0 and `categories` from 1"
    if max(used) == max(known) + 1 and first == 0 and first not in used and len(known) > 1:
        return "annotations count categories from 1 and `categories` from 0"
    return ""


def contradictions(annotators: Sequence[AnnotatorFile]) -> list[str]:
    """Lines about datapoints of which the files of several annotators say different things.

    Datapoints are matched by their id, so that files of two subsets would be scored against each other.

    Args:
        annotators: Those of one subset.

    Raises:
        ValueError: A quarter of the datapoints that two files share have another phrase.
    """
    first, notes = annotators[0], []
    for other in annotators[1:]:
        shared = [i for i in first.images if i in other.images]
        for key in ("text_input", "file_name"):
            values = ((i, first.images[i].get(key), other.images[i].get(key)) for i in shared)
            differ = [i for i, mine, theirs in values if mine != theirs and _differ(mine, theirs)]
            if not differ:
                continue
            mine, theirs = (shown(a.images[differ[0]][key]) for a in (first, other))
            text = f"datapoints of another {key} in {other.name} than in {first.name}"
            line = counted(text, differ, f"{theirs}, not {mine}")
            # Images are those of the first file, whatever the others call them.
            if key == "text_input" and 4 * len(differ) >= len(shared):
                raise ValueError(f"{line}; give the files of annotators of one subset")
            notes.append(line)
    return notes


def _differ(mine: Any, theirs: Any) -> bool:
    """Whether two texts say different things, as far as both say anything."""
    if not isinstance(mine, str) or not isinstance(theirs, str):
        return False
    plain = [" ".join(unicodedata.normalize("NFC", text).casefold().split()) for text in (mine, theirs)]
    return all(plain) and plain[0] != plain[1]


def evaluated(annotators: Sequence[AnnotatorFile]) -> list[int]:
    """Ids of the datapoints that count, in the order of the first file.

    A datapoint counts if the first annotator has it and none of them says that instances are missing
    (`is_instance_exhaustive` 0). Annotators who do not have it at all have no say.
    """
    barred = {i for a in annotators[1:] for i, image in a.images.items() if not image["is_instance_exhaustive"]}
    return [i for i, image in annotators[0].images.items() if image["is_instance_exhaustive"] and i not in barred]
