"""A phrase bank is a text encoder that knows its phrases alone."""

from pathlib import Path

import pytest
import torch

from litetext.models.text.bank import PhraseBank, make_bank, save_bank
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.loading import load_text_encoder, load_tower
from litetext.models.text.mobileclip import MobileClipText

PHRASES = ["white dog", "cup", "the red circle"]


@pytest.fixture
def student() -> MobileClipText:
    torch.manual_seed(0)
    return MobileClipText("nano", context_length=12, layers=1).eval().requires_grad_(False)


@pytest.fixture
def path(student: MobileClipText, tmp_path: Path) -> Path:
    save_bank(make_bank(student, "student", PHRASES), tmp_path / "bank.safetensors")
    return tmp_path / "bank.safetensors"


def test_it_stands_in_for_its_encoder(student: MobileClipText, path: Path) -> None:
    bank = load_text_encoder(path)
    assert isinstance(bank, PhraseBank)
    for name in ("width", "context_length", "parameter_count", "fingerprint"):
        assert getattr(bank, name) == getattr(student, name), name
    asked = ["cup", "White Dog", "cup"]
    ours, theirs = bank.encode(asked), student.encode(PHRASES).of([phrase.lower() for phrase in asked])
    assert all(torch.equal(a, b) for a, b in zip(ours.of(asked), theirs, strict=True))
    assert len(ours) == 2, "what was asked, and not the whole bank"
    batch = bank.tokenizer(PHRASES)
    torch.testing.assert_close(bank(*batch), student(*batch), rtol=1e-4, atol=1e-5)
    rows = bank.tokenize(PHRASES)
    assert all(torch.equal(a, b) for a, b in zip(bank.encode_tokens(rows), bank.encode(PHRASES).rows, strict=True))
    again: TextEncoder = make_bank(bank, "bank", PHRASES)
    assert again.fingerprint == student.fingerprint


def test_what_it_does_not_know_and_does_not_hold(path: Path) -> None:
    bank = load_text_encoder(path)
    with pytest.raises(ValueError, match=r"bank.safetensors has no features of prompt 1; add to the phrases"):
        bank.encode_tokens(bank.tokenizer.encode(["cup", "zebra"]))
    with pytest.raises(ValueError, match="holds features and no weights; name the text encoder student"):
        bank.token_vectors()
    with pytest.raises(ValueError, match=r"bank.safetensors is a phrase bank, which holds no weights"):
        load_tower(path)
