"""Filling: the same features whatever happens on the way, whoever else fills, and one line where it cannot go on."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext import files
from litetext.data.features import fill as filling
from litetext.data.features.fill import FeatureError
from litetext.data.features.fill import fill as fill_store
from litetext.data.features.store import FeatureStore
from tests.data.features.test_store import KEY, ROWS, WIDTH, Counting, assert_holds, corpora, encode, features, fill
from tests.data.features.test_store import shards as shards_of

MANY = [[7, i, *[4] * (i % 5), 9] for i in range(150)]


def test_encode_sees_rows_of_about_equal_length_and_the_longest_first(tmp_path):
    seen = []
    fill(tmp_path / "s", encode=lambda rows: (seen.append([len(row) for row in rows]), encode(rows))[1])
    assert seen[0] == [5, 4]
    assert sorted(seen) == [[2], [3, 3], [3, 3], [5, 4]]


# --- interruptions ---


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def dying(name, at, state):
    """A version of ``os.<name>`` that dies at the ``at``-th call of any."""
    real = getattr(os, name)

    def call(*args, **kwargs):
        state["calls"] += 1
        if state["calls"] == at:
            raise Killed
        return real(*args, **kwargs)

    return call


@settings(max_examples=60, deadline=None)
@given(rows=corpora, chunks=st.lists(st.integers(1, 5), min_size=1, max_size=3), at=st.integers(1, 40))
def test_any_interruption_encodes_finished_shards_once(rows, chunks, at):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut"
        total = Counting()
        for chunk in chunks:
            with pytest.MonkeyPatch.context() as patch:
                state = {"calls": 0}
                for name in ("open", "fsync", "replace"):
                    patch.setattr(files.os, name, dying(name, at, state))
                with contextlib.suppress(Killed):
                    fill(path, rows, total, chunk=chunk)
        again = Counting()
        store = fill(path, rows, again, chunk=2)
        distinct = len({tuple(row) for row in rows})
        assert len(total.rows) + len(again.rows) <= distinct + sum(chunks)  # at most one shard lost a time
        assert_holds(store, rows)


def test_drafts_of_killed_processes_go_when_they_are_old(tmp_path):
    (tmp_path / "s").mkdir()
    old, new = (tmp_path / "s" / f".{n}.safetensors.1234.draft" for n in "ab")
    for draft in (old, new):
        draft.write_bytes(b"half")
    os.utime(old, (1, 1))
    fill(tmp_path / "s")
    assert not old.exists()
    assert new.exists()  # perhaps of a process that is at work


# --- several at once ---


def test_processes_of_a_run_share_the_rows_and_wait_for_files(tmp_path):
    counts = [Counting() for _ in range(3)]
    found = {}

    def work(rank):
        found[rank] = fill(tmp_path / "s", MANY, counts[rank], chunk=10, share=(rank, 3))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (2, 0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for rank in range(3):
        assert_holds(found[rank], MANY)
        assert counts[rank].rows  # each took its share
    assert sorted(row for c in counts for row in c.rows) == sorted(map(tuple, MANY))  # and none another's


def test_what_does_not_come_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(filling, "PATIENCE", 0.2)
    counting = Counting()
    assert_holds(fill(tmp_path / "s", MANY, counting, chunk=10, share=(1, 4)), MANY)  # the others never begin
    assert sorted(counting.rows) == sorted(map(tuple, MANY))


SLOW_FILL = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch; torch.set_num_threads(1)
from tests.data.features.test_store import encode, fill
from tests.data.features.test_fill import MANY
def slow(rows):
    with open(sys.argv[3], "a") as log:
        log.write("".join(f"{row[1]}\\n" for row in rows))
    time.sleep(0.02)
    return encode(rows)
while time.time() < float(sys.argv[4]):
    time.sleep(0.001)
fill(sys.argv[2], MANY, slow, chunk=5)
"""


def test_two_runs_fill_one_store_at_the_same_time(tmp_path):
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", SLOW_FILL, root, str(tmp_path / "s"), str(tmp_path / "log"), str(time.time() + 4)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    encoded = list(map(int, (tmp_path / "log").read_text().split()))
    assert set(encoded) == set(range(150))
    assert len(encoded) < 250  # they may meet at a shard, and mostly do not
    assert_holds(FeatureStore.open(tmp_path / "s", MANY, KEY), MANY)


