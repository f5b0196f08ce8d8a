"""Where students can go, told before they are trained, and the command that leads there."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

from litetext.export.targets import export
from litetext.models.hub import find_weights
from litetext.models.text.destinations import ANYWHERE, STOCK, describe, obstacle, remedy
from litetext.models.text.mobileclip import PADDINGS, MobileClipText
from tests.export.students import STUDENT, checkpoint


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("repmixer", [False, True])
def test_what_is_told_is_what_export_does(tmp_path: Path, padding: Any, repmixer: bool) -> None:
    path = checkpoint(tmp_path / "s.ckpt", padding=padding, repmixer=repmixer)
    config = torch.load(path, weights_only=True)["litetext"]["student"]
    assert all(not obstacle(config, target) for target in ANYWHERE)
    for target in ("transformers", "efficientsam3"):
        order = (path, target, str(tmp_path / target), ["red circle", "a white dog"])
        why = obstacle(config, target)
        assert (f"not {target}: {why}" in describe(config)) == bool(why)
        if not why:
            export(*order, pairs=0)
            continue
        with pytest.raises(ValueError, match=f"{re.escape(why)}.* litetext fit --config"):
            export(*order, pairs=0)
    assert all(bool(obstacle(config, target)) == bool(obstacle(config, "transformers")) for target in STOCK)


def test_the_command_goes_on_from_the_student(
    tmp_path: Path, litetext: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_weights(STUDENT).is_file(), "a student that ships is one to go on from, wherever a command runs"
    path = checkpoint(tmp_path / "run one.ckpt", repmixer=True)
    stored = torch.load(path, weights_only=True)["litetext"]
    line = remedy(stored["student"], "transformers", path, stored)
    words = shlex.split(line)
    assert words[:2] == ["litetext", "fit"]
    quick = ["--trainer.limit_train_batches", "1", "--trainer.enable_progress_bar", "false"]
    answer = litetext(*words[1:], *quick, "--data.sources", '{"a": "shapes:60"}')
    assert answer.code == 0, answer.err
    assert "exports of this student: text, compact, onnx, torch, transformers, trimmed" in caplog.text
    name = words[words.index("--run") + 1]
    export(f"checkpoints/{name}/last.ckpt", "transformers", "out", ["red circle"], pairs=4)
    before = MobileClipText(**stored["student"])
    before.load_from(path)
    assert before.config["padding"] == "masked"
