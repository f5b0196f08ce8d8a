"""Scores by kind of phrase, over all subsets, where a data set tells kinds apart; and of pairs judged together."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from litetext.data.images.items import ImagePairs
from litetext.metrics.assess import IouType
from litetext.metrics.counts import Counts, headline, image_level, tally
from litetext.modules.probes import compare, couples_of, score_probes

_COLUMNS = ("CG_F1", "IL_MCC", "pmF1", "IL_FPR")


def kinds_of(images: Iterable[ImagePairs]) -> dict[str, dict[str, set[int]]]:
    """Ids of the pairs of each kind, by subset and kind; without the pairs whose kind is not known."""
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for image in images:
        for pair in image.pairs:
            if pair.kind is not None:
                found[image.subset][pair.kind].add(pair.id)
    return {subset: dict(kinds) for subset, kinds in found.items()}


class Kinds:
    """Gathers what datapoints gave by their kind, subset by subset.

    Args:
        images: The images with their pairs.
        beside: Subsets that stand beside the others: they count for a kind only where no other subset has it.
    """

    def __init__(self, images: Sequence[ImagePairs], beside: Collection[str] = ()) -> None:
        self._couples = couples_of(images)
        # Pairs that are judged together say more as such than by sums over their kinds.
        found = {s: kinds for s, kinds in kinds_of(images).items() if s not in self._couples}
        joined = {kind for subset, kinds in found.items() if subset not in beside for kind in kinds}
        self._kinds = {
            subset: {kind: ids for kind, ids in kinds.items() if subset not in beside or kind not in joined}
            for subset, kinds in found.items()
        }
        self._counts: dict[tuple[IouType, str], dict[str, Counts]] = defaultdict(dict)
        self._probes: dict[tuple[IouType, str], dict[str, dict[str, Any]]] = defaultdict(dict)

    def add(self, name: str, subset: str, iou_type: IouType, ids: np.ndarray, rows: np.ndarray) -> None:
        """Adds the datapoints of a subset.

        Args:
            name: The text encoder or detector.
            subset: The subset.
            iou_type: What was compared.
            ids: Their ids, int (d,).
            rows: What each gave, int (d, 12).
        """
        counts = self._counts[iou_type, name]
        for kind, chosen in self._kinds.get(subset, {}).items():
            part = tally(rows[np.isin(ids, np.fromiter(chosen, np.int64))])
            counts[kind] = counts[kind] + part if kind in counts else part
        self._probes[iou_type, name] |= score_probes(self._couples.get(subset, {}), ids, rows)

    def add_to(self, encoders: Mapping[str, dict[str, Any]], teacher: str) -> None:
        """Adds `kinds` and `probes` to the entries of `results.json` that have any.

        Args:
            encoders: The entries by name.
            teacher: The one that the others are compared with.
        """
        for name, entry in encoders.items():
            key = (entry["iou"], name)
            if counts := self._counts.get(key):
                entry["kinds"] = {kind: score_kind(part) for kind, part in counts.items()}
            if probes := self._probes.get(key):
                compare(probes, self._probes.get((entry["iou"], teacher)))
                entry["probes"] = probes


def score_kind(counts: Counts) -> dict[str, float | int | None]:
    """The results of a kind: the headline numbers, IL_FPR, and how many pairs there were.

    Args:
        counts: Of all its pairs.

    Returns:
        `pairs`, `positives`, and CG_F1, IL_MCC, pmF1 (as `headline`) and IL_FPR (percent). A number that needs
        positives or negatives is None where there are none.
    """
    true, false, rejected, missed = counts.images.tolist()
    positives, negatives = true + missed, false + rejected
    numbers: dict[str, float | None] = {**headline(counts), "IL_FPR": 100 * image_level(counts)["IL_FPR"]}
    if not positives:
        numbers |= {"CG_F1": None, "IL_MCC": None, "pmF1": None}
    if not negatives:
        numbers |= {"CG_F1": None, "IL_MCC": None, "IL_FPR": None}
    return {"pairs": positives + negatives, "positives": positives, **numbers}


def kinds_table(results: Mapping[str, Any]) -> str:
    """Scores by kind as text: one row a kind, one block a text encoder; empty where no kinds are told apart.

    Args:
        results: What `results.json` says; `encoders.NAME.kinds` holds the scores.
    """
    rows = [["kind of phrase", "pairs", "text encoder", *_COLUMNS, "CG_F1 kept"]]
    encoders = {name: entry["kinds"] for name, entry in results["encoders"].items() if entry.get("kinds")}
    first = encoders.get("teacher", {})
    for kind in dict.fromkeys(kind for kinds in encoders.values() for kind in kinds):
        named = False
        for name, kinds in encoders.items():
            if (scores := kinds.get(kind)) is None:
                continue
            head = ["", ""] if named else [kind, f"{scores['pairs']:,}"]
            best = first.get(kind, {}).get("CG_F1")
            kept = f"{100 * scores['CG_F1'] / best:.1f}%" if best and best > 0 and scores["CG_F1"] is not None else ""
            rows.append([*head, name, *(_cell(column, scores[column]) for column in _COLUMNS), kept])
            named = True
    if len(rows) == 1:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _cell(column: str, value: float | None) -> str:
    return "-" if value is None else f"{value:.{3 if column == 'IL_MCC' else 2}f}"
