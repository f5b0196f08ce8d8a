"""The table of a student's forms: every form has all its numbers, and the smallest good one follows from them."""

from pathlib import Path

import jaxtyping
import pytest
import torch

from litetext.bench import forms
from litetext.bench.forms import Form, bench_forms
from litetext.models.text.quantized import quantize_weights, resident_bytes
from litetext.models.text.student import Student
from tests.export.students import STUDENT


def test_every_form_is_scored_beside_the_student(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)

    def few(student: Student, corpus: object, place: Path, skipped: dict[str, str]) -> list[Form]:
        small = quantize_weights(student)
        broken = quantize_weights(student, 32, 32)
        for weight in broken.parameters():
            torch.nn.init.normal_(weight)
        skipped["ONNX fp32"] = "not asked for"
        parts = {"fp32": student, "8 bits": small, "noise": broken}
        return [Form(name, one, resident_bytes(one)) for name, one in parts.items()]

    monkeypatch.setattr(forms, "_forms", few)
    figures = bench_forms(STUDENT, "checkpoints/sam3-tiny", "shapes:3", "shapes:50", ["common"])
    assert figures["fp32: smallest pooled cosine"] == pytest.approx(1)
    assert figures["fp32: share of the student's CG_F1"] == 1
    assert figures["8 bits: smallest pooled cosine"] > 0.999 > figures["noise: smallest pooled cosine"]
    assert figures["8 bits: CG_F1"] > 20 > figures["noise: CG_F1"]
    assert figures["8 bits: bytes"] < figures["fp32: bytes"] / 2
    assert figures["teacher: CG_F1"] > 0
    assert "teacher: smallest pooled cosine" not in figures
    good = "8 bits" if figures["8 bits: share of the student's CG_F1"] >= 0.995 else "fp32"
    assert figures["smallest with 99.5% of the student's CG_F1"] == good
    assert figures["skipped: ONNX fp32"] == "not asked for"
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| noise")]
    assert len(shown) == 1


def test_a_teacher_is_no_student() -> None:
    with pytest.raises(ValueError, match="is SAM3's own text encoder"):
        bench_forms("checkpoints/sam3-tiny")


def test_of_nothing_there_is_no_share() -> None:
    assert forms._shares({"teacher": 80.0, "fp32": 40.0}, "mine.ckpt") == {"teacher": 2.0, "fp32": 1.0}
    with pytest.raises(ValueError, match=r"mine.ckpt has a CG_F1 of 0 as it was trained"):
        forms._shares({"teacher": 80.0, "fp32": 0.0}, "mine.ckpt")
