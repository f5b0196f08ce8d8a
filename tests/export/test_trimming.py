"""Stock folders with the tokens of a corpus: opened by the stock classes, told apart from SAM3's vocabulary."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.data.shapes.phrases import phrases
from litetext.export.order import our_features
from litetext.export.targets import export
from litetext.export.tokenizer_file import backend, sam3_vocabulary
from litetext.export.transformers_folder import stock_features
from litetext.export.trimming import trim
from litetext.models.text.loading import load_text_encoder
from litetext.tokenizer import UNLIMITED, VOCAB_SIZE, Tokenizer
from tests.export.students import STUDENT, checkpoint

CORPUS = [*phrases(60, 0), "café crème", "women's shoe", "extraordinary lampshades"]
TRIMMED = trim(Tokenizer(UNLIMITED).encode(CORPUS))
WORDS: Any = backend(TRIMMED.vocabulary, TRIMMED.merges)[0]
ALL: Any = backend(*sam3_vocabulary())[0]


def test_prompts_of_the_corpus_are_tokenized_as_before() -> None:
    assert 512 < len(TRIMMED.kept) < 800
    assert TRIMMED.kept[-1] == VOCAB_SIZE - 1
    for prompt in CORPUS:
        assert WORDS.encode(prompt).ids == TRIMMED.numbers(ALL.encode(prompt).ids), prompt
    assert TRIMMED.numbers(ALL.encode("giraffe").ids) is None
    assert WORDS.encode("giraffe").tokens != ALL.encode("giraffe").tokens


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(" ".join(CORPUS).split()), min_size=1, max_size=12), st.text(max_size=12))
def test_any_order_of_its_words_and_any_text_can_be_written(words: list[str], other: str) -> None:
    prompt = " ".join(words)
    assert WORDS.encode(prompt).ids == TRIMMED.numbers(ALL.encode(prompt).ids)
    assert WORDS.decode(WORDS.encode(other).ids) == ALL.decode(ALL.encode(other).ids)


def test_a_trimmed_folder_gives_the_students_features(tmp_path: Path, litetext: Any, refused: Any) -> None:
    from transformers import AutoModel, AutoProcessor, AutoTokenizer

    (tmp_path / "mine.txt").write_text("\n".join(CORPUS))
    folder = tmp_path / "out"
    command = ("export", STUDENT, "--to", "trimmed", "--output", str(folder), "--prompts", "shapes:40")
    assert "--to trimmed needs --keep" in refused(*command)
    answer = litetext(*command, "--keep", str(tmp_path / "mine.txt"), "--pairs", "8")
    assert answer.code == 0, answer.err
    assert "on 8 pairs with" in answer.out
    card = (folder / "README.md").read_text()
    assert f"Tokens: {len(TRIMMED.kept):,} of 49,408." in card
    assert "of 40 prompts (" in card
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert len(tokenizer) == len(TRIMMED.kept)
    model: Any = AutoModel.from_pretrained(folder, local_files_only=True)
    assert model.config.text_config.vocab_size == len(TRIMMED.kept)
    assert type(AutoProcessor.from_pretrained(folder)).__name__ == "Sam3Processor"
    asked = ["red circle", "women’s shoe", "CAFÉ crème"]
    theirs, _ = stock_features(folder, asked, None)
    for ours, other in zip(our_features(load_text_encoder(STUDENT), asked), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"knows .* tokens by numbers of its own"):
        load_text_encoder(folder)


def test_one_that_sees_its_padding(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s.ckpt", padding="reference", repmixer=True)
    made = export(path, "trimmed", str(tmp_path / "out"), ["red circle", "zebra"], keep=CORPUS, pairs=4)
    assert next(iter(made.parities.values())).largest < 1e-5
    assert made.notes[0].count("1 of 2 prompts (50.0%)") == 1
