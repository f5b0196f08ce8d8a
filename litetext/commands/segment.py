"""`litetext segment`: your own images and clips, for phrases of your own."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from litetext.commands.parsing import renamed
from litetext.commands.startup import importing

if TYPE_CHECKING:
    from litetext.commands.segment_inputs import Input
    from litetext.commands.segment_results import Results


@renamed(model="sam3")
def segment(
    images: tuple[str, ...] = (),
    /,
    *,
    phrases: list[str],
    output: str,
    overwrite: bool = False,
    sam3: str | None = None,
    text_encoder: str | None = None,
    bank: str | None = None,
    threshold: float = 0.5,
    nms: float | None = None,
    across_phrases: bool = False,
    max_per_phrase: int | None = None,
    tiles: int | bool | None = None,
    overlap: float = 0.25,
    polygons: bool = False,
    yolo: bool = False,
    video: tuple[str, ...] = (),
    tracker: Literal["auto", "sam3", "links"] = "auto",
    fps: float | None = None,
    device: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    chunk: int = 16,
) -> int:
    """Segments what phrases name in images and videos.

    Writes to the output folder NAME.png for each image and predictions.json (COCO, with run-length masks and scores)
    for all; NAME.mp4 (NAME.gif without PyAV) and NAME.json with the masklets for each video. What cannot be read is
    left out with a line, and the exit code is then 1. The same command continues an interrupted run.

    Args:
        images: Images, videos, folders of images, or patterns (*.jpg).
        phrases: What to look for: 'white dog' cup
        output: Folder of the results; made if need be.
        overwrite: Replace earlier results in the folder.
        sam3: A SAM3 in transformers' layout: a folder or a hub id (facebook/sam3); nouns and shapes are short for the
            shipped ones. By default the one of both that reads the text encoder, or shapes where all
            phrases are about coloured shapes, and nouns otherwise.
        text_encoder: A student's, or a phrase bank; by default the model's own.
        bank: A phrase bank of litetext predict --config prompt_bank.yaml, in place of a text encoder.
        threshold: Minimum score of an instance.
        nms: Of two masks of a phrase whose IoU is larger, only the one with the higher score stays; by default, as in
            the official protocol, both do (in videos 0.5).
        across_phrases: With --nms: no two phrases keep one object of an image either.
        max_per_phrase: Keep the N instances of each phrase with the highest scores.
        tiles: Take images that are larger apart to overlapping tiles of this side in pixels (without a number the
            model's own), and join what their seams cut. Not for videos.
        overlap: Part of a tile's side that its neighbour shares.
        polygons: Write predictions_polygons.json too: COCO with polygons.
        yolo: Write labels/NAME.txt (YOLO polygons) and data.yaml too.
        video: Folders whose images are a video's frames.
        tracker: What follows objects through videos: SAM3's own tracker, or links between the detections of each
            frame; auto takes SAM3's own where the model has one.
        fps: Frames a second; by default the video's own times, 10 for a folder.
        device: Such as cpu, cuda:1 or mps; by default a GPU (CUDA, else Apple's) where there is one.
        dtype: Type of the segmenter's weights and computation; auto is bfloat16 on a GPU that computes in it, and
            float32 elsewhere.
        chunk: Phrases at once; lower it if memory is short.

    Returns:
        The exit code: 0, or 1 if something that was asked for could not be read.

    Raises:
        FileNotFoundError: If a model does not exist.
        ValueError: If nothing can be read, an option is out of its range, or a result would replace another file.
    """
    if not images and not video:
        raise ValueError("there is nothing to segment; name images, videos, folders or patterns, before --phrases")
    if fps is not None and not 0 < fps <= 1000:
        raise ValueError(f"--fps is {fps}; choose a number of frames a second, up to 1000")

    with importing():  # slow to import, and --help needs none of it
        from litetext.commands.segment_inputs import find_inputs
        from litetext.commands.segment_partial import PartialResults, run_key
        from litetext.commands.segment_results import POLYGONS, PREDICTIONS, Formats, Results, check_output
        from litetext.models.sam3.tracking import describe
        from litetext.segmenter import Segmenter

    inputs, lost, passed = find_inputs(images, video, (PREDICTIONS, POLYGONS, "data"))
    folder, formats = Path(output), Formats(polygons, yolo, fps)
    unfinished = PartialResults(folder, overwrite)
    others = check_output(folder, inputs, formats, overwrite, unfinished.done)
    for line in passed:
        _note(line)
    for line in lost:
        _warn(line)
    if others:
        _note(others)
    phrases = list(dict.fromkeys(phrases))
    if not inputs:
        raise ValueError(f"none of {len(lost)} inputs can be read; the first: {lost[0]}")
    named, sam3 = sam3, sam3 or _default_sam3(phrases, text_encoder or bank)
    segmenter = Segmenter(
        sam3,
        text_encoder,
        bank,
        threshold,
        chunk=chunk,
        device=device,
        dtype=dtype,
        nms=nms,
        across_phrases=across_phrases,
        max_per_phrase=max_per_phrase,
        tiles=tiles,
        overlap=overlap,
        tracker=tracker,
    )
    segmenter.note = _note
    segmenter.encode(phrases)  # before the first image: an error about phrases is not one about images
    if any(item.clip for item in inputs):
        segmenter.load_tracker()  # before the first clip, as with phrases
        _note(f"tracker: {describe(segmenter.tracking, sam3, tracker)}")
    folder.mkdir(parents=True, exist_ok=True)
    about = {"model": sam3, "text_encoder": text_encoder, "bank": bank, "threshold": threshold, "nms": nms}
    about |= {"across_phrases": across_phrases, "max_per_phrase": max_per_phrase, "overlap": overlap}
    results = Results(segmenter, phrases, folder, formats, about, unfinished)
    unfinished.begin(run_key(segmenter, phrases, results.about | {"fps": fps, "tracker": segmenter.tracking}), about)
    if named is None:
        _note(f"SAM3: {sam3}, which ships with litetext and knows its drawn world alone; --sam3 takes another one")
    done = _write_all(results, inputs, lost)
    if results.kept:
        _note(f"{results.kept:,} of {done:,} were done before an interruption, and kept")
    left = f"; {len(lost):,} left out" if lost else ""
    print(f"{done:,} of {done + len(lost):,} segmented{left}: {folder}")
    return 1 if lost else 0


def _write_all(results: "Results", inputs: Sequence["Input"], lost: list[str]) -> int:
    """Segments all inputs behind a progress bar; gives how many were, and adds the others to `lost`."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    done = met = 0
    # Lines go above the bar; what goes into a file or a pipe goes there as ever.
    shown = sys.stdout.isatty()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    try:
        with Progress(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            redirect_stdout=shown,
        ) as progress:
            above = partial(console.print, soft_wrap=True, markup=False, highlight=False)
            if console.is_terminal and shown:
                results.say = results.note = above
            task = progress.add_task("segmenting", total=len(inputs))
            for item in inputs:
                progress.update(task, description=item.path.name[:40])
                failure = results.clip(item) if item.clip else results.image(item)
                if failure is None:
                    done += 1
                else:
                    lost.append(failure)
                    _warn(failure, above if console.is_terminal else None)
                met += 1
                progress.advance(task)
    except KeyboardInterrupt:
        _note(f"{done:,} of {len(inputs):,} are segmented, and kept; the same command goes on from there")
        raise
    finally:
        results.write(whole=met == len(inputs))  # what was done stays, also after Ctrl-C
    if not done:
        raise ValueError(f"none of {len(lost)} inputs can be read; the first: {lost[0]}")
    return done


def _warn(reason: str, say: Callable[[str], None] | None = None) -> None:
    _note(f"left out: {reason}", say)


def _default_sam3(phrases: Sequence[str], encoder: str | None) -> str:
    """The shipped SAM3 that reads a text encoder's features, or else the one that knows what the phrases name."""
    from litetext.data.shapes.phrases import about_shapes
    from litetext.models.text.loading import load_text_encoder
    from litetext.shipped import BY_WIDTH, SHORT

    fitting = None if encoder is None else BY_WIDTH.get(load_text_encoder(encoder).width)
    return fitting or SHORT["shapes" if about_shapes(phrases) else "nouns"]


def _note(line: str, say: Callable[[str], None] | None = None) -> None:
    (say or partial(print, file=sys.stderr))(f"litetext: {' '.join(line.split())}")
