"""What an ablation says: a table a group, and how its variants differ from one of them, seed by seed."""

from collections.abc import Mapping, Sequence
from typing import Any

from litetext.metrics.seeds import Spread, differ, fold, format_difference, format_spread, spread

COLUMNS = ("CG_F1", "IL_MCC", "pmF1", "retention", "cosine", "pooled_cosine", "agreement", "drift")
SCORED = ("CG_F1", "IL_MCC", "pmF1", "retention")
"""Those that an evaluation gives; the others are of held-out prompts."""
_DIGITS = dict(zip(COLUMNS, (2, 3, 2, 3, 4, 4, 3, 4), strict=True))
_PARTS = {"subsets": "subset", "kinds": "kind of phrase"}

Entry = dict[str, Any]


def group_numbers(
    entries: Mapping[str, Sequence[Mapping[str, Any]]], names: Mapping[str, str], against: str
) -> dict[str, Entry]:
    """What is known of the variants of a group.

    Args:
        entries: By label, the numbers of its seeds: those of `COLUMNS`, and `subsets` and `kinds` where there are any.
        names: By label, the variant's name.
        against: The label with which the others are compared.

    Returns:
        By label: `variant`, the `spread` of each column, `subsets` and `kinds` folded alike, and but for `against`
        itself `difference`: how much each column is above that of `against`, seed by seed, see `differ`; of subsets and
        kinds of CG_F1.
    """
    found: dict[str, Entry] = {}
    for label, seeds in entries.items():
        entry: Entry = {"variant": names[label], **{c: spread([s[c] for s in seeds]) for c in COLUMNS}}
        difference: Entry = {c: differ([s[c] for s in seeds], [s[c] for s in entries[against]]) for c in COLUMNS}
        for part in _PARTS:
            if all(part in s for s in seeds):
                entry[part] = fold([s[part] for s in seeds])
                difference[part] = {
                    name: differ(_cg_f1(seeds, part, name), _cg_f1(entries[against], part, name))
                    for name in entry[part]
                }
        if label != against:
            entry["difference"] = {"from": against, **difference}
        found[label] = entry
    return found


def _cg_f1(seeds: Sequence[Mapping[str, Any]], part: str, name: str) -> list[float | None]:
    return [entry[part][name]["CG_F1"] for entry in seeds]


def tables(groups: Mapping[str, Mapping[str, Entry]], quoted: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The groups as Markdown.

    Args:
        groups: By group, what `group_numbers` gives.
        quoted: By group, by label: what stands beside it, such as the paper's numbers.

    Returns:
        For each group mean ± standard deviation with least to largest in brackets; then the differences with their 95%
        intervals; then CG_F1 by subset and by kind of phrase.
    """
    lines: list[str] = []
    for group, variants in groups.items():
        beside = (quoted or {}).get(group, {})
        scored = any(entry[c]["mean"] is not None for entry in variants.values() for c in SCORED)
        known: list[Any] = [c for c in COLUMNS if scored or c not in SCORED]
        rows = [[label, *(_cell(entry[c], _DIGITS[c]) for c in known)] for label, entry in variants.items()]
        head = [group, *known]
        if beside:
            head, rows = [*head, "paper"], [[*row, beside.get(row[0], "")] for row in rows]
        lines += _table(head, rows)
        gaps = {label: entry["difference"] for label, entry in variants.items() if "difference" in entry}
        if gaps:
            against = next(iter(gaps.values()))["from"]
            rows = [[label, *(format_difference(gap[c], _DIGITS[c]) for c in known)] for label, gap in gaps.items()]
            lines += _table([f"{group}: above {against}, 95% interval", *known], rows)
        for part, what in _PARTS.items():
            lines += _by(f"{group}: CG_F1 by {what}", part, variants, gaps)
    return "\n".join(lines)


def size_table(groups: Mapping[str, Mapping[str, Entry]], sizes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What each variant has in text parameters and float32 bytes, and the share of its teacher's.

    Args:
        groups: As `tables` takes them.
        sizes: By variant: `parameters`, `bytes`, `teacher`.
    """
    rows = []
    for group, variants in groups.items():
        for label, entry in variants.items():
            size = sizes[entry["variant"]]
            share = f"1/{size['teacher'] / size['parameters']:.1f}" if size["teacher"] else ""
            rows.append([f"{group}, {label}", f"{size['parameters']:,}", f"{size['bytes'] / 1e6:,.1f} MB", share])
    return _table(["student", "text parameters", "float32", "of the teacher"], rows)


def _by(title: str, part: str, variants: Mapping[str, Entry], gaps: Mapping[str, Entry]) -> list[str]:
    held = {label: entry[part] for label, entry in variants.items() if entry.get(part)}
    names = list(dict.fromkeys(name for entry in held.values() for name in entry))
    if len(names) < 2:
        return []
    lines = _table(
        [title, *names],
        [[label, *(format_spread(entry[n]["CG_F1"], 1) for n in names)] for label, entry in held.items()],
    )
    if gaps:
        rows = [[label, *(format_difference(gap[part][n], 1) for n in names)] for label, gap in gaps.items()]
        lines += _table([f"{title}, above {next(iter(gaps.values()))['from']}", *names], rows)
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]), ""]


def _cell(part: Spread, digits: int) -> str:
    text = format_spread(part, digits)
    return text if part["sd"] is None else f"{text} ({part['min']:.{digits}f} to {part['max']:.{digits}f})"
