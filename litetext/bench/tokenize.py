"""Tokenizing a corpus: ours against a cached byte-pair encoding in plain Python."""

import time
from typing import Any

from litetext import tokenizer
from litetext.bench.bpe import PlainBpe
from litetext.bench.timing import Timings
from litetext.tokenizer import END, START, Tokenizer

_CONTEXT = 32


def bench_tokenize(prompts: list[str], rounds: int = 3) -> dict[str, Any]:
    """Prompts a second of both, in turn; each first with empty tables of words, then again with full ones.

    Reading the vocabulary is left out of both. Neither uses threads: ours hands the `tokenizers` library one text at
    a time, so that `TOKENIZERS_PARALLELISM` makes no difference.

    Args:
        prompts: A corpus.
        rounds: Rounds; medians count.

    Returns:
        Figures by name. `speedup` compares first passes, `speedup_warm` second passes, and `speedup_merging` our whole
        first pass with the plain encoder's on text that has been cleaned before.

    Raises:
        ValueError: If there is no prompt, no round, or a prompt whose ids differ.
    """
    if not prompts or rounds < 1:
        raise ValueError(f"{len(prompts)} prompts and rounds={rounds} leave nothing to measure; give at least one each")
    cleaned = [tokenizer.clean(prompt) for prompt in prompts]
    timings = Timings(time.process_time)  # nothing here has threads, and other processes do not count
    for _ in range(rounds):
        ours, plain, merging = Tokenizer(_CONTEXT), PlainBpe(), PlainBpe()
        tokenizer.clear_cache()
        ours.encode([""])  # reads the vocabulary
        rows = timings.run("ours", lambda ours=ours: ours.encode(prompts))
        timings.run("ours_warm", lambda ours=ours: ours.encode(prompts))
        expected = timings.run("python", lambda plain=plain: [_fit(plain.encode(p)) for p in prompts])
        timings.run("python_warm", lambda plain=plain: [_fit(plain.encode(p)) for p in prompts])
        timings.run("python_merging", lambda merging=merging: [_fit(merging.merge(text)) for text in cleaned])
        for prompt, mine, theirs in zip(prompts, rows, expected, strict=True):
            if mine != theirs:
                raise ValueError(f"prompt {prompt[:60]!r} has ids {mine}, but {theirs} in plain Python")
    speed = {f"{name}_prompts_per_s": timings.rate(name, len(prompts)) for name in timings.seconds}
    return {
        "prompts": len(prompts),
        "different_ids": 0,
        **speed,
        "speedup": timings.ratio("python", "ours"),
        "speedup_warm": timings.ratio("python_warm", "ours_warm"),
        "speedup_merging": timings.ratio("python_merging", "ours"),
    }


def _fit(words: list[int]) -> list[int]:
    row = [START, *words, END]
    return row if len(row) <= _CONTEXT else [*row[: _CONTEXT - 1], END]
