"""Stock folders with the tokens of a corpus: opened by the stock classes, told apart from SAM3's vocabulary."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.bench.efficiency.measured import open_encoder
from litetext.data.shapes.phrases import phrases
from litetext.export.request import our_features
from litetext.export.targets import export
from litetext.export.tokenizer_file import backend, sam3_vocabulary
from litetext.export.transformers_folder import stock_features
from litetext.export.trimming import trim
from litetext.models.text.bank import make_bank, save_bank
from litetext.models.text.loading import load_text_encoder
from litetext.modules.evaluation import encode_all
from litetext.segmenter import Segmenter
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


def test_a_trimmed_folder_gives_the_students_features(
    tmp_path: Path, litetext: Any, refused: Any, caplog: pytest.LogCaptureFixture
) -> None:
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
    # Opened again it reads its own tokens: what transformers computes, of prompts with lost tokens too.
    again = load_text_encoder(folder)
    more = [*asked, "giraffe", "extraordinarily long giraffes and other zebras in the zoo"]
    theirs, ids = stock_features(folder, more[:-1], None)
    for ours, other in zip(our_features(again, more[:-1]), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)
    assert again.tokenizer.encode(more[:-1]) == ids
    assert again.reads is not None
    assert again.reads.cut_to(again.context_length).as_sam3(more) == [True, True, True, False, False]
    segmenter = Segmenter(folder, text_encoder=folder)
    assert segmenter.in_pieces(more) == more[3:]
    image = torch.randint(0, 255, (3, 40, 60), dtype=torch.uint8)
    (found,) = Segmenter(folder)(image, ["red circle"])
    (other,) = Segmenter("shapes", text_encoder=STUDENT)(image, ["red circle"])
    torch.testing.assert_close(found.scores, other.scores, rtol=0, atol=1e-4)
    side = encode_all({"cut": str(folder)}, more, lambda *_: None, torch.device("cpu"), blake2b())
    assert side.phrases["cut"].truncated == 1
    assert "text encoder cut: 3 of 5 phrases (60.0%) are tokenized as by SAM3's whole tokenizer" in caplog.text
    assert "of SAM3's tokens; export the student that it was made of" in refused(
        "export", str(folder), "--to", "transformers", "--output", str(tmp_path / "again"), "--prompts", "shapes:4"
    )
    bank = make_bank(again, str(folder), ["red circle", "giraffe"])
    save_bank(bank, tmp_path / "bank.safetensors")
    assert Segmenter(folder, bank=tmp_path / "bank.safetensors").in_pieces(["red circle", "giraffe"]) == ["giraffe"]
    with pytest.raises(
        ValueError, match="of SAM3's tokens, by numbers of its own; give the student that it was made of"
    ):
        open_encoder(str(folder), 32)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json cannot be read"):
        load_text_encoder(folder)


def test_one_that_sees_its_padding(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "s.ckpt", padding="reference", repmixer=True)
    made = export(path, "trimmed", str(tmp_path / "out"), ["red circle", "zebra"], keep=CORPUS, pairs=4)
    assert next(iter(made.parities.values())).largest < 1e-5
    assert made.notes[0].count("1 of 2 prompts (50.0%)") == 1
    theirs, _ = stock_features(tmp_path / "out", ["red circle", "zebra"], load_text_encoder(path).context_length)
    for ours, other in zip(
        our_features(load_text_encoder(tmp_path / "out"), ["red circle", "zebra"]), theirs, strict=True
    ):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-5)
