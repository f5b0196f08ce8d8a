"""Scenes to try a SAM3 on: image files, and phrases that are true of them."""

import json
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from litetext.data.nouns.phrases import draw_phrases
from litetext.data.nouns.render import render
from litetext.data.nouns.scenes import FIRST_HELD_OUT, Scene, draw_scene
from litetext.data.nouns.sheet import core, find_noun, find_style
from litetext.data.options import check_minimum

PHRASES = "phrases.json"
_MOST = 1_000
_TRIED = 100_000  # numbers of scenes among which those with a noun are sought; one in 90 has it


def find_scenes(seed: int = 0, style: str | int = 0, show: Sequence[str] = ()) -> Iterator[Scene]:
    """Held-out scenes.

    Args:
        seed: Which.
        style: By whom they are drawn.
        show: Names or synonyms of nouns; one of them is in each scene. Empty for any.

    Raises:
        ValueError: There is no such style or noun, or training knows none such.
    """
    artist, wanted = find_style(style), {find_noun(word) for word in show}
    unknown = [word for word in show if find_noun(word) >= core()]
    if unknown:
        raise ValueError(f"noun {unknown[0]!r} is held out from training: no scene of this kind shows it")
    first = FIRST_HELD_OUT + _TRIED * seed
    for number in range(first, first + _TRIED):
        scene = draw_scene(number, styles=(artist,))
        if not wanted or any(sprite.noun in wanted for sprite in scene.sprites):
            yield scene


def true_phrases(scene: Scene, count: int = 4, show: Sequence[str] = ()) -> list[str]:
    """Different phrases that are true of a scene, the shortest first.

    Args:
        scene: The scene.
        count: How many, at most.
        show: Names of nouns; one that is in the scene comes first.
    """
    drawn = draw_phrases(scene, 4 * count, random.Random(f"example {scene.number}"), negatives=0.0)
    there = {sprite.noun for sprite in scene.sprites}
    first = [word for word in show if find_noun(word) in there]
    short = sorted((phrase.text for phrase in drawn if phrase.targets), key=len)
    return list(dict.fromkeys([*first, *short]))[:count]


def write_scenes(
    folder: str | Path, count: int = 6, seed: int = 0, style: str | int | None = None, show: Sequence[str] = ()
) -> list[tuple[Path, list[str]]]:
    """Writes scenes as PNG files, and `phrases.json`: by file, phrases that are true of it.

    Args:
        folder: A folder that is not there yet, or is empty; its parent must be there.
        count: How many scenes.
        seed: Scenes and phrases follow from it.
        style: By whom they are drawn; by default that of training.
        show: See `find_scenes`.

    Returns:
        The image files, each with its phrases.

    Raises:
        ValueError: The folder holds something, or an option is out of its range.
        FileNotFoundError: There is no folder to write it in.
    """
    folder = Path(folder).expanduser()
    if not 1 <= count <= _MOST:
        raise ValueError(f"number is {count}; give from 1 to {_MOST} scenes")
    check_minimum(0, seed=seed)
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {folder.parent}; make it before scenes are written to {folder.name}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there and is no empty folder; name another folder")
    scenes = list(islice(find_scenes(seed, 0 if style is None else style, show), count))
    if len(scenes) < count:
        raise ValueError(f"only {len(scenes)} of {_TRIED:,} scenes show {' or '.join(show)}; ask for fewer")
    folder.mkdir(exist_ok=True)
    written = []
    for number, scene in enumerate(scenes):
        path = folder / f"scene{number:03}.png"
        Image.fromarray(render(scene)[0]).save(path)
        written.append((path, true_phrases(scene, show=show)))
    listed = {path.name: phrases for path, phrases in written}
    (folder / PHRASES).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
    return written
