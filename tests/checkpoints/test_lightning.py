"""Checkpoints of Lightning: what is none says why, and old names of scores are mended."""

import fractions
from pathlib import Path

import pytest
import torch

from litetext.checkpoints.lightning import read_checkpoint


def test_what_is_no_checkpoint_says_why(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(100)}}, tmp_path / "whole.ckpt")
    torch.save({"state_dict": {}, "x": fractions.Fraction(1, 2)}, tmp_path / "objects.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.ckpt").write_bytes(b"")
    (tmp_path / "text.ckpt").write_text("not a checkpoint " * 20)
    torch.save([1, 2], tmp_path / "list.ckpt")
    assert list(read_checkpoint(str(tmp_path / "whole.ckpt"))) == ["state_dict"]
    for name, told in {
        "empty": "it is empty (0 bytes); take another",
        "cut": "it is no whole file of torch.save: of another kind, or cut short; take another",
        "text": "it is no whole file of torch.save: of another kind, or cut short; take another",
        "objects": "it holds more than tensors and plain values (fractions.Fraction), which could run code",
        "list": "is no Lightning checkpoint: it has no state_dict",
    }.items():
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            read_checkpoint(str(tmp_path / f"{name}.ckpt"))
        text = str(caught.value).removeprefix(f"{tmp_path / name}.ckpt ")
        assert text.removeprefix("cannot be read as a checkpoint: ").startswith(told)


def test_the_loss_that_second_stages_called_cosine_is_no_closeness(tmp_path: Path) -> None:
    path = str(tmp_path / "old.ckpt")
    first = {"scores": {"cosine": 0.98, "cosine_distance": 0.02}}
    for about, expected in (
        ({"detector": "0a", "scores": {"cosine": 0.02, "CG_F1": 98.0}}, {"cosine_distance": 0.02, "CG_F1": 98.0}),
        ({"detector": "0a", "scores": {"cosine_distance": 0.02}}, {"cosine_distance": 0.02}),
        (first, first["scores"]),
    ):
        torch.save({"state_dict": {}, "litetext": about}, path)
        assert read_checkpoint(path)["litetext"]["scores"] == expected
