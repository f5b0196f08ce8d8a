"""The benchmark of a student's speed and size: it runs, and says what it compares."""

from pathlib import Path

import pytest
import torch

from litetext.bench.student import TARGETS, bench_student, transformers_model
from litetext.models.text.mobileclip import MobileClipText


def test_every_ratio_is_measured_or_skipped(teacher_file: Path, unchecked: None) -> None:
    figures = bench_student("nouns:100", "nano", str(teacher_file), batch_size=4, kept=50, seconds=0.1)
    skipped = [name.removeprefix("skipped: ") for name in figures if name.startswith("skipped")]
    for what, target in TARGETS.items():
        fast = what.partition(" over ")[0]
        assert fast in skipped or figures[f"{what} (target {target})"] > 0
    assert figures["rounds"] >= 3  # as many as fit the seconds
    assert figures["fp32: smallest pooled cosine"] > 0.99999
    assert figures["8 bits: smallest pooled cosine"] > 0.999
    student = MobileClipText("nano")
    assert figures["student, fp32: MiB"] == pytest.approx(sum(p.numel() for p in student.parameters()) / 2**18)
    small, smallest = (figures[f"{name}, pruned vocabulary: MiB"] for name in ("8 bits", "4 bits"))
    assert smallest < small < figures["student, fp32: MiB"] / 8
    assert figures["4 bits: smallest pooled cosine"] < figures["8 bits: smallest pooled cosine"]


def test_transformers_model_has_the_students_size() -> None:
    student = MobileClipText("s0", embed_width=32, heads=2, layers=1, vocab_size=90)
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    assert transformers_model(student)(ids, torch.tensor([3, 4])).shape == (2, 4, 256)


def test_refusals(teacher_file: Path) -> None:
    with pytest.raises(ValueError, match="kept=0 must be more than 0"):
        bench_student(kept=0)
    with pytest.raises(ValueError, match="must be a student"):
        bench_student(student=str(teacher_file), teacher=str(teacher_file))
