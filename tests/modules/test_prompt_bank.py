"""Phrases encoded once into a file that stands in for the text encoder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from litetext.models.text import bank as room
from litetext.models.text import loading
from litetext.models.text.bank import load_bank, make_bank, save_bank
from litetext.models.text.loading import load_text_encoder
from litetext.tokenizer import Tokenizer
from tests.fixtures.runs import Answer

STUDENT, TEACHER = "checkpoints/student-tiny/student.ckpt", "checkpoints/sam3-tiny"
PHRASES = ["white dog", "the large red circle with stripes", "cup", "White  Dog", "blue square left of a cross", "été"]
PREDICT = ("predict", "--config", "prompt_bank.yaml", "--data.sources", '{"mine": "phrases.txt"}')


@pytest.fixture
def bank(folder: Path, litetext: Callable[..., Answer]) -> Path:
    """A bank of the shipped student."""
    (folder / "phrases.txt").write_text("\n".join([*PHRASES, "", "cup"]) + "\n", encoding="utf-8")
    answer = litetext(*PREDICT, "--model.text_encoder", STUDENT, "--model.output", "mine.safetensors")
    assert answer.code == 0, answer.err
    assert "mine.safetensors: 5 phrases of different tokens" in answer.out
    assert "359,968 parameters" in answer.out
    return folder / "mine.safetensors"


@pytest.mark.parametrize("encoder", [STUDENT, TEACHER])
def test_features_are_those_of_the_encoder(encoder: str, folder: Path, litetext: Callable[..., Answer]) -> None:
    (folder / "phrases.txt").write_text("\n".join(PHRASES), encoding="utf-8")
    assert litetext(*PREDICT, "--model.text_encoder", encoder, "--model.output", "b.safetensors").code == 0
    model = load_text_encoder(encoder)
    direct = model.encode(PHRASES).take(PHRASES)
    stored = load_bank("b.safetensors").encode(PHRASES).take(PHRASES)
    assert torch.equal(stored.lengths, direct.lengths)
    torch.testing.assert_close(stored.features, direct.features, rtol=0, atol=1e-4)  # in batches of other sizes
    assert stored.features.dtype == torch.float32
    assert stored.features.abs().sum() > 0


def test_what_the_file_says(bank: Path) -> None:
    with safe_open(bank, framework="pt") as file:
        about = file.metadata()
        assert set(file.keys()) == {"features", "tokens", "offsets"}
    assert about["encoder"] == STUDENT
    assert about["tokenizer"] == Tokenizer(24).fingerprint
    assert about["width"] == "64"
    opened = load_bank(bank)
    assert opened.phrases == PHRASES
    assert opened.origin.fingerprint == about["fingerprint"]
    model = load_text_encoder(STUDENT)
    opened.check_encoder(model, STUDENT)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1
    with pytest.raises(ValueError, match="was made by another text encoder than mine"):
        opened.check_encoder(model, "mine")


def test_spellings_of_the_same_tokens_are_found_and_others_named(bank: Path) -> None:
    opened = load_bank(bank)
    same = opened.encode(["WHITE DOG", "white dog"]).take(["WHITE DOG", "white dog"]).features
    assert torch.equal(same[0], same[1])
    with pytest.raises(ValueError, match=r"the phrase 'zebra' and of 1 more \(2 of 3 asked are missing\)"):
        opened.encode(["cup", "zebra", "red zebra"])


def test_damaged_and_foreign_files_are_refused(bank: Path, refused: Callable[..., str]) -> None:
    whole = bank.read_bytes()
    bank.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"mine\.safetensors cannot be read"):
        load_bank(bank)
    bank.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(ValueError, match="damaged"):
        load_bank(bank)
    bank.write_bytes(whole)
    with safe_open(bank, framework="pt") as file:
        about = file.metadata()
    save_file(load_file(bank), "t.safetensors", metadata=about | {"tokenizer": "0" * 32})
    with pytest.raises(ValueError, match="another tokenizer"):
        load_bank("t.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        load_bank("none.safetensors")
    save_file({"a": torch.zeros(2)}, "weights.safetensors")
    with pytest.raises(ValueError, match="no phrase bank"):
        load_bank("weights.safetensors")
    # Before anything is loaded: weights are not overwritten, and a place that is none is named.
    before = Path("weights.safetensors").read_bytes()
    assert "is no phrase bank" in refused(*PREDICT, "--model.output", "weights.safetensors")
    assert Path("weights.safetensors").read_bytes() == before
    assert "the folder a is not there" in refused(*PREDICT, "--model.output", "a/b.safetensors")
    assert "ends in .safetensors" in refused(*PREDICT, "--model.output", "b.bank")


def test_a_failed_write_leaves_the_old_bank_and_nothing_else(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before, files = bank.read_bytes(), sorted(bank.parent.iterdir())
    made = make_bank(load_text_encoder(STUDENT), STUDENT, ["zebra"])
    monkeypatch.setattr(room, "save_file", full)
    with pytest.raises(OSError, match="the disk is full"):
        save_bank(made, bank)
    assert bank.read_bytes() == before
    assert sorted(bank.parent.iterdir()) == files


def test_an_evaluation_runs_from_a_bank_without_a_text_encoder(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    test = ["test", "--config", "shapes.yaml", "--data.root", "shapes:1", "--data.subsets", "[common]"]
    test += ["--model.teacher", "false", "--model.pictures", "0", "--trainer.enable_progress_bar", "false"]
    assert litetext(*test).code == 0
    results = Path("lightning_logs/shapes/results.json")
    direct = json.loads(results.read_text())["encoders"]["student"]
    found = json.loads((results.parent / "predictions/student/common.json").read_text())
    (gold,) = Path("checkpoints/shapes").rglob("gold_common_merged_a_*.json")
    asked = [entry["text_input"] for entry in json.loads(gold.read_text())["images"]]
    save_bank(make_bank(load_text_encoder(STUDENT), STUDENT, asked), "asked.safetensors")
    save_bank(make_bank(load_text_encoder(STUDENT), STUDENT, asked[1:]), "few.safetensors")

    def none(path: object, **_: object) -> None:
        raise AssertionError(f"{path} was loaded")

    for reader in ("read_text_files", "load_student"):
        monkeypatch.setattr(loading, reader, none)
    answer = litetext(*test, "--model.text_encoders", '{"student": "asked.safetensors"}')
    assert answer.code == 0, answer.err
    again = json.loads(results.read_text())["encoders"]["student"]
    assert again == direct
    assert json.loads((results.parent / "predictions/student/common.json").read_text()) == found
    assert found
    answer = litetext(*test, "--model.text_encoders", '{"student": "few.safetensors"}')
    assert answer.code == 2
    assert f"has no features of the phrase {asked[0]!r} (1 of 8 asked are missing)" in answer.err.splitlines()[-1]
