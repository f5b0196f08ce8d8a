"""Token ids are those of Meta's tokenizer for any text, in any batch, with any padding."""

import copy
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from litetext.bench.bpe import PlainBpe
from litetext.bench.tokenize import bench_tokenize
from litetext.tokenizer import END, START, VOCAB_SIZE, Tokenizer, clean, clear_cache, pad, token_text
from litetext.tokenizer import bpe as tokenizer

GOLDEN = json.loads((Path(__file__).parent.parent / "fixtures/golden/tokenizer.json").read_text(encoding="utf-8"))
UNCUT = 1_000_000
PLAIN = PlainBpe()

ODD = [
    *("", " ", "\t\n", "\x00", "a\x00b"),
    *("\x1b[31mred", "a\x85b", "\u2028", "\ufeffcat", "white\xa0dog", "soft\xadhyphen"),
    *("cat &amp; dog", "&amp;amp;", "&lt;b&gt;", "&eacute;", "&#39;s"),
    *("&#x1F436;", "&#xD800;", "&nbsp;x", "&copy", "a&b"),
    *("<b>bold</b> &amp;", "a < b", "1 &lt 2", "&LT;start_of_text&GT;"),
    *("cafÃ©", "â€œquotedâ€\x9d", "l’Ã©té", "voilÃ  le travail", "itâ€™s", "doÂ\xa0g"),
    *("it’s", "DOG’S", "“quoted”", "‘single’", "don't DON'T", "'S 'LL 'd''", "rock'n'roll"),
    *("ﬁsh", "ﬂag", "ﬅop", "Ǆ", "ǆ", "Ĳ", "ｆｕｌｌ　ｗｉｄｔｈ", "ﾊﾝｶｸ", "①②", "x²", "Ⅻ", "½"),
    *("ΣΑΣ", "ΟΔΟΣ ΣΟΦΟΣ.", "İstanbul", "straße STRASSE ẞ", "ſ 'ſ <ſtart_of_text>", "K", "e\u0301", "\u0301"),
    *("<start_of_text>", "<END_OF_TEXT>", "!<start_of_text>", "a<end_of_text>b", "<start_of_text><end_of_text>"),
    *("<|startoftext|>", "<|endoftext|>", "dog</w>", "</w>", "&lt;end_of_text&gt;"),
    *("😀 dog", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "dog\u200b", "白い犬"),
    *("สุนัข", "कुत्ता", "كلب", "כלב", "𝔡𝔬𝔤", "\U0010ffff", "\ufffd"),
    *("747", "a_b #c", "t-shirt", "hello!!!", "a/b", '~`@$%^*()+=[]{}|\\;:",.?', "\ud83d\udc36 dog"),
    *("x" * 10_000, "red " * 2_500, "é" * 10_000, "犬" * 3_000, "a" * 64, "a" * 65, "&amp;" * 2_000),
]
PARTS = st.sampled_from(
    [*"aZ 9'’&<>;#_-\t\n\x00\x85éΣß犬🐕", " ", "dog", "&amp;", "&#233;", "Ã©", "'ll", "<end_of_text>"]
)
TEXTS = st.text() | st.lists(PARTS, max_size=12).map("".join)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))


def words(text):
    row = Tokenizer(UNCUT).encode([text])[0]
    assert (row[0], row[-1]) == (START, END)
    return row[1:-1]


def test_every_whole_word_of_the_vocabulary_is_one_token():
    symbols = tokenizer._vocabulary()[0]
    pieces = [symbol.removesuffix("</w>") for symbol in symbols if symbol.endswith("</w>") and symbol.isascii()]
    merged = tokenizer._fast_tokenizer().encode(pieces, is_pretokenized=True, add_special_tokens=False)
    assert merged.ids == [symbols[piece + "</w>"] for piece in pieces]
    assert len(pieces) > 30_000


@given(st.lists(TEXTS | PRINTABLE, max_size=8), st.integers(3, 12), st.integers(1, 4))
@example(["a\nb", "red dog", " \n ", "", "caf\u00e9", "white  dog"], 12, 6)
@example(["\n"], 3, 1)
def test_rows_are_those_of_each_prompt_alone(texts, context, at_once):
    words_of = [PLAIN.encode(text) for text in texts]
    expected = [[START, *ids[: context - 2], END] for ids in words_of]
    encoder = Tokenizer(context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_AT_ONCE", at_once)
        rows = encoder.rows(texts)
    assert rows.tolist() == expected == encoder.encode(texts)
    assert rows.lengths.tolist() == [len(row) for row in expected]
    assert encoder.truncated == 2 * sum(len(ids) > context - 2 for ids in words_of)


def test_golden_ids():
    texts = [case["text"] for case in GOLDEN]
    assert [row[1:-1] for row in Tokenizer(UNCUT).encode(texts)] == [case["encode"] for case in GOLDEN]
    for length in (16, 32):
        assert Tokenizer(length)(texts, length).ids.tolist() == [case[f"meta{length}"] for case in GOLDEN]
    assert [PLAIN.encode(text) for text in texts] == [case["encode"] for case in GOLDEN]


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:24]))
def test_odd_texts(text):
    assert words(text) == PLAIN.encode(text)


