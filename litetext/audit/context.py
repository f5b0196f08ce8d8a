"""What a context length costs a corpus: positions that are padding, and tokens that are cut (paper, Table 1).

Lengths count start and end token. Every number follows from the histogram of lengths alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def context_cost(histogram: Sequence[int], context: int) -> dict[str, float | None]:
    """What one context length costs.

    With n = min(length, L) of each prompt (paper, section 3): density = mean(n) / L; padding = 1 - density;
    truncation = share of prompts longer than L; token loss = cut tokens / all tokens of the corpus.

    Args:
        histogram: Prompts by their number of tokens, start and end included.
        context: L.

    Returns:
        `density`, `padding`, `truncation`, `token_loss`; `attention_padding`: share of the L x L query-key pairs with
        padding on either side, 1 - mean(n^2) / L^2, for an encoder that attends both ways, as the students do;
        `attention_padding_causal`: the same of the L (L + 1) / 2 pairs of a causal encoder, as SAM3's is. All are None
        without prompts, token loss also without tokens.

    Raises:
        ValueError: If `context` is below 1.
    """
    if context < 1:
        raise ValueError(f"context={context} holds no token; give at least 1")
    counts = np.asarray(histogram, dtype=np.int64)
    lengths = np.arange(len(counts))
    prompts, tokens = int(counts.sum()), int(counts @ lengths)
    if not prompts:
        return dict.fromkeys(_KEYS)
    kept = np.minimum(lengths, context)
    density = int(counts @ kept) / (prompts * context)
    pairs, causal = int(counts @ kept**2), int(counts @ (kept * (kept + 1)))
    values = (
        density,
        1 - density,
        int(counts[context + 1 :].sum()) / prompts,
        (tokens - int(counts @ kept)) / tokens if tokens else None,
        1 - pairs / (prompts * context**2),
        1 - causal / (prompts * context * (context + 1)),
    )
    return dict(zip(_KEYS, values, strict=True))


_KEYS = ("density", "padding", "truncation", "token_loss", "attention_padding", "attention_padding_causal")


def context_stats(lengths: np.ndarray, contexts: Sequence[int], unique: int | None = None) -> dict[str, Any]:
    """Lengths of a corpus, and what each context length costs it.

    Args:
        lengths: Tokens of each prompt, uncut, start and end included, (N,).
        contexts: Context lengths L.
        unique: Distinct prompts among them. None means all: prompts are unique within a source, and only several
            sources together can hold one twice.

    Returns:
        `prompts`, `unique`, `mean_tokens` (None without prompts), `histogram` (prompts by number of tokens, from 0 to
        the longest) and `context`: for each L as text what `context_cost` gives.

    Raises:
        ValueError: If a context is below 1.
    """
    prompts = len(lengths)
    histogram = np.bincount(lengths).tolist() if prompts else []
    return {
        "prompts": prompts,
        "unique": prompts if unique is None else unique,
        "mean_tokens": float(np.mean(lengths, dtype=np.float64)) if prompts else None,
        "histogram": histogram,
        "context": {str(context): context_cost(histogram, context) for context in contexts},
    }
