"""Checks of options that datamodules and modules share."""

import math


def check_minimum(minimum: float, **options: float | None) -> None:
    """Refuses numbers below a limit, and what is not finite.

    Args:
        minimum: The limit, inclusive.
        options: Numbers by the name of their option, `__` for a dot (`data__limit` is `data.limit`); None passes.

    Raises:
        ValueError: Naming the first such option, its value and the limit.
    """
    limit = "0 or more" if minimum == 0 else f"at least {minimum:g}"
    for name, value in options.items():
        if value is not None and not minimum <= value < math.inf:
            raise ValueError(f"{name.replace('__', '.')} is {value}; it must be {limit}")


check_least = check_minimum  # its name in earlier versions


def check_share(**options: float) -> None:
    """Refuses numbers outside 0..1, 1 itself too.

    Args:
        options: Numbers by the name of their option, `__` for a dot.

    Raises:
        ValueError: Naming the first such option and its value.
    """
    for name, value in options.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name.replace('__', '.')} is {value}; choose a number from 0 to below 1")
