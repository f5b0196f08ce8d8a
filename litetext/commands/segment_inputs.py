"""What `litetext segment` is given: files, folders and patterns, each once, under names of their own."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from litetext.data.pixels import IMAGE_FILES
from litetext.data.videos.clips import is_clip
from litetext.data.videos.frames import VIDEO_FILES

_KNOWN = (*IMAGE_FILES, *VIDEO_FILES)
_NAMED = 3


class Input(NamedTuple):
    """Something to segment.

    Attributes:
        path: Where it lies.
        name: What its results are called, without suffix.
        clip: It is a clip, not an image.
    """

    path: Path
    name: str
    clip: bool


class Inputs(NamedTuple):
    """All there is to segment.

    Attributes:
        items: Each once, with names that differ.
        lost: A line for each that was named and is not there.
        passed_over: A line for each folder that holds more than was taken.
    """

    items: list[Input]
    lost: list[str]
    passed_over: list[str]


def find_inputs(images: Sequence[str], videos: Sequence[str], taken: Sequence[str]) -> Inputs:
    """Finds the files that a user names.

    A file that is named is taken whatever its name; of a folder, files whose names say image or video, hidden ones
    (`._a.png`) aside.

    Args:
        images: Files, folders of images, patterns.
        videos: Folders whose images are a video's frames.
        taken: Names that no result may have, in small letters.
    """
    files: dict[Path, bool] = {}
    lost: list[str] = []
    passed: list[str] = []
    for named in images:
        path = Path(named).expanduser()
        found = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        inside: list[Path] = []
        for place in found:
            if not place.is_dir():
                # What a pattern meets besides is passed over, as in a folder.
                inside += [place] if place == path or _known(place) else []
                continue
            there = sorted(place.iterdir())
            inside += [file for file in there if file.is_file() and _known(file)]
            passed += passed_over(place, [file for file in there if not (file.is_file() and _known(file))])
        if len(found) > 1:
            others = [file for file in found if file.is_file() and not _known(file)]
            passed += passed_over(path, others)
        if not inside:
            lost.append(f"{named}: no such file, and no images or videos there")
        files |= {file: is_clip(file) for file in inside if file not in files}
    files |= {Path(folder).expanduser(): True for folder in videos}
    used = set(taken)
    items = []
    for path, clip in files.items():
        bare = path.resolve().name if path.is_dir() else path.stem
        name, number = bare, 2
        while name.lower() in used:  # some file systems do not tell cases apart
            name, number = f"{bare}-{number}", number + 1
        used.add(name.lower())
        items.append(Input(path, name, clip))
    return Inputs(items, lost, passed)


def passed_over(place: Path, others: Sequence[Path | str]) -> list[str]:
    """A line that counts and names what was not taken from a folder; none where all was."""
    if not others:
        return []
    names = [f"{path.name}/" if isinstance(path, Path) and path.is_dir() else Path(path).name for path in others]
    some = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    one = len(names) == 1
    return [f"{place}: {len(names):,} not taken, {'its' if one else 'their'} name says no image or video: {some}"]


def _known(file: Path) -> bool:
    return file.suffix.lower() in _KNOWN and not file.name.startswith(".")
