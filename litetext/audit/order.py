"""How far an encoder is from a bag of concepts: what the order of a prompt's words does to its features.

An encoder that reads prompts as bags gives the same features for any order. How far it moves is measured under the
attribute-noun permutation, whose phrases mean the same to a person ("white dog", "dog white"), and under shuffles of
all words, and set against the distance between different prompts.

`permuted` is `teacher_drift` of `litetext.metrics.agreement.Agreement` (logged by `litetext fit` as
`val/teacher_drift`) for this encoder and these prompts: mean 1 - cosine between the features of a prompt and of its
permutation, pooled over valid tokens, over the prompts that have one.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from litetext.data.permutation import permute

_ROUNDING = 1e-12
"""Cosine distances below this are rounding, which differs between processors: the features are the same."""
_BINS = 40
_DRAWS = 1000
"""Bootstrap draws of an interval."""
_SHUFFLES = 8
"""Shuffles tried until one differs from the prompt; two different words keep their order in half of them."""

Encode = Callable[[list[str]], Sequence[Float[Tensor, "n width"]]]


def order_sensitivity(
    encode: Encode,
    prompts: Sequence[str],
    n: int = 1000,
    seed: int = 0,
    tokenize: Callable[[list[str]], Sequence[Sequence[int]]] | None = None,
    special: Collection[int] = (),
) -> dict[str, Any]:
    """Drift of an encoder's features under two reorderings of words, against different prompts.

    All distances are 1 - cosine, between 0 and 2. Pooled features are means over valid tokens.

    Args:
        encode: Gives each prompt's features of its valid tokens, (n, width).
        prompts: Prompts; repeated ones count once.
        n: Most prompts, drawn at random where there are more.
        seed: Chooses the prompts, the orders (as `permute` does) and the pairs of different prompts.
        tokenize: Gives each prompt's token ids as `encode` uses them. With it, reorderings whose tokens are other
            tokens (a prompt that is cut loses other words) are left out, as in training, and drift is measured token
            by token as well.
        special: Ids of start, end and padding tokens, left out token by token.

    Returns:
        `permuted` (attribute-noun permutation), `shuffled` (all words), `different` (each prompt against another one
        with other words): {`mean`, `low`, `high`, `n`}, the mean distance of pooled features, its 95% interval
        (bootstrap over prompts, None of a single one) and the number of prompts; `shuffled_alike`, the shuffles of
        those prompts only that `permuted` is about; `permuted_over_different` and `shuffled_over_different`, ratios of
        means: 0 for a bag of concepts, 1 if another order is another prompt. `token_permuted` and `token_shuffled`, the
        same for the mean over a prompt's tokens of the distance between a token's features here and there; None without
        `tokenize`. `prompts`, how many were used; `unpermuted` and `unshuffled`, how many of them no reordering
        changes; `retokenized`, reorderings left out because of their tokens. `histogram`: `edges` and, for `permuted`,
        `shuffled` and `different`, prompts between them. What no prompt defines is None with `n` 0.

    Raises:
        ValueError: There are no prompts, `n` is below 1, or a feature is not finite.
    """
    if n < 1:
        raise ValueError(f"n={n} must be at least 1")
    unique = list(dict.fromkeys(prompts))
    if not unique:
        raise ValueError("prompts is empty; give at least one prompt")
    rng = random.Random(seed)
    texts = rng.sample(unique, n) if len(unique) > n else unique
    orders = {
        "permuted": {i: text for i, prompt in enumerate(texts) if (text := permute(prompt, seed)) != prompt},
        "shuffled": {i: text for i, prompt in enumerate(texts) if (text := _shuffle(prompt, seed)) != prompt},
    }
    missing = {name: len(texts) - len(moved) for name, moved in orders.items()}
    distinct = list(dict.fromkeys([*texts, *(text for moved in orders.values() for text in moved.values())]))
    number = {text: i for i, text in enumerate(distinct)}
    rows = None if tokenize is None else [list(map(int, row)) for row in tokenize(distinct)]
    retokenized = 0
    if rows is not None:
        for name, moved in orders.items():
            same = {i: t for i, t in moved.items() if sorted(rows[number[t]]) == sorted(rows[number[texts[i]]])}
            retokenized += len(moved) - len(same)
            orders[name] = same
    features = [one.detach().double().cpu() for one in encode(distinct)]
    _check(features, distinct)
    pooled = torch.stack([one.mean(0) for one in features])

    def distances(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        left, right = (pooled[[pair[side] for pair in pairs]] for side in (0, 1))
        return _distance(left, right)

    def against(moved: dict[int, str]) -> np.ndarray:
        return distances([(number[texts[i]], number[text]) for i, text in moved.items()])

    found = {name: against(moved) for name, moved in orders.items()}
    found["different"] = distances([(number[a], number[b]) for a, b in _others(texts, rng)])
    alike = {i: text for i, text in orders["shuffled"].items() if i in orders["permuted"]}
    result: dict[str, Any] = {name: _mean(values, seed) for name, values in found.items()}
    result["shuffled_alike"] = _mean(against(alike), seed)
    for name in ("permuted", "shuffled"):
        mean, other = result[name]["mean"], result["different"]["mean"]
        result[f"{name}_over_different"] = mean / other if mean is not None and other and other > _ROUNDING else None
        result[f"token_{name}"] = None
        if rows is not None:
            pairs = [(number[texts[i]], number[text]) for i, text in orders[name].items()]
            result[f"token_{name}"] = _mean(_token_distances(pairs, rows, features, frozenset(special)), seed)
    return result | {
        "prompts": len(texts),
        "unpermuted": missing["permuted"],
        "unshuffled": missing["shuffled"],
        "retokenized": retokenized,
        "histogram": _histogram(found),
    }


def _shuffle(prompt: str, seed: int) -> str:
    shuffles = (permute(prompt, seed + i, "words") for i in range(_SHUFFLES))
    words = prompt.split()
    return next((text for text in shuffles if text.split() != words), prompt)


def _check(features: Sequence[Tensor], texts: Sequence[str]) -> None:
    for one, text in zip(features, texts, strict=True):
        if not len(one):
            raise ValueError(f"the encoder gives no features for the prompt {text[:60]!r}")
        if not torch.isfinite(one).all():
            raise ValueError(f"features of the prompt {text[:60]!r} hold NaN or infinity: damaged weights")


def _others(texts: Sequence[str], rng: random.Random) -> list[tuple[str, str]]:
    """Each prompt with the one that follows it in a random order, unless both have the same words."""
    order = rng.sample(texts, len(texts))
    ahead = [*order[1:], *order[:1]] if len(order) > 2 else order[1:]  # two prompts are one pair
    pairs = zip(order, ahead, strict=False)
    return [(a, b) for a, b in pairs if sorted(a.lower().split()) != sorted(b.lower().split())]


def _distance(left: Tensor, right: Tensor) -> np.ndarray:
    return (1 - cosine_similarity(left, right, dim=-1)).clamp(0, 2).numpy()


def _token_distances(
    pairs: Sequence[tuple[int, int]],
    rows: Sequence[Sequence[int]],
    features: Sequence[Tensor],
    special: Collection[int],
) -> np.ndarray:
    """For each pair the mean distance between the features of the same token, repeated tokens in their order."""
    means = []
    for a, b in pairs:
        places: dict[int, list[int]] = defaultdict(list)
        for place, token in enumerate(rows[b]):
            places[token].append(place)
        matched = [(place, places[token].pop(0)) for place, token in enumerate(rows[a]) if token not in special]
        if matched:
            here, there = map(list, zip(*matched, strict=True))
            means.append(float(_distance(features[a][here], features[b][there]).mean()))
    return np.array(means)


def _mean(values: np.ndarray, seed: int) -> dict[str, Any]:
    if not len(values):
        return {"mean": None, "low": None, "high": None, "n": 0}
    if len(values) == 1:  # draws of one value would all be that value
        return {"mean": float(values[0]), "low": None, "high": None, "n": 1}
    rng = np.random.default_rng(seed)
    draws = values[rng.integers(len(values), size=(_DRAWS, len(values)))].mean(1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "n": len(values)}


def _histogram(found: dict[str, np.ndarray]) -> dict[str, list[float] | list[int]]:
    top = max((float(values.max()) for values in found.values() if len(values)), default=0.0)
    edges = np.linspace(0, top if top > _ROUNDING else 1.0, _BINS + 1)
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in found.items()}
    return {"edges": edges.tolist(), **counts}