# --- disks ---


def test_a_full_disk_is_one_line_and_the_fill_goes_on_later(tmp_path, monkeypatch):
    older = fill(tmp_path / "older")
    real, calls = files._Watched.write, []

    def full(self, data):
        calls.append(len(data))
        if len(calls) < 4:  # what the folder holds, and two shards
            return real(self, data)
        self.fault = OSError(errno.ENOSPC, "No space left on device")
        raise self.fault

    with monkeypatch.context() as patch:
        patch.setattr(files._Watched, "write", full)
        with pytest.raises(OSError, match=r"disk is full .* finished shards are kept") as caught:
            fill(tmp_path / "s")
        assert caught.value.errno == errno.ENOSPC
        assert "\n" not in str(caught.value)
    assert_holds(older, ROWS)
    assert len(shards_of(tmp_path / "s")) == 2
    again = Counting()
    assert_holds(fill(tmp_path / "s", encode=again), ROWS)
    assert len(again.rows) < len(ROWS) - 2


def test_a_disk_too_small_is_noticed_before_encoding(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 999, 1))
    counting = Counting()
    with pytest.raises(OSError, match="disk is full"):
        fill(tmp_path / "s", encode=counting)
    assert not counting.rows


def test_a_complete_store_is_only_read(tmp_path):
    fill(tmp_path / "s")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    fill(tmp_path / "s")
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}


# --- refusals ---


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is a file"):
        fill(tmp_path / "thesis.tex")
    with pytest.raises(ValueError, match="a part of this path is a file"):
        fill(tmp_path / "thesis.tex" / "s")


@pytest.mark.parametrize(
    ("token", "value", "message"),
    [
        (2, float("nan"), "row 4 are not finite: nan at token 2, channel 1"),
        (0, float("-inf"), "row 4 are not finite: -inf at token 0, channel 1"),
        (3, -65505.0, "row 4 hold -65505 at token 3, beyond the range of float16"),
        (2, 1e30, "row 4 hold 1e\\+30 at token 2"),
    ],
)
def test_features_that_float16_cannot_hold(tmp_path, token, value, message):
    def spoilt(rows):
        found = encode(rows)
        for row, feature in zip(rows, found, strict=True):
            if row == ROWS[4]:
                feature[token, 1] = value
        return found

    with pytest.raises(FeatureError, match=message) as caught:
        fill(tmp_path / "s", encode=spoilt)
    assert caught.value.row == 4
    assert_holds(fill(tmp_path / "s"), ROWS)


def test_the_largest_float16_is_stored(tmp_path):
    store = fill(tmp_path / "s", encode=lambda rows: [torch.full((len(row), WIDTH), -65504.0) for row in rows])
    assert store[0].min() == store[0].max() == -65504


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda rows: encode(rows)[1:], "features of 1 prompts for 2 rows"),
        (lambda rows: [feature[:, :3] for feature in encode(rows)], "row 2 have the shape \\(5, 3\\)"),
        (lambda rows: [feature[:-1] for feature in encode(rows)], "row 2 have the shape \\(4, 4\\)"),
    ],
)
def test_features_of_the_wrong_shape(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        fill(tmp_path / "s", encode=wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "rows is empty"),
        ({"rows": [[1], []]}, "row 1 has no tokens"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_arguments_out_of_range(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        fill(tmp_path / "s", **change)


# --- progress ---


def test_progress_is_a_function_or_a_bar_on_a_terminal(tmp_path, capfd, monkeypatch):
    fill_store(tmp_path / "a", ROWS, encode, KEY, chunk=2)
    calls = []
    fill_store(tmp_path / "b", ROWS, encode, KEY, chunk=3, progress=lambda *n: calls.append(n))
    assert (calls[0], calls[-1]) == ((0, 7), (7, 7))
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    fill_store(tmp_path / "c", ROWS, encode, KEY, chunk=2)
    assert "7/7" in capfd.readouterr().err
    assert features([1]).shape == (1, WIDTH)
