"""`litetext rehearse`: the same road in small, and what becomes of a step that fails."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from litetext.bench.rehearsal import steps as rehearsal_steps
from litetext.bench.rehearsal.back import compare
from litetext.bench.rehearsal.layouts import Layout, place, write
from litetext.bench.rehearsal.run import run, table
from litetext.bench.rehearsal.steps import STUDENT, TARGETS, Step, plan, prepare
from litetext.cli import main
from litetext.models.sam3.image import Sam3Image
from litetext.models.text.loading import load_text_encoder
from tests.fixtures.runs import Answer

IN_PROCESS = (
    *("fit", "predict", "test", "segment"),
    *("export to compact", "export to transformers", "export to efficientsam3"),
)


def test_every_layout_opens(tmp_path: Path, unchecked: None) -> None:
    found = {}
    for layout in get_args(Layout):
        write(layout, "small", tmp_path / layout)
        sam3 = place(layout, tmp_path / layout)
        teacher = load_text_encoder(sam3, heads=4)
        found[layout] = teacher.encode(["red circle"])["red circle"]
        assert Sam3Image.from_pretrained(sam3).width == teacher.width
    assert len(list((tmp_path / "transformers").glob("*.safetensors"))) > 1, "one shard alone"
    for layout in ("meta", "sam31"):  # one seed, the same weights
        torch.testing.assert_close(found[layout], found["transformers"])


def test_the_road_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    write("transformers", "small", tmp_path / "transformers")
    known = {step.name: step for step in plan("transformers", "small")}
    for name in IN_PROCESS:
        words = known[name].words
        assert words[:2] == ("-m", "litetext")
        assert main(words[2:]) == 0, name
        assert known[name].flops >= 0
    assert compare("exported/compact", STUDENT) > 0.999
    assert compare("exported/transformers", STUDENT) > 0.9999
    assert compare("exported/efficientsam3/sam3_litetext.pt", STUDENT) > 0.9999
    assert (tmp_path / "segmented/predictions.json").is_file()
    assert known["fit"].flops > known["predict"].flops > 0
    assert {f"export to {target}" for target in TARGETS} < set(known)


def test_the_operations_are_those_of_the_models() -> None:
    known = {step.name: step.flops for step in plan("meta", "full")}
    image, detector, teacher, student = rehearsal_steps._costs("full")
    assert image > detector > teacher > student > 0
    assert known["segment"] == image + 2 * (detector + student)


def python(name: str, code: str, *needs: str) -> Step:
    return Step(name, ("-c", code), 2e12, needs)


def test_a_step_that_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    fails = "import sys; print('litetext: error: no such SAM3', file=sys.stderr); sys.exit(2)"
    some = [
        python("first", fails),
        python("second", "print(1)", "first"),
        python("third", "b = b'x' * 300_000_000; print(len(b))"),
        python("fourth", "open('made', 'w')"),
    ]
    told: list[Any] = []
    found = run(some, tmp_path, 200e6, told.append)
    assert told == found
    assert [outcome.seconds is None for outcome in found] == [False, True, False, False]
    assert found[0].error.startswith("no such SAM3 (exit code 2; ")
    assert found[1].error == "not run: 'first' failed"
    assert "more than 0.2 GB" in found[2].error
    assert found[2].peak is not None
    assert found[3].peak is not None
    assert found[2].peak > 3e8 > 2 * found[3].peak
    assert not found[3].error
    assert (tmp_path / "made").exists()
    rows = table(found, {"H100": 4e14}).splitlines()
    assert rows[0].endswith("| TFLOP | H100, s |")
    assert rows[2].startswith("| **first: failed** |")
    assert rows[2].endswith("| 2 | 0.005 |")
    assert rows[3].count(" - ") == 3


def test_the_command_ends_with_1_and_writes_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    some = [python("works", "pass"), python("fails", "raise SystemExit('it is broken')")]
    monkeypatch.setattr(rehearsal_steps, "plan", lambda layout, size: some)
    wrote, folder = tmp_path / "table.md", tmp_path / "work"
    answer = litetext(
        "rehearse", "--size", "small", "--layouts", "sam31", "--output", str(wrote), "--folder", str(folder)
    )
    assert answer.code == 1
    assert "failed: sam31: fails: it is broken (exit code 1; " in answer.out
    assert "| works |" in wrote.read_text()
    assert "TFLOP/s (A100)" in wrote.read_text()
    again = litetext("rehearse", "--folder", str(folder))
    assert again.code == 2
    assert "is there already" in again.err
    table = litetext("rehearse", "--output", str(wrote))
    assert table.code == 2
    assert "give --overwrite" in table.err
    assert "make it first" in litetext("rehearse", "--output", str(tmp_path / "no/table.md")).err
    assert sys.executable in rehearsal_steps.interpreter(some[0])
