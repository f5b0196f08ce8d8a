"""`litetext shapes`."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from litetext.data.shapes.gold import PAIRS, SUBSETS
from tests.fixtures.runs import Answer


def test_writes_once_and_says_what(tmp_path: Path, litetext: Callable[..., Answer]) -> None:
    out = tmp_path / "shapes"
    first = litetext("shapes", str(out), "--images", "2", "--seed", "3")
    assert first.code == 0, first.err
    assert first.out.startswith(f"wrote {out} (images 2, seed 3)\n")
    for name in SUBSETS:
        assert f"\n  {name:<12}     2 images {2 * PAIRS:>8} pairs" in first.out
        assert len(list((out / "images" / name).iterdir())) == 2
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    second = litetext("shapes", str(out), "--seed", "3", "--images", "2")
    assert second.out == first.out.replace("wrote", "already there:", 1)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--images", "0"], "images is 0; it must be from 1 to 100000"),
        (["--images", "few"], "images: expected int, got few"),
        (["--seed", "-1"], "seed is -1; it must be 0 or more"),
        (["--seeds", "1"], "unrecognized arguments: --seeds 1"),
    ],
)
def test_bad_options_end_in_one_line(
    tmp_path: Path, refused: Callable[..., str], options: list[str], told: str
) -> None:
    assert told in refused("shapes", str(tmp_path / "x"), *options)
    assert list(tmp_path.iterdir()) == []


def test_bad_folders_end_in_one_line(
    tmp_path: Path, refused: Callable[..., str], litetext: Callable[..., Answer]
) -> None:
    assert "out" in refused("shapes")
    assert "holds no shapes benchmark" in refused("shapes", __file__)
    assert "no such folder" in refused("shapes", str(tmp_path / "a" / "b"))
    assert litetext("shapes", str(tmp_path / "x"), "--images", "1").code == 0
    line = refused("shapes", str(tmp_path / "x"), "--images", "2")
    assert "holds shapes with other options (images 1, seed 0)" in line


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from litetext.cli import main; code = main(['shapes', '--help']);"
        "print('heavy:', *({'torch', 'lightning', 'numpy', 'PIL'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for option in ("OUT", "--images", "--seed"):
        assert option in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "heavy:"


@pytest.mark.parametrize("kind", [["--images", "1"], ["--video", "--videos", "1"]])
def test_what_was_changed_or_drawn_otherwise_is_not_taken_up(
    kind: list[str], tmp_path: Path, refused: Callable[..., str], litetext: Callable[..., Answer]
) -> None:
    out = tmp_path / "x"
    assert litetext("shapes", str(out), *kind).code == 0
    assert "holds shapes with other options" in refused("shapes", str(out), *kind, "--seed", "1")
    manifest = out / "shapes.json"
    whole = manifest.read_text()
    manifest.write_text(whole.replace('"code": "', '"code": "0'))
    assert "drawn by another version of litetext or its libraries" in refused("shapes", str(out), *kind)
    manifest.write_text(whole)
    annotations = next(path for path in sorted(out.rglob("*.json")) if path != manifest)
    annotations.write_text(annotations.read_text() + " ")
    assert "files in it were changed since; name another folder or remove it" in refused("shapes", str(out), *kind)
