"""Compressed run lengths of many masks in one pass of numpy: what their runs are, and which are sound.

A mask of an annotation file is some dozens of characters, so that a pass of its own costs more than it decodes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

FAULTS = ("", "a byte is no run-length code", "the text ends within a number", "a number has more than 32 bits")
_MOST_BYTES = 7
"""Of a number of 32 bits, five bits a byte."""
_AT_ONCE = 256
"""Masks whose runs stay in the processor's cache."""


class Runs(NamedTuple):
    """Runs of n masks, one after the other.

    Attributes:
        lengths: All runs, int64 (N,).
        counts: Runs of each mask, int64 (n,).
        faults: What is wrong with each mask's text, a place in `FAULTS`, int64 (n,); its runs then mean nothing.
    """

    lengths: Int64[np.ndarray, " N"]
    counts: Int64[np.ndarray, " n"]
    faults: Int64[np.ndarray, " n"]


def decode(texts: Sequence[bytes]) -> Runs:
    """The runs of compressed masks.

    Five bits a byte, lowest first; bit 5 says that more follow, bit 4 of the last byte is the sign; from the fourth
    number of a mask on, the difference to the number two places before (COCO API, maskApi.c).

    Args:
        texts: The `counts` of n masks.
    """
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    faults = np.zeros(len(texts), dtype=np.int64)
    codes = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)  # what lies below wraps to above 63
    if not len(codes):
        return Runs(np.zeros(0, dtype=np.int64), np.zeros_like(sizes), faults)
    filled = np.flatnonzero(sizes)
    closing = np.cumsum(sizes)[filled] - 1  # the last byte of each text
    last = (codes & 32) == 0
    unfinished = filled[~last[closing]]
    last[closing] = True  # no number goes on in the next mask
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    taken = ends - starts + 1
    counts = np.zeros_like(sizes)
    counts[filled] = np.diff(np.searchsorted(ends, closing), prepend=-1)
    owners = np.repeat(np.arange(len(texts)), counts)
    faults[owners[taken > _MOST_BYTES]] = 3
    faults[unfinished] = 2
    faults[filled[np.searchsorted(closing, np.flatnonzero(codes > 63))]] = 1
    numbers = (codes[starts] & 31).astype(np.int64)
    for further in range(1, min(int(taken.max()), _MOST_BYTES)):  # few numbers have many bytes
        longer = np.flatnonzero(taken > further)
        numbers[longer] |= (codes[starts[longer] + further] & 31).astype(np.int64) << (5 * further)
    numbers -= np.where(codes[ends] & 16, np.int64(1) << (5 * np.minimum(taken, _MOST_BYTES)), 0)
    position = _positions(counts)
    # The second number is absolute, and so is the third; differences begin with the fourth.
    for chosen in (np.flatnonzero(position % 2 == 1), np.flatnonzero((position % 2 == 0) & (position > 0))):
        _add_up(numbers, chosen, owners)
    return Runs(numbers, counts, faults)


def sound(texts: Sequence[bytes], pixels: Int64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which masks may go to `pycocotools` as they are.

    Args:
        texts: The `counts` of n masks.
        pixels: Pixels of each mask's image.

    Returns:
        True where all runs can be read, none is negative, none but the first is empty, and they add up.
    """
    parts = [_sound(texts[i : i + _AT_ONCE], pixels[i : i + _AT_ONCE]) for i in range(0, len(texts), _AT_ONCE)]
    return np.concatenate([np.zeros(0, dtype=bool), *parts])


def _sound(texts: Sequence[bytes], pixels: np.ndarray) -> np.ndarray:
    runs = decode(texts)
    fine = (runs.faults == 0) & (runs.counts > 0)
    owners = np.repeat(np.arange(len(texts)), runs.counts)
    fine[owners[(runs.lengths < 0) | ((runs.lengths == 0) & (_positions(runs.counts) > 0))]] = False
    # As float64: a sum of 64-bit integers could wrap to the right one.
    return fine & (np.bincount(owners, runs.lengths.astype(np.float64), len(texts)) == pixels)


def _positions(counts: np.ndarray) -> np.ndarray:
    """The place of each run in its mask, from 0 on."""
    return np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)


def _add_up(numbers: np.ndarray, chosen: np.ndarray, owners: np.ndarray) -> None:
    """Running sums over some numbers, for each mask anew, in place."""
    if not len(chosen):
        return
    own, values = owners[chosen], numbers[chosen]
    sums = np.cumsum(values)
    first = np.flatnonzero(np.diff(own, prepend=-1))
    before = sums[first] - values[first]
    numbers[chosen] = sums - np.repeat(before, np.diff(first, append=len(chosen)))
