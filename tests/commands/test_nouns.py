"""`litetext nouns`."""

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext.data.nouns import sheet
from litetext.data.nouns.examples import find_scenes
from litetext.data.nouns.gold import PAIRS, SUBSETS
from litetext.data.nouns.render import render
from litetext.data.nouns.sheet import CELL, nouns
from tests.fixtures.runs import Answer


def test_writes_once_and_says_what(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    out = tmp_path / "nouns"
    first = litetext("nouns", str(out), "--number", "1", "--seed", "3")
    assert first.code == 0, first.err
    assert first.out.startswith(f"wrote {out} (images 1, seed 3)\n")
    for name in SUBSETS:
        assert f"\n  {name:<12}     1 images {PAIRS:>8} pairs" in first.out
    second = litetext("nouns", str(out), "--number", "1", "--seed", "3")
    assert second.out == first.out.replace("wrote", "already there:", 1)
    answer = litetext("nouns", str(tmp_path / "v"), "--what", "videos", "--number", "1")
    assert "1 videos, 6 pairs" in answer.out
    answer = litetext("nouns", str(tmp_path / "p"), "--what", "probes", "--number", "1")
    assert "1 pairs each   word order, attribute swap" in answer.out


def test_pictures_show_all_drawings_and_write_over_nothing(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    out = tmp_path / "pictures"
    answer = litetext("nouns", str(out), "--what", "pictures", "--number", "7")
    assert answer.code == 0, answer.err
    assert {path.name for path in out.iterdir()} == {
        *(f"sheet_{style}.png" for style in ("fluent", "noto", "twemoji")),
        "scenes.png",
    }
    with Image.open(out / "sheet_fluent.png") as sheet:
        assert sheet.size == (24 * CELL, -(-len(nouns()) // 24) * CELL)
    with Image.open(out / "scenes.png") as page:
        assert page.size[0] == 6 * (224 + 8)
    assert "is there and is no empty folder" in refused("nouns", str(out), "--what", "pictures")
    assert "--number is 0; it must be at least 1" in refused(
        "nouns", str(tmp_path / "x"), "--what", "pictures", "--number", "0"
    )


def test_scenes_to_try_show_what_is_asked_for(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    out = tmp_path / "scenes"
    asked = ("nouns", str(out), "--what", "scenes", "--number", "2", "--style", "noto", "--show", "dog", "pizza")
    answer = litetext(*asked)
    assert answer.code == 0, answer.err
    told = json.loads((out / "phrases.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["phrases.json", *told]
    scenes = list(islice(find_scenes(0, "noto", ("dog", "pizza")), 2))
    for (name, phrases), scene in zip(told.items(), scenes, strict=True):
        assert {"dog", "pizza"} & set(phrases)
        assert len(phrases) == 4
        assert {sprite.style for sprite in scene.sprites} == {1}
        with Image.open(out / name) as image:
            np.testing.assert_array_equal(np.asarray(image), render(scene)[0])
    assert f"litetext segment {out} --phrases" in answer.out
    assert "is there and is no empty folder" in refused(*asked)
    strange = next(noun.name for noun in nouns() if noun.open)
    assert f"noun '{strange}' is held out from training" in refused(
        "nouns", str(tmp_path / "x"), "--what", "scenes", "--show", strange
    )


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_sheet_ends_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], damage: str
) -> None:
    home = tmp_path / "installed"
    home.mkdir()
    (home / "nouns.json").write_bytes((sheet.HOME / "nouns.json").read_bytes())
    if damage == "cut":
        (home / "sheet.webp").write_bytes((sheet.HOME / "sheet.webp").read_bytes()[:100_000])
    monkeypatch.setattr(sheet, "HOME", home)
    for cached in (sheet._table, sheet.drawings, sheet.checksum):
        cached.cache_clear()
    try:
        line = refused("nouns", str(tmp_path / "x"), "--number", "1")
        assert f"{home / 'sheet.webp'} is damaged" in line
        assert "install litetext again" in line
        assert not (tmp_path / "x").exists()
    finally:
        monkeypatch.undo()
        for cached in (sheet._table, sheet.drawings, sheet.checksum):
            cached.cache_clear()


def test_a_benchmark_that_was_changed_or_is_of_another_seed_is_refused(
    tmp_path: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    out = tmp_path / "p"
    assert litetext("nouns", str(out), "--what", "probes", "--number", "1").code == 0
    line = refused("nouns", str(out), "--what", "probes", "--number", "1", "--seed", "3")
    assert "(images 1, seed 0), asked for are images 1, seed 3; name another folder or remove it" in line
    picture = next(iter(sorted(out.rglob("*.png"))))
    picture.write_bytes(picture.read_bytes() + b"x")
    line = refused("nouns", str(out), "--what", "probes", "--number", "1")
    assert "files in it were changed since; name another folder or remove it" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--number", "0"], "--number is 0; it must be at least 1"),
        (["--what", "videos", "--number", "10001"], "videos is 10001; it must be from 1 to 10000"),
        (["--what", "songs"], "songs"),
        (["--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["--number", "-3"], "--number is -3; it must be at least 1"),
        (["--what", "probes", "--number", "0"], "--number is 0; it must be at least 1"),
        (["--what", "pictures", "--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["--what", "scenes", "--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["--what", "scenes", "--number", "1001"], "number is 1001; give from 1 to 1000 scenes"),
        (["--what", "scenes", "--style", "emoji"], "style is 'emoji'; the sheet of nouns has fluent, noto, twemoji"),
        (["--what", "scenes", "--show", "dgo"], "noun 'dgo' is not in the sheet of nouns; did you mean dragon or dog?"),
        (["--style", "noto"], "--style goes with --what scenes, and this writes images"),
    ],
)
def test_bad_options_end_in_one_line(
    tmp_path: Path, refused: Callable[..., str], options: list[str], told: str
) -> None:
    assert told in refused("nouns", str(tmp_path / "x"), *options)
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from litetext.cli import main; code = main(['nouns', '--help']);"
        "print('heavy:', *({'torch', 'lightning', 'numpy', 'PIL'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy:\n")
