"""Tokenizing a corpus: ours against a cached byte-pair encoding in plain Python."""

import time
from typing import Any

from litetext.bench.bpe import PlainBpe
from litetext.bench.timing import Timings
from litetext.tokenizer import END, START, Tokenizer, pad
from litetext.tokenizer import bpe as tokenizer
from litetext.tokenizer.token_rows import TokenRows

_CONTEXT = 32


def bench_tokenize(prompts: list[str], rounds: int = 3) -> dict[str, Any]:
    """Prompts a second of both, in turn; each first with empty tables of words, then again with full ones.

    Reading the vocabulary is left out of both. Neither uses threads: ours hands the `tokenizers` library one text at
    a time, so that `TOKENIZERS_PARALLELISM` makes no difference. Three forms are timed, the plain encoder's ids always
    as lists first: lists on both sides (`Tokenizer.encode`); flat arrays, as the data modules and the audit take them
    (`Tokenizer.rows`, against lists that are put into arrays); one padded batch (`Tokenizer.__call__`, against lists
    that are padded by `litetext.tokenizer.pad`).

    Args:
        prompts: A corpus.
        rounds: Rounds; medians count.

    Returns:
        Figures by name. `speedup` compares first passes that give lists, `speedup_arrays` and `speedup_batch` first
        passes in the other forms, `speedup_warm` second passes that give lists, and `speedup_merging` our whole first
        pass with the plain encoder's on text that has been cleaned before, both giving lists.

    Raises:
        ValueError: If there is no prompt, no round, or a prompt whose ids differ.
    """
    if not prompts or rounds < 1:
        raise ValueError(f"{len(prompts)} prompts and rounds={rounds} leave nothing to measure; give at least one each")
    cleaned = [tokenizer.clean(prompt) for prompt in prompts]
    timings = Timings(time.process_time)  # nothing here has threads, and other processes do not count
    for _ in range(rounds):
        ours, plain, merging = Tokenizer(_CONTEXT), PlainBpe(), PlainBpe()
        _forget(ours)
        rows = timings.run("ours", lambda ours=ours: ours.encode(prompts))
        timings.run("ours_warm", lambda ours=ours: ours.encode(prompts))
        expected = timings.run("python", lambda plain=plain: _lists(plain, prompts))
        timings.run("python_warm", lambda plain=plain: _lists(plain, prompts))
        timings.run("python_merging", lambda merging=merging: [_fit(merging.merge(text)) for text in cleaned])
        _forget(ours)
        timings.run("ours_arrays", lambda ours=ours: ours.rows(prompts))
        timings.run("python_arrays", lambda: TokenRows.of(_lists(PlainBpe(), prompts)))
        _forget(ours)
        timings.run("ours_batch", lambda ours=ours: ours(prompts))
        timings.run("python_batch", lambda: pad(_lists(PlainBpe(), prompts)))
        for prompt, mine, theirs in zip(prompts, rows, expected, strict=True):
            if mine != theirs:
                raise ValueError(f"prompt {prompt[:60]!r} has ids {mine}, but {theirs} in plain Python")
    speed = {f"{name}_prompts_per_s": timings.rate(name, len(prompts)) for name in timings.seconds}
    return {
        "prompts": len(prompts),
        "different_ids": 0,
        **speed,
        "speedup": timings.ratio("python", "ours"),
        "speedup_arrays": timings.ratio("python_arrays", "ours_arrays"),
        "speedup_batch": timings.ratio("python_batch", "ours_batch"),
        "speedup_warm": timings.ratio("python_warm", "ours_warm"),
        "speedup_merging": timings.ratio("python_merging", "ours"),
    }


def _forget(ours: Tokenizer) -> None:
    """Empties the table of words, and reads the vocabulary again."""
    tokenizer.clear_cache()
    ours.encode([""])


def _lists(plain: PlainBpe, prompts: list[str]) -> list[list[int]]:
    return [_fit(plain.encode(prompt)) for prompt in prompts]


def _fit(words: list[int]) -> list[int]:
    row = [START, *words, END]
    return row if len(row) <= _CONTEXT else [*row[: _CONTEXT - 1], END]
