"""Files that are there whole or not at all."""

import os
import resource
import stat
import subprocess
import sys
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
