"""Text encoders of transformers as teachers: the tower's features from token rows, of every kind of tower."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from litetext.models.text.hub_encoder import HubTextEncoder
from litetext.models.text.loading import load_tokenizer, load_tower
from tests.fixtures.bert import save_bert
from tests.fixtures.detectors_world import save_owl
from tests.models.text.test_hf_towers import IMAGE, SMALL, dino, hub, save_clip_words, seeded, siglip

PROMPTS = ["red dog", "cat", "the tall person", "Striped circle"]


def clip(folder: Path) -> None:
    save_clip_words(folder)
    text = {**SMALL, "vocab_size": 60, "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59}
    config = hub.CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=8)
    seeded(lambda: hub.CLIPModel(config)).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], object]] = {
    "clip": clip,
    "siglip": lambda folder: siglip(folder, "siglip"),
    "siglip2": lambda folder: siglip(folder, "siglip2"),
    "bert": save_bert,
    "grounding-dino": lambda folder: dino(folder, mm=False),
    "owlv2": save_owl,
}


@pytest.fixture(scope="module", params=list(MAKERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](made)
    return made


def test_a_teacher_says_of_token_rows_what_it_says_of_prompts(folder: Path) -> None:
    teacher, theirs = load_tower(folder), hub.AutoTokenizer.from_pretrained(folder)
    assert isinstance(teacher, HubTextEncoder)
    tokenizer = teacher.tokenizer
    rows = tokenizer.encode(PROMPTS)
    written = [f"{p.lower()}." for p in PROMPTS] if teacher.kind == "grounding-dino" else PROMPTS
    cut = theirs(written, truncation=True, max_length=teacher.context_length)
    assert rows == teacher.tokenize(PROMPTS) == cut["input_ids"]
    expected = teacher.encode(PROMPTS).of(PROMPTS)
    for ours, theirs in zip(teacher.encode_tokens(rows, 7), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    batch = tokenizer(PROMPTS)
    grid = teacher(*batch)
    assert not grid[~batch.mask].any()
    for line, theirs in zip(grid, expected, strict=True):
        torch.testing.assert_close(line[: len(theirs)], theirs, rtol=1e-5, atol=1e-5)


def test_the_tokenizer_alone_is_the_one_of_the_teacher(folder: Path) -> None:
    alone, teacher = load_tokenizer(folder), load_tower(folder)
    assert alone is not None
    assert alone.cut_to(9).fingerprint == teacher.tokenizer.cut_to(9).fingerprint
    cut = teacher.tokenizer.cut_to(4).encode(PROMPTS)
    assert cut == [row[:4] if len(row) <= 4 else row for row in cut]
    assert max(max(row) for row in teacher.tokenizer.encode(PROMPTS)) < alone.vocab_size <= teacher.vocab_size


def test_fingerprints_tell_teachers_apart(tmp_path: Path) -> None:
    one, same, other = save_bert(tmp_path / "a"), save_bert(tmp_path / "b"), save_bert(tmp_path / "c", seed=1)
    prints = [load_tower(path).fingerprint for path in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]
    tokenizer = one / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"striped"', '"dotted"'))
    assert load_tower(one).fingerprint != prints[0]


def test_rows_that_it_cannot_encode_are_refused(tmp_path: Path) -> None:
    teacher = load_tower(save_bert(tmp_path))
    for rows, said in (([[]], "has 0 tokens"), ([[2] * 25], "has 25 tokens"), ([[2, 999, 3]], "has token id 999")):
        with pytest.raises(ValueError, match=said):
            teacher.encode_tokens(rows)
