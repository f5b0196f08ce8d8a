"""`litetext nouns`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from litetext.data.nouns.gold import PAIRS, SUBSETS
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
    assert "number is 0; a page holds from 1 to 1000 scenes" in refused(
        "nouns", str(tmp_path / "x"), "--what", "pictures", "--number", "0"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--number", "0"], "images is 0; it must be from 1 to 100000"),
        (["--what", "videos", "--number", "10001"], "videos is 10001; it must be from 1 to 10000"),
        (["--what", "songs"], "songs"),
        (["--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["--what", "pictures", "--seed", "-1"], "seed is -1; it must be 0 or more"),
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
