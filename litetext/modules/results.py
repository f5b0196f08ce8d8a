"""The results of an evaluation: per subset, averaged, with the retention against the teacher; as JSON and as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Scores = Mapping[str, float]
BySubset = Mapping[str, Scores]


def summarize(
    scores: Mapping[str, BySubset],
    text_parameters: Mapping[str, int],
    teacher: str,
    boxes: Mapping[str, BySubset] | None = None,
    detectors: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What `results.json` says.

    Args:
        scores: By text encoder, by subset: the columns on the paper's scales (CG_F1 and pmF1 in percent), of
            masks.
        text_parameters: Parameters of each text encoder, and of each detector's text part.
        teacher: The encoder that retention is measured against, if it is among them.
        boxes: The same as `scores`, of boxes, for all that was scored. What lacks masks somewhere goes by boxes.
        detectors: All parameters of each detector. Retention is not defined for them.

    Returns:
        `encoders.NAME` with `iou` ("segm" or "bbox": what the next two compare), `average` (unweighted mean over
        subsets of each column, and `retention`: the average CG_F1 over the teacher's, None without a teacher or if the
        teacher's is not positive), `subsets` and `text_parameters`; `bbox` with `average` and `subsets` of boxes beside
        those of masks; `parameters` of a detector.
    """
    boxes, detectors = boxes or {}, detectors or {}
    encoders: dict[str, Any] = {}
    for name in dict.fromkeys([*scores, *boxes]):
        masks, boxed = scores.get(name, {}), boxes.get(name, {})
        whole = bool(masks) and masks.keys() >= boxed.keys()
        entry = {"iou": "segm" if whole else "bbox", **_averaged(masks if whole else boxed)}
        entry["text_parameters"] = text_parameters[name]
        if name in detectors:
            entry["parameters"] = detectors[name]
        if whole and boxed:
            entry["bbox"] = _averaged(boxed)
        encoders[name] = entry
    first = encoders.get(teacher, {})
    for name, entry in encoders.items():
        _retain(entry, first if entry["iou"] == first.get("iou") and name not in detectors else {})
        if "bbox" in entry:
            _retain(entry["bbox"], first.get("bbox", {}))
    return {"encoders": encoders}


def _averaged(subsets: BySubset) -> dict[str, Any]:
    columns = list(next(iter(subsets.values())))
    return {
        "average": {c: math.fsum(s[c] for s in subsets.values()) / len(subsets) for c in columns},
        "subsets": {subset: {c: float(s[c]) for c in columns} for subset, s in subsets.items()},
    }


def _retain(entry: dict[str, Any], teacher: Mapping[str, Any]) -> None:
    best = teacher["average"]["CG_F1"] if teacher else 0.0
    entry["average"]["retention"] = entry["average"]["CG_F1"] / best if best > 0 else None


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
        rows += [
            ["", "", f"{subset}{mark}", *_cells(scores, columns), ""] for subset, scores in entry["subsets"].items()
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
    return [f"{scores[c]:.{3 if c.endswith('MCC') else 2}f}" if c in scores else "" for c in columns]


def _share(average: Mapping[str, float | None]) -> str:
    kept = average["retention"]
    return "" if kept is None else f"{100 * kept:.1f}%"
