"""What a corpus costs before training: time to set it up, and memory in each process."""

import multiprocessing
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.data.word_classes import lexicon

_STATUS = Path("/proc/self/status")
_PLANNED = 100_000_000


def bench_corpus(counts: Sequence[int] = (10_000, 100_000, 1_000_000)) -> dict[str, Any]:
    """Times the set-up of synthetic corpora, and counts what each process of a run holds for a prompt.

    The prompts are words of the lexicon, an adjective or two before a noun, all different. Of each corpus one process
    makes the tables (`prepare_data`), as the first of a run does, and another maps them (`setup`), as the others do;
    both draw batches of an epoch then. Memory is what a process holds alone (anonymous pages), beyond what it held
    before.

    Args:
        counts: Prompts of each corpus.

    Returns:
        Figures by name: seconds of a CPU core of both (other work beside it does not count), bytes a prompt in the
        first process, in each other one, and in the mapped files that they share; and the same for 1e8 prompts,
        planned from the largest corpus that was measured.

    Raises:
        ValueError: The system does not say what a process holds (`/proc`).
    """
    if not _STATUS.is_file():
        raise ValueError("this benchmark reads /proc/self/status, which this system has not")
    found: dict[str, Any] = {}
    figures: dict[str, float] = {}
    for count in counts:
        figures = _measured(count)
        found |= {f"{count:,}: {name}": value for name, value in figures.items()}
    scale = _PLANNED / max(1, counts[-1])
    for name in ("prepare, CPU s", "setup, CPU s"):
        found[f"{_PLANNED:,} planned: {name}"] = figures[name] * scale
    for name in ("first process", "other processes", "shared", "peak of the first"):
        found[f"{_PLANNED:,} planned: {name} GB"] = figures[f"{name}, bytes a prompt"] * _PLANNED / 1e9
    return found


def _measured(count: int) -> dict[str, float]:
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.txt"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(f"{prompt}\n" for prompt in islice(_prompts(), count))
        there, back = processes.Pipe()
        figures: dict[str, float] = {}
        for work in (_first, _other):
            child = processes.Process(target=work, args=(str(file), folder, back))
            child.start()
            figures |= there.recv()
            child.join()
        tables = Path(folder, "kept")
        figures["shared, bytes a prompt"] = sum(f.stat().st_size for f in tables.iterdir()) / count
    return {
        name: value / count if "bytes" in name and "shared" not in name else value for name, value in figures.items()
    }


def _prompts() -> Iterator[str]:
    """Different phrases in a fixed random order of words."""
    plain = [(word, letter) for word, letter in lexicon().items() if re.fullmatch("[a-z]{3,9}", word)]
    adjectives, nouns = ([word for word, letter in plain if letter == kind] for kind in "JN")
    rng = random.Random(0)
    seen: set[int] = set()
    while True:
        words = [rng.choice(adjectives) for _ in range(rng.randint(0, 2))] + [rng.choice(nouns)]
        phrase = " ".join(words)
        if hash(phrase) not in seen:
            seen.add(hash(phrase))
            yield phrase


def _held() -> int:
    """Bytes that this process holds alone."""
    return int(re.search(r"RssAnon:\s+(\d+)", _STATUS.read_text())[1]) * 1024  # type: ignore[index]


def _first(file: str, folder: str, back: Any) -> None:
    PromptDataModule({"few": "shapes:100"}).setup("fit")  # vocabulary, lexicon and libraries are no corpus
    tempfile.tempdir = folder
    data, before = PromptDataModule({"corpus": file}), _held()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.process_time()
    data.prepare_data()
    prepared = time.process_time() - began
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - peak
    made = next(Path(folder).glob("litetext-prompts-*"))
    (Path(folder) / "kept").mkdir()
    for array in made.iterdir():
        (Path(folder) / "kept" / array.name).hardlink_to(array)
    figures = _drawn(data, before)
    back.send(
        {
            "prepare, CPU s": prepared,
            "first process, bytes a prompt": figures["held"],
            "peak of the first, bytes a prompt": more,
        }
    )
    back.close()
    sys.stderr.flush()


def _other(file: str, folder: str, back: Any) -> None:
    PromptDataModule({"few": "shapes:100"}).setup("fit")
    data, before = PromptDataModule({"corpus": file}), _held()
    data.attach(Path(folder) / "kept")
    began = time.process_time()
    figures = _drawn(data, before)
    back.send({"setup, CPU s": time.process_time() - began, "other processes, bytes a prompt": figures["held"]})
    back.close()


def _drawn(data: PromptDataModule, before: int) -> dict[str, float]:
    """Sets up, and draws a few batches of an epoch."""
    data.setup("fit")
    batches = iter(data.train_dataloader())
    for _ in range(3):
        next(batches)
    return {"held": _held() - before}
