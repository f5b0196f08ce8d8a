"""Phrases through any text encoder: each once, and as alone."""

from typing import Any

import pytest
import torch

from litetext.models.text.encoder import PhraseFeatures
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.tokenizer import Tokenizer, pad

WIDTH = 32


PHRASES = ["a red circle", "dog", "A red  circle", "dog", "the small striped star that is blue"]


def student(padding: Any) -> MobileClipText:
    with torch.random.fork_rng():
        torch.manual_seed(6)
        return MobileClipText("nano", context_length=12, layers=1, padding=padding, repmixer=True, width=WIDTH)


@pytest.mark.parametrize("padding", ["masked", "reference"])
def test_each_phrase_is_encoded_once_and_as_alone(padding: Any) -> None:
    encoder = student(padding).train()
    rows: list[int] = []
    handle = encoder.register_forward_pre_hook(lambda _, args: rows.extend(args[1].tolist()))
    tokenizer = Tokenizer(12)
    encoded = encoder.encode(PHRASES, tokenizer)
    handle.remove()
    assert len(rows) == len(encoded) == 3  # "A red  circle" has the tokens of "a red circle"
    assert encoder.training, "its mode is the caller's"
    features, lengths = encoded.take([*PHRASES, "dog"])
    assert lengths.tolist() == [5, 3, 5, 3, 9, 3]
    assert features.shape == (6, 9, WIDTH)
    encoder.eval()
    for phrase, ours, length in zip(PHRASES, features, lengths.tolist(), strict=False):
        ids = tokenizer.encode([phrase])
        whole = pad(ids, 12)  # exactly the context length, as reference weights were trained
        with torch.no_grad():
            torch.testing.assert_close(ours[:length], encoder(*whole)[0, :length], rtol=1e-4, atol=1e-5)
        assert not ours[length:].any()


def test_the_teachers_features() -> None:
    teacher = Sam3TextEncoder.random(0, embed_width=16, heads=1, layers=1, hidden=32, eot_width=8, width=WIDTH)
    encoded = teacher.encode(PHRASES, Tokenizer(32))
    features, lengths = encoded.take(PHRASES[:2])
    ids, sizes = pad(Tokenizer(32).encode(PHRASES[:2]))
    torch.testing.assert_close(features, teacher(ids, sizes), rtol=1e-4, atol=1e-6)
    assert torch.equal(lengths, sizes)


def test_phrases_that_do_not_fit() -> None:
    encoder = student("masked")
    with pytest.raises(ValueError, match=r"up to 32 tokens, the text encoder takes 12; use Tokenizer\(12\)"):
        encoder.encode(PHRASES, Tokenizer(32))
    nothing = encoder.encode([], Tokenizer(12))
    assert isinstance(nothing, PhraseFeatures)
    assert nothing.take([]).features.shape == (0, 0, WIDTH)
    with pytest.raises(ValueError, match="phrase 'cat' has no text features"):
        nothing.take(["cat"])
    tokenizer = Tokenizer(4)
    assert encoder.encode(["one two three", "dog"], tokenizer).take(["one two three"]).lengths.tolist() == [4]
    assert tokenizer.truncated == 1
