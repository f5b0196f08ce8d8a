"""SA-Co Gold and Silver as released: which files there are, and their pairs grouped by image.

Gold has seven subsets and three annotators a, b and c (`gold_NAME_merged_{a,b,c}_release_test.json`), Silver ten
domains and one (`silver_NAME_merged_test.json`, and `silver_fathomnet_test.json`). Other names in the same layout
are subsets of their own.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from litetext.data.images.items import ImagePairs, Pair, Skip, inside
from litetext.data.images.marks import CROWDS, Lines, in_pixels, read_mark
from litetext.saco.fields import read_box, read_size
from litetext.saco.images import AnnotatorFile, contradictions, evaluated, read_annotator
from litetext.saco.instances import Truth
from litetext.saco.subsets import GOLD, SILVER

_GOLD_FILE = re.compile(r"gold_(\w+)_merged_([abc])_release_test\.json(?:\.gz)?")
_SILVER_FILE = re.compile(r"silver_(\w+?)(?:_merged)?_test\.json(?:\.gz)?")


class Subset(NamedTuple):
    """The files of one subset.

    Attributes:
        name: Without `gold_` or `silver_`.
        files: Annotation files, one per annotator.
        images: The image folder.
    """

    name: str
    files: tuple[Path, ...]
    images: Path


class Contents(NamedTuple):
    """What one subset holds.

    Attributes:
        images: Images with their pairs, in the order in which the first file names them.
        skips: Pairs that cannot be used, with the reason.
        total: Pairs in the first file.
        unevaluated: Pairs that do not count because an annotator is not exhaustive.
        notes: What is wrong in single annotations and in ids, one line a kind.
    """

    images: list[ImagePairs]
    skips: list[Skip]
    total: int
    unevaluated: int
    notes: Sequence[str] = ()


def find_subsets(root: Path, wanted: Sequence[str] | str, folders: Mapping[str, str]) -> list[Subset]:
    """Find the files of the wanted subsets.

    Args:
        root: Folder with the annotation files.
        wanted: Names of subsets, or "gold" (its seven), "silver" (its ten), or "all" that the folder holds.
        folders: Image folders by name of a subset, or by `metaclip` (Gold but sa1b), `sa1b`, `silver` (a folder with
            one folder per domain). Where none is named: `root/NAME`, `root/images/NAME`, `root/images`, whichever
            exists first.

    Returns:
        The subsets in the order asked for; for "all", Gold first.

    Raises:
        FileNotFoundError: There is no such folder, or annotation files are missing; all of them are named.
        ValueError: A name in `folders` means nothing.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root {root}: no such folder; give the folder of the SA-Co annotation files")
    gold: dict[str, dict[str, Path]] = {}
    silver: dict[str, Path] = {}
    for path in sorted(root.iterdir()):
        if found := _GOLD_FILE.fullmatch(path.name):
            gold.setdefault(found[1], {}).setdefault(found[2], path)
        elif found := _SILVER_FILE.fullmatch(path.name):
            silver.setdefault(found[1], path)
    names = _names(wanted, gold, silver)
    if not names:
        raise FileNotFoundError(
            f"data.root {root} holds no annotation file gold_*_release_test.json or silver_*_test.json"
        )
    missing = [file for name in names for file in _missing(name, gold, silver)]
    if missing:
        known = ", ".join([*_ordered(gold, GOLD), *_ordered(silver, SILVER)]) or "none"
        raise FileNotFoundError(
            f"data.root {root} lacks {len(missing)} annotation files: {', '.join(missing)}; subsets found: {known}"
        )
    strange = sorted(set(folders) - {*GOLD, *SILVER, *gold, *silver, "silver"})
    if strange:
        raise ValueError(f"data.images.{strange[0]} is no subset; give metaclip, sa1b, silver or a subset's name")
    subsets = []
    for name in names:
        files = (silver[name],) if name not in gold else tuple(gold[name][x] for x in sorted(gold[name]))
        subsets.append(Subset(name, files, _folder(root, name, name in gold, folders)))
    return subsets


def _ordered(found: Mapping[str, Any], official: Sequence[str]) -> list[str]:
    return [name for name in official if name in found] + sorted(set(found) - set(official))


