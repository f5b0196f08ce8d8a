"""The carried tokenizer: the ids of transformers' own, from the files alone."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.checkpoints.hub_tokenizer import HubTokenizer, from_text, read_tokenizer, to_text, write_tokenizer
from litetext.models.text.loading import load_tokenizer, load_tower
from tests.fixtures.bert import save_bert

hub: Any = transformers
PROMPTS = ["red dog", "", "the tall person on the left with the white dog", "Crème “brûlée”", "dogs", "狗 \t dog\n"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


def test_its_ids_are_those_of_transformers(bert: Path) -> None:
    theirs, ours = hub.AutoTokenizer.from_pretrained(bert), load_tokenizer(bert)
    assert ours is not None
    assert ours.vocab_size == len(theirs)
    for context in (3, 6, 32):
        cut = ours.cut_to(context)
        assert cut.encode(PROMPTS) == theirs(PROMPTS, truncation=True, max_length=context)["input_ids"]
        assert cut.truncated == sum(len(row) > context for row in theirs(PROMPTS)["input_ids"])
    assert ours.special == {0, 2, 3}
    assert [ours.token_text(i) for i in ours.encode(["red dogs"])[0]] == ["[CLS]", "red", "dog", "##s", "[SEP]"]


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(max_size=40), context=st.integers(3, 12))
def test_any_prompt_has_the_ids_of_transformers(bert: Path, prompt: str, context: int) -> None:
    ours, theirs = _pair(bert)
    if any("\ud800" <= c <= "\udfff" for c in prompt):
        return
    row = ours.cut_to(context).encode([prompt])[0]
    assert row == theirs([prompt], truncation=True, max_length=context)["input_ids"][0]
    assert len(row) <= context


_KNOWN: dict[Path, tuple[HubTokenizer, Any]] = {}


def _pair(folder: Path) -> tuple[HubTokenizer, Any]:
    if folder not in _KNOWN:
        ours = load_tokenizer(folder)
        assert ours is not None
        _KNOWN[folder] = ours, hub.AutoTokenizer.from_pretrained(folder)
    return _KNOWN[folder]


def test_every_way_to_keep_it_gives_the_same_ids(bert: Path, tmp_path: Path) -> None:
    ours = load_tokenizer(bert)
    assert ours is not None
    ours = ours.cut_to(7)
    torch.save(ours.state(), tmp_path / "state.pt")
    kept = [
        HubTokenizer.from_state(torch.load(tmp_path / "state.pt", weights_only=True)),
        from_text(to_text(ours)),
        pickle.loads(pickle.dumps(ours)),
        copy.deepcopy(ours),
    ]
    (tmp_path / "folder").mkdir()
    kept.append(read_tokenizer(write_tokenizer(ours, tmp_path / "folder"), tmp_path / "folder"))
    for other in kept:
        other = other.cut_to(7)
        assert other.fingerprint == ours.fingerprint
        assert other.special == ours.special
        assert other.encode(PROMPTS) == ours.encode(PROMPTS)
    assert ours.cut_to(8).fingerprint != ours.fingerprint


def test_a_tokenizer_without_tokenizer_json_is_carried_too(tmp_path: Path) -> None:
    theirs = hub.ByT5Tokenizer()
    ours = HubTokenizer.of(theirs, "bytes")
    assert "tokenizer.json" not in ours.files
    again = HubTokenizer.from_state(ours.state()).cut_to(8)
    assert (
        again.encode(["dog", "a longer prompt"])
        == theirs(["dog", "a longer prompt"], truncation=True, max_length=8)["input_ids"]
    )
    assert again.vocab_size == 1 + max(theirs.get_vocab().values())


def test_grounding_dinos_sentence(bert: Path) -> None:
    theirs = hub.AutoTokenizer.from_pretrained(bert)
    ours = HubTokenizer.of(theirs, "dino", "sentence")
    assert ours.encode([" Red Dog ", "dog."]) == theirs(["red dog.", "dog."])["input_ids"]


def test_what_is_no_prompt_is_refused(bert: Path) -> None:
    ours = load_tokenizer(bert)
    assert ours is not None
    for wrong, said in (("red dog", "list of prompts"), ([1], "not text"), (["a\ud800"], "lone surrogate")):
        with pytest.raises(ValueError, match=said):
            ours.encode(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="more than context_length=3"):
        ours.cut_to(3, "error").encode(["red dog"])
    with pytest.raises(ValueError, match="cannot be opened"):
        HubTokenizer({"tokenizer.json": b"{"}, "broken").encode(["dog"])
    about = {**ours.about(), "files": ["../tokenizer.json"]}
    with pytest.raises(ValueError, match="out of the folder"):
        read_tokenizer(about, bert)


def test_encoders_carry_what_they_read(bert: Path) -> None:
    encoder, theirs = load_tower(bert), hub.AutoTokenizer.from_pretrained(bert)
    assert encoder.reads is not None
    assert encoder.tokenize(PROMPTS, whole=True) == theirs(PROMPTS)["input_ids"]
    assert encoder.reads.cut_to(9).encode(PROMPTS) == theirs(PROMPTS, truncation=True, max_length=9)["input_ids"]
