"""How long a SAM3 takes without its text encoder: the part that a smaller one does not speed up."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from litetext.bench.efficiency.cost import SAM3_TOKENS

REPETITIONS = 3
LONG = 10.0
"""Seconds after which a part is not repeated."""


class Sam3Seconds(NamedTuple):
    """Medians.

    Attributes:
        image: Vision tower and geometry token, once an image.
        prompt: Detector, once a prompt, all masks drawn.
    """

    image: float
    prompt: float


def sam3_seconds(path: str, device: str, threads: int | None) -> Sam3Seconds:
    """Times one image and one prompt of 32 tokens, whose features are random.

    Args:
        path: Folder or hub id of a SAM3 in transformers' layout.
        device: Where.
        threads: CPU threads; None for torch's choice.

    Raises:
        FileNotFoundError: If there is no such folder and no such model on the hub.
        ValueError: If it is no SAM3.
    """
    from litetext.models.sam3.image import Sam3Image

    if threads is not None:
        torch.set_num_threads(threads)
    model = Sam3Image.from_pretrained(path).to(device)
    pixels = torch.rand(1, 3, model.size, model.size, device=device)
    features = torch.randn(1, SAM3_TOKENS, model.width)
    lengths = torch.tensor([SAM3_TOKENS])
    vision = model.encode_images(pixels)
    return Sam3Seconds(
        _median(lambda: model.encode_images(pixels), device),
        _median(lambda: model.detect(vision, features, lengths), device),
    )


def _median(work: Callable[[], object], device: str) -> float:
    seconds: list[float] = []
    for _ in range(REPETITIONS + 1):  # the first is the warm-up, unless there is no time for others
        began = time.perf_counter()
        work()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
        if seconds[-1] > LONG:
            break
    return statistics.median(seconds[1:] or seconds)
