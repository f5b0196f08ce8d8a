"""Cost and speed of text encoders side by side (paper, Table 8): rounds over all of them in turn, in one run."""

import random
import statistics
import time
from collections.abc import Sequence
from typing import Any, Literal

from litetext.bench.efficiency import measured
from litetext.bench.efficiency.backends import FIXED_SHAPE, Backend, missing
from litetext.bench.efficiency.cost import SAM3_TOKENS, Sam3Cost, sam3_cost
from litetext.bench.efficiency.measured import Facts, Spec
from litetext.bench.efficiency.rounds import Cell, Worker, measure, spread, workers
from litetext.bench.efficiency.sam3_time import Sam3Seconds, sam3_seconds
from litetext.bench.timing import Measured
from litetext.data.prompts.corpora import read_prompts
from litetext.models.devices import find_device
from litetext.models.hub import find_model
from litetext.models.text.mobileclip import PRESETS, STOCK_LENGTH, Padding
from litetext.shipped import shipped
from litetext.tokenizer import Tokenizer

SAMPLE = 512
"""Prompts that the measured ones are drawn from."""


def bench_efficiency(
    encoders: Sequence[str] = ("teacher", "s0", "s1", "l"),
    context_lengths: Sequence[int] = (16, 32),
    padding: Sequence[Padding] = ("masked", "transformers", "reference"),
    backends: Sequence[Backend] = ("eager",),
    batch_sizes: Sequence[int] = (1, 64),
    dtypes: Sequence[Literal["float32", "bfloat16", "float16"]] = ("float32",),
    prompts: str = "nouns:2000",
    device: str = "cpu",
    threads: int | None = None,
    seconds: float = 80.0,
    sam3: str | None = None,
) -> dict[str, Any]:
    """Parameters, memory, operations and speed of text encoders, and their share of a whole SAM3.

    Each encoder lives in a process of its own, so a script that calls this needs `if __name__ == "__main__":`.

    Args:
        encoders: `teacher`, `s0`, `s1`, `l`, `nano` (real sizes, random weights) or NAME=PATH.
        context_lengths: Context lengths in tokens.
        padding: `masked` computes no padding, `transformers` fills every prompt to the 32 tokens of the stock
            processor, `reference` to the context. An encoder that was trained to see padding runs as it was trained.
        backends: What runs them; those that are not installed are skipped.
        batch_sizes: Prompts at once.
        dtypes: What `eager`, `compiled` compute in.
        prompts: Corpus to draw prompts from; `nouns:N` needs no file.
        device: Where.
        threads: CPU threads; None for torch's choice.
        seconds: Time for all measurements; starting the encoders comes on top.
        sam3: A SAM3 whose text encoder is the teacher, whose sizes are the whole, and which is timed.

    Returns:
        `rows` (one for each encoder, context length, padding, backend and dtype) and what they were measured with.

    Raises:
        FileNotFoundError: If a path leads nowhere.
        ValueError: If an option is out of its range, or a file holds no text encoder.
    """
    sources = _sources(encoders, sam3)
    _check(context_lengths, batch_sizes, threads, seconds, device)
    drawn, origin = _draw(prompts)
    counts = map(len, Tokenizer(max(context_lengths)).encode(drawn))
    drawn = [prompt for _, prompt in sorted(zip(counts, drawn, strict=True))]
    rows = {length: Tokenizer(length).encode(drawn) for length in context_lengths}
    sample = {length: [len(row) for row in spread(rows[length], 64)] for length in context_lengths}
    report: dict[str, Any] = {
        "prompts": {"source": origin, "mean_tokens": {str(n): statistics.fmean(sample[n]) for n in sample}},
        "memory": f"MB are 2**20 bytes; peak_memory_mb: {measured.PEAK}",
        "seconds": {"starting": 0.0, "measuring": 0.0},
        "skipped": [],
        "rows": [],
    }
    runnable = _runnable(report["skipped"], backends, dtypes, device)
    whole: Sam3Cost | None = None
    timed: Sam3Seconds | None = None
    for backend, dtype in runnable:
        began = time.perf_counter()
        stored = "float32" if dtype == "int8" else dtype
        specs = {
            name: Spec(source, context_lengths, sample, backend, stored, device, threads)
            for name, source in sources.items()
        }
        with workers([*specs, "SAM3"]) as running:
            cost = running["SAM3"].pool.submit(sam3_cost, sam3) if whole is None else None
            opened = {name: running[name].pool.submit(measured.open_measured, spec) for name, spec in specs.items()}
            facts: dict[str, Facts] = {name: running[name].answer(future) for name, future in opened.items()}
            if cost is not None:
                whole = running["SAM3"].answer(cost)
                if sam3 is not None:
                    timed = running["SAM3"].ask(sam3_seconds, sam3, device, threads)
            report["seconds"]["starting"] += time.perf_counter() - began
            began = time.perf_counter()
            cells = _cells(report, facts, running, context_lengths, padding, batch_sizes)
            measure(cells, rows, seconds / len(runnable), backend in FIXED_SHAPE)
        report["seconds"]["measuring"] += time.perf_counter() - began
        report["threads"] = next(iter(facts.values())).threads
        report["rows"] += _rows(cells, facts, backend, dtype, device)
    compare(report["rows"])
    if whole is not None:
        report["sam3"] = add_whole(report["rows"], whole, timed)
    return report


