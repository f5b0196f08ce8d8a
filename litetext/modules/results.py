"""The results of an evaluation: per subset, averaged, with the retention against the teacher; as JSON and as text."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

Scores = Mapping[str, float | None]
BySubset = Mapping[str, Scores]


def summarize(
    scores: Mapping[str, BySubset],
    text_parameters: Mapping[str, int],
    teacher: str,
    boxes: Mapping[str, BySubset] | None = None,
    detectors: Mapping[str, int] | None = None,
    beside: Collection[str] = (),
) -> dict[str, Any]:
    """What `results.json` says.

    Args:
        scores: By text encoder, by subset: the columns on the paper's scales (CG_F1 and pmF1 in percent), of
            masks. None is what was not measured, see `defined`.
        text_parameters: Parameters of each text encoder, and of each detector's text part.
        teacher: The encoder that retention is measured against, if it is among them.
        boxes: The same as `scores`, of boxes, for all that was scored. What lacks masks somewhere goes by boxes.
        detectors: All parameters of each detector. Retention is not defined for them.
        beside: Subsets that are reported, but not averaged with the others: another domain, say.

    Returns:
        `encoders.NAME` with `iou` ("segm" or "bbox": what the next two compare), `average` (unweighted mean of each
        column over the subsets that have it, None where none has; and `retention`: the average CG_F1 over the teacher's
        on the same subsets, None without a teacher or if the teacher's is not positive), `subsets` and
        `text_parameters`; `bbox` with `average` and `subsets` of boxes beside those of masks; `parameters` of a
        detector. `beside` names the subsets that no average holds, if there are any.
    """
    boxes, detectors = boxes or {}, detectors or {}
    encoders: dict[str, Any] = {}
    for name in dict.fromkeys([*scores, *boxes]):
        masks, boxed = scores.get(name, {}), boxes.get(name, {})
        whole = bool(masks) and masks.keys() >= boxed.keys()
        entry = {"iou": "segm" if whole else "bbox", **_averaged(masks if whole else boxed, beside)}
        entry["text_parameters"] = text_parameters[name]
        if name in detectors:
            entry["parameters"] = detectors[name]
        if whole and boxed:
            entry["bbox"] = _averaged(boxed, beside)
        encoders[name] = entry
    first = encoders.get(teacher, {})
    for name, entry in encoders.items():
        _retain(entry, first if entry["iou"] == first.get("iou") and name not in detectors else {})
        if "bbox" in entry:
            _retain(entry["bbox"], first.get("bbox", {}))
    apart = [subset for subset in beside if any(subset in entry["subsets"] for entry in encoders.values())]
    return {"encoders": encoders, **({"beside": apart} if apart else {})}


def defined(row: Mapping[str, float], positives: int, negatives: int, both: Sequence[str]) -> dict[str, float | None]:
    """The columns that the scored pairs of a subset define; the others are None.

    The official evaluator counts 0 for all of them, and an average would take that for a score.

    Args:
        row: The columns.
        positives: Scored pairs with the phrase in the image. Without any, nothing is defined.
        negatives: Scored pairs without it.
        both: Columns that need positives and negatives: the correlation of presence, and what it is a factor of.
    """
    return {c: None if not positives or (c in both and not negatives) else float(v) for c, v in row.items()}


def refuse_nothing(results: Mapping[str, Any], why: str) -> None:
    """Refuses an evaluation in which nothing was scored.

    Args:
        results: From `summarize`.
        why: How much there was to score, and what was left out.

    Raises:
        ValueError: No text encoder and no detector has any number.
    """
    for entry in results["encoders"].values():
        for part in (entry, entry.get("bbox", {"average": {}})):
            if any(value is not None for column, value in part["average"].items() if column != "retention"):
                return
    raise ValueError(f"nothing was scored: no pair that could be used has its phrase in the image ({why})")


def _averaged(subsets: BySubset, beside: Collection[str]) -> dict[str, Any]:
    columns = list(next(iter(subsets.values())))
    joined = [scores for subset, scores in subsets.items() if subset not in beside] or list(subsets.values())
    average: dict[str, float | None] = {}
    for column in columns:
        known = [value for scores in joined if (value := scores[column]) is not None]
        average[column] = math.fsum(known) / len(known) if known else None
    return {"average": average, "subsets": {subset: dict(s) for subset, s in subsets.items()}}


def _retain(entry: dict[str, Any], teacher: Mapping[str, Any]) -> None:
    best, own = teacher["average"]["CG_F1"] if teacher else None, entry["average"]["CG_F1"]
    # The same subsets count for both: what defines a column is the ground truth.
    entry["average"]["retention"] = own / best if best is not None and own is not None and best > 0 else None


def table(results: Mapping[str, Any], markdown: bool = False) -> str:
    """Results as text: one row a text encoder and subset, averages first; what compares boxes says so.

    Args:
        results: From `summarize`.
        markdown: With bars, for TensorBoard.
    """
    columns = [c for entry in results["encoders"].values() for c in entry["average"] if c != "retention"]
    columns = list(dict.fromkeys(columns))
    head = ["text encoder", "parameters", "subset", *columns, "retention"]
    rows = []
    for name, entry in results["encoders"].items():
        mark = ", boxes" if entry["iou"] == "bbox" else ""
        first = [name, f"{entry['text_parameters'] / 1e6:.2f}M", f"average{mark}"]
        rows.append([*first, *_cells(entry["average"], columns), _share(entry["average"])])
        # Where nothing else was asked, those beside the average are the average.
        apart = () if set(results.get("beside", ())) >= entry["subsets"].keys() else results.get("beside", ())
        rows += [
            ["", "", f"{subset}{' (beside)' if subset in apart else ''}{mark}", *_cells(scores, columns), ""]
            for subset, scores in entry["subsets"].items()
        ]
        if "bbox" in entry:
            average = entry["bbox"]["average"]
            rows.append(["", "", "average, boxes", *_cells(average, columns), _share(average)])
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
        return "\n".join(lines)
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def _cells(scores: Scores, columns: Sequence[str]) -> list[str]:
    return [_cell(scores[c], 3 if c.endswith("MCC") else 2) if c in scores else "" for c in columns]


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(average: Scores) -> str:
    kept = average["retention"]
    return "" if kept is None else f"{100 * kept:.1f}%"


def notes(undefined: Mapping[str, str]) -> list[str]:
    """Lines under the table for what stands as "-" in it.

    Args:
        undefined: Why, by subset.
    """
    return [f"not scored  {subset}: {reason}" for subset, reason in undefined.items()]


def missing_side(positives: int, negatives: int) -> str | None:
    """Why a subset defines not all columns, None if it does."""
    if not positives + negatives:
        return "no pair was left to score; not part of the averages"
    if not positives:
        return f"all {negatives:,} scored pairs are negatives; not part of the averages"
    if not negatives:
        return f"all {positives:,} scored pairs are positives: the correlation of presence and CG_F1 are not defined"
    return None
