"""Text encoders that are seeds of one training: mean and spread over them, beside the numbers of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from litetext.metrics.seeds import fold, format_spread, seeds_of


def add_seeds(results: dict[str, Any]) -> None:
    """Adds `seeds` to what `results.json` says, where names differ in what follows a last `-seed` alone.

    By the name they share: `seeds`, `text_parameters`, and of `average`, `subsets`, `kinds`, `probes` and `bbox` the
    same as each entry has, with `mean`, `sd`, `min` and `max` over the seeds in place of each number.

    Args:
        results: The results; `encoders` holds an entry a text encoder.
    """
    encoders = results["encoders"]
    for base, seeds in seeds_of(encoders).items():
        entries = [encoders[name] for name in seeds.values()]
        if len({(entry["iou"], entry["text_parameters"]) for entry in entries}) > 1:
            continue  # another size, or scored otherwise: not one training
        head = {"seeds": list(seeds), "iou": entries[0]["iou"], "text_parameters": entries[0]["text_parameters"]}
        folded = fold([{k: v for k, v in entry.items() if isinstance(v, Mapping)} for entry in entries])
        results.setdefault("seeds", {})[base] = head | folded


def seeds_table(results: Mapping[str, Any]) -> str:
    """The means over seeds as Markdown, mean ± sample standard deviation; empty where there are no seeds.

    Args:
        results: The results with their `seeds`.

    Returns:
        Averages; then CG_F1 by subset and by kind of phrase; then the share of probes answered right in percent, and
        how far that is behind the teacher. Text encoders without seeds, such as the teacher, stand above.
    """
    seeds = results.get("seeds", {})
    if not seeds:
        return ""
    single = {name: e for name, e in results["encoders"].items() if not any(_is_seed(name, base) for base in seeds)}
    rows = {**{name: fold([entry]) for name, entry in single.items()}, **seeds}
    shown = {**{name: name for name in single}, **{b: f"{b} ({len(e['seeds'])} seeds)" for b, e in seeds.items()}}
    millions = {name: f"{(single | seeds)[name]['text_parameters'] / 1e6:.2f}M" for name in rows}
    columns = list(dict.fromkeys(column for entry in rows.values() for column in entry["average"]))
    lines = _table(
        ["text encoder", "parameters", *columns],
        [
            [shown[n], millions[n], *(_cell(e["average"].get(c), 3 if _is_share(c) else 2) for c in columns)]
            for n, e in rows.items()
        ],
    )
    for part, what in (("subsets", "subset"), ("kinds", "kind of phrase")):
        names = list(dict.fromkeys(name for entry in rows.values() for name in entry.get(part, ())))
        for column in [c for c in ("CG_F1", "IL_MCC", "VL_MCC") if c in columns] if len(names) > 1 else []:
            digits = 3 if _is_share(column) else 1
            lines += _table(
                [f"{column} by {what}", *names],
                [
                    [shown[n], *(_cell(e[part].get(name, {}).get(column), digits) for name in names)]
                    for n, e in rows.items()
                    if part in e
                ],
            )
    probes = list(dict.fromkeys(probe for entry in rows.values() for probe in entry.get("probes", ())))
    if probes:
        probed = {name: entry["probes"] for name, entry in rows.items() if "probes" in entry}
        lines += _table(
            ["pairs right, %; points behind", *(shown[n] for n in probed)],
            [[probe, *(_probe(entry.get(probe, {})) for entry in probed.values())] for probe in probes],
        )
    return "\n".join(lines)


def _is_seed(name: str, base: str) -> bool:
    return name.rpartition("-seed")[0] == base


def _is_share(column: str) -> bool:
    return column.endswith("MCC") or column == "retention"


def _probe(entry: Mapping[str, Any]) -> str:
    behind = _cell(entry.get("behind"), 1)
    return _cell(entry.get("both"), 1) + (f"; {behind}" if behind and behind != "0.0" else "")


def _cell(part: Any, digits: int) -> str:
    return "" if part is None else format_spread(part, digits)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]), ""]
