"""Rounds over text encoders, each in a process of its own, with repetitions and prompts that fit the time given."""

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

from litetext.bench.efficiency import measured
from litetext.bench.efficiency.measured import Pass
from litetext.models.text.mobileclip import Padding

SINGLES = 8
"""Prompts that one repetition at batch size 1 encodes, one after the other."""
TRIAL = 4
"""Prompts of a first pass, at most."""
MIN_REPETITIONS, MAX_REPETITIONS = 3, 50
"""Repetitions of a measurement."""


@dataclass
class Cell:
    """One measurement: an encoder at a context length, padding and batch size."""

    encoder: str
    context: int
    padding: Padding
    batch: int
    worker: "Worker"
    per_prompt: float = 0.0
    prompts: int = 1
    passes: list[Pass] = field(default_factory=list)

    @property
    def spent(self) -> float:
        """Seconds of its repetitions so far."""
        return sum(one.seconds for one in self.passes)

    @property
    def wanted(self) -> int:
        """Prompts of a whole repetition."""
        return self.batch if self.batch > 1 else SINGLES

    def run(self, rows: list[list[int]], count: int, watch_memory: bool = False) -> Pass:
        """Encodes `count` prompts whose lengths are spread as those of all rows."""
        chosen = spread(rows, count)
        return self.worker.ask(measured.encode, self.context, self.padding, chosen, self.batch, watch_memory)

    def rate(self) -> dict[str, float | int]:
        """Prompts a second: the median repetition, the slowest and the fastest."""
        # The first is the one that memory is watched in, which slows it; it counts where there are few.
        passes = self.passes[1:] if len(self.passes) > MIN_REPETITIONS else self.passes
        rates = [self.prompts / one.seconds for one in passes]
        return {
            "median": statistics.median(rates),
            "low": min(rates),
            "high": max(rates),
            "repetitions": len(rates),
        }


class Worker:
    """A process that holds one encoder.

    Args:
        name: The encoder's name, for messages.
        pool: The process.
    """

    def __init__(self, name: str, pool: ProcessPoolExecutor) -> None:
        self.name, self.pool = name, pool

    def ask(self, task: Any, *args: Any) -> Any:
        """Runs a task of `litetext.bench.efficiency.measured` there and waits for the answer."""
        return self.answer(self.pool.submit(task, *args))

    def answer(self, future: "Future[Any]") -> Any:
        """The result of a task, or its error.

        Raises:
            ValueError: If the process died, as it does when memory runs out.
        """
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise ValueError(
                f"the process that measures {self.name} died, most likely for lack of memory; "
                "measure fewer encoders at once (--text_encoders) or a smaller --batch_sizes"
            ) from error


def spread(rows: Sequence[list[int]], count: int) -> list[list[int]]:
    """`count` rows at even steps through rows sorted by length, so that few stand for all; short lists repeat."""
    return [rows[int((i + 0.5) * len(rows) / count)] for i in range(count)]


@contextmanager
def workers(names: Sequence[str]) -> Iterator[dict[str, Worker]]:
    """Starts a process for each name; they end with the block."""
    with ExitStack() as stack:
        spawn = get_context("spawn")  # a forked child would inherit this process's memory
        pools = {name: ProcessPoolExecutor(1, mp_context=spawn, initializer=measured.start) for name in names}
        for pool in pools.values():
            stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        yield {name: Worker(name, pool) for name, pool in pools.items()}


def measure(cells: list[Cell], rows: dict[int, list[list[int]]], seconds: float, whole: bool) -> None:
    """Repeats the measurements round by round, each encoder in turn, until their time is used.

    A first, uncounted pass tells how long a prompt takes. A repetition that then would take more than its share of the
    time encodes fewer prompts.

    Args:
        cells: The measurements; their passes are filled in.
        rows: Token ids by context length, sorted by length.
        seconds: For all of them, the first passes included.
        whole: Only whole batches can be run.
    """
    began = time.perf_counter()
    for name in dict.fromkeys(cell.encoder for cell in cells):  # threads started, weights touched
        first = next(cell for cell in cells if cell.encoder == name)
        first.run(rows[first.context], first.wanted if whole else 1)
    for cell in cells:
        count = cell.wanted if whole else min(cell.wanted, TRIAL)
        if whole:
            cell.run(rows[cell.context], count)  # compiles
        cell.per_prompt = cell.run(rows[cell.context], count).seconds / count
    left = max(0.1 * seconds, seconds - (time.perf_counter() - began))
    needs = [MIN_REPETITIONS * cell.wanted * cell.per_prompt for cell in cells]
    most = cap(needs, left)
    for cell, need in zip(cells, needs, strict=True):
        cell.prompts = cell.wanted if whole or need <= most else max(1, int(cell.wanted * most / need))
    share, began = left / len(cells), time.perf_counter()
    for repetition in range(MAX_REPETITIONS):
        ran = False
        for cell in cells:
            late = time.perf_counter() - began > 1.25 * left
            wanted = repetition < MIN_REPETITIONS and not (late and cell.passes)
            if wanted or (not late and cell.spent + cell.passes[-1].seconds <= share):
                cell.passes.append(cell.run(rows[cell.context], cell.prompts, watch_memory=repetition == 0))
                ran = True
        if not ran:
            break


def cap(needs: Sequence[float], total: float) -> float:
    """The limit at which needs, each cut to it, add up to `total`; infinite if they fit as they are."""
    left = total
    for done, need in enumerate(sorted(needs)):
        if need * (len(needs) - done) > left:
            return left / (len(needs) - done)
        left -= need
    return float("inf")
