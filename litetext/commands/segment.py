"""`litetext segment`: your own images and clips, for phrases of your own."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any


def run(argv: Sequence[str]) -> int:
    """Segments images and clips, writes pictures and JSON, and prints scores.

    Args:
        argv: Arguments after `segment`.

    Returns:
        The exit code: 0, or 1 if something that was asked for could not be read; errors are raised.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext segment",
        description="Segments what phrases name in images and videos. Writes to the output folder NAME.png for each "
        "image and predictions.json (COCO, with run-length masks and scores) for all; NAME.mp4 (NAME.gif without "
        "PyAV) and NAME.json with the masklets for each video. What cannot be read is left out with a line, and the "
        "exit code is then 1.",
        exit_on_error=False,
    )
    add = parser.add_argument
    add("images", type=str, nargs="*", metavar="IMAGE", help="Images, videos, folders of images, or patterns (*.jpg).")
    add("--phrases", type=str, nargs="+", required=True, metavar="PHRASE", help="What to look for: 'white dog' cup")
    add("--output", type=str, required=True, metavar="DIR", help="Folder of the results; made if need be.")
    add("--overwrite", action="store_true", help="Replace results that the folder holds of before.")
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
    add(
        "--nms",
        type=float,
        default=None,
        metavar="IOU",
        help="Of two masks of a phrase that overlap more, only the surer stays; by default, as in the official "
        "protocol, all do (in videos 0.5).",
    )
    add("--across_phrases", action="store_true", help="With --nms: no two phrases keep one object of an image either.")
    add("--max_per_phrase", type=int, default=None, metavar="N", help="Keep the N surest instances of each phrase.")
    add(
        "--tiles",
        type=int,
        nargs="?",
        const=-1,
        default=None,
        metavar="PIXELS",
        help="Take images that are larger apart to overlapping tiles of this side (by default the model's own), and "
        "join what their seams cut. Not for videos.",
    )
    add("--overlap", type=float, default=0.25, help="Part of a tile's side that its neighbour shares.")
    add("--polygons", action="store_true", help="Write predictions_polygons.json too: COCO with polygons.")
    add("--yolo", action="store_true", help="Write labels/NAME.txt (YOLO polygons) and data.yaml too.")
    add("--video", type=str, nargs="+", default=[], metavar="FOLDER", help="Folders whose images are a video's frames.")
    add(
        "--tracker",
        choices=["auto", "sam3", "links"],
        default="auto",
        help="What follows objects through videos: SAM3's own tracker, or links between the detections of each frame; "
        "auto takes SAM3's own where the model has one.",
    )
    add("--fps", type=float, default=None, help="Frames a second; by default the video's own times, 10 for a folder.")
    add("--device", type=str, default=None, help="Such as cpu or cuda:1; by default a GPU where there is one.")
    add("--chunk", type=int, default=16, metavar="N", help="Phrases at once; lower it if memory is short.")
    options = parser.parse_args(list(argv))
    if not options.images and not options.video:
        raise ValueError("there is nothing to segment; name images, videos, folders or patterns, before --phrases")
    if options.fps is not None and not 0 < options.fps <= 1000:
        raise ValueError(f"--fps is {options.fps}; choose a number of frames a second, up to 1000")
    return _segment(options)


def _segment(options: Any) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from transformers.utils.logging import disable_progress_bar

    from litetext.commands.segment_inputs import find_inputs
    from litetext.commands.segment_results import POLYGONS, PREDICTIONS, Results, check_output
    from litetext.models.sam3.tracking import describe
    from litetext.segmenter import Segmenter

    inputs, lost, passed = find_inputs(options.images, options.video, (PREDICTIONS, POLYGONS, "data"))
    folder = Path(options.output)
    others = check_output(folder, inputs, options)
    for line in passed:
        _note(line)
    for line in lost:
        _tell(line)
    if others:
        _note(others)
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
        nms=options.nms,
        across_phrases=options.across_phrases,
        max_per_phrase=options.max_per_phrase,
        tiles=True if options.tiles == -1 else options.tiles,
        overlap=options.overlap,
        tracker=options.tracker,
    )
    segmenter.hear(phrases)  # before the first image: an error about phrases is not one about images
    if cut := segmenter.cut(phrases):
        _note(
            f"{len(cut):,} of {len(phrases):,} phrases cut at {segmenter.context_length} tokens, "
            f"what comes after is not heard: {cut[0][:60]!r}"
        )
    if any(item.clip for item in inputs):
        segmenter.load_tracker()  # before the first clip, as with phrases
        _note(f"tracker: {describe(segmenter.tracking, options.model, options.tracker)}")
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(segmenter, phrases, folder, options)
    done = 0
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
                    _tell(failure, above if console.is_terminal else None)
                progress.advance(task)
    finally:
        results.write()  # what was done stays, also after Ctrl-C
    if not done:
        raise ValueError(f"none of {len(lost)} inputs can be read; the first: {lost[0]}")
    left = f"; {len(lost):,} left out" if lost else ""
    print(f"{done:,} of {done + len(lost):,} segmented{left}: {folder}")
    return 1 if lost else 0


def _tell(reason: str, say: Callable[[str], None] | None = None) -> None:
    _note(f"left out: {reason}", say)


def _note(line: str, say: Callable[[str], None] | None = None) -> None:
    (say or partial(print, file=sys.stderr))(f"litetext: {' '.join(line.split())}")
