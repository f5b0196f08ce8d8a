"""Order sensitivity of encoders whose answer is known: bags of words, sequences, constants, and a tiny teacher."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from litetext.audit.order import order_sensitivity
from litetext.data.permutation import permute
from litetext.data.shapes.phrases import phrases
from litetext.metrics.agreement import Agreement
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.tokenizer import END, START, Tokenizer

SAID = list(dict.fromkeys(phrases(400)))


def vector(text: str) -> Tensor:
    return torch.randn(16, generator=torch.Generator().manual_seed(crc32(text.encode())))


def bag(texts: Sequence[str]) -> list[Tensor]:
    """One vector a word, wherever it stands."""
    return [torch.stack([vector(word) for word in text.split()]) for text in texts]


def sequence(texts: Sequence[str]) -> list[Tensor]:
    """Every prompt is another vector, whatever its words."""
    return [vector(text)[None] for text in texts]


def words(texts: Sequence[str]) -> list[list[int]]:
    return [[crc32(word.encode()) for word in text.split()] for text in texts]


def means(found: dict[str, Any]) -> list[float | None]:
    return [found[name]["mean"] for name in ("permuted", "shuffled", "different")]


def test_a_bag_of_words_does_not_move() -> None:
    found = order_sensitivity(bag, SAID, tokenize=words)
    assert found["permuted"]["mean"] == pytest.approx(0, abs=1e-12)
    assert found["shuffled"]["mean"] == pytest.approx(0, abs=1e-12)
    assert found["different"]["mean"] > 0.2
    assert found["shuffled_over_different"] == pytest.approx(0, abs=1e-12)
    assert found["token_permuted"]["mean"] == pytest.approx(0, abs=1e-12)
    assert found["retokenized"] == 0


def test_an_order_is_another_prompt_to_an_encoder_of_whole_strings() -> None:
    found = order_sensitivity(sequence, SAID)
    assert found["permuted_over_different"] == pytest.approx(1, abs=0.1)
    assert found["shuffled_over_different"] == pytest.approx(1, abs=0.1)
    assert found["token_permuted"] is None
    for name in ("permuted", "shuffled", "shuffled_alike", "different"):
        assert found[name]["low"] < found[name]["mean"] < found[name]["high"]
        # the interval of a mean of n values with a standard deviation near 1/4, the dimension being 16
        assert found[name]["high"] - found[name]["low"] == pytest.approx(4 * 0.25 / found[name]["n"] ** 0.5, rel=0.3)


def test_tokens_that_move_while_the_pool_stays() -> None:
    def swapped(texts: Sequence[str]) -> list[Tensor]:
        """Each word has its place's vector: the pool knows nothing of the words."""
        return [torch.eye(16)[: len(text.split())] for text in texts]

    found = order_sensitivity(swapped, ["white dog", "red big car"], tokenize=words)
    assert found["permuted"]["mean"] == pytest.approx(0)
    # dog and white change places; in "car red big" all three do
    assert found["token_permuted"]["mean"] == pytest.approx(1)
    kept = order_sensitivity(swapped, ["white dog"], tokenize=words, special=words(["white dog"])[0])
    assert kept["token_permuted"] == {"mean": None, "low": None, "high": None, "n": 0}


def test_the_drift_is_that_of_the_agreement_metric(teacher_file: Path) -> None:
    teacher, tokenizer = Sam3TextEncoder.from_pretrained(teacher_file), Tokenizer(32)
    texts = SAID[:60]

    def encode(texts: list[str]) -> list[Tensor]:
        return teacher.encode_tokens(tokenizer.encode(texts))

    found = order_sensitivity(encode, texts, tokenize=tokenizer.encode, special=(START, END))
    moved = [permute(text) for text in texts]
    plain, permuted = (torch.stack([one.mean(0) for one in encode(said)]) for said in (texts, moved))
    metric = Agreement()
    changed = torch.tensor([a != b for a, b in zip(texts, moved, strict=True)])
    metric.update(torch.arange(60), torch.ones(60), plain, plain, permuted, permuted, changed)
    assert found["permuted"]["mean"] == pytest.approx(float(metric.compute()["teacher_drift"]), rel=1e-4)
    assert found["permuted"]["n"] == int(changed.sum())
    assert found["unpermuted"] == 60 - int(changed.sum())
    assert found["token_permuted"]["mean"] > 0


