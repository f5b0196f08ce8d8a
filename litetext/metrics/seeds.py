"""Numbers of several seeds: their spread, and how two things differ seed by seed."""

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Spread = dict[str, float | None]


def spread(values: Iterable[float | None]) -> Spread:
    """Mean, sample standard deviation, least and largest of the numbers of some seeds.

    Args:
        values: One a seed; None where it is undefined, and then all are None.

    Returns:
        `mean`, `sd` (None for a single seed), `min`, `max`.
    """
    given = list(values)
    numbers = [value for value in given if value is not None]
    if not numbers or len(numbers) < len(given):
        return dict.fromkeys(("mean", "sd", "min", "max"))
    sd = statistics.stdev(numbers) if len(numbers) > 1 else None
    return {"mean": statistics.fmean(numbers), "sd": sd, "min": min(numbers), "max": max(numbers)}


def differ(values: Sequence[float | None], others: Sequence[float | None], level: float = 0.95) -> Spread:
    """How much one thing is above another, seed by seed: Student's t interval of the mean of the paired differences.

    Args:
        values: One a seed; None where it is undefined.
        others: Those of the other thing, of the same seeds in the same order.
        level: How often such an interval holds the mean over all seeds, if the differences are normal.

    Returns:
        `mean`, `sd`, `low`, `high`. All are None where a number is; all but the mean for a single seed.

    Raises:
        ValueError: The numbers of seeds differ.
    """
    found: Spread = dict.fromkeys(("mean", "sd", "low", "high"))
    pairs = list(zip(values, others, strict=True))
    gaps = [a - b for a, b in pairs if a is not None and b is not None]
    if not gaps or len(gaps) < len(pairs):
        return found
    found["mean"] = mean = statistics.fmean(gaps)
    if len(gaps) > 1:
        from scipy.special import stdtrit  # slow to import

        found["sd"] = sd = statistics.stdev(gaps)
        half = float(stdtrit(len(gaps) - 1, (1 + level) / 2)) * sd / math.sqrt(len(gaps))
        found["low"], found["high"] = mean - half, mean + half
    return found


def fold(entries: Sequence[Any]) -> Any:
    """The numbers of several seeds as one: each leaf of equal mappings becomes the `spread` over the seeds.

    Args:
        entries: One a seed, mappings of mappings down to numbers or None. What is no number in any of them is left out,
            and so is what some of them lack.
    """
    if all(isinstance(entry, Mapping) for entry in entries):
        shared = [key for key in entries[0] if all(key in entry for entry in entries)]
        folded = {key: fold([entry[key] for entry in entries]) for key in shared}
        return {key: value for key, value in folded.items() if value is not None}
    numbers = [entry is None or (isinstance(entry, int | float) and not isinstance(entry, bool)) for entry in entries]
    return spread([None if entry is None else float(entry) for entry in entries]) if all(numbers) else None


def seeds_of(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Which names are seeds of one thing: those that differ in what follows a last `-seed` alone, two or more.

    Args:
        names: Such as `teacher`, `eighth-seed1`, `eighth-seed2`.

    Returns:
        By what is common, such as `eighth`, the names by their seeds.
    """
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if match := re.fullmatch(r"(.+)-seed(0|[1-9]\d*)", name):
            found.setdefault(match[1], {})[int(match[2])] = name
    return {base: dict(sorted(seeds.items())) for base, seeds in found.items() if len(seeds) > 1}


def format_spread(part: Spread, digits: int) -> str:
    """A spread in words: mean ± standard deviation; an empty text where it is undefined."""
    if part["mean"] is None:
        return ""
    return f"{part['mean']:.{digits}f}" + ("" if part["sd"] is None else f" ± {part['sd']:.{digits}f}")


def format_difference(part: Spread, digits: int) -> str:
    """A difference in words: its mean and its interval; an empty text where it is undefined."""
    if part["mean"] is None:
        return ""
    text = f"{part['mean']:+.{digits}f}"
    return text if part["low"] is None else f"{text} [{part['low']:+.{digits}f}, {part['high']:+.{digits}f}]"
