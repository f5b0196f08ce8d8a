"""Which tokens a corpus uses (paper, Figure 3), and whether the tokens of one corpus would do for another."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from litetext.audit.corpus import Corpus
from litetext.data.prompts.corpora import split_prompts
from litetext.tokenizer import END, START, token_text

TOP = 100
HEAD = 30
CURVE = 200
"""Most points of the coverage curve."""
OTHERS = "all others"
HALF = "other half"
_SALT = "halves of a source"


def vocabulary_stats(
    counts: np.ndarray,
    special: Collection[int] = (START, END),
    text: Callable[[int], str] = token_text,
) -> dict[str, Any]:
    """How a corpus uses a vocabulary. Start and end token are counted as all others, in each of these numbers.

    Args:
        counts: How often each id occurs, (V,).
        special: Ids of start and end token (and padding, which has no occurrences).
        text: What an id stands for.

    Returns:
        `used`: ids that occur; `rows`: V; `share`: used / V; `top_100_share`: occurrences of the 100 most frequent ids
        among all; `special_share`: occurrences of `special` among all; `coverage`: points [k, occurrences of the k most
        frequent ids among all], at most 200; `head`: the 30 most frequent as [id, text, count]. Shares are None where
        there is nothing to divide by, and a vocabulary of fewer than 100 ids is its own top 100.

    Raises:
        ValueError: If `counts` is not one row of counts, or a special id is outside of it.
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or (counts < 0).any():
        raise ValueError(f"counts of shape {counts.shape} must be one count, 0 or more, for each id")
    if not set(special) <= set(range(len(counts))):
        raise ValueError(f"special ids {sorted(special)} are not all in a vocabulary of {len(counts)}")
    total = int(counts.sum())
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    reached = np.cumsum(counts[order])

    def part(count: int) -> float | None:
        return count / total if total else None

    return {
        "used": len(order),
        "rows": len(counts),
        "share": len(order) / len(counts) if len(counts) else None,
        "top_100_share": part(int(reached[:TOP][-1]) if total else 0),
        "special_share": part(int(counts[list(special)].sum()) if special else 0),
        "coverage": [[int(k), float(reached[k - 1] / total)] for k in _points(len(order))],
        "head": [[int(i), text(int(i)), int(counts[i])] for i in order[:HEAD]],
    }


def _points(used: int) -> np.ndarray:
    """Numbers from 1 to `used`, evenly spread on a logarithmic axis."""
    return np.unique(np.geomspace(1, used, CURVE).round().astype(np.int64)) if used else np.empty(0, np.int64)


def covered(sources: Mapping[str, Corpus], vocab_size: int) -> dict[str, dict[str, float]]:
    """What would become of prompts if the vocabulary were cut to that of other prompts.

    A prompt is covered when each of its tokens occurs there.

    Args:
        sources: Corpora by name.
        vocab_size: V.

    Returns:
        For each source A the share of its prompts that are covered by: each other source B; `all others`, all of these
        together, where there are any; and `other half`: A is split in halves by a hash of the text, and each half is
        measured by the other's vocabulary. Sources without prompts, and halves of a single prompt, are left out.
    """
    found = {name: corpus for name, corpus in sources.items() if len(corpus.lengths)}
    counts = {name: corpus.counts(vocab_size) > 0 for name, corpus in found.items()}
    shares: dict[str, dict[str, float]] = {}
    for name, corpus in found.items():
        others = {other: known for other, known in counts.items() if other != name}
        if others:
            others[OTHERS] = np.logical_or.reduce(list(others.values()))
        shares[name] = {other: float(_all_known(corpus, known).mean()) for other, known in others.items()}
        if (half := _by_halves(corpus, vocab_size)) is not None:
            shares[name][HALF] = half
    return shares


def _all_known(corpus: Corpus, known: np.ndarray) -> np.ndarray:
    """For each prompt, whether all its tokens are known; true for one without tokens."""
    unknown = np.concatenate([[0], np.cumsum(~known[corpus.ids])])
    ends = np.cumsum(corpus.lengths, dtype=np.int64)
    return unknown[ends] == unknown[ends - corpus.lengths]


def _by_halves(corpus: Corpus, vocab_size: int) -> float | None:
    sides = split_prompts(corpus.prompts, 0.5, _SALT)
    if not all(sides):
        return None
    second = np.zeros(len(corpus.lengths), dtype=bool)
    second[sides[1]] = True
    of_second = np.repeat(second, corpus.lengths)
    kept = 0
    for side, tokens in ((second, of_second), (~second, ~of_second)):
        known = np.zeros(vocab_size, dtype=bool)
        known[corpus.ids[~tokens]] = True
        kept += int(_all_known(corpus, known)[side].sum())
    return kept / len(second)
