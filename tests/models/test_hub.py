"""Models of transformers: loaded without its progress bars, and errors of their folders."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import Sam3Model
from transformers.utils import logging

from litetext.bench.rehearsal import meta_files
from litetext.models import hub
from litetext.modules.sam3_folder import open_start, write_sam3
from litetext.segmenter import Segmenter
from litetext.shipped import shipped

SAM3 = shipped("checkpoints/sam3-tiny")


def write_meta(folder: Path) -> None:
    state = Sam3Model.from_pretrained(SAM3, dtype=torch.float32).state_dict()
    torch.save(meta_files.as_file(meta_files.sam3(state)), folder / "sam3.pt")
    (folder / "config.json").write_bytes((Path(SAM3) / "config.json").read_bytes())


OPENED: dict[str, Callable[[Path], object]] = {
    "a folder": lambda _: Segmenter(SAM3),
    "Meta's file": lambda folder: Segmenter(folder / "sam3.pt"),
    "where a training goes on, and its result": lambda folder: write_sam3(open_start(SAM3), folder / "out"),
}


@pytest.mark.parametrize("name", OPENED)
def test_nothing_is_said_of_loading(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert logging.is_progress_bar_enabled()
    write_meta(tmp_path)
    assert "Loading weights" in capfd.readouterr().err  # transformers' own bar, which else is seen
    OPENED[name](tmp_path)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def test_the_callers_setting_comes_back() -> None:
    with hub.without_bars():
        assert not logging.is_progress_bar_enabled()
    assert logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()
    try:
        disable_progress_bars()
        with pytest.raises(ValueError, match="stop"), hub.without_bars():
            raise ValueError("stop")
        assert logging.is_progress_bar_enabled()
        assert are_progress_bars_disabled()
        logging.disable_progress_bar()
        with hub.without_bars():
            pass
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.enable_progress_bar()
        enable_progress_bars()


def test_only_a_terminal_is_told_and_only_of_large_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, least, said in ((Terminal(), 10**6, True), (Terminal(), 10**9, False), (io.StringIO(), 10**6, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(hub, "_LARGE", least)
        hub.say_large(Path(SAM3), "SAM3")
        assert stream.getvalue() == (f"reading SAM3 {SAM3} (0.0 GB)\n" if said else "")
