"""`litetext score`: the official SA-Co numbers of a predictions file of any system, of images or of videos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from litetext.saco.fields import shown

if TYPE_CHECKING:
    from litetext.metrics.assess import IouType
    from litetext.metrics.counts import Counts


Layout = Literal["saco", "coco", "gemini", "dino-x", "youtube-vis"]
"""How predictions are written."""

CURVES = ("TPs", "FPs", "FNs", "positive_micro_FPs", "pmF1_per_iou", "positive_macro_F1_per_iou")
"""What the official evaluator counts at each of ten thresholds, by the names of its counters."""

WRITTEN_BY = "litetext score"
"""How the command knows a file of its own, which it may replace."""


class Counted(NamedTuple):
    """What was counted in one subset.

    Attributes:
        counts: By kind, `segm` and `bbox`; a kind that the files do not hold, or that cannot be compared, is left out.
        notes: What is wrong in the files, one line a kind.
        left_out: Datapoints that should count and were left out.
    """

    counts: dict["IouType", "Counts"]
    notes: list[str]
    left_out: int

    def numbers(self) -> dict[str, dict[str, float | None]]:
        """By kind the 26 official numbers by their names, as fractions; -1 stands for undefined.

        Where no datapoint that counts holds an instance, only IL_FPR is a number: negatives alone give no score.
        """
        from litetext.metrics.counts import official

        found: dict[str, dict[str, float | None]] = {}
        for kind, counts in self.counts.items():
            numbers = official(counts, kind)
            kept = None if positives(counts) else f"cgF1_eval_{kind}_IL_FPR"
            found[kind] = {
                name.removeprefix(f"cgF1_eval_{kind}_"): value if kept in (None, name) else None
                for name, value in numbers.items()
            }
        return found


def positives(counts: "Counts") -> int:
    """Datapoints that hold an instance."""
    return int(counts.images[0] + counts.images[3])


def count(gt: Sequence[str], predictions: str, allow_unknown: bool = False, layout: Layout = "saco") -> Counted:
    """Matches one subset.

    Args:
        gt: Ground-truth files of one to three annotators, in the order a, b, c; plain or gzipped.
        predictions: A file in the COCO results layout, plain or gzipped: a mask (`segmentation`) and, for the box
            numbers, a `bbox` [x, y, width, height] normalised to 0..1 for each prediction.
        allow_unknown: Whether a quarter or more of the predictions may belong to nothing in the ground truth.
        layout: How the predictions are written, if otherwise; see `litetext.metrics.other_results`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be used, or more than three annotators are given.
    """
    from litetext.metrics.other_results import read_results
    from litetext.metrics.saco_check import check_files
    from litetext.metrics.saco_files import count_files
    from litetext.saco.images import read_annotator  # slow to import, and --help needs none of it

    if not 1 <= len(gt) <= 3:
        raise ValueError(f"--gt names {len(gt)} files; give those of one to three annotators of one subset")
    annotators = [read_annotator(path) for path in gt]
    read = read_results(predictions, layout, annotators, allow_unknown)
    files = check_files(annotators, read.predictions, predictions, allow_unknown)
    kinds, notes = files.kinds, [*read.notes, *files.notes]
    if not kinds:
        raise ValueError(f"--predictions {predictions}: nothing to score; {'; '.join(notes)}")
    if not any(read.predictions.values()):
        notes.append(f"{predictions} holds no prediction: nothing was found anywhere")
    counts: dict[IouType, Counts] = {k: count_files(files.annotators, files.predictions, k) for k in kinds}
    images = counts[kinds[0]].images
    if not images[0] + images[3]:
        notes.append("no datapoint that counts holds an instance: negatives alone give no score but IL_FPR")
    elif not images[1] + images[2]:
        notes.append("every datapoint that counts holds an instance: without negatives IL_MCC and cgF1 are 0")
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
    from litetext.metrics.counts import official as named
    from litetext.metrics.counts import per_threshold
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
        inner = part.get("metrics", {}) if isinstance(part, dict) else {}
        theirs = {**part, **inner} if isinstance(part, dict) and isinstance(inner, dict) else {}
        ours: dict[str, Any] = dict(named(counts, kind))
        curves = per_threshold(counts)
        lists = [*counts.boxes[:4].tolist(), curves["positive_micro_F1"], curves["positive_macro_F1"]]
        ours |= dict(zip(CURVES, lists, strict=True))
        shared = {name: _distance(value, theirs[name], official) for name, value in ours.items() if name in theirs}
        if any(name.startswith("cgF1_eval_") for name in shared):
            found[kind] = {name.removeprefix(f"cgF1_eval_{kind}_"): value for name, value in shared.items()}
    if not found:
        raise ValueError(
            f"--official {official} holds none of the official numbers (such as cgF1_eval_segm_cgF1); "
            "name the key under which they lie with --entry"
        )
    return found


def _distance(ours: Any, theirs: Any, where: str) -> float:
    try:
        pairs = zip(list(ours), theirs, strict=True) if isinstance(theirs, list) else [(ours, theirs)]
        return max(abs(float(a) - float(b)) for a, b in pairs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"--official {where} holds {shown(theirs)} where {shown(ours)} is ours ({error})") from error


def table(scores: Mapping[str, Mapping[str, float | None]]) -> str:
    """The numbers as text, one row a name, one column a kind; what was not measured is left empty."""
    names = list(dict.fromkeys(name for numbers in scores.values() for name in numbers))
    rows = [["", *scores], *([name, *(_cell(numbers.get(name)) for numbers in scores.values())] for name in names)]
    width = max(map(len, names))
    return "\n".join(f"{row[0]:<{width}}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def score(
    *,
    gt: list[str],
    predictions: str,
    predictions_format: Layout = "saco",
    output: str | None = None,
    overwrite: bool = False,
    official: str | None = None,
    entry: str | None = None,
    allow_unknown: bool = False,
) -> None:
    """Scores a predictions file in the official SA-Co layout, and prints a table.

    Ground truth of Gold, Silver and the like gives the 26 official numbers (CG_F1, IL_MCC, pmF1, ...) of masks and
    boxes, that of VEval the official video numbers (CG_F1, VL_MCC, pHOTA, TETA, ...), of the data set and of each pair.

    Args:
        gt: Ground truth of one subset: the files of one to three annotators, or one VEval file; plain or .gz.
        predictions: Predictions, plain or .gz: COCO results (boxes normalised to 0..1), or a list of tracks (in
            pixels).
        predictions_format: Other layouts: coco (results with boxes in pixels), gemini and dino-x (answers by datapoint
            id or image file name: a JSON mapping or a folder of files), youtube-vis (tracks with masks alone).
        output: Also write the numbers to this JSON file.
        overwrite: Replace an --output file that is not from this command.
        official: Also print the largest difference from the official evaluator's numbers in this JSON file.
        entry: Where in the --official file the numbers lie.
        allow_unknown: Score also where a quarter or more of the predictions name ids or categories that the ground
            truth does not hold, say where it is a part of the data set.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be used, or --output would replace what is not from this command.
    """
    from litetext.files import write_json
    from litetext.saco.videos import is_video_file

    if entry is not None and official is None:
        raise ValueError("--entry names a part of the --official file; give both")
    inputs = [*gt, predictions, *([official] if official is not None else [])]
    if output is not None:
        _check_output(Path(output), inputs, overwrite)
    of_kind = _score_videos if any(is_video_file(path) for path in gt) else _score_images
    scores = of_kind(gt, predictions, official, entry, allow_unknown, predictions_format)
    if output is not None:
        write_json(output, scores)


def _check_output(output: Path, inputs: Sequence[str], overwrite: bool) -> None:
    """Refuses to write over an input, or over anything else without being told, before any work is done."""
    if output.is_dir():
        raise ValueError(f"--output {output} is a folder; give the name of a file")
    for path in inputs:
        if output.exists() and Path(path).exists() and output.samefile(path):
            raise ValueError(f"--output {output} is the input {path}; give another name")
    if output.exists() and not overwrite and not _ours(output):
        raise ValueError(
            f"--output {output} is there already, and not from this command; give another name, or --overwrite to "
            "replace it"
        )


def _ours(path: Path) -> bool:
    from litetext.saco.images import read_json

    try:
        content = read_json(path)
    except (ValueError, OSError):
        return False
    return isinstance(content, dict) and content.get("written_by") == WRITTEN_BY


def _score_images(
    gt: Sequence[str], predictions: str, official: str | None, entry: str | None, allow_unknown: bool, layout: Layout
) -> dict[str, Any]:
    """Prints the numbers of images; gives what --output holds."""
    counted = count(gt, predictions, allow_unknown, layout)
    numbers = counted.numbers()
    print(table(numbers))
    for note in counted.notes:
        print(note)
    if official is not None:
        for kind, values in differences(counted, official, entry).items():
            curves = [name for name in values if name in CURVES]
            shown = ", ".join(
                f"{max(values[name] for name in part):.2g} over {len(part)} {what}"
                for part, what in (([n for n in values if n not in CURVES], "numbers"), (curves, "lists by threshold"))
                if part
            )
            print(f"{kind}: largest difference from the official evaluator {shown}")
    return {
        **{kind: numbers.get(kind) for kind in ("segm", "bbox")},
        **_about(counted.notes, counted.left_out, "datapoints"),
    }


def _about(notes: Sequence[str], left_out: int, what: str) -> dict[str, Any]:
    """What the output says beside the numbers."""
    if left_out:
        print(f"partial: {left_out:,} {what} were left out")
    return {"notes": list(notes), "partial": bool(left_out), "left_out": left_out, "written_by": WRITTEN_BY}


def _score_videos(
    gt: Sequence[str], predictions: str, official: str | None, entry: str | None, allow_unknown: bool, layout: Layout
) -> dict[str, Any]:
    """Prints the numbers of videos; gives what --output holds."""
    from litetext.metrics.veval_files import score_video_files
    from litetext.metrics.video import KINDS
    from litetext.saco.images import read_json

    if len(gt) != 1:
        raise ValueError(f"--gt names {len(gt)} files; videos have one annotator: give one VEval file")
    if layout not in ("saco", "youtube-vis"):
        raise ValueError(f"--predictions_format {layout} is of images, and --gt is of videos; theirs is youtube-vis")
    scores = score_video_files(gt[0], predictions, allow_unknown, layout == "youtube-vis")
    numbers: dict[str, float | None] = scores["dataset_results"]
    kinds = list(KINDS.values())
    print(
        table(
            {
                kind: {
                    name.removeprefix(f"video_{kind}_"): value
                    for name, value in numbers.items()
                    if name.startswith(f"video_{kind}_")
                }
                for kind in kinds
            }
        )
    )
    for note in scores["notes"]:
        print(note)
    if official is not None:
        content = read_json(official)
        theirs = content.get(entry or "dataset_results", content) if isinstance(content, dict) else {}
        shared = {
            name: _distance(value, theirs[name], official)
            for name, value in numbers.items()
            if value is not None and isinstance(theirs, dict) and name in theirs
        }
        if not shared:
            raise ValueError(
                f"--official {official} holds none of the official numbers (such as {next(iter(numbers))}); "
                "name the key under which they lie with --entry"
            )
        for kind in kinds:
            own = [value for name, value in shared.items() if name.startswith(f"video_{kind}_")]
            if own:
                print(f"{kind}: largest difference from the official evaluator {max(own):.2g} over {len(own)} numbers")
    about = _about(scores.pop("notes"), scores.pop("left_out"), "pairs")
    return {**scores, **about}
