"""Numbers of an audit as words: how a share, a count or an interval is written, and what is undefined."""

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = "–"
"""Stands for a value that is undefined, such as the spread of a single prompt."""


def at(audit: Any, *keys: str) -> Any:
    """The value below some keys; None where one of them is missing."""
    for key in keys:
        audit = audit.get(key) if isinstance(audit, Mapping) else None
    return audit


def share(value: float | None, digits: int = 1) -> str:
    """0.345 as `34.5%`; two digits more where so few would show a positive share as zero."""
    if value is None:
        return NOTHING
    if value in (0, 1):
        return f"{value:.0%}"
    if 0 < value < 0.5 * 10 ** -(digits + 2):
        digits += 2
    return f"{100 * value:.{digits}f}%"


def number(value: float | None, digits: int = 2) -> str:
    """A number with its thousands marked; integers without decimals."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def small(value: float | None) -> str:
    """A number of any size with three significant digits."""
    if value is None:
        return NOTHING
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def interval(estimate: Mapping[str, float | None] | None, digits: int = 1) -> str:
    """`16.2 (15.8 to 16.7)`, a value with its bootstrap interval."""
    if not estimate or estimate.get("value") is None:
        return NOTHING
    value = number(estimate["value"], digits)
    low, high = estimate.get("low"), estimate.get("high")
    return value if low is None or high is None else f"{value} ({low:,.{digits}f} to {high:,.{digits}f})"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def plural(count: int, word: str) -> str:
    """`1 prompt`, `2 prompts`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")