def _sources(encoders: Sequence[str], sam3: str | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in encoders:
        name, mark, path = entry.partition("=")
        if not mark and name not in (*PRESETS, "teacher"):
            raise ValueError(
                f"--text_encoders {entry} is none of {', '.join(PRESETS)}, teacher; give a file as NAME=PATH"
            )
        if not name or (mark and not path):
            raise ValueError(f"--text_encoders {entry} is not understood; write NAME=PATH")
        if name in found:
            raise ValueError(f"--text_encoders names {name!r} twice; give each its own name")
        found[name] = path or (sam3 if sam3 and name == "teacher" else name)
        if found[name] != name:  # before any process is started
            found[name] = str(find_model(shipped(found[name]), f"text encoder {name}", instead="a local path"))
    return found


def _check(contexts: Sequence[int], batches: Sequence[int], threads: int | None, seconds: float, device: str) -> None:
    if min(contexts) < 3:
        raise ValueError(f"--context_lengths {min(contexts)} leaves no room between start and end; give at least 3")
    for option, value in (("batch_sizes", min(batches)), ("threads", 1 if threads is None else threads)):
        if value < 1:
            raise ValueError(f"--{option} is {value}; it must be at least 1")
    if not seconds > 0:
        raise ValueError(f"--seconds is {seconds}; it must be more than 0")
    find_device(device)


def _draw(prompts: str) -> tuple[list[str], str]:
    found = read_prompts("prompts", prompts).prompts
    drawn = random.Random(0).sample(found, min(SAMPLE, len(found)))
    return drawn, f"{len(drawn)} of the {len(found)} prompts of {prompts}"


def _runnable(
    skipped: list[str], backends: Sequence[Backend], dtypes: Sequence[str], device: str
) -> list[tuple[Backend, str]]:
    """Backends and what they compute in; 8-bit layers are a type of their own, made from float32."""
    found: list[tuple[Backend, str]] = []
    for backend in dict.fromkeys(backends):
        for dtype in ["int8"] if backend == "int8" else dict.fromkeys(dtypes):
            reason = missing(backend, device, dtype)
            if reason is None:
                found.append((backend, dtype))
            else:
                skipped.append(f"{backend}, {dtype}: {reason}")
    if not found:
        raise ValueError(f"nothing is left to measure ({'; '.join(skipped)})")
    return found


def _cells(
    report: dict[str, Any],
    facts: dict[str, Facts],
    running: dict[str, Worker],
    contexts: Sequence[int],
    paddings: Sequence[Padding],
    batches: Sequence[int],
) -> list[Cell]:
    """All measurements, encoders in turn, the cheap ones first: memory peaks rise that way only."""
    cells = []
    skipped: list[str] = report["skipped"]
    for name, fact in facts.items():
        skipped += [f"{name} at {n} tokens: it has {fact.longest} positions" for n in contexts if n > fact.longest]
        skipped += [f"{name} {mode}: {why}" for mode in paddings if (why := _unfit(mode, fact))]
    report["skipped"] = list(dict.fromkeys(skipped))
    for batch in sorted(set(batches)):
        for padding in sorted(set(paddings)):
            for context in sorted(set(contexts)):
                for name, fact in facts.items():
                    if (
                        context in fact.costs
                        and not _unfit(padding, fact)
                        and context == _context(padding, fact, context)
                    ):
                        cells.append(Cell(name, context, padding, batch, running[name]))
    if not cells:
        raise ValueError(f"nothing is left to measure ({'; '.join(report['skipped'])})")
    return cells


def _unfit(padding: Padding, fact: Facts) -> str:
    """Why an encoder does not run with a padding; empty if it does."""
    if fact.trained is not None and padding != fact.trained:
        return f"its weights were trained to see padding: {fact.trained}"
    if padding == "transformers" and min(fact.costs, default=0) > STOCK_LENGTH:
        return f"transformers fills prompts to {STOCK_LENGTH} tokens; name a context length up to that"
    return ""


def _context(padding: Padding, fact: Facts, context: int) -> int:
    """The context at which a padding is measured: transformers' costs the same at each, so at the longest alone."""
    return max(n for n in fact.costs if n <= STOCK_LENGTH) if padding == "transformers" else context


def _rows(
    cells: list[Cell], facts: dict[str, Facts], backend: Backend, dtype: str, device: str
) -> list[dict[str, Any]]:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        cost = facts[cell.encoder].costs[cell.context]
        unpadded = cell.padding == "masked" and backend not in FIXED_SHAPE
        computed = cost.filled if cell.padding == "transformers" else cost.unpadded if unpadded else cost.padded
        row = rows.setdefault(
            (cell.padding, cell.context, cell.encoder),
            {
                "encoder": cell.encoder,
                "kind": facts[cell.encoder].kind,
                "context_length": cell.context,
                "parameters": cost.parameters,
                "megabytes": cost.megabytes,
                "flops_per_prompt": computed,
                "prompts_per_second": {},
                "measured_batch": {},
                "peak_memory_mb": None,
                "ratio_to_teacher": None,
                "padding": cell.padding,
                "backend": backend,
                "dtype": dtype,
                "device": device,
            },
        )
        row["prompts_per_second"][str(cell.batch)] = cell.rate()
        row["measured_batch"][str(cell.batch)] = min(cell.batch, cell.prompts)
        peaks = [one.peak_mb for one in cell.passes if one.peak_mb is not None]
        row["peak_memory_mb"] = max([*peaks, row["peak_memory_mb"] or 0.0]) or None
    return list(rows.values())


def compare(rows: list[dict[str, Any]]) -> None:
    """Fills in `ratio_to_teacher`: how many times smaller and faster a row is than the teacher of the same run.

    The teacher is the first SAM3 text encoder at its longest context with the same padding, backend and dtype.
    """
    for row in rows:
        alike = [r for r in rows if all(r[key] == row[key] for key in ("padding", "backend", "dtype"))]
        teachers = [r for r in alike if r["kind"] == "sam3"]
        if not teachers:
            continue
        first = [r for r in teachers if r["encoder"] == teachers[0]["encoder"]]
        base = max(first, key=lambda r: r["context_length"])
        speed = {
            batch: rate["median"] / base["prompts_per_second"][batch]["median"]
            for batch, rate in row["prompts_per_second"].items()
        }
        row["ratio_to_teacher"] = {
            "parameters": base["parameters"] / row["parameters"],
            "flops": base["flops_per_prompt"] / row["flops_per_prompt"],
            "prompts_per_second": speed,
            "teacher_context_length": base["context_length"],
        }


def add_whole(rows: list[dict[str, Any]], whole: Sam3Cost, timed: Sam3Seconds | None) -> dict[str, Any]:
    """Fills in `whole_sam3`: what a SAM3 saves with this text encoder in place of its own.

    Its own is counted as SAM3 runs it, padded to 32 tokens.

    Args:
        rows: The rows.
        whole: What that SAM3 costs.
        timed: Seconds of its parts without text, where it was at hand.

    Returns:
        What the SAM3 costs, part by part.
    """
    parameters, flops = sum(whole.parameters.values()), sum(whole.flops.values())
    further = whole.flops["detector"] + whole.flops["text"]
    for row in rows:
        saved = whole.flops["text"] - row["flops_per_prompt"]
        row["whole_sam3"] = {
            "parameters": parameters - whole.parameters["text"] + row["parameters"],
            "parameters_saved": (whole.parameters["text"] - row["parameters"]) / parameters,
            "flops_saved": saved / flops,
            "flops_saved_further_prompts": saved / further,
        }
        single = row["prompts_per_second"].get("1")
        if timed is not None and single is not None:
            rest = timed.image + timed.prompt
            row["whole_sam3"]["text_share_of_time"] = 1 / (1 + rest * single["median"])
    costs: dict[str, Any] = {
        "source": whole.name,
        "tokens": SAM3_TOKENS,
        "parameters": {**whole.parameters, "total": parameters},
        "flops": {**whole.flops, "total": flops},
    }
    if timed is not None:
        costs["seconds"] = timed._asdict()
    return costs


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """What was measured under flat names, for comparison between runs.

    Args:
        report: What `bench_efficiency` returned.

    Returns:
        Prompts a second and ratios to the teacher by encoder, context, padding, backend, dtype and batch size. Ratios
        have no spread: their two sides are not of one round.
    """
    flat: dict[str, Any] = {}
    for row in report["rows"]:
        name = "{encoder}, {context_length} tokens, {padding}, {backend} {dtype}".format(**row)
        for batch, rate in row["prompts_per_second"].items():
            flat[f"{name}, batch {batch}: prompts/s"] = Measured.known(
                rate["median"], rate["low"], rate["high"], rate["repetitions"]
            )
            if row["ratio_to_teacher"] is not None:
                ratio = row["ratio_to_teacher"]["prompts_per_second"][batch]
                flat[f"{name}, batch {batch}: ratio to teacher"] = ratio
    return flat