def test_one_prompt_in_another_order_is_no_other_prompt() -> None:
    found = order_sensitivity(sequence, ["white dog", "dog white"])
    assert found["different"]["n"] == 0
    assert found["permuted"]["n"] == 2
    assert found["permuted_over_different"] is None


def test_shuffles_of_the_permuted_prompts_alone() -> None:
    # "cat on dog" has no attribute, so it has shuffles only
    found = order_sensitivity(sequence, ["white dog", "cat on dog", "tree"])
    assert [found[name]["n"] for name in ("permuted", "shuffled", "shuffled_alike")] == [1, 2, 1]
    assert (found["unpermuted"], found["unshuffled"]) == (2, 1)
    assert found["shuffled_alike"]["mean"] == found["permuted"]["mean"]  # two words have one other order


def test_two_prompts_are_one_pair() -> None:
    found = order_sensitivity(bag, ["dog", "cat"])["different"]
    assert (found["n"], found["low"], found["high"]) == (1, None, None), "one distance has no spread"


def test_no_prompt_changes() -> None:
    found = order_sensitivity(bag, ["dog", "cat", "red"], tokenize=words)
    nothing = {"mean": None, "low": None, "high": None, "n": 0}
    for name in ("permuted", "shuffled", "shuffled_alike", "token_permuted", "token_shuffled"):
        assert found[name] == nothing
    assert found["permuted_over_different"] is None
    assert (found["unpermuted"], found["unshuffled"], found["different"]["n"]) == (3, 3, 3)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("prompts", [["white dog"], ["white dog"] * 5])
def test_one_prompt(prompts: list[str]) -> None:
    found = order_sensitivity(sequence, prompts)
    assert (found["prompts"], found["different"]["n"], found["permuted"]["n"]) == (1, 0, 1)
    assert (found["permuted"]["low"], found["permuted"]["high"]) == (None, None), "one value has no spread"
    json.dumps(found, allow_nan=False)


def test_a_constant_encoder_has_no_ratio() -> None:
    found = order_sensitivity(lambda texts: [torch.ones(2, 3) for _ in texts], SAID[:50])
    assert means(found) == pytest.approx([0, 0, 0], abs=1e-12)
    assert found["permuted_over_different"] is None
    assert sum(found["histogram"]["different"]) == 50
    json.dumps(found, allow_nan=False)


def test_orders_whose_tokens_differ_are_left_out() -> None:
    def cut(texts: Sequence[str]) -> list[list[int]]:
        return [row[:2] for row in words(texts)]

    found = order_sensitivity(lambda texts: [one[:2] for one in bag(texts)], ["white dog", "big red car"], tokenize=cut)
    assert found["permuted"]["n"] == 1
    assert found["retokenized"] >= 1
    assert found["unpermuted"] == 0


@given(st.integers(0, 1000), st.integers(1, 30))
@settings(max_examples=8, deadline=None)
def test_counts_add_up_and_a_seed_repeats(seed: int, n: int) -> None:
    found = order_sensitivity(sequence, SAID[:40], n, seed)
    assert found["prompts"] == n
    assert found["permuted"]["n"] + found["unpermuted"] == n
    assert found["shuffled"]["n"] + found["unshuffled"] == n
    assert found["different"]["n"] <= n
    for name in ("permuted", "shuffled", "different"):
        assert sum(found["histogram"][name]) == found[name]["n"]
    assert len(found["histogram"]["edges"]) == 41
    assert found == order_sensitivity(sequence, SAID[:40], n, seed)


def broken(value: float) -> Callable[[Sequence[str]], list[Tensor]]:
    return lambda texts: [one * value for one in bag(texts)]


def test_refused() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="features of the prompt 'white dog' hold NaN or infinity"):
            order_sensitivity(broken(value), ["white dog"])
    with pytest.raises(ValueError, match="no features for the prompt 'dog'"):
        order_sensitivity(lambda texts: [torch.empty(0, 3) for _ in texts], ["dog"])
    with pytest.raises(ValueError, match="prompts is empty"):
        order_sensitivity(bag, [])
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        order_sensitivity(bag, ["dog"], 0)
