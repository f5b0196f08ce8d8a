"""`litetext segment`: your own images and clips, for phrases of your own."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

_PREDICTIONS = "predictions"


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


def run(argv: Sequence[str]) -> int:
    """Segments images and clips, writes pictures and JSON, and prints scores.

    Args:
        argv: Arguments after `segment`.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext segment",
        description="Segments what phrases name in images and videos. Writes to the output folder NAME.png for each "
        "image and predictions.json (COCO, with run-length masks and scores) for all; NAME.mp4 (NAME.gif without "
        "PyAV) and NAME.json with the masklets for each video. What cannot be read is left out with a line.",
        exit_on_error=False,
    )
    add = parser.add_argument
    add("images", type=str, nargs="*", metavar="IMAGE", help="Images, videos, folders of images, or patterns (*.jpg).")
    add("--phrases", type=str, nargs="+", required=True, metavar="PHRASE", help="What to look for: 'white dog' cup")
    add("--output", type=str, required=True, metavar="DIR", help="Folder of the results; made if need be.")
    add(
        "--model",
        type=str,
        default="checkpoints/sam3-tiny",
        help="A SAM3 in transformers' layout: a folder or a hub id (facebook/sam3).",
    )
    add("--text_encoder", type=str, default=None, metavar="CKPT", help="A student's; by default the model's own.")
    add(
        "--bank",
        type=str,
        default=None,
        metavar="FILE",
        help="A phrase bank of litetext predict --config prompt_bank.yaml, in place of a text encoder.",
    )
    add("--threshold", type=float, default=0.5, help="Least score of what is found.")
    add("--video", type=str, nargs="+", default=[], metavar="FOLDER", help="Folders whose images are a video's frames.")
    add("--fps", type=float, default=None, help="Frames a second; by default the video's own, 10 for a folder.")
    add("--device", type=str, default=None, help="Such as cpu or cuda:1; by default a GPU where there is one.")
    add("--chunk", type=int, default=16, metavar="N", help="Phrases at once; lower it if memory is short.")
    options = parser.parse_args(list(argv))
    if not options.images and not options.video:
        raise ValueError("there is nothing to segment; name images, videos, folders or patterns, before --phrases")
    if options.fps is not None and not 0 < options.fps <= 1000:
        raise ValueError(f"--fps is {options.fps}; choose a number of frames a second, up to 1000")
    _segment(options)
    return 0


def _segment(options: Any) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from transformers.utils.logging import disable_progress_bar

    from litetext.segmenter import Segmenter

    inputs, lost = _inputs(options.images, options.video)
    folder = Path(options.output)
    _check_output(folder, inputs)
    for line in lost:
        _tell(line)
    phrases = list(dict.fromkeys(options.phrases))
    if not inputs:
        raise ValueError(f"none of {len(lost)} inputs can be read; the first: {lost[0]}")
    disable_progress_bar()
    segmenter = Segmenter(
        options.model,
        options.text_encoder,
        options.bank,
        options.threshold,
        chunk=options.chunk,
        device=options.device,
    )
    segmenter.hear(phrases)  # before the first image: an error about phrases is not one about images
    folder.mkdir(parents=True, exist_ok=True)
    results = _Results(segmenter, phrases, folder, options)
    done = 0
    # Lines go above the bar; what goes into a file or a pipe goes there as ever.
    shown = sys.stdout.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=shown,
    ) as progress:
        above = partial(console.print, soft_wrap=True, markup=False, highlight=False)
        if console.is_terminal and shown:
            results.say = above
        task = progress.add_task("segmenting", total=len(inputs))
        for item in inputs:
            progress.update(task, description=item.path.name[:40])
            failure = results.clip(item) if item.clip else results.image(item)
            if failure is None:
                done += 1
            else:
                lost.append(failure)
                _tell(failure, above if console.is_terminal else None)
            progress.advance(task)
    if not done:
        raise ValueError(f"none of {len(lost)} inputs can be read; the first: {lost[0]}")
    results.write()
    left = f"; {len(lost):,} left out" if lost else ""
    print(f"{done:,} of {done + len(lost):,} segmented{left}: {folder}")


