"""The JSON file that `litetext bench --output` writes: figures, their spread, and what they were measured on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from litetext.bench.timing import split
from litetext.files import write_json

FORMAT = 1
"""Of the file; raised when a reader of older ones would misread newer ones."""


def write_record(
    path: str | Path,
    benchmark: str,
    options: dict[str, Any],
    machine: dict[str, Any],
    figures: dict[str, Any],
    report: dict[str, Any] | None = None,
) -> None:
    """Writes the file, whole or not at all.

    Args:
        path: Where.
        benchmark: Its name.
        options: The benchmark's options, by name.
        machine: What `litetext.bench.machine.machine` returned before measuring.
        figures: Figures by name; those that are `Measured` leave their spread.
        report: More that was found, beside the figures.
    """
    plain, spreads = split(figures)
    head = {"format": FORMAT, "benchmark": benchmark, "options": options, "machine": machine}
    write_json(path, {**head, "figures": plain, "spread": spreads, **(report or {})})


def read_record(path: str | Path) -> dict[str, Any]:
    """A file that `litetext bench ... --output` wrote.

    Args:
        path: The file.

    Returns:
        `benchmark`, `options`, `machine`, `figures`, `spread`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it holds something else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such file; litetext bench BENCHMARK --output {path} writes one")
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); give a file of litetext bench --output") from error
    wanted = {"format", "benchmark", "options", "machine", "figures", "spread"}
    if not isinstance(record, dict) or not wanted <= record.keys():
        raise ValueError(f"{path} is no file of litetext bench --output of this version; measure again")
    if record["format"] != FORMAT:
        raise ValueError(f"{path} has format {record['format']!r}; this version reads {FORMAT}")
    if not all(isinstance(record[name], dict) for name in ("options", "machine", "figures", "spread")):
        raise ValueError(f"{path}: options, machine, figures and spread must be objects; measure again")
    if not isinstance(record["machine"].get("kind"), str) or not isinstance(
        record["machine"].get("versions", {}), dict
    ):
        raise ValueError(f"{path}: machine says neither kind nor versions of what was measured on; measure again")
    if odd := [name for name, found in record["spread"].items() if not _is_range(found)]:
        raise ValueError(f"{path}: the spread of {odd[0]!r} is no smallest and largest value; measure again")
    return record


def _is_range(found: Any) -> bool:
    numbers = isinstance(found, list) and all(isinstance(one, int | float) for one in found)
    return numbers and len(found) == 2 and found[0] <= found[1]


def with_spread(value: float, spread: Sequence[float] | None) -> str:
    """A figure for people: about four digits, and the smallest and largest value where they are known.

    Args:
        value: The figure.
        spread: Smallest and largest value over rounds.
    """
    return _short(value) + (f" ({_short(spread[0])} to {_short(spread[1])})" if spread else "")


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
