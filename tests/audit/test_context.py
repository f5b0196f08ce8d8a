"""What a context length costs: the paper's definitions, by hand on small corpora and as laws on all others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.audit.context import context_cost, context_stats
from litetext.audit.corpus import CHUNK, tokenize_corpus
from litetext.tokenizer import END, START, Tokenizer

corpora = st.lists(st.integers(2, 90), min_size=1, max_size=60)


def test_by_hand() -> None:
    # 20 tokens in all; at L = 4 rows of 3, 4, 4 and 4 of 16 positions, and 5 tokens of two prompts are cut.
    found = context_stats(np.array([3, 4, 5, 8], dtype=np.int32), [4, 8])
    assert found["prompts"] == found["unique"] == 4
    assert found["mean_tokens"] == 5.0
    assert found["histogram"] == [0, 0, 0, 1, 1, 1, 0, 0, 1]
    assert found["context"]["4"] == {
        "density": 15 / 16,
        "padding": 1 / 16,
        "truncation": 0.5,
        "token_loss": 0.25,
        "attention_padding": pytest.approx(1 - (9 + 16 + 16 + 16) / 64),
        "attention_padding_causal": pytest.approx(1 - (6 + 10 + 10 + 10) / 40),
    }
    assert found["context"]["8"] == {
        "density": 20 / 32,
        "padding": 12 / 32,
        "truncation": 0.0,
        "token_loss": 0.0,
        "attention_padding": pytest.approx(1 - (9 + 16 + 25 + 64) / 256),
        "attention_padding_causal": pytest.approx(1 - (6 + 10 + 15 + 36) / 144),
    }


@given(corpora, st.integers(1, 100))
def test_definitions(lengths: list[int], context: int) -> None:
    found = context_stats(np.array(lengths), [context])["context"][str(context)]
    kept = [min(n, context) for n in lengths]
    assert found["density"] == pytest.approx(sum(kept) / len(kept) / context)
    assert found["truncation"] == pytest.approx(sum(n > context for n in lengths) / len(lengths))
    assert found["token_loss"] == pytest.approx(1 - sum(kept) / sum(lengths))
    mask = np.arange(context) < np.array(kept)[:, None]
    pairs = mask[:, :, None] & mask[:, None, :]
    causal = np.tril(np.ones((context, context), dtype=bool))
    assert found["attention_padding"] == pytest.approx(1 - pairs.mean())
    assert found["attention_padding_causal"] == pytest.approx(1 - pairs[:, causal].mean())


@given(corpora, st.integers(1, 90))
def test_longer_contexts_lose_less_and_waste_more(lengths: list[int], context: int) -> None:
    histogram = context_stats(np.array(lengths), [])["histogram"]
    short, long = context_cost(histogram, context), context_cost(histogram, context + 1)
    for key in ("token_loss", "truncation"):
        assert short[key] >= long[key]  # type: ignore[operator]
    assert short["padding"] <= long["padding"] + 1e-12  # type: ignore[operator]


def test_nothing_to_count() -> None:
    found = context_stats(np.empty(0, dtype=np.int32), [16])
    assert (found["prompts"], found["unique"], found["mean_tokens"], found["histogram"]) == (0, 0, None, [])
    assert set(found["context"]["16"].values()) == {None}
    without_tokens = context_cost([3], 16)
    assert without_tokens["density"] == 0.0
    assert without_tokens["token_loss"] is None
    with pytest.raises(ValueError, match="context=0 holds no token"):
        context_cost([0, 0, 1], 0)


def test_one_prompt_and_prompts_all_alike() -> None:
    one, many = (context_stats(np.full(n, 4), [2, 16])["context"] for n in (1, 50))
    assert one == many
    assert one["2"]["truncation"] == 1.0
    assert one["2"]["token_loss"] == 0.5
    assert context_stats(np.full(50, 4), [], unique=1)["unique"] == 1


def test_corpus_is_whole_prompts_in_order() -> None:
    prompts = [f"a dog {i} " + "on a wet road " * (i % 40) for i in range(CHUNK + 7)]
    seen: list[float] = []
    corpus = tokenize_corpus(prompts, progress=seen.append)
    assert seen[-1] == 1.0
    assert len(seen) == 2
    assert corpus.lengths.dtype == np.int32
    assert corpus.lengths.max() > 32  # nothing is cut
    ends = np.cumsum(corpus.lengths)
    for i in (0, 39, CHUNK - 1, CHUNK, CHUNK + 6):
        row = corpus.ids[ends[i] - corpus.lengths[i] : ends[i]]
        assert row.tolist() == Tokenizer(1000).encode([prompts[i]])[0]
    counts = corpus.counts(49408)
    assert counts.sum() == corpus.lengths.sum()
    assert counts[START] == counts[END] == len(prompts)
    with pytest.raises(ValueError, match="outside a vocabulary of 100"):
        corpus.counts(100)


def test_corpus_without_prompts_and_in_other_tokens() -> None:
    empty = tokenize_corpus([])
    assert (len(empty.ids), len(empty.lengths), empty.counts(5).tolist()) == (0, 0, [0] * 5)
    other = tokenize_corpus(["ab", "b"], lambda prompts: [[ord(c) - 97 for c in p] for p in prompts])
    assert other.counts(3).tolist() == [1, 2, 0]
    assert other.lengths.tolist() == [2, 1]
