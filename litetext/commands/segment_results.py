"""What `litetext segment` writes: pictures, COCO and YOLO files, masklets; and that it replaces nothing unasked."""

import io
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from litetext.commands.segment_inputs import Input, passed_over
from litetext.commands.segment_partial import PARTIAL, PartialResults, content_of
from litetext.data.pixels import to_rgb
from litetext.data.videos.clips import Clip, write_clip
from litetext.data.videos.frames import UnreadableFrame, readable
from litetext.files import write_bytes, write_json, write_text
from litetext.metrics.matching import rle
from litetext.overlays import overlay
from litetext.saco.polygons import one_polygon, polygons
from litetext.segmenter import Segmenter

PREDICTIONS, POLYGONS = "predictions", "predictions_polygons"
_LABELS, _CLASSES = "labels", "data.yaml"


class Formats(NamedTuple):
    """What is written beside pictures and predictions.json.

    Attributes:
        polygons: COCO with polygons.
        yolo: YOLO polygons.
        fps: Frames a second of a video; None for its own times.
    """

    polygons: bool = False
    yolo: bool = False
    fps: float | None = None


def check_output(
    folder: Path, inputs: Sequence[Input], formats: Formats, overwrite: bool, begun: Collection[str] = ()
) -> str | None:
    """Refuses an output folder in which a result would replace an input, or unasked anything else.

    Args:
        folder: The output folder.
        inputs: What is going to be segmented.
        formats: What is written.
        overwrite: Whether earlier results may be replaced.
        begun: Names of inputs that an interrupted run had done there; this run continues from them.

    Returns:
        A line about files there that this run leaves as they are; None where there are none.

    Raises:
        ValueError: The folder is a file, or holds what would be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder} is a file; name a folder")
    if not folder.is_dir():
        return None
    given = {item.path.resolve() for item in inputs}
    wanted: list[str] = []
    own: set[str] = {PARTIAL}
    for item in inputs:
        names = [item.name + kind for kind in ((".mp4", ".gif", ".json") if item.clip else (".png",))]
        if formats.yolo and not item.clip:
            names.append(f"{_LABELS}/{item.name}.txt")
        wanted += names
        own |= set(names) if item.name in begun else set()
    if begun:
        own |= {f"{PREDICTIONS}.json", f"{POLYGONS}.json", _CLASSES}
    if any(not item.clip for item in inputs):
        wanted.append(f"{PREDICTIONS}.json")
        wanted += [f"{POLYGONS}.json"] if formats.polygons else []
        wanted += [_CLASSES] if formats.yolo else []
    for name in wanted:
        if (folder / name).resolve() in given:
            raise ValueError(f"--output {folder}: {name} is an input there; name another folder")
    there = [name for name in wanted if name not in own and (folder / name).exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1:,} more" if len(there) > 1 else ""
        raise ValueError(
            f"--output {folder} holds {there[0]}{more} of before; name another folder, or replace them: --overwrite"
        )
    files = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    others = [
        name for name in files if name not in wanted and name not in own and (folder / name).resolve() not in given
    ]
    if not others:
        return None
    count = "1 other file" if len(others) == 1 else f"{len(others):,} other files"
    return f"{folder} holds {count}, such as {others[0]}, which this run leaves as they are"


class _ReadableClip(Clip):
    """A clip whose faults can be distinguished from those of the tracker."""

    def __iter__(self) -> Iterator[Tensor]:
        return readable(super().__iter__())


class Results:
    """Writes predictions, and keeps what goes into predictions.json.

    Args:
        segmenter: Finds it.
        phrases: What is looked for.
        folder: Where to.
        formats: What is written.
        about: The options that decide the results, by name.
        unfinished: Keeps what is done, and has what an interrupted run did.

    Attributes:
        say: Called with the lines about each image and clip.
        note: Called with other remarks.
        kept: Inputs whose results an earlier run stored.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        phrases: list[str],
        folder: Path,
        formats: Formats,
        about: dict[str, Any],
        unfinished: PartialResults,
    ) -> None:
        self.unfinished, self.kept = unfinished, 0
        self.segmenter, self.phrases, self.folder, self.formats = segmenter, phrases, folder, formats
        self.about = about | {"tiles": segmenter.tiles}
        self.categories = [{"id": n + 1, "name": phrase} for n, phrase in enumerate(phrases)]
        self.say: Callable[[str], None] = print
        self.note: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
        segmenter.note = lambda line: self.note(f"litetext: {line}")
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def image(self, item: Input) -> str | None:
        """Segments an image; gives the reason if it cannot be read."""
        content = content_of(item)
        if self._keeps(item, content):
            return None
        try:
            pixels = to_rgb(item.path)
        except ValueError as error:
            return str(error)
        found = list(self.segmenter.find(pixels, self.phrases))
        masks, colours, labels = [], [], []
        for n, part in enumerate(found):
            masks += part.rles
            colours += [n] * len(part)  # one a phrase
            labels += [f"{part.phrase} {score:.2f}" for score in part.scores.tolist()]
        file = io.BytesIO()
        Image.fromarray(overlay(pixels.permute(1, 2, 0).numpy(), masks, colours, labels)).save(file, "PNG")
        write_bytes(self.folder / f"{item.name}.png", file.getvalue())
        size = {"height": int(pixels.shape[1]), "width": int(pixels.shape[2])}
        image = {"file_name": str(item.path), **size, "overlay": f"{item.name}.png"}
        marks = [
            mark
            for category, part in zip(self.categories, found, strict=True)
            for mark in part.to_coco(0, category["id"], 0)
        ]
        if self.formats.yolo:
            self._write_labels(item.name, marks, (size["width"], size["height"]))
        self.unfinished.add(item, content, image=image, annotations=marks)
        self._add(image, marks)
        self._print_line(str(item.path), [(part.phrase, part.scores.tolist()) for part in found])
        return None

    def _keeps(self, item: Input, content: str) -> bool:
        """Takes an input from the partial results, if its file has not changed and its results are there."""
        entry = self.unfinished.find(item, content)
        wanted = [f"{item.name}.json" if item.clip else f"{item.name}.png"]
        wanted += [f"{_LABELS}/{item.name}.txt"] if self.formats.yolo and not item.clip else []
        if entry is None or not all((self.folder / name).is_file() for name in wanted):
            return False
        if not item.clip:
            self._add(entry["image"], entry["annotations"])
        self.kept += 1
        return True

    def _add(self, image: dict[str, Any], marks: Sequence[dict[str, Any]]) -> None:
        """Numbers an image and its annotations; they go into predictions.json."""
        number = len(self.images) + 1
        self.images.append({"id": number, **image})
        for mark in marks:
            self.annotations.append({**mark, "id": len(self.annotations) + 1, "image_id": number})

    def _write_labels(self, name: str, marks: Sequence[dict[str, Any]], size: tuple[int, int]) -> None:
        lines = []
        for mark in marks:
            if outline := _outline(mark):
                corners = one_polygon(outline) / size
                lines.append(" ".join([str(mark["category_id"] - 1), *(f"{v:.6g}" for v in corners.ravel())]))
        write_text(self.folder / _LABELS / f"{name}.txt", "".join(f"{line}\n" for line in lines))

    def clip(self, item: Input) -> str | None:
        """Segments a clip; gives the reason if it cannot be read.

        Raises:
            ValueError: From the tracker: every other clip would fail too.
        """
        content = content_of(item)
        if self._keeps(item, content):
            return None
        try:
            clip = _ReadableClip(item.path, self.formats.fps)
        except ValueError as error:
            return str(error)
        try:
            self._track(item, clip)
        except UnreadableFrame as error:
            return str(error)
        except ValueError as error:
            raise ValueError(f"{item.path}: {error}") from error
        self.unfinished.add(item, content)
        return None

    def _track(self, item: Input, clip: Clip) -> None:
        found = self.segmenter.track(clip, self.phrases)
        for line in passed_over(item.path, clip.passed_over):
            self.note(f"litetext: {line}")
        masklets = [
            {"id": 0, "category_id": category["id"], "phrase": category["name"], **entry}
            for category, entries in zip(self.categories, found, strict=True)
            for entry in entries
        ]
        for n, entry in enumerate(masklets):
            entry["id"] = n + 1
        file = write_clip(self.folder / item.name, self._painted(clip, masklets), clip.times)
        about = {"video": str(item.path), "overlay": file.name, "frames": len(clip), "fps": clip.rate}
        about |= {"times": clip.times, "height": clip.height, "width": clip.width}
        about |= {"info": self._info() | {"tracker": self.segmenter.tracking}, "categories": self.categories}
        write_json(self.folder / f"{item.name}.json", {**about, "masklets": masklets})
        shown = [
            (phrase, sorted((entry["score"] for entry in entries), reverse=True))
            for phrase, entries in zip(self.phrases, found, strict=True)
        ]
        self._print_line(f"{item.path}  {len(clip):,} frames", shown)

    def _painted(self, clip: Clip, masklets: list[dict[str, Any]]) -> Iterator[Any]:
        """The frames with what is seen in each; a masklet keeps its colour."""
        for t, frame in enumerate(clip):
            seen = [entry for entry in masklets if entry["segmentations"][t] is not None]
            masks = [entry["segmentations"][t] for entry in seen]
            labels = [f"{entry['phrase']} {entry['score']:.2f}" for entry in seen]
            yield overlay(frame.permute(1, 2, 0).numpy(), masks, [entry["id"] - 1 for entry in seen], labels)

    def write(self, whole: bool) -> None:
        """Writes predictions.json and what was asked for beside it, if there were images.

        Args:
            whole: All inputs were met: there is nothing to continue.
        """
        self._write_predictions()
        if whole:
            self.unfinished.close()

    def _write_predictions(self) -> None:
        if not self.images:
            return
        content = {"info": self._info(), "images": self.images, "annotations": self.annotations}
        content["categories"] = self.categories
        write_json(self.folder / f"{PREDICTIONS}.json", content)
        if self.formats.polygons:
            drawn = [
                {**entry, "segmentation": [ring.ravel().tolist() for ring in _outline(entry)]}
                for entry in self.annotations
            ]
            write_json(self.folder / f"{POLYGONS}.json", {**content, "annotations": drawn})
        if self.formats.yolo:
            import yaml

            names = {"names": dict(enumerate(self.phrases))}
            write_text(self.folder / _CLASSES, yaml.safe_dump(names, allow_unicode=True, sort_keys=False))

    def _info(self) -> dict[str, Any]:
        from importlib.metadata import version

        return {"description": "litetext segment", "version": version("litetext"), **self.about}

    def _print_line(self, begin: str, found: Sequence[tuple[str, Sequence[float]]]) -> None:
        shown = [f"{phrase}: {' '.join(f'{s:.2f}' for s in scores) or 'nothing'}" for phrase, scores in found]
        self.say(fitted(f"{begin}  ", shown, _columns()))


def _outline(mark: dict[str, Any]) -> list[np.ndarray]:
    return polygons(rle.decode(mark["segmentation"]).astype(bool))


def fitted(begin: str, parts: Sequence[str], columns: int | None) -> str:
    """A line, or several of which none is longer than the terminal where the parts allow it.

    Args:
        begin: How it begins.
        parts: What must stay together.
        columns: Of the terminal; None for one line.
    """
    line = begin + "   ".join(parts)
    if columns is None or len(line) <= columns:
        return line
    lines = [begin.rstrip()]
    for part in parts:
        if len(lines) > 1 and len(lines[-1]) + 3 + len(part) <= columns:
            lines[-1] += f"   {part}"
        else:
            lines.append(f"    {part}")
    return "\n".join(lines)


def _columns() -> int | None:
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
