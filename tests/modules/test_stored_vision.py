"""Stored vision features: their key holds the code that makes them."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

import litetext
from litetext.data.images.unlabelled import UnlabelledImage, read_unlabelled
from litetext.models.sam3.image import Sam3Image
from litetext.modules.stored_vision import _CODE, VisionStore

ROOT = Path(litetext.__file__).parent
ELSEWHERE = {"files.py", "garbage.py", "commands/moved.py"}
"""What writes files and finds modules, whatever they hold."""


class Process(Trainer):
    """One of two processes."""

    world_size = 2  # type: ignore[assignment]

    def __init__(self, rank: int) -> None:
        self.rank = rank

    @property
    def global_rank(self) -> int:
        return self.rank

    @property
    def is_global_zero(self) -> bool:
        return not self.rank


@pytest.fixture
def sam3() -> Sam3Image:
    return Sam3Image.from_pretrained("checkpoints/sam3-tiny")


def test_a_process_that_looks_later_leaves_no_image_to_nobody(
    sam3: Sam3Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [UnlabelledImage(f"{n}.png", f"{n:032x}", ("red circle",)) for n in range(6)]
    store = VisionStore(tmp_path, sam3, "0" * 32, images)
    done: list[int] = []

    def encode(number: int) -> None:
        done.append(number)
        store._file(number).write_bytes(b"")

    monkeypatch.setattr(store, "_encode", encode)
    monkeypatch.setattr(store, "_await_others", lambda _: None)
    store.path.mkdir(parents=True)
    store._file(5).write_bytes(b"")  # of an earlier run
    with suppress(FileNotFoundError):  # the sizes of all are told, and nobody waited
        store.fill(Process(0))
    store.fill(Process(1))
    assert sorted(done) == [0, 1, 2, 3, 4]


def test_all_code_that_is_run_for_an_image_is_in_the_key(
    sam3: Sam3Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (40, 30), (9, 200, 20)).save(tmp_path / "a.png")
    (tmp_path / "prompts.txt").write_text("red circle\n")
    images, _ = read_unlabelled(str(tmp_path), str(tmp_path / "prompts.txt"), None, 1)
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
