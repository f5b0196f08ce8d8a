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


_LAST_BYTE = np.array([(code & 31) - 2 * (code & 16) for code in range(256)], dtype=np.int64)
"""What the last byte of a number says, with its sign."""


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
    taken = np.diff(ends, prepend=-1)
    counts = np.zeros_like(sizes)
    counts[filled] = np.diff(np.searchsorted(ends, closing), prepend=-1)
    faults[filled[np.searchsorted(closing, ends[taken > _MOST_BYTES])]] = 3
    faults[unfinished] = 2
    faults[filled[np.searchsorted(closing, np.flatnonzero(codes > 63))]] = 1
    numbers = _LAST_BYTE[codes[ends]]
    longer = np.flatnonzero(taken > 1)
    further = np.minimum(taken[longer], _MOST_BYTES) - 1  # bytes before the last
    numbers[longer] <<= 5 * further
    starts = ends[longer] - taken[longer] + 1
    for byte in range(int(further.max(initial=0))):
        there = slice(None) if byte == 0 else np.flatnonzero(further > byte)
        numbers[longer[there]] += (codes[starts[there] + byte] & 31).astype(np.int64) << (5 * byte)
    return Runs(_added_up(numbers, counts), counts, faults)


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
    filled = np.flatnonzero(runs.counts)
    if not len(filled):
        return fine
    first = (np.cumsum(runs.counts) - runs.counts)[filled]
    least = runs.lengths.copy()
    least[first] += 1  # which alone may be empty
    # What is larger than the image goes first, as a sum of such could wrap to the right one.
    fine[filled] &= np.minimum.reduceat(least, first) > 0
    fine[filled] &= np.maximum.reduceat(runs.lengths, first) <= pixels[filled]
    fine[filled] &= np.add.reduceat(runs.lengths, first) == pixels[filled]
    return fine


def _added_up(numbers: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Runs from what is stored: from the fourth number of a mask on, the difference to the number two places before."""
    odd = counts & 1
    # Each mask begins in an even place, so that its numbers lie in two columns, each of which is a running sum.
    gaps = np.cumsum(odd) - odd
    firsts = np.cumsum(counts) - counts
    place = np.arange(len(numbers)) + np.repeat(gaps, counts)
    columns = np.zeros(len(numbers) + int(odd.sum()), dtype=np.int64)
    columns[place] = numbers
    heads = (firsts + gaps)[counts > 0]
    columns[heads] = 0  # the third number stands for itself too
    sums = columns.reshape(-1, 2).cumsum(axis=0)
    rows = heads // 2
    before = np.zeros((len(rows), 2), dtype=np.int64)
    before[1:] = sums[rows[1:] - 1]
    sums -= np.repeat(before, np.diff(rows, append=len(sums)), axis=0)
    sums[rows, 0] = numbers[firsts[counts > 0]]
    return sums.reshape(-1)[place]
