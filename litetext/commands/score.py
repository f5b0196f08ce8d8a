"""`litetext score`: the official SA-Co numbers of a predictions file of any system, of images or of videos."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from litetext.metrics.cgf1 import Counts, IouType


CURVES = ("TPs", "FPs", "FNs", "positive_micro_FPs", "pmF1_per_iou", "positive_macro_F1_per_iou")
"""What the official evaluator counts at each of ten thresholds, by the names of its counters."""


class Counted(NamedTuple):
    """What was counted in one subset.

    Attributes:
        counts: By kind, `segm` and `bbox`; a kind that the files do not hold is left out.
        notes: What is amiss in the files, one line a kind.
        left_out: Datapoints that should count and were left out.
    """

    counts: dict["IouType", "Counts"]
    notes: list[str]
    left_out: int

    def numbers(self) -> dict[str, dict[str, float]]:
        """By kind the 26 official numbers by their names, as fractions; -1 stands for undefined."""
        from litetext.metrics.cgf1 import official

        return {
            kind: {name.removeprefix(f"cgF1_eval_{kind}_"): value for name, value in official(counts, kind).items()}
            for kind, counts in self.counts.items()
        }


def count(gt: Sequence[str], predictions: str) -> Counted:
    """Matches one subset.

    Args:
        gt: Ground-truth files of one to three annotators, in the order a, b, c; plain or gzipped.
        predictions: A file in the COCO results layout, plain or gzipped: a mask (`segmentation`) and, for the box
            numbers, a `bbox` [x, y, width, height] normalised to 0..1 for each prediction.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be used, or more than three annotators are given.
    """
    from litetext.metrics.saco_check import check_files
    from litetext.metrics.saco_files import count_files, read_predictions
    from litetext.saco.images import read_annotator  # slow to import, and --help needs none of it

    if not 1 <= len(gt) <= 3:
        raise ValueError(f"--gt names {len(gt)} files; give those of one to three annotators of one subset")
    files = check_files([read_annotator(path) for path in gt], read_predictions(predictions))
    items = [item for group in files.predictions.values() for item in group]
    marks = [mark for a in files.annotators for group in a.annotations.values() for mark in group]
    notes: list[str] = list(files.notes)
    kinds: list[IouType] = []
    fields: tuple[tuple[IouType, str], ...] = (("segm", "segmentation"), ("bbox", "bbox"))
    for kind, key in fields:
        held = [bool(item.get(key)) for item in items]
        # A prediction without a mask matches nothing; one without a box would have to be guessed at.
        if not (all(held) if kind == "bbox" else any(held) or not held):
            notes.append(f"{kind} is left out: the predictions do not hold it")
        elif not all(key in mark for mark in marks):
            notes.append(f"{kind} is left out: the ground truth does not hold it")
        else:
            kinds.append(kind)
    if not kinds:
        raise ValueError(f"--predictions {predictions}: nothing to score; {'; '.join(notes)}")
    counts: dict[IouType, Counts] = {k: count_files(files.annotators, files.predictions, k) for k in kinds}
    return Counted(counts, notes, files.left_out)


def differences(counted: Counted, official: str, entry: str | None = None) -> dict[str, dict[str, float]]:
    """How far the numbers are from those of the official evaluator.

    Args:
        counted: From `count`.
        official: A JSON file: what `CGF1Evaluator.evaluate` of SAM 3 returns (26 numbers, `cgF1_eval_segm_cgF1` and so
            on), one kind or both in one mapping, or by kind. By kind it may also hold lists over the ten thresholds
            (`CURVES`).
        entry: The key in the file under which all that lies, if it does.

    Returns:
        By kind the largest absolute difference of each number and curve that the file holds, by its name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no such entry, or not one of the 26 numbers.
    """
    from litetext.metrics.cgf1 import official as named
    from litetext.metrics.cgf1 import per_threshold
    from litetext.saco.images import read_json

    content = read_json(official)
    if entry is not None:
        if not (isinstance(content, dict) and isinstance(content.get(entry), dict)):
            known = ", ".join(content) if isinstance(content, dict) else "none"
            raise ValueError(f"--entry {entry} is not in {official} (there: {known})")
        content = content[entry]
    found: dict[str, dict[str, float]] = {}
    for kind, counts in counted.counts.items():
        part = content.get(kind, content) if isinstance(content, dict) else {}
        theirs = {**part, **part.get("metrics", {})}
        ours: dict[str, Any] = dict(named(counts, kind))
        curves = per_threshold(counts)
        lists = [*counts.boxes[:4].tolist(), curves["positive_micro_F1"], curves["positive_macro_F1"]]
        ours |= dict(zip(CURVES, lists, strict=True))
        shared = {name: _distance(value, theirs[name]) for name, value in ours.items() if name in theirs}
        if any(name.startswith("cgF1_eval_") for name in shared):
            found[kind] = {name.removeprefix(f"cgF1_eval_{kind}_"): value for name, value in shared.items()}
    if not found:
        raise ValueError(
            f"--official {official} holds none of the official numbers (such as cgF1_eval_segm_cgF1); "
            "name the key under which they lie with --entry"
        )
    return found


def _distance(ours: Any, theirs: Any) -> float:
    pairs = zip(list(ours), theirs, strict=True) if isinstance(theirs, list) else [(ours, theirs)]
    return max(abs(float(a) - float(b)) for a, b in pairs)


def table(scores: dict[str, dict[str, float]]) -> str:
    """The numbers as text, one row a name, one column a kind."""
    names = next(iter(scores.values()))
    rows = [["", *scores], *([name, *(f"{numbers[name]:.4f}" for numbers in scores.values())] for name in names)]
    width = max(map(len, names))
    return "\n".join(f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def run(argv: Sequence[str]) -> int:
    """Scores, prints a table, and writes JSON where asked.

    Args:
        argv: Arguments after `score`.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser

    from litetext.saco.videos import is_video_file

    parser = ArgumentParser(
        prog="litetext score",
        description="Scores a predictions file in the official SA-Co layout. Ground truth of Gold, Silver and the like "
        "gives the 26 official numbers (CG_F1, IL_MCC, pmF1, ...) of masks and boxes, that of VEval the official video "
        "numbers (CG_F1, VL_MCC, pHOTA, TETA, ...), of the data set and of each pair.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--gt",
        type=str,
        nargs="+",
        required=True,
        metavar="FILE",
        help="Ground truth of one subset: the files of one to three annotators, or one VEval file; plain or .gz.",
    )
    parser.add_argument(
        "--predictions",
        type=str,
        required=True,
        metavar="FILE",
        help="Predictions, plain or .gz: COCO results (boxes normalised to 0..1), or a list of tracks (in pixels).",
    )
    parser.add_argument(
        "--output", type=str, default=None, metavar="FILE", help="Also write the numbers to this JSON file."
    )
    parser.add_argument(
        "--official",
        type=str,
        default=None,
        metavar="FILE",
        help="Also print the largest difference from the official evaluator's numbers in this JSON file.",
    )
    parser.add_argument(
        "--entry", type=str, default=None, metavar="KEY", help="Where in the --official file the numbers lie."
    )
    options = parser.parse_args(list(argv))
    if options.entry is not None and options.official is None:
        raise ValueError("--entry names a part of the --official file; give both")
    if any(is_video_file(path) for path in options.gt):
        return _run_videos(options.gt, options.predictions, options.output, options.official, options.entry)
    counted = count(options.gt, options.predictions)
    scores: dict[str, Any] = counted.numbers()
    print(table(scores))
    for note in counted.notes:
        print(note)
    if counted.left_out:
        print(f"partial: {counted.left_out:,} datapoints were left out")
        scores |= {"partial": True, "left_out": counted.left_out}
    if options.official is not None:
        for kind, values in differences(counted, options.official, options.entry).items():
            curves = [name for name in values if name in CURVES]
            told = ", ".join(
                f"{max(values[name] for name in part):.2g} over {len(part)} {what}"
                for part, what in (([n for n in values if n not in CURVES], "numbers"), (curves, "lists by threshold"))
                if part
            )
            print(f"{kind}: largest difference from the official evaluator {told}")
    if options.output is not None:
        Path(options.output).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return 0