class _Results:
    """Writes what is found, and keeps what goes into predictions.json."""

    def __init__(self, segmenter: Any, phrases: list[str], folder: Path, options: Any) -> None:
        self.segmenter, self.phrases, self.folder, self.fps = segmenter, phrases, folder, options.fps
        self.about = {key: options[key] for key in ("model", "text_encoder", "bank", "threshold")}
        self.categories = [{"id": n + 1, "name": phrase} for n, phrase in enumerate(phrases)]
        self.say: Callable[[str], None] = print
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def image(self, item: Input) -> str | None:
        """Segments an image; gives the reason if it cannot be read."""
        from litetext.data.pixels import to_rgb
        from litetext.metrics.matching import rle, rle_text, to_rle
        from litetext.overlays import overlay

        try:
            pixels = to_rgb(item.path)
        except ValueError as error:
            return str(error)
        number = len(self.images) + 1
        size = {"height": int(pixels.shape[1]), "width": int(pixels.shape[2])}
        self.images.append({"id": number, "file_name": str(item.path), **size, "overlay": f"{item.name}.png"})
        masks: list[dict[str, Any]] = []
        labels: list[str] = []
        told: list[str] = []
        for category, found in zip(self.categories, self.segmenter.stream(pixels, self.phrases), strict=True):
            parts = to_rle(found.masks)
            scores = found.scores.tolist()
            for mask, score, box in zip(parts, scores, found.boxes.tolist(), strict=True):
                entry = {"id": len(self.annotations) + 1, "image_id": number, "category_id": category["id"]}
                entry |= {"segmentation": rle_text(mask), "area": int(rle.area(mask)), "bbox": box, "iscrowd": 0}
                self.annotations.append({**entry, "score": score})
            masks += parts
            labels += [f"{found.phrase} {score:.2f}" for score in scores]
            told.append(f"{found.phrase}: {' '.join(f'{score:.2f}' for score in scores) or 'nothing'}")
        picture = overlay(pixels.permute(1, 2, 0).numpy(), masks, range(len(masks)), labels)
        _save(picture, self.folder / f"{item.name}.png")
        self.say(f"{item.path}  {'   '.join(told)}")
        return None

    def clip(self, item: Input) -> str | None:
        """Segments a clip; gives the reason if it cannot be read."""
        from litetext.data.videos.clips import Clip, write_clip
        from litetext.modules.results_files import replace_json

        try:
            clip = Clip(item.path, self.fps)
            found = self.segmenter.track(clip, self.phrases)
        except ValueError as error:
            return str(error)
        masklets = [
            {"id": 0, "category_id": category["id"], "phrase": category["name"], **entry}
            for category, entries in zip(self.categories, found, strict=True)
            for entry in entries
        ]
        for n, entry in enumerate(masklets):
            entry["id"] = n + 1
        file = write_clip(self.folder / item.name, self._painted(clip, masklets), clip.times)
        about = {"video": str(item.path), "overlay": file.name, "frames": len(clip), "fps": clip.rate}
        about["times"] = clip.times
        about |= {"height": clip.height, "width": clip.width, "info": self._info(), "categories": self.categories}
        replace_json(self.folder / f"{item.name}.json", {**about, "masklets": masklets})
        told = []
        for phrase, entries in zip(self.phrases, found, strict=True):
            scores = sorted((entry["score"] for entry in entries), reverse=True)
            told.append(f"{phrase}: {' '.join(f'{score:.2f}' for score in scores) or 'nothing'}")
        self.say(f"{item.path}  {len(clip):,} frames  {'   '.join(told)}")
        return None

    def _painted(self, clip: Any, masklets: list[dict[str, Any]]) -> Iterator[Any]:
        """The frames with what is seen in each; a masklet keeps its colour."""
        from litetext.overlays import overlay

        for t, frame in enumerate(clip):
            seen = [entry for entry in masklets if entry["segmentations"][t] is not None]
            masks = [entry["segmentations"][t] for entry in seen]
            labels = [f"{entry['phrase']} {entry['score']:.2f}" for entry in seen]
            yield overlay(frame.permute(1, 2, 0).numpy(), masks, [entry["id"] - 1 for entry in seen], labels)

    def write(self) -> None:
        """Writes predictions.json, if there were images."""
        from litetext.modules.results_files import replace_json

        if self.images:
            content = {"info": self._info(), "images": self.images, "annotations": self.annotations}
            replace_json(self.folder / f"{_PREDICTIONS}.json", {**content, "categories": self.categories})

    def _info(self) -> dict[str, Any]:
        from importlib.metadata import version

        return {"description": "litetext segment", "version": version("litetext"), **self.about}


def _inputs(images: Sequence[str], videos: Sequence[str]) -> tuple[list[Input], list[str]]:
    """What there is to segment, each once, with names that differ; and a line for what is not there."""
    import glob

    from litetext.data.pixels import IMAGE_FILES
    from litetext.data.videos.clips import is_clip
    from litetext.data.videos.frames import VIDEO_FILES

    known = (*IMAGE_FILES, *VIDEO_FILES)
    files: dict[Path, bool] = {}
    lost: list[str] = []
    for asked in images:
        path = Path(asked).expanduser()
        found = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
        inside = [
            file
            for place in found
            for file in (sorted(place.iterdir()) if place.is_dir() else [place])
            if file.is_file() and (file == path or file.suffix.lower() in known)
        ]
        if not inside:
            lost.append(f"{asked}: no such file, and no images there")
        files |= {file: is_clip(file) for file in inside if file not in files}
    files |= {Path(folder).expanduser(): True for folder in videos}
    taken = {_PREDICTIONS}
    inputs = []
    for path, clip in files.items():
        bare = path.resolve().name if path.is_dir() else path.stem
        name, number = bare, 2
        while name.lower() in taken:  # some file systems do not tell cases apart
            name, number = f"{bare}-{number}", number + 1
        taken.add(name.lower())
        inputs.append(Input(path, name, clip))
    return inputs, lost


def _check_output(folder: Path, inputs: Sequence[Input]) -> None:
    """Refuses an output folder in which a result would replace an input."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {folder} is a file; name a folder")
    given = {item.path.resolve() for item in inputs}
    for item in inputs:
        for kind in (".mp4", ".gif", ".json") if item.clip else (".png",):
            if (folder / f"{item.name}{kind}").resolve() in given:
                raise ValueError(f"--output {folder}: {item.name}{kind} is an input there; name another folder")


def _save(pixels: Any, path: Path) -> None:
    import os

    from PIL import Image

    draft = path.with_name(path.name + ".draft")
    try:
        Image.fromarray(pixels).save(draft, "PNG")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _tell(reason: str, say: Callable[[str], None] | None = None) -> None:
    (say or partial(print, file=sys.stderr))(f"litetext: left out: {' '.join(reason.split())}")
