"""A prompt corpus as tokens: tokenized once, in steps, for every part of an audit."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from litetext.tokenizer import UNLIMITED, Tokenizer
from litetext.tokenizer.token_rows import TokenRows

CHUNK = 8192
"""Prompts between two words of progress; where a tokenizer makes lists, so many are lists at one time."""


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
    tokenize = tokenize or Tokenizer(UNLIMITED).rows
    parts: list[TokenRows] = []
    for start in range(0, len(prompts), CHUNK):
        parts.append(TokenRows.of(tokenize(list(prompts[start : start + CHUNK]))))
        progress(min(1.0, (start + CHUNK) / len(prompts)))
    rows = TokenRows.concatenated(parts)
    return Corpus(prompts, rows.ids, rows.lengths.astype(np.int32))
