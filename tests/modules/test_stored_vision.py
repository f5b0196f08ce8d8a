"""Stored vision features: their key holds the code that makes them."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import litetext
from litetext.data.images.unlabelled import read_unlabelled
from litetext.models.sam3.image import Sam3Image
from litetext.modules.stored_vision import _CODE, VisionStore

ROOT = Path(litetext.__file__).parent
ELSEWHERE = {"files.py", "garbage.py", "commands/moved.py"}
"""What writes files and finds modules, whatever they hold."""


def test_all_code_that_is_run_for_an_image_is_in_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30), (9, 200, 20)).save(tmp_path / "a.png")
    (tmp_path / "prompts.txt").write_text("red circle\n")
    images, _ = read_unlabelled(str(tmp_path), str(tmp_path / "prompts.txt"), None, 1)
    sam3 = Sam3Image.from_pretrained("checkpoints/sam3-tiny")
    store = VisionStore(tmp_path / "vision", sam3, "0" * 32, images)
    called: set[str] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(ROOT):
            called.add(file.relative_to(ROOT).as_posix())

    sys.setprofile(note)
    try:
        store._encode(0)
    finally:
        sys.setprofile(None)
    assert len(called) > 4
    assert called - ELSEWHERE <= set(_CODE)
    assert len(store.take([0])) == 1
    # Products in TF32 are others.
    monkeypatch.setattr(Sam3Image, "device", torch.device("cuda"))
    before = VisionStore(tmp_path, sam3, "0" * 32, images).path
    torch.set_float32_matmul_precision("high")
    try:
        assert VisionStore(tmp_path, sam3, "0" * 32, images).path != before
    finally:
        torch.set_float32_matmul_precision("highest")
