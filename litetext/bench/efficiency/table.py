"""What `litetext bench` measured, as tables in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from litetext.models.text.mobileclip import STOCK_LENGTH

_WIDTH = 118
"""Columns where there is no terminal to ask."""
_FILLED = {"reference": " padded", "transformers": f" in {STOCK_LENGTH}"}
"""What is said of the tokens of a row by its padding."""


def show(report: dict[str, Any]) -> None:
    """Prints the tables.

    Args:
        report: What `bench_efficiency` returned.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(_costs(report))
    console.print(_speeds(report))
    tokens = ", ".join(f"{mean:.1f} tokens at most {n}" for n, mean in report["prompts"]["mean_tokens"].items())
    console.print(f"Prompts: {report['prompts']['source']}; {tokens}.", highlight=False)
    console.print(f"{report['memory']}", highlight=False)
    console.print(
        f"{report['rows'][0]['device']}, {report['threads']} threads; median repetition (slowest to fastest), ratio to "
        "the teacher at its longest context with the same padding, backend and type.",
        highlight=False,
    )
    fewer = sorted(
        {f"{r['encoder']} {n} of {b}" for r in report["rows"] for b, n in r["measured_batch"].items() if n < int(b)}
    )
    if fewer:
        console.print(
            f"A whole batch would have taken too much of the time (--seconds), so fewer prompts at once: "
            f"{', '.join(fewer)}.",
            highlight=False,
        )
    for line in report["skipped"]:
        console.print(f"skipped: {line}", highlight=False)


def _costs(report: dict[str, Any]) -> Table:
    whole = report["sam3"]
    title = (
        f"Cost, and what the whole SAM3 of {whole['source']} saves with it: it has "
        f"{whole['parameters']['total']:,} parameters\nand takes {_giga(whole['flops']['image'])} GFLOPs an image, and "
        f"a prompt {_giga(whole['flops']['detector'])} in the detector and {_giga(whole['flops']['text'])} in the text "
        "encoder"
    )
    table = Table(title=title)
    for name in ("encoder", "tokens", "parameters", "MB fp32", "fp16", "int8", "GFLOPs a prompt"):
        table.add_column(name, justify="left" if name == "encoder" else "right")
    for name in ("parameters saved", "FLOPs saved, 1 prompt", "each further prompt"):
        table.add_column(name, justify="right")
    seen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in report["rows"]:  # operations differ by padding, so one line for each
        seen.setdefault((row["context_length"], row["encoder"], row["flops_per_prompt"]), row)
    for row in seen.values():
        megabytes, saved = row["megabytes"], row["whole_sam3"]
        table.add_row(
            row["encoder"],
            f"{row['context_length']}{_FILLED.get(row['padding'], '')}",
            f"{row['parameters']:,}",
            *(f"{megabytes[name]:.0f}" if megabytes[name] >= 10 else f"{megabytes[name]:.1f}" for name in megabytes),
            _giga(row["flops_per_prompt"]),
            *(f"{saved[key]:.1%}" for key in ("parameters_saved", "flops_saved", "flops_saved_further_prompts")),
        )
    return table


def _speeds(report: dict[str, Any]) -> Table:
    rows = report["rows"]
    batches = list(dict.fromkeys(batch for row in rows for batch in row["prompts_per_second"]))
    table = Table(title="Speed in prompts a second")
    plain = all(row["backend"] == "eager" and row["dtype"] == "float32" for row in rows)
    for name in ("encoder", "tokens", "padding", *([] if plain else ["backend"])):
        table.add_column(name, justify="right" if name == "tokens" else "left")
    for batch in batches:
        table.add_column(f"batch {batch}", justify="right", no_wrap=True)
        table.add_column("ratio", justify="right")
    table.add_column("peak MB", justify="right")
    timed = any("text_share_of_time" in row["whole_sam3"] for row in rows)
    if timed:
        table.add_column("text/SAM3 time", justify="right")
    for row in rows:
        cells = []
        for batch in batches:
            rate, ratio = row["prompts_per_second"][batch], row["ratio_to_teacher"]
            cells.append(f"{_three(rate['median'])} ({_three(rate['low'])}-{_three(rate['high'])})")
            cells.append(f"{ratio['prompts_per_second'][batch]:.1f}x" if ratio else "-")
        peak = row["peak_memory_mb"]
        backend = row["backend"] if row["dtype"] in ("float32", "int8") else f"{row['backend']} {row['dtype']}"
        share = [f"{row['whole_sam3']['text_share_of_time']:.1%}"] if timed else []
        own = (row["encoder"], str(row["context_length"]), row["padding"], *([] if plain else [backend]))
        table.add_row(*own, *cells, "-" if peak is None else f"{peak:,.0f}", *share)
    return table


def _three(value: float) -> str:
    """About three digits."""
    return f"{value / 1000:.3g}k" if value >= 10_000 else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _giga(value: float) -> str:
    return f"{value / 1e9:,.0f}" if value >= 1e12 else f"{value / 1e9:.4g}"
