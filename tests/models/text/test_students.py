"""Students of our own checkpoints: files that hold none are refused."""

from pathlib import Path

import pytest
import torch

from litetext.models.text.students import load_student


def test_what_holds_no_student_says_why(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(100)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="holds no litetext student"):
        load_student(str(tmp_path / "other.ckpt"))
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="is no Lightning checkpoint"):
        load_student(str(tmp_path / "list.ckpt"))
