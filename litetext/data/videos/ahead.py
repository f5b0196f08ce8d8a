"""Frames of a video that a thread reads ahead, while the device is at those before."""

from collections import deque
from collections.abc import Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from torch import Tensor

_END: Any = object()


class _Readable(Sized, Protocol):
    def __iter__(self) -> Iterator[Tensor]: ...


class FramesAhead:
    """The same frames in the same order, a few of which are read before they are asked for.

    Args:
        frames: Frames as a tracker takes them.
        ahead: How many are held at most.
    """

    def __init__(self, frames: _Readable, ahead: int = 2) -> None:
        self.frames, self.ahead = frames, ahead

    def __len__(self) -> int:
        """Frames."""
        return len(self.frames)

    def __iter__(self) -> Iterator[Tensor]:
        """Yields the frames; what reading one raises is raised in its place."""
        source = iter(self.frames)
        pool = ThreadPoolExecutor(1, "frames")
        held: deque[Future[Any]] = deque()
        try:
            held.extend(pool.submit(next, source, _END) for _ in range(self.ahead))
            while (frame := held.popleft().result()) is not _END:
                held.append(pool.submit(next, source, _END))
                yield frame
        finally:
            pool.shutdown(cancel_futures=True)
