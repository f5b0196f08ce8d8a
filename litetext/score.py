"""`litetext score`: the official SA-Co image numbers of a predictions file of any system."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litetext.metrics.cgf1 import IouType


def score(gt: Sequence[str], predictions: str) -> dict[str, dict[str, float]]:
    """Scores one subset.

    Args:
        gt: Ground-truth files of one to three annotators, in the order a, b, c; plain or gzipped.
        predictions: A file in the COCO results layout, plain or gzipped: a mask (`segmentation`) and, for the box
            numbers, a `bbox` [x, y, width, height] normalised to 0..1 for each prediction.

    Returns:
        `segm` and `bbox`, each the 26 official numbers by their names, as fractions; -1 stands for undefined. A kind
        that the predictions do not hold is left out.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file cannot be used, or more than three annotators are given.
    """
    from litetext.annotations import read_annotator  # slow to import, and --help needs none of it
    from litetext.metrics.cgf1 import official
    from litetext.metrics.saco_files import count_files, read_predictions

    if not 1 <= len(gt) <= 3:
        raise ValueError(f"--gt names {len(gt)} files; give those of one to three annotators of one subset")
    annotators = [read_annotator(path) for path in gt]
    found = read_predictions(predictions)
    items = [item for group in found.values() for item in group]
    kinds: list[IouType] = []
    if not items or any(item.get("segmentation") for item in items):
        kinds.append("segm")
    if not items or all(item.get("bbox") for item in items):
        kinds.append("bbox")
    if not kinds:
        raise ValueError(f"--predictions {predictions}: no prediction has a segmentation, and not every one has a bbox")
    scores = {}
    for kind in kinds:
        numbers = official(count_files(annotators, found, kind), kind)
        scores[kind] = {name.removeprefix(f"cgF1_eval_{kind}_"): value for name, value in numbers.items()}
    return scores


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

    parser = ArgumentParser(
        prog="litetext score",
        description="Scores a predictions file in the official SA-Co layout: CG_F1, IL_MCC, all 26 official numbers.",
        exit_on_error=False,
    )
    parser.add_argument(
        "--gt",
        type=str,
        nargs="+",
        required=True,
        metavar="FILE",
        help="Ground truth of one subset: the files of one to three annotators, plain or .gz.",
    )
    parser.add_argument(
        "--predictions",
        type=str,
        required=True,
        metavar="FILE",
        help="Predictions as a COCO results list, plain or .gz; boxes normalised to 0..1.",
    )
    parser.add_argument(
        "--output", type=str, default=None, metavar="FILE", help="Also write the numbers to this JSON file."
    )
    options = parser.parse_args(list(argv))
    scores = score(options.gt, options.predictions)
    print(table(scores))
    missing = {"segm": "segmentation", "bbox": "bbox"}.keys() - scores.keys()
    for kind in sorted(missing):
        print(f"{kind} is left out: the predictions do not hold it")
    if options.output is not None:
        Path(options.output).write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    return 0
