"""Python's search for cycles of garbage, held where many small objects are made, none of them in a cycle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """Holds the search, for a block or (as `@no_collection()`) for a function.

    It goes through all that there is, again and again while millions of lists are made: reading a file of annotations
    or scoring it takes half the time without.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