def _run_videos(
    gt: Sequence[str], predictions: str, output: str | None, official: str | None, entry: str | None
) -> int:
    from litetext.metrics.veval_files import KINDS, score_video_files
    from litetext.saco.images import read_json

    if len(gt) != 1:
        raise ValueError(f"--gt names {len(gt)} files; videos have one annotator: give one VEval file")
    scores = score_video_files(gt[0], predictions)
    numbers: dict[str, float] = scores["dataset_results"]
    kinds = list(KINDS.values())
    names = [name.removeprefix("video_mask_") for name in numbers if name.startswith("video_mask_")]
    width = max(map(len, names))
    print(f"{'':<{width}}" + "".join(f"{kind:>10}" for kind in kinds))
    for name in names:
        values = [numbers.get(f"video_{kind}_{name}") for kind in kinds]
        print(f"{name:<{width}}" + "".join(f"{'' if value is None else f'{value:.4f}':>10}" for value in values))
    if official is not None:
        content = read_json(official)
        theirs = content.get(entry or "dataset_results", content) if isinstance(content, dict) else {}
        shared = {name: abs(value - theirs[name]) for name, value in numbers.items() if name in theirs}
        if not shared:
            raise ValueError(
                f"--official {official} holds none of the official numbers (such as {next(iter(numbers))}); "
                "name the key under which they lie with --entry"
            )
        for kind in kinds:
            own = [value for name, value in shared.items() if name.startswith(f"video_{kind}_")]
            if own:
                print(f"{kind}: largest difference from the official evaluator {max(own):.2g} over {len(own)} numbers")
    if output is not None:
        Path(output).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return 0