def _names(wanted: Sequence[str] | str, gold: Mapping[str, Any], silver: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if name == "all":
            names += [*_ordered(gold, GOLD), *_ordered(silver, SILVER)]
        else:
            names += {"gold": GOLD, "silver": SILVER}.get(name, (name,))
    return list(dict.fromkeys(names))


def _missing(name: str, gold: Mapping[str, Mapping[str, Path]], silver: Mapping[str, Path]) -> list[str]:
    if name in silver and name not in gold:
        return []
    if name in SILVER:
        return [f"silver_{name}{'' if name == 'fathomnet' else '_merged'}_test.json"]
    return [f"gold_{name}_merged_{x}_release_test.json" for x in "abc" if x not in gold.get(name, {})]


def _folder(root: Path, name: str, gold: bool, folders: Mapping[str, str]) -> Path:
    own = "nga" if name == "nga_art" else name
    if name in folders:
        return Path(folders[name]).expanduser()
    source = ("sa1b" if name == "sa1b" else "metaclip") if gold else own
    if gold and source in folders:
        return Path(folders[source]).expanduser()
    if not gold and "silver" in folders:
        return Path(folders["silver"]).expanduser() / own
    tried = [root / own, root / source, root / "images" / own, root / "images" / source, root / "images"]
    return next((folder for folder in tried if folder.is_dir()), root / source)


def read_subset(subset: Subset, evaluated_only: bool = True) -> Contents:
    """Read the files of all annotators and group the pairs by image.

    A pair whose path leaves the image folder, whose entry lacks something, or that a later annotator's file lacks is
    left out with its reason; the rest stays.

    Args:
        subset: The files.
        evaluated_only: Leave out pairs that do not count because an annotator is not exhaustive.

    Raises:
        FileNotFoundError: A file is gone.
        ValueError: A file is not JSON or not in this layout, contradicts itself (see `read_annotator`) or the others
            (see `contradictions`), or no pair with an instance can be used.
    """
    annotators = [read_annotator(path) for path in subset.files]
    counted = set(evaluated(annotators))
    groups: dict[str, ImagePairs] = {}
    skips: list[Skip] = []
    first, lines = annotators[0], Lines()
    for number, entry in first.images.items():
        if evaluated_only and number not in counted:
            continue
        file_name = str(entry.get("file_name", ""))
        try:
            height, width = read_size(entry)
            pair = _pair(number, entry, annotators, number in counted, lines)
            path = inside(subset.images, file_name)
            group = groups.setdefault(file_name, ImagePairs(subset.name, file_name, path, height, width, []))
            if (group.height, group.width) != (height, width):
                raise ValueError(
                    f"annotated as {height} x {width} and, by another pair, {group.height} x {group.width}"
                )
            group.pairs.append(pair)
        except ValueError as error:
            skips.append(Skip(subset.name, file_name, (number,), str(error)))
    images = [group for group in groups.values() if group.pairs]
    positive = any(truth.boxes for image in images for pair in image.pairs for truth in pair.truths)
    if skips and not positive and any(a.annotations for a in annotators):
        raise ValueError(f"{subset.name}: no pair with an instance can be used; the first reason: {skips[0]}")
    notes = [note for annotator in annotators for note in annotator.notes]
    notes += [*contradictions(annotators), *lines.notes()]
    return Contents(images, skips, len(first.images), len(first.images) - len(counted), notes)


def _pair(number: int, entry: dict[str, Any], annotators: Sequence[AnnotatorFile], counts: bool, lines: Lines) -> Pair:
    phrase = entry.get("text_input")
    if not isinstance(phrase, str) or not phrase.strip():
        raise ValueError(f"text_input is {phrase!r}, not a phrase")
    truths = []
    for annotator in annotators:
        if number not in annotator.images:
            raise ValueError(f"the pair is not in {annotator.name}")
        exhaustive = bool(annotator.images[number]["is_instance_exhaustive"])
        items = annotator.annotations.get(number)
        if not items:
            truths.append(_EMPTY[exhaustive])
            continue
        masks, boxes, crowd = [], [], []
        for item in items:
            try:
                found = _mark(item, read_size(entry), lines)
            except ValueError as error:
                raise ValueError(f"{annotator.name}: {error}") from error
            if found is not None:
                masks.append(found[0])
                boxes.append(found[1])
                crowd.append(bool(item["iscrowd"]))
        if crowd and all(crowd):
            lines.add(CROWDS, number, f"by {annotator.name}")
        truths.append(Truth(masks, boxes, crowd, exhaustive))
    kind, twin = entry.get("kind"), entry.get("twin")
    return Pair(
        number,
        phrase,
        tuple(truths),
        counts,
        kind=kind if isinstance(kind, str) else None,
        twin=twin if isinstance(twin, int) and twin in annotators[0].images else None,
    )


def _mark(item: dict[str, Any], size: tuple[int, int], lines: Lines) -> tuple[Any, list[float]] | None:
    """Segmentation and box of an annotation; None if it marks nothing."""
    if item.get("segmentation"):
        try:
            box = read_box(item.get("bbox"))
        except ValueError:
            box = None
        if box is not None and not in_pixels(box):
            return item["segmentation"], box  # its mask is read when its image is
    mark = read_mark(item, *size, lines, fractions=True, keep_empty=True)
    if mark is None:
        return None
    if mark.fault:
        raise ValueError(mark.fault)
    return mark.mask, mark.box


# Shared by all negatives: most pairs are.
_EMPTY = (Truth([], [], [], False), Truth([], [], [], True))
