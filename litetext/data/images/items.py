"""What the segmentation data sets have in common: images with their phrases, checked masks, decoded pixels."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from litetext.data.pixels import to_rgb
from litetext.saco.instances import Truth
from litetext.saco.masks import read_mask


class Pair(NamedTuple):
    """One datapoint: an image and a query phrase.

    Attributes:
        id: Unique within the subset.
        phrase: The noun phrase.
        truths: One per annotator, in the order of the files.
        evaluated: The datapoint counts: every annotator is exhaustive.
        category: The category id that official predictions carry.
        kind: What kind of phrase it is, where the data set says so.
        twin: Id of the other phrase of a pair that is judged together, where the data set holds such.
    """

    id: int
    phrase: str
    truths: tuple[Truth, ...]
    evaluated: bool = True
    category: int = 1
    kind: str | None = None
    twin: int | None = None


class ImagePairs(NamedTuple):
    """An image with all of its pairs.

    Attributes:
        subset: Name of the subset.
        file_name: As the annotations name it.
        path: Where it lies.
        height: Rows, as annotated.
        width: Columns, as annotated.
        pairs: In the order of the file.
        turn: The annotations are of the image as its EXIF orientation turns it.
    """

    subset: str
    file_name: str
    path: Path
    height: int
    width: int
    pairs: list[Pair]
    turn: bool = False


class Skip(NamedTuple):
    """Pairs that were left out.

    Attributes:
        subset: Name of the subset.
        file_name: The image.
        ids: The pairs' ids.
        reason: What was wrong, in one line.
    """

    subset: str
    file_name: str
    ids: tuple[int, ...]
    reason: str

    def __str__(self) -> str:
        ids = ", ".join(map(str, self.ids[:3])) + (f" and {len(self.ids) - 3} more" if len(self.ids) > 3 else "")
        return f"{self.subset}: {self.file_name} (id {ids}): {self.reason}"


def of_all_ranks(skips: Iterable[Skip]) -> list[Skip]:
    """What all processes left out, each once; every process must call it."""
    own = list(skips)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return list(dict.fromkeys(own))
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return list(dict.fromkeys(skip for part in parts for skip in part))


class SegItem(NamedTuple):
    """An image ready for a model.

    Attributes:
        subset: Name of the subset.
        file_name: As the annotations name it.
        image: RGB, uint8 (3, H, W), as stored, as in the official evaluator, or turned by its EXIF
            orientation where the annotations are of the turned image.
        pairs: The phrases and their ground truth, masks as compressed run-length masks.
        prepared: What a worker made of the image besides, see `SegDataset`.
    """

    subset: str
    file_name: str
    image: Tensor
    pairs: list[Pair]
    prepared: Any = None


def inside(folder: Path, file_name: str) -> Path:
    """Where a named file lies in a folder.

    Raises:
        ValueError: The name leaves the folder, or is none.
    """
    plain = os.path.normpath(file_name) if file_name else ""
    parts = file_name.replace("\\", "/").split("/")
    if not plain or plain == "." or "\0" in file_name or os.path.isabs(file_name) or ".." in parts:
        raise ValueError(f"file_name {file_name!r} leaves the image folder {folder}")
    return folder / plain


def decode(path: Path, height: int, width: int, turn: bool = False) -> Tensor:
    """Read an image as RGB, uint8 (3, height, width); see `pixels` for images that are not 8-bit RGB.

    Args:
        path: The file.
        height: Rows that the annotations expect.
        width: Columns that the annotations expect.
        turn: Turn it as its EXIF orientation says. Without, pixels are taken as stored: Meta's evaluator ignores the
            orientation too (sam3_image_dataset.py), and SA-Co's masks are drawn on the stored pixels.

    Raises:
        ValueError: There is no such file, it does not decode, or has another size than annotated.
    """
    if not path.is_file():
        raise ValueError(f"no such image: {path}")
    try:
        pixels = to_rgb(path, turn)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ").removeprefix("it does not decode ").strip("()")
        raise ValueError(f"the image does not decode ({reason})") from error
    if tuple(pixels.shape[1:]) != (height, width):
        raise ValueError(
            f"the image has {pixels.shape[1]} x {pixels.shape[2]} pixels (height x width), "
            f"the annotations say {height} x {width}"
        )
    return pixels


def ready(entry: ImagePairs) -> tuple[SegItem | None, list[Skip]]:
    """Decode an image and check the masks of its pairs.

    Args:
        entry: The image and its pairs.

    Returns:
        The item, without the pairs that cannot be used (None where nothing is left), and these with the reasons.
    """
    good: list[Pair] = []
    skips: list[Skip] = []
    for pair in entry.pairs:
        try:
            truths = tuple(_checked(truth, entry.height, entry.width) for truth in pair.truths)
        except ValueError as error:
            skips.append(Skip(entry.subset, entry.file_name, (pair.id,), str(error)))
        else:
            good.append(pair._replace(truths=truths))
    if not good:
        return None, skips
    try:
        image = decode(entry.path, entry.height, entry.width, entry.turn)
    except ValueError as error:
        ids = tuple(pair.id for pair in good)
        return None, [*skips, Skip(entry.subset, entry.file_name, ids, str(error))]
    return SegItem(entry.subset, entry.file_name, image, good), skips


def _checked(truth: Truth, height: int, width: int) -> Truth:
    masks = []
    for place, segmentation in enumerate(truth.masks or []):
        try:
            masks.append(read_mask(segmentation, height, width))
        except ValueError as error:
            raise ValueError(f"segmentation {place + 1} of {len(truth.boxes)} cannot be read: {error}") from error
    return truth._replace(masks=masks) if masks else truth
