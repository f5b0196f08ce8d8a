"""Files that are there whole or not at all."""

import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from litetext.files import drafts, reason, whole_file, whole_folder, whole_path, write_json, write_text


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    write_json(path, [1, "é"], indent=None)
    assert path.read_text() == '[1, "\\u00e9"]\n'
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_a_library_may_open_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    usual = path.stat().st_mode
    with whole_path(path) as draft:
        draft.write_text("new")
        draft.chmod(0o600)  # as safetensors does
        assert path.read_text() == "old"
    assert (path.read_text(), path.stat().st_mode) == ("new", usual)
    with pytest.raises(TypeError), whole_path(path) as draft:
        draft.write_text(None)  # type: ignore[arg-type]
    assert (path.read_text(), [p.name for p in tmp_path.iterdir()]) == ("new", ["a.txt"])


def test_the_reason_of_an_error_is_one_line() -> None:
    assert reason(ValueError("\n first \n second")) == "first"
    assert reason(KeyError()) == "KeyError"
    assert reason(OSError("a" * 500), 10) == "a" * 10


def test_what_stood_there_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with (
            pytest.raises(OSError, match=r"disk is full; what stood there is as it was.*a\.ckpt"),
            whole_file(path) as f,
        ):
            torch.save({"a": torch.zeros(100_000)}, f)
        with pytest.raises(OSError, match="disk is full"), whole_file(path) as f:
            f.write(b"a" * 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("kind", [RuntimeError("I/O error: No space left on device (os error 28)"), OSError(28, "x")])
def test_a_full_disk_by_any_library(tmp_path: Path, kind: Exception) -> None:
    for place in (whole_file, whole_path, whole_folder):
        with pytest.raises(OSError, match=r"disk is full; what stood there .*out"), place(tmp_path / "out"):
            raise kind
    with pytest.raises(RuntimeError, match="os error 13"), whole_folder(tmp_path / "out"):
        raise RuntimeError("denied (os error 13)")
    assert not list(tmp_path.iterdir())


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    script = (
        "import os, signal, sys; from litetext.files import whole_file\n"
        "with whole_file(sys.argv[1]) as f:\n f.write(b'half'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode < 0
    assert path.read_text() == "old"
    assert len(drafts(tmp_path)) == 1


def test_names_as_long_as_they_may_be(tmp_path: Path) -> None:
    for name in ("n" * 255, "é" * 127):
        write_text(tmp_path / name, "a")
        assert (tmp_path / name).read_text() == "a"
    with whole_folder(tmp_path / ("f" * 255)):
        pass


def test_of_two_folders_of_one_name_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def write(text: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        with whole_folder(path) as draft:
            (draft / "a").write_text(text)
            meanwhile()

    with pytest.raises(ValueError, match="made by something else meanwhile"):
        write("late", lambda: write("first"))
    assert (path / "a").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_replaced_folder_is_removed_when_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "a").write_text("old")
    whole, removed = Path.rename, shutil.rmtree

    def fails(self: Path, target: Path) -> Path:
        if target == path and not (self / "a").read_text() == "old":
            raise PermissionError(13, "denied")
        return whole(self, target)

    def look(place: Path, **options: bool) -> None:
        assert (path / "a").is_file()
        removed(place, **options)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(PermissionError), whole_folder(path, replace=True) as draft:
        (draft / "a").write_text("new")
    assert (path / "a").read_text() == "old"
    monkeypatch.setattr(Path, "rename", whole)
    monkeypatch.setattr(shutil, "rmtree", look)
    with whole_folder(path, replace=True) as draft:
        (draft / "a").write_text("new")
    assert (path / "a").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(TypeError), whole_folder(path) as draft:
        (draft / "a").write_text(1)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    with whole_folder(path) as draft:
        (draft / "a").write_text("a")
        assert not path.exists()
    assert (path / "a").read_text() == "a"
    with pytest.raises(ValueError, match="out is there already"), whole_folder(path):
        pass
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    for text in "ab":
        with whole_folder(tmp_path / "link", replace=text == "b") as draft:
            (draft / "a").write_text(text)
        assert (tmp_path / "disk" / "a").read_text() == text
    assert (tmp_path / "link").is_symlink()
