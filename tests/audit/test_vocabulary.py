"""Shares of a vocabulary by hand, and what of one corpus the tokens of another cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.audit.corpus import Corpus, tokenize_corpus
from litetext.audit.vocabulary import HALF, OTHERS, covered, vocabulary_stats
from litetext.tokenizer import END, START, VOCAB_SIZE


def letters(*prompts: str) -> Corpus:
    """Prompts of letters, one token each: a is 0."""
    return tokenize_corpus(prompts, lambda batch: [[ord(c) - 97 for c in prompt] for prompt in batch])


def test_by_hand() -> None:
    found = vocabulary_stats(np.array([0, 6, 1, 3, 0]), special=[1], text="abcde".__getitem__)
    assert (found["used"], found["rows"], found["share"]) == (3, 5, 0.6)
    assert found["special_share"] == 0.6
    assert found["top_100_share"] == 1.0
    assert found["coverage"] == [[1, 0.6], [2, 0.9], [3, 1.0]]
    assert found["head"] == [[1, "b", 6], [3, "d", 3], [2, "c", 1]]


def test_start_and_end_count_as_all_others() -> None:
    # Two words and two specials a prompt; 5 of 6 used tokens occur once, "dog" twice, start and end twice.
    corpus = tokenize_corpus(["red dog", "blue dog"])
    found = vocabulary_stats(corpus.counts(VOCAB_SIZE))
    assert found["used"] == 5
    assert found["special_share"] == 0.5
    assert [row[2] for row in found["head"]] == [2, 2, 2, 1, 1]
    assert {row[0] for row in found["head"][:3]} >= {START, END}


def test_more_than_a_hundred_tokens() -> None:
    counts = np.concatenate([np.full(100, 3), np.full(50, 2), np.zeros(10, dtype=int)])
    found = vocabulary_stats(np.random.default_rng(0).permutation(counts), special=[], text=str)
    assert found["top_100_share"] == pytest.approx(300 / 400)
    assert found["special_share"] == 0.0
    assert found["coverage"][-1] == [150, 1.0]
    assert len(found["head"]) == 30


@given(st.lists(st.integers(0, 9), min_size=1, max_size=600))
def test_coverage_curve(counts: list[int]) -> None:
    found = vocabulary_stats(np.array(counts), special=[0], text=str)
    curve = found["coverage"]
    assert len(curve) <= 200
    ordered = sorted(counts, reverse=True)
    for k, value in curve:
        assert value == pytest.approx(sum(ordered[:k]) / sum(counts))
    if any(counts):
        assert curve[-1] == [found["used"], 1.0]
        assert found["top_100_share"] == pytest.approx(sum(ordered[:100]) / sum(counts))


def test_nothing_to_count() -> None:
    found = vocabulary_stats(np.zeros(4, dtype=int), special=[1], text=str)
    assert (found["used"], found["share"], found["coverage"], found["head"]) == (0, 0.0, [], [])
    assert found["top_100_share"] is found["special_share"] is None
    assert vocabulary_stats(np.zeros(0, dtype=int), special=[], text=str)["share"] is None


def test_one_token() -> None:
    found = vocabulary_stats(np.array([7]), special=[], text=str)
    assert (found["used"], found["share"], found["top_100_share"], found["special_share"]) == (1, 1.0, 1.0, 0.0)
    assert found["coverage"] == [[1, 1.0]]


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be one count"):
        vocabulary_stats(np.array([1, -1]), special=[])
    with pytest.raises(ValueError, match="special ids"):
        vocabulary_stats(np.array([1, 1]))


def test_covered_by_hand() -> None:
    sources = {"one": letters("ab", "bc", "d"), "two": letters("abc"), "three": letters("d", "de")}
    found = covered(sources, 26)
    pairs = {name: {k: v for k, v in row.items() if k != HALF} for name, row in found.items()}
    assert pairs == {
        "one": {"two": pytest.approx(2 / 3), "three": pytest.approx(1 / 3), OTHERS: 1.0},
        "two": {"one": 1.0, "three": 0.0, OTHERS: 1.0},
        "three": {"one": 0.5, "two": 0.0, OTHERS: 0.5},
    }
    assert HALF not in found["two"]  # one prompt has no halves


def test_other_half() -> None:
    alike = letters(*("ab" * n for n in range(1, 40)))
    assert covered({"alike": alike}, 26) == {"alike": {HALF: 1.0}}
    strangers = Corpus([str(n) for n in range(40)], np.arange(40, dtype=np.int32), np.ones(40, dtype=np.int32))
    assert covered({"strangers": strangers}, 40) == {"strangers": {HALF: 0.0}}


@given(st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=30, unique=True))
def test_covered_is_what_sets_say(prompts: list[str]) -> None:
    first, second = prompts[::2], prompts[1::2]
    found = covered({"first": letters(*first), "second": letters(*second)}, 26)
    known = set("".join(second))
    assert found["first"]["second"] == pytest.approx(sum(set(p) <= known for p in first) / len(first))
    assert found["first"][OTHERS] == found["first"]["second"]
    assert all(0 <= share <= 1 for row in found.values() for share in row.values())


def test_sources_without_prompts_are_left_out() -> None:
    assert covered({}, 26) == {}
    assert covered({"none": letters(), "one": letters("a")}, 26) == {"one": {}}
