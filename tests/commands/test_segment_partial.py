"""`litetext segment`, interrupted and started again: nothing is lost, nothing done twice, nothing mixed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from litetext.cli import main
from litetext.commands.segment_partial import PARTIAL
from litetext.data.shapes.world import FIRST_HELD_OUT, draw_scene, render
from litetext.models.sam3.image import Sam3Image
from tests.fixtures.copies import begun
from tests.fixtures.kills import wait_until
from tests.fixtures.runs import Answer

ASKED = ("segment", "in", "--sam3", "checkpoints/sam3-tiny", "--phrases", "white ring", "black circle")
MORE = ("--polygons", "--yolo")
COUNT = 4


@pytest.fixture
def asked(folder: Path) -> tuple[str, ...]:
    """Four images in the working folder, and the command that asks them."""
    Path("in").mkdir()
    for n in range(COUNT):
        Image.fromarray(render(draw_scene(FIRST_HELD_OUT + COUNT - 1 - n))).save(f"in/{n}.png")
    return ASKED


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that a SAM3 looked at; with a first number of -N it is interrupted at the N-th."""
    encode, looked = Sam3Image.encode_images, list[int]()

    def counts(self: Sam3Image, pixels: torch.Tensor) -> Any:
        if looked and looked[0] == -len(looked):
            raise KeyboardInterrupt
        looked.append(1)
        return encode(self, pixels)

    monkeypatch.setattr(Sam3Image, "encode_images", counts)
    return looked


def left(place: str) -> dict[str, bytes]:
    """All files of an output folder, without where it was asked for."""
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in sorted(Path(place).rglob("*")) if p.is_file()}


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    asked: tuple[str, ...], seen: list[int], litetext: Callable[..., Answer]
) -> None:
    assert litetext(*asked, *MORE, "--output", "whole").code == 0
    seen[:] = [-3]
    answer = litetext(*asked, *MORE, "--output", "out")
    assert answer.code == 130
    told = "litetext: 2 of 4 are segmented, and kept; the same command goes on from there"
    assert answer.err.splitlines()[-2:] == [told, "litetext: interrupted"]
    kept, whole = (json.loads(Path(place, "predictions.json").read_text()) for place in ("out", "whole"))
    assert kept["images"] == whole["images"][:2]
    assert kept["annotations"] == [one for one in whole["annotations"] if one["image_id"] <= 2] != []
    seen.clear()
    answer = litetext(*asked, *MORE, "--output", "out")
    assert answer.code == 0, answer.err
    assert "litetext: 2 of 4 were done before an interruption, and kept" in answer.err
    assert len(seen) == 2
    assert left("out") == left("whole")


@pytest.mark.usefixtures("copied")
def test_a_killed_run_goes_on(asked: tuple[str, ...], litetext: Callable[..., Answer]) -> None:
    partial = Path("out", PARTIAL)
    child = begun(main, [*asked, "--output", "out"])
    assert wait_until(lambda: partial.is_file() and partial.read_bytes().count(b"\n") > 1, child)
    child.kill()
    child.join()
    if partial.is_file():  # else it was done before the signal came
        lines = partial.read_text().splitlines()
        assert json.loads(lines[1])["annotations"] is not None, "what was done can be read"
        partial.write_text("\n".join([*lines[:2], lines[1][:40]]))  # and was cut off within a line
        answer = litetext(*asked, "--output", "out")
        assert answer.code == 0, answer.err
    assert litetext(*asked, "--output", "whole").code == 0
    assert left("out") == left("whole")


def test_results_of_other_options_and_changed_files_are_not_mixed(
    asked: tuple[str, ...], seen: list[int], litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    seen[:] = [-3]
    assert litetext(*asked, "--output", "out").code == 130
    seen.clear()
    line = refused(*asked, "--threshold", "0.6", "--output", "out")
    assert "--output out holds 2 results of an interrupted run with other phrases, options, models or code" in line
    assert "--overwrite" in line
    assert not seen
    Image.fromarray(render(draw_scene(FIRST_HELD_OUT + 9))).save("in/0.png")
    assert litetext(*asked, "--output", "out").code == 0
    assert len(seen) == 3, "the one that changed, and the two that were left"
    assert litetext(*asked, "--output", "whole").code == 0
    assert left("out") == left("whole")
    # What a finished run left is nobody's to go on with.
    assert "holds 0.png and 4 more of before" in refused(*asked, "--output", "out")


def test_overwrite_begins_anew(asked: tuple[str, ...], seen: list[int], litetext: Callable[..., Answer]) -> None:
    seen[:] = [-3]
    assert litetext(*asked, "--output", "out").code == 130
    seen.clear()
    assert litetext(*asked, "--threshold", "0.6", "--output", "out", "--overwrite").code == 0
    assert len(seen) == COUNT
    assert not Path("out", PARTIAL).exists()


@pytest.mark.parametrize("content", [b"5\n", b'{"mine": 1}\n', b"\xff\xfe\n", b'{"key": "x", "mine": 1}'])
def test_a_file_of_that_name_that_is_not_of_a_run_stays(
    content: bytes, asked: tuple[str, ...], litetext: Callable[..., Answer]
) -> None:
    place = Path("out", PARTIAL)
    place.parent.mkdir()
    place.write_bytes(content)
    answer = litetext(*asked, "--output", "out")
    if content.startswith(b'{"key": "'):  # a run that did nothing yet
        assert answer.code == 0, answer.err
        return
    assert answer.code == 2
    assert f"{place} is not of litetext segment" in answer.err
    assert "Traceback" not in answer.err
    assert left("out") == {PARTIAL: content}
    assert litetext(*asked, "--output", "out", "--overwrite").code == 0
    assert PARTIAL not in left("out")
