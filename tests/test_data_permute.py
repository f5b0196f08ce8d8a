"""The permutation keeps every word, moves what can move, and reads phrases as a person would."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.data import word_classes
from litetext.data.permute import permute

VOCABULARY = (
    "a the white blue large, man woman shirt dog's dog 's holding wearing standing painted and or of to in "
    "left top very two 2 most is can red. (small) - & t-shirt café 犬 🐕 xyzzy run wears not"
)
WORDS = st.sampled_from(VOCABULARY.split(" "))
SEEDS = st.integers(-5, 2**40)
ADJECTIVES = st.sampled_from(
    ["white", "blue", "large", "small", "wooden", "striped", "shiny", "old", "two-person", "light-colored"]
)
NOUNS = st.sampled_from(["shirt", "dog", "man", "table", "umbrella", "phone", "zorblat"])


@given(
    st.text() | st.lists(WORDS, max_size=14).map(" ".join),
    SEEDS,
    st.sampled_from(["attribute-noun", "words"]),
)
def test_no_word_is_lost_or_invented_and_the_result_is_a_function(prompt, seed, mode):
    result = permute(prompt, seed, mode)
    assert Counter(result.split()) == Counter(prompt.split())
    assert permute(prompt, seed, mode) == result
    if len(prompt.split()) < 2:
        assert result == prompt


@given(st.lists(ADJECTIVES, min_size=1, max_size=4, unique=True), NOUNS, SEEDS)
def test_a_noun_with_modifiers_always_changes_its_place(adjectives, noun, seed):
    prompt = " ".join(["a", *adjectives, noun])
    result = permute(prompt, seed).split()
    assert result[0] == "a"
    assert result[-1] != noun


@given(st.lists(WORDS, min_size=1, max_size=12), SEEDS)
def test_relation_words_and_determiners_keep_their_places(words, seed):
    result = permute(" ".join(words), seed).split()
    for before, after in zip(words, result, strict=True):
        if before in ("the", "of", "to", "in", "holding", "wearing", "is", "not"):
            assert after == before


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("white shirt man", "man white shirt"),
        ("white dog", "dog white"),
        ("man top left", "top left man"),
        ("guy on left in blue shirt", "guy on left in shirt blue"),
        ("the woman holding a red umbrella", "the woman holding a umbrella red"),
        ("left guy blue shirt", "guy left shirt blue"),
        ("black and white dog", "dog black and white"),
        ("a red, white, and blue flag", "a flag red, white, and blue"),
        ("woman in a gray sweater and black pant", "woman in a sweater gray and pant black"),
        ("white chair next to man", "chair white next to man"),
        ("red bus left of the green one", "bus red left of the one green"),
        ("man dressed in black", "man dressed in black"),
        ("guy who is wearing a dark suit and tie", "guy who is wearing a suit dark and tie"),
        ("the white dog running", "the dog white running"),
        ("standing cat", "cat standing"),
        ("woman wears red hat", "woman wears hat red"),
        ("the old man's red hat", "the hat old man's red"),
        ("zebra 's tail", "tail zebra 's"),
        ("lady in white tank top", "lady in top white tank"),
        ("bottom left corner pizza slice", "slice bottom left corner pizza"),
        ("slightly darker brown horse", "horse slightly darker brown"),
        ("a blue metal trash can", "a can blue metal trash"),
        ("perro blanco", "blanco perro"),
        ("White Dog; left  side", "Dog; White side left"),
    ],
)
def test_phrases_are_read_as_noun_phrases(prompt, expected):
    assert permute(prompt) == expected


@pytest.mark.parametrize(
    "prompt", ["dog", "", "  ", "the  dog", "row of flags  on poles", "dog dog", "man\u3000in hat"]
)
def test_nothing_to_move_gives_the_prompt_itself(prompt):
    assert permute(prompt) == prompt
    assert permute(prompt, 3) == prompt


def test_seeds_give_different_orders_and_coordinations_stay_whole():
    results = {permute("large old blue and white wooden table", seed) for seed in range(40)}
    assert len(results) > 5
    assert all("blue and white" in result and not result.endswith("table") for result in results)


def test_word_mode_reaches_every_order():
    results = {permute("one two three", seed, "words") for seed in range(100)}
    assert len(results) == 6


def test_order_does_not_depend_on_the_process():
    # hash() of a string differs between processes; the permutation must not use it
    code = "from litetext.data.permute import permute; print(permute('old large blue wooden table', 7))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "12"}
    ).stdout
    assert output.strip() == permute("old large blue wooden table", 7)


@pytest.mark.parametrize("word", ["very ", "and ", "is very ", "white dog, ", "a " * 3 + "dog's ", "(", "\x00 "])
def test_long_prompts_are_permuted(word):
    prompt = (word * 10_000)[:10_000]
    assert Counter(permute(prompt, 1).split()) == Counter(prompt.split())


def test_lexicon_is_read_without_importing_textblob():
    code = "import sys, litetext.data.permute as p; p.permute('a b'); print('textblob' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


def test_unknown_mode_and_missing_lexicon_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"mode='all' is unknown; choose"):
        permute("white dog", 0, "all")  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(word_classes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"not installed; run: pip install textblob"):
        word_classes.lexicon.__wrapped__()
