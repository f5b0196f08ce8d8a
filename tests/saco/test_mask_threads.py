"""Masks that threads encode: nothing is changed, lost, or held without bound."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from litetext.saco.mask_threads import MaskThreads
from litetext.saco.masks import encode_masks


def test_results_are_those_of_one_thread() -> None:
    masks = [np.random.default_rng(n).random((2, 30 + n, 40)) < 0.4 for n in range(40)]
    threads = MaskThreads(3, most_bytes=masks[0].nbytes * 4)
    found = [threads.submit(one.nbytes, encode_masks, one) for one in masks]
    assert [future.result() for future in found] == [encode_masks(one) for one in masks]
    threads.close()


def test_who_brings_too_much_waits() -> None:
    threads, go = MaskThreads(2, most_bytes=10), threading.Event()
    first = threads.submit(8, go.wait)
    brought: list[object] = []
    other = threading.Thread(target=lambda: brought.append(threads.submit(8, int)))
    other.start()
    other.join(0.05)
    assert not brought
    go.set()
    other.join(5)
    assert brought
    assert first.result()
    assert threads.held == 8
    threads.close()


def test_a_fault_comes_with_the_result_and_stops_nothing_else() -> None:
    threads = MaskThreads(1)
    bad, good = threads.submit(1, lambda: 1 / 0), threads.submit(1, lambda: 3)
    assert good.result() == 3
    with pytest.raises(ZeroDivisionError):
        bad.result()


def test_what_has_not_begun_when_it_closes_is_not_lost_without_a_word() -> None:
    threads, go = MaskThreads(1), threading.Event()
    threads.submit(1, go.wait)
    later = threads.submit(1, lambda: 3)
    closing = threading.Thread(target=threads.close)
    closing.start()
    closing.join(0.05)
    go.set()
    closing.join(5)
    with pytest.raises(CancelledError):
        later.result()
