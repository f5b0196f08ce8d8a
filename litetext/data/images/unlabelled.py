"""Images with query phrases and without annotations: all that the task loss needs."""

import random
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from litetext.data.images.items import decode, inside
from litetext.data.pixels import IMAGE_FILES, opened, to_rgb
from litetext.data.prompts.corpora import read_prompts
from litetext.saco.fields import read_size
from litetext.saco.images import read_entries, read_json

FIRST_SCENE = 500_000_000
"""Scenes from this number on are drawn for `nouns:N`: no SAM3 of ours was trained on them, no benchmark uses them."""


class UnlabelledImage(NamedTuple):
    """An image and its query phrases.

    Attributes:
        name: What it is called.
        key: Hash of all that decides its pixels: a drawn scene's number, or a file's path, size and time.
        phrases: The phrases, each once.
        path: Where it lies; None where it is drawn.
        scene: Number of the scene that is drawn.
        size: Height and width that an annotation file expects of stored pixels; without, EXIF turns the image.
    """

    name: str
    key: str
    phrases: tuple[str, ...]
    path: Path | None = None
    scene: int = 0
    size: tuple[int, int] | None = None

    def pixels(self) -> UInt8[Tensor, "3 _ _"]:
        """The image as RGB, uint8 (3, H, W).

        Raises:
            ValueError: It is not there, does not decode, or has another size than its file says.
        """
        if self.path is None:
            return _painted(self.scene)
        if self.size is None:
            return to_rgb(self.path)
        try:
            return decode(self.path, *self.size)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def read_unlabelled(
    images: str, prompts: str | None, image_folder: str | None, count: int
) -> tuple[list[UnlabelledImage], list[str]]:
    """Finds images and their query phrases.

    Args:
        images: `nouns:N`, a folder of images, or a JSON of SA-Co Gold or Silver, whose annotations are not read.
        prompts: For a folder: a corpus as `read_prompts` takes it.
        image_folder: For a JSON: where its images lie; by default beside it.
        count: Phrases drawn for each image, by its name; those of a JSON are all taken.

    Returns:
        The images that can be used, and a line for each that cannot.

    Raises:
        FileNotFoundError: Nothing lies at a path.
        ValueError: An option does not go with the others, or a file cannot be read.
    """
    world, colon, number = images.partition(":")
    drawn = bool(colon) and world == "nouns"
    is_file = Path(images).expanduser().is_file()
    if (drawn or is_file) and prompts is not None:
        raise ValueError(f"data.prompts is {prompts}, but data.images {images} says itself what is asked; leave it out")
    if not is_file and image_folder is not None:
        raise ValueError(f"data.image_folder is {image_folder}, and data.images {images} is no JSON; leave it out")
    if drawn:
        if not number.isdecimal() or not int(number):
            raise ValueError(f"data.images is {images!r}; give a number of scenes, as nouns:400")
        return _scenes(int(number), count), []
    if is_file:
        return _annotated(Path(images).expanduser(), image_folder)
    folder = Path(images).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data.images {images}: nothing is there; give nouns:N, a folder of images, or a JSON of SA-Co"
        )
    if prompts is None:
        raise ValueError(f"data.images {images} is a folder; name what is asked of its images: --data.prompts PATH")
    return _folder(folder, read_prompts("prompts", prompts).prompts, count)


def _scenes(scenes: int, count: int) -> list[UnlabelledImage]:
    from litetext.data.nouns.phrases import draw_phrases
    from litetext.data.nouns.scenes import draw_scene
    from litetext.data.nouns.sheet import checksum
    from litetext.shipped import code_version  # only who asks for the world needs its room

    code = code_version(tuple(f"data/nouns/{part}.py" for part in ("sheet", "scenes", "render")), ("numpy", "pillow"))
    found = []
    for number in range(FIRST_SCENE, FIRST_SCENE + scenes):
        drawn = draw_phrases(draw_scene(number), count, random.Random(f"asked {number}"))
        phrases = tuple(dict.fromkeys(phrase.text for phrase in drawn))
        found.append(
            UnlabelledImage(f"scene {number}", _key(f"nouns {number} {checksum()} {code}"), phrases, scene=number)
        )
    return found


def _painted(number: int) -> Tensor:
    import torch

    from litetext.data.nouns.render import render
    from litetext.data.nouns.scenes import draw_scene

    return torch.from_numpy(render(draw_scene(number))[0].transpose(2, 0, 1).copy())


def _folder(folder: Path, prompts: Sequence[str], count: int) -> tuple[list[UnlabelledImage], list[str]]:
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_FILES and not p.name.startswith("."))
    found, lost = [], []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        rng = random.Random(f"asked {name}")
        phrases = rng.sample(prompts, min(count, len(prompts)))
        try:
            with opened(path):
                found.append(UnlabelledImage(name, _file_key(path, "turned"), tuple(phrases), path))
        except ValueError as error:
            lost.append(str(error))
    if not paths:
        raise ValueError(f"data.images {folder} holds no image: no file whose name ends like .png or .jpg")
    return found, lost


def _annotated(file: Path, image_folder: str | None) -> tuple[list[UnlabelledImage], list[str]]:
    entries = read_entries(read_json(file), "images", file, "SA-Co")
    folder = Path(image_folder).expanduser() if image_folder is not None else file.parent
    files: dict[str, tuple[tuple[int, int], dict[str, None]]] = {}
    lost: list[str] = []
    for place, entry in enumerate(entries):
        name, phrase = str(entry.get("file_name") or ""), entry.get("text_input")
        if not isinstance(phrase, str) or not phrase.strip():
            raise ValueError(
                f"{file}: entry {place} of images has no phrase in text_input; give a JSON of SA-Co Gold or Silver"
            )
        try:
            size = read_size(entry)
            inside(folder, name)
            if files.setdefault(name, (size, {}))[0] != size:
                raise ValueError(f"annotated as {files[name][0]} and, by another pair, {size}")
            files[name][1][phrase] = None
        except ValueError as error:
            lost.append(f"{file}: entry {place} of images ({name!r}): {error}")
    found = []
    for name, (size, phrases) in files.items():
        path = inside(folder, name)
        try:
            with opened(path):
                key = _file_key(path, f"stored {size}")
        except ValueError as error:
            lost.append(str(error))
        else:
            found.append(UnlabelledImage(name, key, tuple(phrases), path, size=size))
    return found, lost


def _file_key(path: Path, how: str) -> str:
    facts = path.stat()
    return _key(f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {how}")


def _key(facts: str) -> str:
    return blake2b(facts.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