def test_special_tokens_have_metas_names_only():
    assert words("<start_of_text> <END_OF_TEXT>") == [START, END]
    assert not {START, END} & set(words("<|startoftext|><|endoftext|>"))


@given(TEXTS)
@settings(max_examples=300)
def test_any_text_has_metas_ids(text):
    found = words(text)
    assert found == PLAIN.encode(text)
    assert all(0 <= i < VOCAB_SIZE for i in found)


@given(PRINTABLE | st.text(st.characters(max_codepoint=127)))
@example("A  b ")
@example("1 &lt; 2")
@settings(max_examples=300)
def test_looking_words_up_gives_the_ids_of_the_long_way(text):
    tokenizer._KNOWN.clear()
    first = words(text)
    assert words(text) == first == tokenizer._merge([clean(text)])[0]


@given(PRINTABLE.filter(lambda text: not set(text) & set("&<")))
def test_cleaning_only_lowers_what_counts_as_plain(text):
    assert clean(text) == " ".join(text.split()).lower()


@given(st.lists(TEXTS, max_size=6), st.integers(3, 12), st.integers(0, 5))
def test_padding_and_batch_change_nothing(texts, context, extra):
    encoder = Tokenizer(context)
    alone = [encoder.encode([text])[0] for text in texts]
    tokenizer._KNOWN.clear()
    assert encoder.encode(texts) == alone
    longest = max(map(len, alone), default=0)
    for length in (None, longest + extra):
        batch = encoder(texts, length)
        assert batch.ids.shape == batch.mask.shape == (len(texts), longest if length is None else length)
        assert batch.ids.dtype == batch.lengths.dtype == torch.int64
        assert batch.lengths.tolist() == [len(row) for row in alone] == batch.mask.sum(1).tolist()
        for row, ids, mask in zip(alone, batch.ids, batch.mask, strict=True):
            assert ids[mask].tolist() == row
            assert mask[: len(row)].all()
            assert not ids[~mask].any()
            assert row[0] == START
            assert row[-1] == END


@given(st.lists(TEXTS, max_size=6), st.integers(3, 10))
def test_truncation_keeps_end_and_counts(texts, context):
    whole = Tokenizer(UNCUT).encode(texts)
    encoder = Tokenizer(context)
    expected = [row if len(row) <= context else [*row[: context - 1], END] for row in whole]
    assert encoder.encode(texts) == expected
    too_long = [row for row in whole if len(row) > context]
    assert encoder.truncated == len(too_long)
    encoder(texts)
    assert encoder.truncated == 2 * len(too_long)
    strict = Tokenizer(context, "error")
    if too_long:
        with pytest.raises(ValueError, match=f"has {len(too_long[0])} tokens, more than context_length={context};"):
            strict.encode(texts)
    else:
        assert strict.encode(texts) == whole
    assert strict.truncated == 0


def test_a_prompt_too_long_is_named_shortened_with_the_way_out():
    with pytest.raises(ValueError, match="overflow: truncate") as error:
        Tokenizer(16, "error").encode(["a cat", "red " * 2_500])
    message = str(error.value)
    assert "'red red" in message
    assert "2502 tokens" in message
    assert "context_length=16" in message
    assert len(message) < 250
    assert Tokenizer(16, "error").encode(["red " * 14]) == [[START, *words("red") * 14, END]]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (["a", b"dog"], "prompt 1 is bytes, not text: b'dog'; give str, bytes decoded as UTF-8"),
        (["a", None], "prompt 1 is NoneType"),
        ([["dog"]], "prompt 0 is list"),
        ("dog", "prompts is one str, 'dog'; give a list of prompts"),
        (b"dog", "prompts is one bytes"),
        (["a", "caf\udce9"], r"prompt 'caf\\udce9' holds a lone surrogate, U\+DCE9, at character 3"),
        (["\udc36\ud83d"], r"lone surrogate, U\+DC36, at character 0"),
    ],
)
def test_what_is_no_text_is_refused(prompts, message):
    with pytest.raises(ValueError, match=message) as error:
        Tokenizer().encode(prompts)
    str(error.value).encode()  # can be printed


