"""The fastest way to run a student on this processor that keeps its features: measured once, then remembered."""

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from litetext.models.text.mobileclip import MobileClipText

Precision = Literal["float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
_LENGTHS = (3, 4, 4, 5, 5, 5, 6, 7, 8, 10)
"""Tokens of the prompts that are timed: their mean is that of real noun phrases, 5.7 with start and end token."""
_ROUNDS = 5


class Choice(NamedTuple):
    """What was measured, and what follows from it.

    Attributes:
        precision: The fastest that keeps the required cosine.
        milliseconds: Of a prompt, by precision; medians of rounds in turn.
        cosines: Smallest cosine of a pooled feature to that in float32, by precision.
    """

    precision: Precision
    milliseconds: dict[Precision, float]
    cosines: dict[Precision, float]


_MEASURED: dict[tuple[object, ...], dict[Precision, float]] = {}
"""Milliseconds by the shape of a student, batch size and threads, as measured in this process."""


def choose_precision(
    student: MobileClipText,
    build: Callable[[MobileClipText, Precision], Any],
    cosine: float = 0.995,
    batch_size: int = 64,
) -> Choice:
    """The precision that `FastStudent(student, "auto")` takes: float32 unless another is faster here and close enough.

    Times are remembered in this process for students of one shape; cosines are taken of each student anew.

    Args:
        student: Any student on the CPU; it stays as it is.
        build: Makes the student that runs in a precision: `FastStudent`.
        cosine: What the pooled features of the timed prompts have to keep, at least, against float32.
        batch_size: Prompts at once, as they will be encoded.

    Raises:
        ValueError: If `cosine` is above 1, or `batch_size` below 1.
    """
    if cosine > 1 or batch_size < 1:
        raise ValueError(f"cosine={cosine} must be at most 1, and batch_size={batch_size} at least 1")
    ways: dict[Precision, Any] = {one: build(student, one) for one in PRECISIONS}
    ids, lengths = _prompts(batch_size, student.config["vocab_size"], student.context_length)
    exact = _pooled(ways["float32"], ids, lengths)
    cosines: dict[Precision, float] = {
        name: float(F.cosine_similarity(exact, _pooled(way, ids, lengths), dim=-1).min()) for name, way in ways.items()
    }
    layers = tuple(sorted({type(part).__name__ for part in student.modules()}))  # weights may be in few bits
    key = (repr(sorted(student.config.items())), student.padding, layers, batch_size, torch.get_num_threads())
    if key not in _MEASURED:
        _MEASURED[key] = _milliseconds(ways, ids, lengths)
    kept: list[Precision] = [name for name in PRECISIONS if name == "float32" or cosines[name] >= cosine]
    return Choice(min(kept, key=_MEASURED[key].__getitem__), dict(_MEASURED[key]), cosines)


def _milliseconds(ways: dict[Precision, Any], ids: Tensor, lengths: Tensor) -> dict[Precision, float]:
    """Of a prompt, in turn; processor time where there is one thread, so that other work does not count."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[Precision, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            start = clock()
            way(ids, lengths)
            seconds[name].append(clock() - start)
    return {name: 1e3 * statistics.median(times) / len(ids) for name, times in seconds.items()}


def _prompts(count: int, vocabulary: int, context: int) -> tuple[Tensor, Tensor]:
    """Token ids (B, L) and lengths (B,) of drawn prompts, the same each time."""
    lengths = torch.tensor([min(_LENGTHS[i % len(_LENGTHS)], context) for i in range(count)])
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, vocabulary - 2, (count, int(lengths.max())), generator=draw)
    ids[:, 0] = vocabulary - 2
    places = torch.arange(ids.shape[1])
    ids[places == lengths[:, None] - 1] = vocabulary - 1
    return ids.masked_fill(places >= lengths[:, None], 0), lengths


def _pooled(way: Any, ids: Tensor, lengths: Tensor) -> Tensor:
    valid = (torch.arange(ids.shape[1]) < lengths[:, None]).unsqueeze(-1)
    return (way(ids, lengths).float() * valid).sum(1) / lengths[:, None]
