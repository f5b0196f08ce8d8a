"""Frames that are read ahead: the same ones, in order, few at a time."""

import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from litetext.data.videos.ahead import FramesAhead


class Frames:
    """Frames of which the last may not decode; says how many were read, and whether reading ended."""

    def __init__(self, count: int, broken: bool = False) -> None:
        self.count, self.broken, self.read, self.ended = count, broken, 0, False

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        try:
            for n in range(self.count):
                self.read += 1
                yield torch.full((3, 1, 1), n, dtype=torch.uint8)
            if self.broken:
                raise ValueError("frame 5 does not decode")
        finally:
            self.ended = True


def test_frames_come_in_order_and_again() -> None:
    ahead = FramesAhead(Frames(5), 3)
    assert len(ahead) == 5
    for _ in range(2):
        assert [int(frame[0, 0, 0]) for frame in ahead] == [0, 1, 2, 3, 4]
    assert not list(FramesAhead(Frames(0)))


def test_no_more_are_held_than_asked_for() -> None:
    frames = Frames(20)
    each = iter(FramesAhead(frames, 2))
    next(each)
    deadline = time.monotonic() + 5
    while frames.read < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert frames.read == 3


def test_a_frame_that_cannot_be_read_raises_in_its_place() -> None:
    frames = iter(FramesAhead(Frames(5, broken=True)))
    assert [int(next(frames)[0, 0, 0]) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="frame 5 does not decode"):
        next(frames)
