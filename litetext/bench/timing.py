"""Times taken in turns: medians, ratios round by round, and their spread."""

import gc
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Measured(float):
    """A median over rounds that knows its spread.

    Args:
        values: What the rounds gave; at least one.

    Attributes:
        low: The smallest of them.
        high: The largest of them.
        rounds: How many there are; with one, nothing is known of the spread.
    """

    low: float
    high: float
    rounds: int

    def __new__(cls, values: Iterable[float]) -> "Measured":
        """The median of the values."""
        known = list(values)
        return cls.known(statistics.median(known), min(known), max(known), len(known))

    @classmethod
    def known(cls, median: float, low: float, high: float, rounds: int) -> "Measured":
        """From a median and a spread that were found elsewhere."""
        made = super().__new__(cls, median)
        made.low, made.high, made.rounds = low, high, rounds
        return made

    @property
    def spread(self) -> list[float] | None:
        """Smallest and largest value, or None where there was one round."""
        return [self.low, self.high] if self.rounds > 1 else None


class Timings:
    """Seconds of several ways to do one thing, taken in turn, round by round.

    A ratio is taken within a round, where both ways met the same load, and never between the fastest of each.

    Args:
        clock: What tells the time in seconds; `time.process_time` leaves other processes out.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Does a piece of work once and keeps its time under a name.

        Args:
            name: Of the way.
            work: What is timed. Garbage of the work before it is collected outside of its time.

        Returns:
            What the work returned.
        """
        gc.collect()
        start = self.clock()
        result = work()
        self.seconds[name].append(self.clock() - start)
        return result

    def median(self, name: str, scale: float = 1.0) -> Measured:
        """Seconds of a way over its rounds.

        Args:
            name: Of the way.
            scale: What the seconds are multiplied with.
        """
        return Measured(scale * one for one in self.seconds[name])

    def rate(self, name: str, count: float) -> Measured:
        """What is done in a second.

        Args:
            name: Of the way.
            count: What one round does.
        """
        return Measured(count / one for one in self.seconds[name])

    def ratio(self, slow: str, fast: str) -> Measured:
        """How many times as long one way takes as another, round by round.

        Args:
            slow: Name of the way whose seconds stand above.
            fast: Name of the way whose seconds stand below.
        """
        return Measured(a / b for a, b in zip(self.seconds[slow], self.seconds[fast], strict=True))


def split(figures: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Plain numbers, and the spread of those that have one, as a JSON file holds them.

    Args:
        figures: Figures by name.

    Returns:
        All figures as they are, medians as floats; smallest and largest value by name.
    """
    plain = {name: float(value) if isinstance(value, Measured) else value for name, value in figures.items()}
    spreads = {n: value.spread for n, value in figures.items() if isinstance(value, Measured) and value.spread}
    return plain, spreads
