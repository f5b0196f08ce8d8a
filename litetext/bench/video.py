"""Memory of masklets: how far tracking raises it, over numbers of frames and phrases."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from litetext.models.text.encoder import TextBatch
from litetext.modules.video_eval import VideoEvalModule

_SIZE = 112


class _Noise:
    """Frames of noise, one at a time."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Tensor]:
        draw = torch.Generator().manual_seed(0)
        for _ in range(self.count):
            yield torch.randint(0, 256, (3, _SIZE, _SIZE), generator=draw, dtype=torch.uint8)


def _peak_mb() -> float:
    """The most memory that this process ever held, MiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def _track(sam3: str, chunk: int, frames: int, phrases: int) -> tuple[float, float, int]:
    """Growth of memory over that after two frames and one phrase, seconds a frame, and masklets; in a fresh process."""
    torch.set_num_threads(1)
    tracker = VideoEvalModule(sam3=sam3, chunk=chunk).load_tracker()
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(phrases, 5, tracker.sam3.width, generator=draw)

    def run(count: int, phrase_count: int) -> Any:
        batch = TextBatch(features[:phrase_count], torch.full((phrase_count,), 5))
        return tracker.track(_Noise(count), {"noise": batch})["noise"]

    run(2, 1)
    before, begin = _peak_mb(), time.perf_counter()
    found = run(frames, phrases)
    return _peak_mb() - before, (time.perf_counter() - begin) / frames, sum(map(len, found))


def bench_video(
    sam3: str = "checkpoints/sam3-tiny",
    frames: Sequence[int] = (50, 100, 200),
    phrases: Sequence[int] = (1, 8, 32),
    chunk: int = 8,
) -> dict[str, Any]:
    """Runs each number of frames with each number of phrases in a process of its own.

    Frames are noise and text features random, so that masklets are many and short: the hard case for memory.

    Args:
        sam3: The segmenter: its own tracker where it has one, linked detections elsewhere.
        frames: Frames of the video.
        phrases: Query phrases.
        chunk: Phrases at once.

    Returns:
        Flat figures: for each setting the growth of the process's memory over that after a first short video (MiB),
        seconds a frame, and predicted masklets.
    """
    figures: dict[str, Any] = {"sam3": sam3, "chunk": chunk}
    fresh = multiprocessing.get_context("spawn")
    for phrase_count in phrases:
        for count in frames:
            with fresh.Pool(1) as pool:
                grown, seconds, found = pool.apply(_track, (sam3, chunk, count, phrase_count))
            name = f"frames_{count}_phrases_{phrase_count}"
            figures |= {f"{name}_mb": grown, f"{name}_seconds": seconds, f"{name}_masklets": found}
    return figures
