import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from litetext.audit.audit import audit, corpus_parts
from litetext.audit.corpus import tokenize_corpus
from litetext.audit.encoder import _described, _read_images, sampled, whole_sam3
from litetext.audit.options import AuditOptions, Parts
from litetext.checkpoints.hub_tokenizer import HubTokenizer
from litetext.models.text.loading import load_tower

PHRASES = ["white dog", "the red circle", "a red circle with stripes", "old man in a hat", "dog", "small blue bus"]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    (tmp_path / "some.txt").write_text("\n".join(PHRASES) + "\n")
    return str(tmp_path / "some.txt")


def test_a_part_that_fails_leaves_a_line_and_the_next_runs() -> None:
    told: list[tuple[str, float]] = []
    parts = Parts(lambda part, done: told.append((part, done)))

    def bad() -> None:
        raise ValueError("three\nlines  of\ntext")

    assert parts.attempt("bad", 0.1, bad) is None
    assert parts.attempt("worse", 0.2, lambda: 1 // 0) is None
    assert parts.attempt("good", 0.3, lambda: 5) == 5
    assert parts.failed["bad"] == "three lines of text"
    assert parts.failed["worse"].startswith("ZeroDivisionError: ")
    assert told == [("bad", 0.1), ("worse", 0.2), ("good", 0.3)]


def test_all_together_adds_up_and_counts_shared_prompts_once() -> None:
    first, second = tokenize_corpus(PHRASES), tokenize_corpus([*PHRASES[:2], "a very long phrase of many more words"])
    found = corpus_parts({"a": first, "b": second}, [4, 16], None)
    combined = found["combined"]
    assert combined["prompts"] == 9
    assert combined["unique"] == 7
    tokens = sum(n * count for n, count in enumerate(combined["histogram"]))
    assert tokens == first.lengths.sum() + second.lengths.sum()
    assert combined["mean_tokens"] == pytest.approx(tokens / 9)
    used = np.union1d(first.ids, second.ids)
    assert combined["vocabulary"]["used"] == len(used)
    assert combined["context"]["4"]["token_loss"] == pytest.approx(
        1 - sum(min(n, 4) for n in [*first.lengths, *second.lengths]) / tokens
    )


def test_without_an_encoder_there_are_no_encoder_parts(corpus: str) -> None:
    found = audit(AuditOptions({"some": corpus}))
    assert not {"encoder", "spectra", "dimension", "order", "robustness"} & set(found)
    assert found["failed"] == {}
    assert found["prescription"]["context_length"] == 8
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("lines", [["dog"], ["Dog", "dog", "DOG", " dog"]], ids=["one", "the same"])
def test_prompts_that_leave_no_spread_give_defined_values(lines: list[str], tmp_path: Path, teacher_file: Path) -> None:
    (tmp_path / "few.txt").write_text("\n".join(lines) + "\n")
    found = audit(AuditOptions({"few": str(tmp_path / "few.txt")}, encoder=str(teacher_file)))
    assert found["failed"] == {}
    assert found["combined"]["prompts"] == len(lines)
    assert found["combined"]["mean_tokens"] == 3
    assert found["dimension"]["pooled"]["twonn"]["value"] is None
    assert found["order"]["permuted"] == {"mean": None, "low": None, "high": None, "n": 0}
    json.dumps(found, allow_nan=False)


def test_an_empty_source_is_named_and_the_others_are_audited(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    found = audit(AuditOptions({"empty": str(tmp_path / "empty.txt"), "some": corpus}))
    assert list(found["sources"]) == ["some"]
    assert "holds no prompt" in found["failed"]["source empty"]
    with pytest.raises(ValueError, match="holds no prompt"):
        audit(AuditOptions({"empty": str(tmp_path / "empty.txt")}))


def test_a_missing_source_ends_it_before_any_is_read(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("litetext.audit.audit.read_prompts", lambda *_: pytest.fail("a source was read"))
    with pytest.raises(FileNotFoundError, match=r"'gone'.*nowhere.txt"):
        audit(AuditOptions({"some": corpus, "gone": "nowhere.txt"}))
    with pytest.raises(FileNotFoundError, match=r"--text_encoder 'nowhere.pt'"):
        audit(AuditOptions({"some": corpus}, encoder="nowhere.pt"))
    with pytest.raises(FileNotFoundError, match="--images"):
        audit(AuditOptions({"some": corpus}, images="nowhere"))


def test_weights_that_are_nan_cost_the_parts_that_need_them_alone(
    corpus: str, tmp_path: Path, teacher_file: Path
) -> None:
    weights = load_file(teacher_file)
    weights["embedding.token.weight"][:] = float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    found = audit(AuditOptions({"some": corpus}, encoder=str(tmp_path / "nan.safetensors")))
    assert {"spectra.token", "features"} <= set(found["failed"])
    assert "NaN" in found["failed"]["spectra.token"]
    assert "NaN" in found["failed"]["features"]
    assert found["spectra"]["token"] is None
    assert found["spectra"]["position"]["rows"] == 32
    assert found["combined"]["prompts"] == len(PHRASES)
    assert found["prescription"]["context_length"] == 8
    json.dumps(found, allow_nan=False)


def test_a_file_that_is_no_encoder_leaves_the_corpora(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "broken.pt").write_bytes(b"nothing of the kind")
    found = audit(AuditOptions({"some": corpus}, encoder=str(tmp_path / "broken.pt")))
    assert list(found["failed"]) == ["encoder"]
    assert "\n" not in found["failed"]["encoder"]
    assert found["combined"]["prompts"] == len(PHRASES)


def test_an_encoder_is_measured_in_its_own_tokens_uncut(corpus: str, tmp_path: Path, teacher_file: Path) -> None:
    (tmp_path / "long.txt").write_text(" ".join(["dog"] * 50) + "\nwhite dog\n")
    found = audit(AuditOptions({"long": str(tmp_path / "long.txt")}, encoder=str(teacher_file)))
    assert len(found["combined"]["histogram"]) - 1 == 52
    assert found["encoder"]["kind"] == "sam3"
    assert found["encoder"]["context_length"] == 32


def test_samples_come_from_all_sources_each_prompt_once() -> None:
    corpora = {"a": tokenize_corpus(PHRASES), "b": tokenize_corpus([*PHRASES, "green tree"])}
    assert sampled(corpora, 100, 0) == [*PHRASES, "green tree"]
    drawn = sampled(corpora, 3, 1)
    assert len(set(drawn)) == 3
    assert drawn == sampled(corpora, 3, 1)


def test_images_that_are_not_used_are_counted(tmp_path: Path) -> None:
    for n in range(11):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{n:02}.png")
    images, more = _read_images(str(tmp_path))
    assert (len(images), more) == (8, 3)


def test_an_encoder_says_whose_tokens_it_reads() -> None:
    student = load_tower("checkpoints/student-tiny/student.ckpt")
    assert _described(student)["tokenizer"] is None
    student.reads = HubTokenizer({}, "a/bert")
    assert _described(student)["tokenizer"] == "a/bert"


def test_only_a_whole_sam3_is_followed_through_its_detector(teacher_file: Path) -> None:
    assert whole_sam3(load_tower(teacher_file)) is None
    assert whole_sam3(load_tower("checkpoints/sam3-tiny")) == "checkpoints/sam3-tiny"
    assert whole_sam3(load_tower("checkpoints/student-tiny/student.ckpt")) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompts": {}}, "--prompts"),
        ({"context_lengths": [2, 8]}, "--context_lengths 2 8"),
        ({"context_lengths": []}, "--context_lengths"),
        ({"budget": 1.0}, "--budget 1.0"),
        ({"sample": 0}, "--sample is 0"),
        ({"student": ["x"]}, "--student"),
    ],
)
def test_options_out_of_range_are_refused(options: dict, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        AuditOptions(**{"prompts": {"a": "shapes:3"}, **options})
