"""Masks become run lengths in threads, while the device computes what comes next."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ParamSpec, TypeVar

_MOST_BYTES = 1 << 29
_T = TypeVar("_T")
_P = ParamSpec("_P")


class MaskThreads:
    """Threads for work on masks, which numpy does without Python's lock.

    What is done is the same as in the thread that asks, and a fault is raised where the result is asked for.

    Args:
        threads: Number of threads; None takes as many as there are processors, at most four.
        most_bytes: Masks that wait at the same time; a caller that brings more waits for the oldest.
    """

    def __init__(self, threads: int | None = None, most_bytes: int = _MOST_BYTES) -> None:
        self.pool = ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1), "masks")
        self.most_bytes = most_bytes
        self.waiting: deque[tuple[Future[Any], int]] = deque()
        self.held = 0

    def submit(self, size: int, work: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> Future[_T]:
        """Has a function called by one of the threads; calls may end in any order.

        Args:
            size: Bytes of the masks among its arguments.
            work: The function.
            args: Its arguments.
            options: Those with names.
        """
        while self.waiting and (self.waiting[0][0].done() or self.held + size > self.most_bytes):
            oldest, its = self.waiting.popleft()
            wait([oldest])
            self.held -= its
        self.held += size
        future = self.pool.submit(work, *args, **options)
        self.waiting.append((future, size))
        return future

    def close(self) -> None:
        """Ends the threads; what has not begun is not done."""
        self.pool.shutdown(cancel_futures=True)
