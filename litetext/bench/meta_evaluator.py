"""The image metrics from files to numbers: ours against Meta's own evaluator, of which the user brings the file."""

import importlib.util
import io
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from litetext.bench.metrics import make_case
from litetext.bench.timing import Timings
from litetext.metrics.assess import IouType, assess
from litetext.metrics.counts import tally
from litetext.metrics.saco_files import count_files, read_predictions, score_files
from litetext.metrics.saco_files import datapoints as datapoints_of
from litetext.saco.images import read_annotator
from litetext.saco.instances import Instances, Truth


def bench_meta_evaluator(
    evaluator: str,
    datapoints: int = 2_000,
    size: int = 256,
    annotators: int = 3,
    iou_type: IouType = "segm",
    seed: int = 0,
    rounds: int = 3,
) -> dict[str, Any]:
    """Time both from the JSON files of ground truth and predictions to the 26 numbers, in turn in one process.

    Reading is in both times, and in ours the checks of everything that is read: Meta's evaluator has none. Its own
    `evaluate` begins where it holds the ground truth, and reads the predictions; ours from there on is timed beside it.

    Args:
        evaluator: `sam3/eval/cgf1_eval.py` of facebookresearch/sam3. It is run as it is; it needs numpy, pycocotools,
            scipy and tqdm.
        datapoints: Number of pairs (image, phrase); a third of them are negatives.
        size: Height and width of the masks in pixels.
        annotators: Annotators per datapoint.
        iou_type: "segm" or "bbox".
        seed: Seed of the generator.
        rounds: Rounds, both in turn; medians count.

    Returns:
        Microseconds of processor time per datapoint of both, from the files and from the ground truth in memory (there
        with the time of our counting alone, where the predictions are read too), ratios of both, and the largest
        difference of a number.

    Raises:
        ValueError: The file is not there, or is not that evaluator.
    """
    theirs = _read(evaluator)
    found, truths = make_case(datapoints, size, annotators, seed)
    timings, ours, official = Timings(time.process_time), {}, {}  # neither has threads; others do not count
    with tempfile.TemporaryDirectory() as folder:
        marked, predicted = write_case(Path(folder), found, truths, size)

        for _ in range(rounds):
            with redirect_stdout(io.StringIO()):
                official = timings.run("meta", lambda: theirs(marked, iou_type).evaluate(predicted))
                held = theirs(marked, iou_type)
                timings.run("meta_evaluate", lambda held=held: held.evaluate(predicted))
            ours = timings.run("files", lambda: score_files(marked, predicted, iou_type))
            read = [read_annotator(path) for path in marked]
            timings.run("evaluate", lambda read=read: count_files(read, read_predictions(predicted), iou_type))
            _, answers, marks = datapoints_of(read, read_predictions(predicted), iou_type)
            timings.run("count", lambda answers=answers, marks=marks: tally(assess(answers, marks, iou_type)))
    names = ("files", "meta", "evaluate", "meta_evaluate", "count")
    return {
        **{f"{name}_us_per_datapoint": timings.median(name, 1e6 / datapoints) for name in names},
        "speedup_files": timings.ratio("meta", "files"),
        "speedup_evaluate": timings.ratio("meta_evaluate", "evaluate"),
        "speedup_count": timings.ratio("meta_evaluate", "count"),
        "largest_difference_meta": max(abs(ours[name] - official[name]) for name in ours),
    }


def write_case(
    folder: Path, found: Sequence[Instances], truths: Sequence[Sequence[Truth]], size: int
) -> tuple[list[str], str]:
    """A case as SA-Co's files.

    Args:
        folder: Where they are written.
        found: Predictions of each datapoint.
        truths: Each datapoint's annotators.
        size: Height and width of the images.

    Returns:
        Paths of the annotators' files, and of the predictions.
    """
    images = [
        {
            "id": n,
            "text_input": "object",
            "file_name": f"{n}.jpg",
            "height": size,
            "width": size,
            "is_instance_exhaustive": 1,
        }
        for n in range(len(found))
    ]
    marked = []
    for a in range(len(truths[0])):
        items = [
            {"image_id": n, "category_id": 1, "segmentation": mask, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, part in enumerate(truths)
            for mask, box in zip(part[a].masks, part[a].boxes, strict=True)
        ]
        annotations = [{"id": n, **item} for n, item in enumerate(items, 1)]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
        marked.append(_write(folder / f"annotator_{a}.json", content))
    predictions = [
        {"image_id": n, "category_id": 1, "segmentation": mask, "bbox": box, "score": score}
        for n, one in enumerate(found)
        for mask, box, score in zip(one.masks, one.boxes, one.scores.tolist(), strict=True)
    ]
    return marked, _write(folder / "predictions.json", predictions)


def _write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def _read(evaluator: str) -> Callable[..., Any]:
    if not Path(evaluator).is_file():
        raise ValueError(
            f"no such file: {evaluator}; --meta-evaluator is sam3/eval/cgf1_eval.py of facebookresearch/sam3"
        )
    spec = importlib.util.spec_from_file_location("meta_evaluator", evaluator)
    if spec is None or spec.loader is None:
        raise ValueError(f"{evaluator} is no Python file; give sam3/eval/cgf1_eval.py of facebookresearch/sam3")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.CGF1Evaluator
    except (ImportError, SyntaxError, AttributeError) as error:
        raise ValueError(
            f"{evaluator} is not Meta's evaluator, or what it needs is missing ({error}); give "
            "sam3/eval/cgf1_eval.py of facebookresearch/sam3"
        ) from error
