"""Scores of `litetext test` with a student, as the hub reads them: `.eval_results/*.yaml`, and a card's model-index."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from litetext.saco.subsets import GOLD, SILVER, VEVAL_DOMAINS

FOLDER = ".eval_results"
_TEACHER = "teacher"
_BEFORE = "; of the student before this export"
_COLUMNS = ("CG_F1", "IL_MCC", "VL_MCC", "pmF1", "pHOTA", "TETA")


class Evaluated(NamedTuple):
    """The results of one text encoder.

    Attributes:
        name: What it is called in the evaluation.
        average: Columns on the paper's scales; None where one is not defined.
        subsets: The same by subset.
        iou: `segm` or `bbox`: what was compared.
        left_out: Pairs that should have counted and were left out.
        partial: Only a part of the data was scored, or something was left out.
        limited: A limit left a part of the data unasked.
        parameters: Of the text encoder; None where the file does not say.
        before: It is the student that was scored, and the export is not quite that.
        unofficial: What was otherwise than in the official protocol.
    """

    name: str
    average: Mapping[str, float | None]
    subsets: Mapping[str, Mapping[str, float | None]]
    iou: str
    left_out: int
    partial: bool
    limited: bool = False
    parameters: int | None = None
    before: bool = False
    unofficial: tuple[str, ...] = ()

    @property
    def dataset(self) -> str | None:
        """The data set's repository on the hub, if the names of all subsets say it and the protocol was its own."""
        if self.unofficial:
            return None
        names = set(self.subsets)
        if names == set(GOLD):
            return "facebook/SACo-Gold"
        if names and names <= set(SILVER):
            return "facebook/SACo-Silver"
        if names and all(re.fullmatch(rf"({'|'.join(VEVAL_DOMAINS)})_(test|val)", name) for name in names):
            return "facebook/SACo-VEval"
        return None

    @property
    def whole(self) -> bool:
        """Whether the average is over all of a benchmark: Gold, Silver, or a split of VEval in every domain."""
        splits = [{f"{domain}_{split}" for domain in VEVAL_DOMAINS} for split in ("test", "val")]
        return set(self.subsets) in [set(GOLD), set(SILVER), *splits]

    @property
    def note(self) -> str:
        """How the numbers came about."""
        what = "masks" if self.iou == "segm" else "boxes"
        rest = f"; partial: {self.left_out:,} pairs left out" if self.partial else ""
        rest += ", others unasked by a limit" if self.limited else ""
        rest += f"; not the official protocol: {', '.join(self.unofficial)}" if self.unofficial else ""
        return f"CG_F1 of {what}, litetext test{rest}{_BEFORE if self.before else ''}"


def read_evaluation(path: str | Path, name: str | None = None) -> Evaluated:
    """Reads a results.json of `litetext test`.

    Args:
        path: The file, or the run's folder that holds it.
        name: The text encoder; None where there is one beside the teacher.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no results.json, or it does not say which text encoder is meant.
    """
    path = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"--results {path}: no such file; give the results.json of a litetext test")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        encoders = content["encoders"]
        found = [key for key in encoders if key != _TEACHER]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--results {path} is no results.json of litetext test ({error!r})") from error
    if name is None and len(found) != 1:
        raise ValueError(
            f"--results {path} holds {', '.join(found) or 'the teacher alone'}; name the student with --results_of"
        )
    chosen = found[0] if name is None else name
    if chosen not in encoders:
        raise ValueError(f"--results_of {chosen} is not in {path} (there: {', '.join(encoders)})")
    entry = encoders[chosen]
    try:
        return Evaluated(
            chosen,
            {column: entry["average"][column] for column in _COLUMNS if column in entry["average"]},
            {subset: {c: row[c] for c in _COLUMNS if c in row} for subset, row in entry["subsets"].items()},
            entry["iou"],
            int(content.get("left_out", 0)),
            bool(content.get("partial", False)),
            bool(content.get("limited", False)),
            None if entry.get("text_parameters") is None else int(entry["text_parameters"]),
            unofficial=tuple(map(str, content.get("unofficial", ()))),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"--results {path}: the entry {chosen} is damaged ({error!r})") from error


def require_same_encoder(evaluated: Evaluated, checkpoint: str, parameters: Collection[int]) -> None:
    """Refuses scores of another text encoder, as far as its size tells.

    Args:
        evaluated: The scores.
        checkpoint: The student, for messages.
        parameters: What it has, and as it is exported.

    Raises:
        ValueError: The scored text encoder has another number of parameters.
    """
    if evaluated.parameters is not None and evaluated.parameters not in parameters:
        known = " or, exported, ".join(f"{count:,}" for count in dict.fromkeys(parameters))
        raise ValueError(
            f"--results are of another text encoder: {evaluated.name} has {evaluated.parameters:,} parameters there, "
            f"and {checkpoint} {known}; give the results of this student, or its name with --results_of"
        )


def write_evaluation(evaluated: Evaluated, folder: Path) -> Path | None:
    """Writes the hub's own form of results, where the data set has a repository on the hub.

    Args:
        evaluated: The results.
        folder: The export.

    Returns:
        The file: CG_F1 of each subset, and the average as the task `default` where it is of the whole benchmark; None
        where there is no such data set.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    if (dataset := evaluated.dataset) is None:
        return None
    rows = {**({"default": evaluated.average} if evaluated.whole else {}), **evaluated.subsets}
    entries = [
        EvalResultEntry(dataset_id=dataset, task_id=task, value=round(value, 4), notes=evaluated.note)
        for task, row in rows.items()
        if (value := row.get("CG_F1")) is not None
    ]
    path = folder / FOLDER / f"{dataset.rpartition('/')[2].lower().replace('-', '_')}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False), encoding="utf-8")
    return path


def model_index(evaluated: Evaluated) -> list[Any]:
    """The same numbers, and the other columns of the average, for a card's model-index."""
    from huggingface_hub import EvalResult

    where: dict[str, Any] = {
        "task_type": "mask-generation",
        "task_name": "promptable concept segmentation with a frozen SAM3",
        "dataset_type": evaluated.dataset or "local",
        "dataset_name": f"{evaluated.dataset or 'evaluation'}: {', '.join(evaluated.subsets)}"[:200],
    }
    rest = _BEFORE if evaluated.before else ""
    return [
        EvalResult(
            **where, metric_type=column.lower(), metric_name=f"{column}, average{rest}", metric_value=round(value, 4)
        )
        for column, value in evaluated.average.items()
        if value is not None
    ]


def table(evaluated: Evaluated) -> list[str]:
    """The numbers as a Markdown table, for the card."""
    columns = list(evaluated.average)
    rows = [("average", evaluated.average), *evaluated.subsets.items()]
    cells = [[name, *("" if row.get(c) is None else f"{row[c]:.3f}" for c in columns)] for name, row in rows]
    head = [["subset", *columns], ["---"] * (len(columns) + 1)]
    lines = ["| " + " | ".join(row) + " |" for row in [*head, *cells]]
    return [f"{evaluated.note} (as `{evaluated.name}`):", "", *lines]
