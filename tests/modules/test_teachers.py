"""Any text encoder as teacher: a BERT teaches, and everything after it reads the BERT's own tokens."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer as Stock

from litetext.models.text.bank import load_bank
from litetext.models.text.loading import load_text_encoder, load_tower
from litetext.models.text.students import load_student
from tests.fixtures.bert import WIDTH, bert_config, save_bert
from tests.fixtures.runs import Answer, same_weights, stopped_at, tiny_config, weights

FIT = ("fit", "--config", "bert.yaml")
PROMPTS = ["red dog", "the tall person on the left", "striped circles"]


def write_config(folder: Path, teacher: Path, **data: Any) -> None:
    config = tiny_config(teacher)
    config["model"]["init_args"] |= bert_config(teacher)
    config["data"]["init_args"] |= data
    (folder / "bert.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def bert(folder: Path) -> Path:
    """The teacher's folder, and `bert.yaml` in the working folder."""
    teacher = save_bert(folder / "bert")
    write_config(folder, teacher)
    return teacher


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a student of a BERT that is no longer there."""
    from litetext.cli import main

    place = tmp_path_factory.mktemp("taught")
    teacher = save_bert(place / "bert")
    write_config(place, teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["fit", "--config", "bert.yaml", "--trainer.max_epochs", "1", "--run", "student"]) == 0
    shutil.move(teacher, place / "gone")
    return place


def test_the_student_carries_the_tokenizer_of_its_teacher(taught: Path) -> None:
    student, teacher = load_student(str(taught / "checkpoints/student/best.ckpt")), load_tower(taught / "gone")
    assert student.reads is not None
    assert student.tokenizer.context_length == student.context_length == 16
    assert student.tokenizer.encode(PROMPTS) == teacher.tokenizer.cut_to(16).encode(PROMPTS)
    encoded = student.encode([*PROMPTS, "Red  dog"])
    assert len(encoded) == 3  # its normalizer makes the last one the first
    assert encoded["red dog"].shape == (4, WIDTH)


def test_teacher_features_are_those_of_the_tower(taught: Path) -> None:
    teacher = load_tower(taught / "gone")
    expected = teacher.encode(PROMPTS).of(PROMPTS)
    rows = teacher.tokenizer.encode(PROMPTS)
    for ours, theirs in zip(teacher.encode_tokens(rows, 8), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    ids, lengths = teacher.tokenizer(PROMPTS)
    padded = teacher(ids, lengths)
    for line, theirs in enumerate(expected):
        torch.testing.assert_close(padded[line, : len(theirs)], theirs, rtol=1e-5, atol=1e-5)
        assert not padded[line, len(theirs) :].any()
    assert teacher.fingerprint == load_tower(taught / "gone").fingerprint
    assert teacher.train().training is False


def test_live_and_stored_features_teach_alike(bert: Path, litetext: Callable[..., Answer]) -> None:
    one = ("--trainer.max_epochs", "1")
    assert litetext(*FIT, *one, "--run", "stored").code == 0
    assert litetext(*FIT, *one, "--run", "live", "--model.teacher_features", "live").code == 0
    stored, live = (weights(f"checkpoints/{run}/last.ckpt") for run in ("stored", "live"))
    for name, tensor in stored.items():
        torch.testing.assert_close(tensor, live[name], rtol=0, atol=2e-2)  # the store has 16 bits


def test_a_resumed_run_ends_where_an_undisturbed_one_does(bert: Path, litetext: Callable[..., Answer]) -> None:
    whole = (*FIT, "--last.every_n_steps", "1")
    assert litetext(*whole, "--run", "whole").code == 0
    assert stopped_at(7, lambda: litetext(*whole, "--run", "part")).code == 2
    assert litetext(*whole, "--run", "part", "--ckpt_path", "last").code == 0
    assert same_weights("checkpoints/whole/last.ckpt", "checkpoints/part/last.ckpt")


def test_a_bank_has_the_tokenizer_in_it(taught: Path, litetext: Callable[..., Answer], tmp_path: Path) -> None:
    checkpoint = str(taught / "checkpoints/student/best.ckpt")
    (tmp_path / "phrases.txt").write_text("red dog\nstriped circles\n")
    bank_file = str(tmp_path / "bank.safetensors")
    sources = json.dumps({"mine": str(tmp_path / "phrases.txt")})
    made = ("--config", "prompt_bank.yaml", "--data.sources", sources, "--model.text_encoder", checkpoint)
    assert litetext("predict", *made, "--model.output", bank_file).code == 0
    bank, student = load_bank(bank_file), load_student(checkpoint)
    assert bank.tokenizer.fingerprint == student.tokenizer.fingerprint
    for phrase in ("red dog", "Red Dog"):
        torch.testing.assert_close(bank.encode([phrase])[phrase], student.encode([phrase])[phrase])


def test_it_is_audited_by_its_own_tokens(taught: Path) -> None:
    encoder = load_tower(taught / "checkpoints/student/best.ckpt")
    teacher = load_tower(taught / "gone")
    assert encoder.tokenizer.special == teacher.tokenizer.special
    assert encoder.tokenize(PROMPTS, whole=True) == teacher.tokenize(PROMPTS, whole=True)
    assert encoder.tokenizer.token_text(5) == teacher.tokenizer.token_text(5) == "red"
    assert len(encoder.token_vectors()) == teacher.vocab_size


@pytest.mark.parametrize("target", ["text", "compact", "onnx", "torch"])
def test_exports_take_the_tokenizer_along(
    target: str, taught: Path, litetext: Callable[..., Answer], tmp_path: Path, unchecked: None
) -> None:
    checkpoint = str(taught / "checkpoints/student/best.ckpt")
    more = ("--tolerance", "10") if target == "compact" else ()
    made = litetext("export", checkpoint, "--to", target, "--output", str(tmp_path / "out"), *more)
    assert made.code == 0, made.err
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    student = load_student(checkpoint)
    if target in ("text", "compact"):
        assert load_text_encoder(tmp_path / "out").tokenizer.encode(PROMPTS) == student.tokenizer.encode(PROMPTS)
    else:
        own = Stock.from_file(str(tmp_path / "out" / "tokenizer.json"))
        assert [own.encode(prompt).ids for prompt in PROMPTS] == student.tokenizer.encode(PROMPTS)


@pytest.mark.parametrize("target", ["transformers", "efficientsam3"])
def test_no_sam3_gets_a_student_that_reads_other_tokens(
    target: str, taught: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    checkpoint = str(taught / "checkpoints/student/best.ckpt")
    line = refused(
        "export", checkpoint, "--to", target, "--output", str(tmp_path / "out"), "--sam3", "checkpoints/sam3-tiny"
    )
    assert "reads the tokens of" in line
    assert not (tmp_path / "out").exists()


def test_no_sam3_hears_a_student_that_reads_other_tokens(
    taught: Path, litetext: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    student = str(taught / "checkpoints/student/best.ckpt")
    answer = litetext("test", "--config", "shapes.yaml", "--model.text_encoders.mine", student)
    assert answer.code == 2
    assert "reads the tokens of" in answer.err.splitlines()[-1]
    assert "a SAM3 cannot read them" in answer.err.splitlines()[-1]


def test_what_does_not_fit_the_teacher_is_named(bert: Path, refused: Callable[..., str]) -> None:
    line = refused(*FIT, "--model.student.init_args.vocab_size", "49408")
    assert "set model.student.init_args.vocab_size to" in line
    line = refused(*FIT, "--model.student.init_args.width", "64")
    assert f"set model.student.init_args.width to {WIDTH}" in line
    line = refused(*FIT, "--data.context_length", "32", "--model.student.init_args.context_length", "32")
    assert "24 positions" in line
    (bert / "tokenizer.json").unlink()
    for file in bert.glob("vocab*"):
        file.unlink()
    assert "holds no tokenizer" in refused(*FIT)


def test_a_run_does_not_go_on_with_another_teacher(
    bert: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert litetext(*FIT, "--trainer.max_epochs", "1", "--run", "one").code == 0
    other = save_bert(Path("other"), seed=1)
    line = refused(*FIT, "--run", "one", "--ckpt_path", "last", "--model.teacher", str(other))
    assert "learnt from another teacher" in line


def test_a_student_can_teach(taught: Path, folder: Path, litetext: Callable[..., Answer]) -> None:
    write_config(folder, taught / "checkpoints/student/best.ckpt")
    assert litetext(*FIT, "--trainer.max_epochs", "1", "--run", "second").code == 0
    first, second = (
        load_student(str(taught / "checkpoints/student/best.ckpt")),
        load_student("checkpoints/second/best.ckpt"),
    )
    assert second.tokenizer.fingerprint == first.tokenizer.fingerprint
