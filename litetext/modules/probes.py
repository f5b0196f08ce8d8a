"""Pairs of phrases that differ in one thing: how many of them a model answers right, both of a pair together."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from litetext.data.images.items import ImagePairs

Couples = dict[str, list[tuple[int, int]]]
"""By probe, the ids of the two phrases of each pair, the first one first."""


def couples_of(images: Iterable[ImagePairs]) -> dict[str, Couples]:
    """The pairs by subset and probe; only those both of whose phrases are scored."""
    found: dict[str, Couples] = {}
    for image in images:
        twins = {pair.id: pair.twin for pair in image.pairs}
        for pair in image.pairs:
            if pair.twin is not None and pair.id < pair.twin and twins.get(pair.twin) == pair.id:
                known = found.setdefault(image.subset, {})
                known.setdefault(pair.kind or "pairs", []).append((pair.id, pair.twin))
    return found


def is_right(rows: np.ndarray) -> np.ndarray:
    """Whether each datapoint is answered right.

    That is: nothing predicted where nothing is meant, otherwise one instance for each object at an IoU of 0.5 or more.

    Args:
        rows: Rows of `assess`: predicted instances, true ones, matches at each threshold from 0.5 on, int (d, 12).

    Returns:
        Bool (d,).
    """
    found, meant, hits = rows[:, 0], rows[:, 1], rows[:, 2]
    return (found == meant) & (hits == meant)


def score_probes(couples: Couples, ids: np.ndarray, rows: np.ndarray) -> dict[str, dict[str, float | int]]:
    """Shares of pairs answered right, by probe, in percent.

    Args:
        couples: The pairs of a subset.
        ids: Ids of the datapoints, int (d,).
        rows: What each gave, int (d, 12), as for `is_right`.

    Returns:
        By probe `pairs` and, in percent, `first` and `second` (phrases answered right) and `both` (pairs).
    """
    right = dict(zip(ids.tolist(), is_right(rows).tolist(), strict=True))
    found = {}
    for probe, pairs in couples.items():
        known = [(right[a], right[b]) for a, b in pairs if a in right and b in right]
        if known:
            first, second = (100 * float(np.mean([part[k] for part in known])) for k in range(2))
            both = 100 * float(np.mean([all(part) for part in known]))
            found[probe] = {"pairs": len(known), "first": first, "second": second, "both": both}
    return found


def compare(probes: dict[str, dict[str, Any]], teacher: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Adds `behind`: how many percentage points of pairs the teacher is ahead on each probe; None without one."""
    for name, entry in probes.items():
        first = (teacher or {}).get(name)
        entry["behind"] = None if first is None else first["both"] - entry["both"]


def probes_table(results: Mapping[str, Any]) -> str:
    """Shares as text: one block a probe, one row a text encoder; empty where there are no such pairs."""
    rows = [["probe", "pairs", "text encoder", "first %", "second %", "both %", "behind"]]
    encoders = {name: entry["probes"] for name, entry in results["encoders"].items() if entry.get("probes")}
    for probe in dict.fromkeys(probe for probes in encoders.values() for probe in probes):
        head = [probe, ""]
        for name, probes in encoders.items():
            if (entry := probes.get(probe)) is None:
                continue
            head = [head[0], f"{entry['pairs']:,}"] if head[0] else head
            behind = "-" if entry["behind"] is None else f"{entry['behind']:.1f}"
            rows.append([*head, name, *(f"{entry[c]:.1f}" for c in ("first", "second", "both")), behind])
            head = ["", ""]
    if len(rows) == 1:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
