"""One writer a folder; a killed one blocks nobody."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from litetext.modules.run_folder import check_run_name, read_mark, sole_writer


def test_a_second_writer_is_refused_and_named_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "a"
    with sole_writer([folder], "litetext fit", "a"):
        assert read_mark(folder)["command"] == "litetext fit"
        told = f"litetext fit, process {os.getpid()} on .*--run NAME"
        with pytest.raises(ValueError, match=told), sole_writer([folder], "litetext test", "a"):
            pass
        with sole_writer([tmp_path / "b"], "litetext fit", "b"):
            pass
    with sole_writer([folder], "litetext test", "a"):
        assert read_mark(folder)["command"] == "litetext test"


def test_a_killed_writer_blocks_nobody_and_its_drafts_go(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from litetext.modules.run_folder import sole_writer\n"
        "with sole_writer([Path(sys.argv[1])], 'litetext fit', 'a'):\n print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    with pytest.raises(ValueError, match=f"process {child.pid} "), sole_writer([tmp_path], "litetext fit", "a"):
        pass
    (tmp_path / ".last.ckpt.0123abcd.draft").write_text("half")
    child.send_signal(signal.SIGKILL)
    child.wait()
    begin = time.monotonic()
    with sole_writer([tmp_path], "litetext fit", "a"):
        assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "name", ["7", "0x10", "1_000", "null", "~", "", " a", "/tmp/x", "../x", "a/../../x", "a//b", "-x", "a\\b"]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="--run"):
        check_run_name(name)


@pytest.mark.parametrize("name", ["quickstart", "seed0", "ablation/base-0a1b/seed0", "a b", "1a", "on", "v1.2", "été"])
def test_names_that_are(name: str) -> None:
    check_run_name(name)
