"""Any COCO-style data set as one subset: category names are the phrases, every image is asked for them."""

from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from litetext.data.images.gold import Contents
from litetext.data.images.items import ImagePairs, Pair, Skip, Truth, inside
from litetext.data.images.orientation import Exif
from litetext.saco.images import read_json


@dataclass
class CocoSet:
    """A COCO-style data set with masks or boxes.

    Args:
        annotations: The annotation file (instances_val2017.json, lvis_v1_val.json, _annotations.coco.json).
        images: The folder that `file_name` is relative to; by default the annotation file's own.
        name: The subset's name in the results.
        negatives: Absent categories that each image is asked for: a number draws that many, none of them asks for
            every absent category. LVIS images are only asked for categories that are known to be absent.
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


def read_coco(source: CocoSet) -> Contents:
    """Read a COCO-style data set.

    Underscores in category names become spaces, and a remark in brackets is left out ("crab_(animal)"); categories of
    one name are one phrase. Categories that no annotation uses are left out (Roboflow puts a parent with id 0 in
    front). A pair's id is image position x number of phrases + phrase position + 1, whatever negatives are drawn.

    Args:
        source: Files and options.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not JSON or not COCO-style, or an option is out of its range.
    """
    if source.negatives is not None and source.negatives < 0:
        raise ValueError(f"data.coco.negatives is {source.negatives}; give 0 or more, or leave it out for all")
    content = read_json(source.annotations)
    folder = Path(source.images or Path(source.annotations).parent).expanduser()
    try:
        marks: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for item in content["annotations"]:
            marks[item["image_id"]].append(item)
        used = {item["category_id"] for item in content["annotations"]}
        names = {c["id"]: _phrase(str(c["name"])) for c in content["categories"] if c["id"] in used}
        entries = [(entry, entry["id"], str(entry["file_name"])) for entry in content["images"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{source.annotations} is not a COCO-style file: {error!r} is missing or misplaced") from error
    phrases = list(dict.fromkeys(names.values()))
    if not phrases:
        raise ValueError(f"{source.annotations} has no category that an annotation uses: there is nothing to ask for")
    place = {phrase: i for i, phrase in enumerate(phrases)}
    images: dict[str, ImagePairs] = {}
    skips: list[Skip] = []
    total = 0
    for number, (entry, image_id, file_name) in enumerate(entries):
        asked = _asked(
            entry, {names[m["category_id"]] for m in marks[image_id] if m["category_id"] in names}, names, source
        )
        ids = tuple(number * len(phrases) + place[phrase] + 1 for phrase in sorted(asked, key=place.__getitem__))
        total += len(ids)
        try:
            height, width = int(entry["height"]), int(entry["width"])
            if min(height, width) < 1:
                raise ValueError(f"height {height} and width {width} are no size of an image")
            if file_name in images:
                raise ValueError("another entry of `images` names the same file")
            path = inside(folder, file_name)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            skips.append(Skip(source.name, file_name, ids, reason))
            continue
        open_ended = {names[c] for c in entry.get("not_exhaustive_category_ids", ()) if c in names}
        pairs = []
        for pair_id in ids:
            phrase = phrases[(pair_id - 1) % len(phrases)]
            if phrase in open_ended:
                continue
            found = [m for m in marks[image_id] if names.get(m["category_id"]) == phrase]
            try:
                pairs.append(Pair(pair_id, phrase, (_truth(found, height, width),)))
            except ValueError as error:
                skips.append(Skip(source.name, file_name, (pair_id,), str(error)))
        if pairs:
            images[file_name] = ImagePairs(source.name, file_name, path, height, width, pairs)
    kept = sum(len(image.pairs) for image in images.values()) + sum(len(skip.ids) for skip in skips)
    return Contents(list(images.values()), skips, total, total - kept)


def _phrase(name: str) -> str:
    bare = name.replace("_", " ").partition("(")[0].strip()
    return " ".join((bare or name).split())


def _asked(entry: dict[str, Any], present: set[str], names: dict[Any, str], source: CocoSet) -> set[str]:
    known = entry.get("neg_category_ids")  # LVIS: the others may be there without a mark
    absent = {names[c] for c in known if c in names} if known is not None else set(names.values())
    absent -= present
    if source.negatives is not None and len(absent) > source.negatives:
        # By hash: an image's negatives do not depend on the other images.
        key = f"{source.seed}\n{entry['file_name']}\n"
        drawn = sorted(absent, key=lambda p: blake2b((key + p).encode("utf-8", "replace"), digest_size=8).digest())
        absent = set(drawn[: source.negatives])
    return present | absent


def _truth(marks: list[dict[str, Any]], height: int, width: int) -> Truth:
    boxes = []
    for mark in marks:
        box = mark.get("bbox")
        if not (isinstance(box, list) and len(box) == 4):
            raise ValueError(f"annotation {mark.get('id')} has no bbox [x, y, width, height]")
        x, y, w, h = map(float, box)
        boxes.append([x / width, y / height, w / width, h / height])
    masks = [mark.get("segmentation") for mark in marks]
    return Truth(masks if all(masks) else None, boxes, [bool(mark.get("iscrowd", 0)) for mark in marks], True)
