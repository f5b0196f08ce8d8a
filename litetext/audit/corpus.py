"""A prompt corpus as tokens: tokenized once, in steps, for every part of an audit."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from litetext.tokenizer import UNLIMITED, Tokenizer

CHUNK = 8192
"""Prompts that are Python lists of ids at one time; the rest are arrays."""


class Corpus(NamedTuple):
    """The prompts of one source and their tokens.

    Attributes:
        prompts: N prompts.
        ids: Token ids of all prompts in a row, start and end included, int32 (T,).
        lengths: Tokens of each prompt, uncut, int32 (N,); their sum is T.
    """

    prompts: Sequence[str]
    ids: np.ndarray
    lengths: np.ndarray

    def counts(self, vocab_size: int) -> np.ndarray:
        """How often each id occurs, int64 (V,).

        Args:
            vocab_size: V.

        Raises:
            ValueError: If an id is outside the vocabulary.
        """
        largest = int(self.ids.max(initial=-1))
        if largest >= vocab_size:
            raise ValueError(f"token id {largest} is outside a vocabulary of {vocab_size}; give its tokenizer's size")
        return np.bincount(self.ids, minlength=vocab_size)


def tokenize_corpus(
    prompts: Sequence[str],
    tokenize: Callable[[list[str]], Sequence[Sequence[int]]] | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Corpus:
    """Tokenizes a corpus in steps, so that little more than its arrays is in memory.

    Args:
        prompts: N prompts.
        tokenize: Prompts to rows of ids, start and end included, uncut and without padding; SAM3's when None.
        progress: Is called with the share that is done, after every step.

    Returns:
        The corpus; without prompts its arrays are empty.
    """
    tokenize = tokenize or Tokenizer(UNLIMITED).encode
    ids, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
    for start in range(0, len(prompts), CHUNK):
        rows = tokenize(list(prompts[start : start + CHUNK]))
        lengths.append(np.fromiter(map(len, rows), np.int32, len(rows)))
        ids.append(np.fromiter(chain.from_iterable(rows), np.int32, int(lengths[-1].sum())))
        progress(min(1.0, (start + CHUNK) / len(prompts)))
    return Corpus(prompts, np.concatenate(ids), np.concatenate(lengths))