def test_constructor_and_pad_refuse_nonsense():
    with pytest.raises(ValueError, match="context_length=2"):
        Tokenizer(2)
    with pytest.raises(ValueError, match="overflow='drop' is unknown"):
        Tokenizer(overflow="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length=3 is shorter than a row of 4"):
        pad([[1, 2, 3, 4]], 3)
    with pytest.raises(ValueError, match="length=3"):
        Tokenizer()(["a red dog"], 3)


def test_pad():
    batch = pad([[1, 2], [], [3]], 3, pad_id=9)
    assert batch.ids.tolist() == [[1, 2, 9], [9, 9, 9], [3, 9, 9]]
    assert batch.lengths.tolist() == [2, 0, 1]
    assert pad([]).ids.shape == (0, 0)


def test_nothing_heavy_travels_with_a_tokenizer():
    encoder = Tokenizer(8)
    encoder.encode([*ODD, "two words"])
    packed = pickle.dumps(encoder)
    assert len(packed) < 300
    expected = Tokenizer(8).encode(ODD)
    for other in (pickle.loads(packed), copy.deepcopy(encoder)):
        assert (other.fingerprint, other.truncated) == (encoder.fingerprint, encoder.truncated)
        assert other.encode(ODD) == expected


def test_fingerprint_follows_what_decides_the_ids():
    prints = {Tokenizer(c, o).fingerprint for c in (16, 32) for o in ("error", "truncate")}
    assert len(prints) == 4
    assert Tokenizer(16).fingerprint in prints


def test_a_full_table_of_words_changes_no_id(monkeypatch):
    texts = ["a red dog", "a blue cat on a mat", "one two three four five six", "red"]
    expected = [PLAIN.encode(text) for text in texts]
    tokenizer._KNOWN.clear()
    monkeypatch.setattr(tokenizer, "_MOST_KNOWN", 4)
    for _ in range(2):
        assert [row[1:-1] for row in Tokenizer().encode(texts)] == expected
        assert [words(text) for text in texts] == expected
        assert len(tokenizer._KNOWN) <= 4


def test_missing_vocabulary_is_one_clear_line(monkeypatch, tmp_path):
    clear_cache()
    tokenizer._vocabulary.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(FileNotFoundError, match="pip install open_clip_torch"):
            Tokenizer().encode(["dog"])
    (tmp_path / "open_clip").mkdir()
    (tmp_path / "open_clip/__init__.py").touch()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path)])
        patch.delitem(sys.modules, "open_clip", raising=False)
        importlib.invalidate_caches()
        with pytest.raises(FileNotFoundError, match="ships with open_clip_torch"):
            Tokenizer().encode(["dog"])


def test_plain_prompts_need_no_heavy_import_and_forked_workers_stay_silent():
    code = """
import os, sys
from litetext.tokenizer import Tokenizer
rows = Tokenizer().encode(["white dog", "striped cat"] * 100)
heavy = {"open_clip", "ftfy", "transformers", "lightning"} & set(sys.modules)
child = os.fork()
if child == 0:
    os._exit(Tokenizer().encode(["a new umbrella", "white dog"])[1] != rows[0])
print(os.waitpid(child, 0)[1], sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == ["0", "[]\n"]
    assert "fork" not in done.stderr


def test_benchmark_compares_ids(monkeypatch):
    figures = bench_tokenize(["white dog", "cafÃ© &amp; bar", "red " * 40], rounds=1)
    assert figures["prompts"] == 3
    assert all(value > 0 for name, value in figures.items() if name != "different_ids")
    with pytest.raises(ValueError, match="nothing to measure"):
        bench_tokenize([])
    monkeypatch.setattr(PlainBpe, "merge", lambda self, text: [1])
    with pytest.raises(ValueError, match=r"but \[.*\] in plain Python"):
        bench_tokenize(["white dog"], rounds=1)


@given(st.text(max_size=20))
@example("\x85")  # cleaned to an ellipsis
def test_token_texts_put_together_are_the_cleaned_text(text):
    ids = Tokenizer(UNCUT).encode([text])[0]
    shown = [token_text(number) for number in ids[1:-1]]
    together = "".join(t.removesuffix("…") for t in shown)
    # Not where the bytes of one character are apart, nor where the text itself has the sign that a word goes on.
    if "\ufffd" not in together and "…" not in clean(text):
        assert together == clean(text).replace(" ", "")
    assert (token_text(ids[0]), token_text(ids[-1])) == ("<start_of_text>", "<end_of_text>")


def test_token_text_shows_where_a_word_goes_on():
    assert [token_text(n) for n in Tokenizer().encode(["Zebrafish, café"])[0][1:-1]] == ["zebra…", "fish", ",", "café"]
    with pytest.raises(ValueError, match="token id 49408 is outside"):
        token_text(VOCAB_SIZE)
