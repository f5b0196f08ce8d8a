"""The results of an evaluation: per subset, averaged, with the retention against the teacher; as JSON and as text."""

import math
from collections.abc import Mapping
from typing import Any

COLUMNS = ("CG_F1", "IL_MCC", "pmF1")
Scores = Mapping[str, float]


def summarize(
    scores: Mapping[str, Mapping[str, Scores]], text_parameters: Mapping[str, int], teacher: str
) -> dict[str, Any]:
    """What `results.json` says.

    Args:
        scores: By text encoder, by subset: the three columns on the paper's scales (CG_F1 and pmF1 in percent).
        text_parameters: Parameters of each text encoder.
        teacher: The encoder that retention is measured against, if it is among them.

    Returns:
        `encoders.NAME` with `average` (unweighted mean over subsets of each column, and `retention`: the average CG_F1
        over the teacher's, None without a teacher or if the teacher's is not positive), `subsets` and
        `text_parameters`.
    """
    encoders: dict[str, Any] = {}
    for name, subsets in scores.items():
        average = {c: math.fsum(s[c] for s in subsets.values()) / len(subsets) for c in COLUMNS}
        encoders[name] = {
            "average": average,
            "subsets": {subset: {c: float(s[c]) for c in COLUMNS} for subset, s in subsets.items()},
            "text_parameters": text_parameters[name],
        }
    best = encoders[teacher]["average"]["CG_F1"] if teacher in encoders else 0.0
    for entry in encoders.values():
        entry["average"]["retention"] = entry["average"]["CG_F1"] / best if best > 0 else None
    return {"encoders": encoders}


def table(results: Mapping[str, Any], markdown: bool = False) -> str:
    """Results as text: one row a text encoder and subset, averages first.

    Args:
        results: From `summarize`.
        markdown: With bars, for TensorBoard.
    """
    head = ["text encoder", "parameters", "subset", *COLUMNS, "retention"]
    rows = []
    for name, entry in results["encoders"].items():
        kept = entry["average"]["retention"]
        first = [name, f"{entry['text_parameters'] / 1e6:.2f}M", "average"]
        rows.append([*first, *_cells(entry["average"]), "" if kept is None else f"{100 * kept:.1f}%"])
        rows += [["", "", subset, *_cells(scores), ""] for subset, scores in entry["subsets"].items()]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
        return "\n".join(lines)
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def _cells(scores: Scores) -> list[str]:
    return [f"{scores['CG_F1']:.2f}", f"{scores['IL_MCC']:.3f}", f"{scores['pmF1']:.2f}"]
