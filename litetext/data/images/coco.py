"""Any COCO-style data set as one subset: category names are the query phrases of every image."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from litetext.data.images.gold import Contents
from litetext.data.images.items import ImagePairs, Pair, Skip, inside
from litetext.data.images.marks import CROWDS, Lines, Mark, has_fractions, read_mark
from litetext.data.images.orientation import Exif
from litetext.saco.fields import Id, category_phrase, read_id, read_size, shown
from litetext.saco.images import by_id, by_image, read_entries, read_json
from litetext.saco.instances import Truth

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass
class CocoSet:
    """A COCO-style data set with masks or boxes.

    Args:
        annotations: The annotation file (instances_val2017.json, lvis_v1_val.json, _annotations.coco.json).
        images: The folder that `file_name` is relative to; by default the annotation file's own. Where there is only an
            address, as in LVIS, its last two parts (val2017/000000397133.jpg) are looked for in this folder and its
            parent, and the last one in this folder.
        name: The subset's name in the results.
        negatives: Absent categories that are queries of each image: a number draws that many, null takes all. Of LVIS
            images only categories that are known to be absent are queries.
        seed: Seed of the drawn negatives.
        exif: Whether the annotations are of images as `stored`, or as `turned` by their EXIF orientation, as annotation
            tools show them. `auto` goes by the annotated sizes, and takes what they do not tell as turned.
    """

    annotations: str
    images: str | None = None
    name: str = "coco"
    negatives: int | None = None
    seed: int = 0
    exif: Exif = "auto"


class _Image(NamedTuple):
    """An entry of `images` and its annotations, as far as they can be used.

    Attributes:
        file_name: Relative to the folder.
        path: Where it lies.
        height: Rows.
        width: Columns.
        marks: By phrase.
        faults: Phrases with an annotation that cannot be used, and why.
    """

    file_name: str
    path: Path
    height: int
    width: int
    marks: dict[str, list[Mark]]
    faults: dict[str, str]


def read_coco(source: CocoSet) -> Contents:
    """Read a COCO-style data set.

    Category names become phrases by `category_phrase`; categories of one name, in whatever case, are one phrase.
    Categories that no annotation uses are left out (Roboflow puts a parent with id 0 in front). A pair's id is image
    position x number of phrases + phrase position + 1, whatever negatives are drawn.

    Where at least half of the annotations have a segmentation, masks are scored and pairs with an annotation whose
    mask is missing or cannot be used are left out; elsewhere boxes are.

    Args:
        source: Files and options.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON or not COCO-style, contradicts itself (see `by_image`), has no pair with an instance
            that can be used, or an option is out of its range.
    """
    if source.negatives is not None and source.negatives < 0:
        raise ValueError(f"data.coco.negatives is {source.negatives}; give 0 or more, or leave it out for all")
    path = source.annotations
    content = read_json(path)
    entries = {key: read_entries(content, key, path) for key in ("images", "annotations", "categories")}
    categories = by_id(entries["categories"], "categories", path)
    listed = by_id(entries["images"], "images", path)
    grouped, notes = by_image(entries["annotations"], listed, categories, path)
    used = {item["category_id"] for items in grouped.values() for item in items}
    lines = Lines()
    names = _one_spelling({n: _name(category, path) for n, category in categories.items() if n in used}, lines)
    phrases = list(dict.fromkeys(names.values()))
    if not phrases:
        raise ValueError(f"{path} has no category that an annotation uses: there is nothing to ask for")
    masks = _masks_are_scored(entries["annotations"], lines)
    fractions = has_fractions(item.get("bbox") for item in entries["annotations"])
    if fractions:
        notes.append("every bbox lies in 0..1, so all are read as fractions of their image, not as pixels")
    place = {phrase: i for i, phrase in enumerate(phrases)}
    folder = Path(source.images or Path(path).parent).expanduser()
    images: dict[str, ImagePairs] = {}
    skips: list[Skip] = []
    total = positives = 0
    for number, (image_id, entry) in enumerate(listed.items()):
        items = grouped.get(image_id, [])
        file_name = _file_name(entry) or f"image {image_id}"
        present = {names[item["category_id"]] for item in items}
        entry_phrases = _query_phrases(entry, file_name, present, names, source)
        ids = tuple(
            number * len(phrases) + place[phrase] + 1 for phrase in sorted(entry_phrases, key=place.__getitem__)
        )
        total += len(ids)
        try:
            if file_name in images:
                raise ValueError("another entry of `images` names the same file")
            image = _read_image(entry, file_name, folder, items, names, lines, masks, fractions)
        except ValueError as error:
            skips.append(Skip(source.name, file_name, ids, str(error)))
            continue
        open_ended = {names[c] for c in _listed(entry, "not_exhaustive_category_ids") if c in names}
        pairs = []
        for pair_id in ids:
            phrase = phrases[(pair_id - 1) % len(phrases)]
            if phrase in open_ended:
                continue
            if phrase in image.faults:
                skips.append(Skip(source.name, file_name, (pair_id,), image.faults[phrase]))
                continue
            marks = image.marks.get(phrase, [])
            if marks and all(mark.crowd for mark in marks):
                lines.add(CROWDS, pair_id)
            truth = _truth(marks, masks)
            positives += bool(truth.boxes)
            pairs.append(Pair(pair_id, phrase, (truth,)))
        if pairs:
            images[file_name] = ImagePairs(source.name, file_name, image.path, image.height, image.width, pairs)
    if not positives and skips:
        raise ValueError(f"{path}: no pair with an instance can be used; the first reason: {skips[0]}")
    kept = sum(len(image.pairs) for image in images.values()) + sum(len(skip.ids) for skip in skips)
    return Contents(
        list(images.values()), skips, total, total - kept, [*notes, *lines.notes(rare=len(entries["annotations"]) // 4)]
    )


def _name(category: dict[str, Any], path: str) -> str:
    name = category.get("name")
    if not isinstance(name, (str, int, float)) or not str(name).strip():
        raise ValueError(f"{path}: category {category['id']} has the name {shown(name)}; give text to ask for")
    return category_phrase(str(name))


def _one_spelling(names: dict[Id, str], lines: Lines) -> dict[Id, str]:
    """Phrases that text encoders read alike as one: they would be negatives of each other.

    SAM3's tokenizer reads lower case alone; composed and decomposed accents are the same text.
    """
    first: dict[str, str] = {}
    for number, name in names.items():
        spelling = first.setdefault(unicodedata.normalize("NFC", name).lower(), name)
        if spelling != name:
            lines.add("categories of another spelling of a phrase are that phrase", number, f"{name}: {spelling}")
            names[number] = spelling
    return names


def _file_name(entry: dict[str, Any]) -> str:
    """Relative to the image folder; from an address, as LVIS and Labelbox give, the folder and file at its end."""
    name = str(entry.get("file_name") or entry.get("coco_url") or "")
    if not _ADDRESS.match(name):
        return name
    return "/".join([part for part in unquote(urlsplit(name).path).split("/") if part][-2:])


def _masks_are_scored(items: list[dict[str, Any]], lines: Lines) -> bool:
    """Whether masks are scored, by what most annotations have; says so where they differ."""
    having = [bool(item.get("segmentation")) for item in items]
    masks = 2 * sum(having) >= len(having)
    if not masks:
        for item, has in zip(items, having, strict=True):
            if has:
                lines.add(
                    "most annotations have no segmentation, so boxes are scored and masks are not", item.get("id")
                )
    return masks


def _read_image(
    entry: dict[str, Any],
    file_name: str,
    folder: Path,
    items: list[dict[str, Any]],
    names: Mapping[Id, str],
    lines: Lines,
    masks: bool,
    fractions: bool,
) -> _Image:
    """An image with its annotations.

    Raises:
        ValueError: It has no name, one that leaves the folder, or no size.
    """
    if not _file_name(entry):
        raise ValueError("it has neither file_name nor coco_url")
    path = inside(folder, file_name)
    if file_name != entry.get("file_name"):
        places = (path, inside(folder.parent, file_name), folder / Path(file_name).name)
        path = next((place for place in places if place.is_file()), path)
    height, width = read_size(entry)
    marks: dict[str, list[Mark]] = {}
    faults: dict[str, str] = {}
    for item in items:
        phrase = names[item["category_id"]]
        try:
            mark = read_mark(item, height, width, lines, fractions)
        except ValueError as error:
            faults.setdefault(phrase, str(error))
            continue
        if mark is not None:
            marks.setdefault(phrase, []).append(mark)
            if masks and mark.fault:
                faults.setdefault(phrase, mark.fault)
    return _Image(file_name, path, height, width, marks, faults)


def _listed(entry: dict[str, Any], key: str) -> list[Id]:
    """Category ids that an LVIS image lists."""
    ids = entry.get(key)
    if ids is not None and not isinstance(ids, list):
        raise ValueError(f"image {entry['id']}: {key} is {shown(ids)}; give a list of category ids")
    return [read_id(number, key) for number in ids or []]


def _query_phrases(
    entry: dict[str, Any], file_name: str, present: set[str], names: Mapping[Id, str], source: CocoSet
) -> set[str]:
    # LVIS: the others may be there without a mark
    known = _listed(entry, "neg_category_ids") if entry.get("neg_category_ids") is not None else list(names)
    absent = {names[c] for c in known if c in names} - present
    if source.negatives is not None and len(absent) > source.negatives:
        # By hash: an image's negatives do not depend on the other images.
        key = f"{source.seed}\n{file_name}\n"
        drawn = sorted(absent, key=lambda p: blake2b((key + p).encode("utf-8", "replace"), digest_size=8).digest())
        absent = set(drawn[: source.negatives])
    return present | absent


def _truth(marks: list[Mark], masks: bool) -> Truth:
    boxes, crowd = [mark.box for mark in marks], [mark.crowd for mark in marks]
    return Truth([mark.mask for mark in marks] if masks else None, boxes, crowd, True)
