"""The feature store: the same bytes whatever happens on the way, a refusal wherever they would be wrong."""

import contextlib
import errno
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.data.features import fill as feature_fill
from litetext.data.features.store import FeatureError, FeatureManifest, FeatureStore, prompts_hash, store_path

WIDTH = 4
MADE_FROM = {"teacher": "teacher-a", "tokenizer": "bpe", "context_length": 16, "width": WIDTH}
ROWS = [[7, 1, 9], [7, 9], [7, 2, 3, 4, 9], [7, 5, 9], [7, 6, 6, 9], [7, 8, 9], [7, 9]]
corpora = st.lists(st.lists(st.integers(0, 49407), min_size=1, max_size=6), min_size=1, max_size=12)


def features(row):
    """Features of a made-up teacher: they depend on the token and its position."""
    ids = torch.tensor(row, dtype=torch.float32)
    return torch.stack([ids % 997, ids / 65536, torch.arange(len(row)).float(), ids.cumsum(0) % 31], dim=1)


def encode(rows):
    return [features(row) for row in rows]


class Counting:
    """Remembers every row that it encoded."""

    def __init__(self):
        self.rows = []

    def __call__(self, rows):
        self.rows += [tuple(row) for row in rows]
        return encode(rows)


def fill(path, rows=ROWS, encode=encode, chunk=2, **other):
    return FeatureStore.fill(path, rows, encode, chunk=chunk, progress=False, **{**MADE_FROM, **other})


def content(path):
    return (
        (path / "features.f16").read_bytes(),
        (path / "lengths.i32").read_bytes(),
        (path / "manifest.json").read_bytes(),
    )


def assert_holds(store, rows):
    assert len(store) == len(rows)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(store[i], features(row).half().numpy())


# --- what is stored, and reading it ---


@settings(max_examples=40, deadline=None)
@given(rows=corpora, chunk=st.integers(1, 13), data=st.data())
def test_any_rows_and_any_chunk_size_give_the_same_store(rows, chunk, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        store = fill(path / "a", rows, chunk=chunk)
        fill(path / "b", rows, chunk=100)
        assert content(path / "a") == content(path / "b")
        assert_holds(store, rows)
        FeatureStore.open(path / "a", verify=True)
        chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
        packed, lengths = store.gather(chosen)
        padded = store.padded(torch.tensor(chosen, dtype=torch.int64), length=7)
        assert packed.dtype == padded.dtype == torch.float16
        assert lengths.tolist() == [len(rows[i]) for i in chosen]
        assert padded.shape == (len(chosen), 7, WIDTH)
        expected = [features(rows[i]).half() for i in chosen]
        assert torch.equal(packed, torch.cat([torch.zeros(0, WIDTH).half(), *expected]))
        for got, want in zip(padded, expected, strict=True):
            assert torch.equal(got[: len(want)], want)
            assert not got[len(want) :].any()


def test_encode_sees_rows_of_about_equal_length_and_each_once(tmp_path):
    seen = []
    fill(tmp_path / "s", encode=lambda rows: (seen.append([len(row) for row in rows]), encode(rows))[1])
    assert seen == [[5, 4], [3, 3], [3, 2], [2]]


def test_padded_is_as_long_as_the_longest_and_refuses_less(tmp_path):
    store = fill(tmp_path / "s")
    assert store.padded([0, 1]).shape == (2, 3, WIDTH)
    with pytest.raises(ValueError, match="length=4 is shorter than a prompt of 5 tokens"):
        store.padded([0, 2], length=4)


def test_indices_that_are_none(tmp_path):
    store = fill(tmp_path / "s")
    for wrong in ([7], [True, False], [0.5], [[0]]):
        with pytest.raises(IndexError):
            store.gather(wrong)  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        store[7]
    assert torch.equal(store.gather(range(3))[0], store.gather(i for i in range(3))[0])


def test_reading_gives_copies(tmp_path):
    store = fill(tmp_path / "s")
    store[0][:] = 1
    store.gather([0])[0].fill_(1)
    store.padded([0]).fill_(1)
    assert_holds(store, ROWS)


def test_pickles_as_its_folder_and_notices_another_store(tmp_path):
    store = fill(tmp_path / "s", ROWS * 50)
    pickled = pickle.dumps(store)
    assert len(pickled) < 1000
    assert_holds(pickle.loads(pickled), ROWS * 50)
    shutil.rmtree(tmp_path / "s")
    fill(tmp_path / "s")
    with pytest.raises(ValueError, match="count is 7, wanted 350"):
        pickle.loads(pickled)


def test_a_store_path_for_every_difference(tmp_path):
    base = FeatureManifest.of(ROWS, **MADE_FROM)
    others = [
        FeatureManifest.of(ROWS[::-1], **MADE_FROM),
        *(
            FeatureManifest.of(ROWS, **{**MADE_FROM, name: value})
            for name, value in [
                ("teacher", "teacher-ab"),
                ("tokenizer", "x"),
                ("context_length", 32),
                ("width", 5),
            ]
        ),
    ]
    assert len({store_path(tmp_path, manifest) for manifest in [base, *others]}) == 6
    assert store_path(tmp_path, base) == store_path(tmp_path, FeatureManifest.of(ROWS, **MADE_FROM))
    assert store_path(tmp_path, base).name.startswith("teacher--")
    odd = FeatureManifest.of(ROWS, **{**MADE_FROM, "teacher": "../a/b:c"})
    assert store_path(tmp_path, odd).parent == tmp_path


def test_the_hash_tells_rows_apart():
    assert len({prompts_hash(rows) for rows in ([[1, 2], [3]], [[1], [2, 3]], [[3], [1, 2]], [[1, 2, 3]])}) == 4


# --- interruptions ---


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def dying(name, at, torn, state):
    """A version of ``os.<name>`` that dies at the ``at``-th call of any, after ``torn`` of its bytes."""
    real = getattr(os, name)

    def call(*args):
        state["calls"] += 1
        if state["calls"] == at:
            if name in ("write", "pwrite"):
                part = args[1][: int(len(args[1]) * torn)]
                real(args[0], part, *args[2:])
            raise Killed
        return real(*args)

    return call


@settings(max_examples=60, deadline=None)
@given(
    rows=corpora,
    chunks=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    at=st.integers(1, 40),
    torn=st.sampled_from([0.0, 0.5, 0.9]),
)
def test_any_interruption_gives_the_same_store_and_encodes_finished_chunks_once(rows, chunks, at, torn):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        fill(path / "whole", rows, chunk=100)
        total = Counting()
        for chunk in chunks:
            with pytest.MonkeyPatch.context() as patch:
                state = {"calls": 0}
                for name in ("write", "pwrite", "fsync", "replace"):
                    patch.setattr(os, name, dying(name, at, torn, state))
                with contextlib.suppress(Killed):
                    fill(path / "cut", rows, total, chunk=chunk)
            if (path / "cut" / "manifest.json").exists():
                FeatureStore.open(path / "cut", verify=True)
        again = Counting()
        finished = sum(b - a for a, b, _ in feature_fill.read_checksums(path / "cut" / "checksums.txt"))
        complete = (path / "cut" / "manifest.json").exists()
        store = fill(path / "cut", rows, again, chunk=2)
        assert len(again.rows) == (0 if complete else len(rows) - finished)
        assert len(total.rows) + len(again.rows) <= len(rows) + sum(chunks)  # at most one chunk lost a time
        assert_holds(store, rows)
        assert content(path / "cut") == content(path / "whole")
        FeatureStore.open(path / "cut", verify=True)


SLOW_FILL = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch; torch.set_num_threads(1)
from tests.data.features.test_store import encode, fill, MANY
def slow(rows):
    with open(sys.argv[3], "a") as log:
        log.write("".join(f"{row[1]}\\n" for row in rows))
    time.sleep(0.02)
    return encode(rows)
fill(sys.argv[2], MANY, slow, chunk=5)
"""
MANY = [[7, i, *[4] * (i % 5), 9] for i in range(150)]


def start(path, log):
    command = [sys.executable, "-c", SLOW_FILL, str(Path(__file__).parents[3]), str(path), str(log)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent.parent.parent)


def test_sigkill_while_filling(tmp_path):
    process = start(tmp_path / "s", tmp_path / "log")
    sums = tmp_path / "s" / "checksums.txt"
    while process.poll() is None and not (sums.exists() and sums.read_bytes().count(b"\n") >= 3):
        time.sleep(0.005)
    process.kill()
    error = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, error
    with pytest.raises(ValueError, match="unfinished: run the same fill again"):
        FeatureStore.open(tmp_path / "s")
    finished = sums.read_bytes().count(b"\n") * 5
    again = Counting()
    store = fill(tmp_path / "s", MANY, again, chunk=7)
    assert 15 <= finished < len(MANY)
    assert len(again.rows) == len(MANY) - finished
    assert_holds(store, MANY)


def test_two_processes_fill_one_store(tmp_path):
    both = [start(tmp_path / "s", tmp_path / "log") for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    encoded = sorted(map(int, (tmp_path / "log").read_text().split()))
    assert encoded == list(range(150))  # each prompt once, by one of the two
    assert_holds(FeatureStore.open(tmp_path / "s", verify=True), MANY)


def test_without_file_locks_it_warns_and_fills(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(feature_fill.fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="one process at a time"):
        assert_holds(fill(tmp_path / "s"), ROWS)


def test_a_full_disk_is_one_line_and_the_fill_goes_on_later(tmp_path, monkeypatch):
    older = fill(tmp_path / "older")
    real, calls = os.pwrite, []

    def full(descriptor, data, offset):
        calls.append(offset)
        if len(calls) < 3:
            return real(descriptor, data, offset)
        real(descriptor, data[:5], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match=r"disk is full .* finished chunks are kept") as caught:
            fill(tmp_path / "s")
        assert caught.value.errno == errno.ENOSPC
        assert "\n" not in str(caught.value)
    assert_holds(older, ROWS)
    fill(tmp_path / "older")
    again = Counting()
    assert_holds(fill(tmp_path / "s", encode=again), ROWS)
    assert len(again.rows) == len(ROWS) - 4


def test_a_system_that_writes_a_few_bytes_at_a_time(tmp_path, monkeypatch):
    pwrite, write = os.pwrite, os.write
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, offset: pwrite(descriptor, data[:7], offset))
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    fill(tmp_path / "s")
    assert_holds(FeatureStore.open(tmp_path / "s", verify=True), ROWS)


def test_a_disk_too_small_is_noticed_before_encoding(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 999, 1))
    counting = Counting()
    with pytest.raises(OSError, match="disk is full"):
        fill(tmp_path / "s", encode=counting)
    assert not counting.rows


def interrupted(rows):
    if len(rows[0]) == 2:
        raise Killed
    return encode(rows)


def test_a_torn_line_of_the_checksums_counts_as_unfinished(tmp_path):
    with pytest.raises(Killed):
        fill(tmp_path / "s", encode=interrupted, chunk=3)
    with open(tmp_path / "s" / "checksums.txt", "ab") as file:
        file.write(b"6 7 00ab")
    again = Counting()
    fill(tmp_path / "s", encode=again, chunk=3)
    assert len(again.rows) == 1
    assert_holds(FeatureStore.open(tmp_path / "s", verify=True), ROWS)


def test_a_chunk_damaged_between_two_runs_is_encoded_again(tmp_path):
    with pytest.raises(Killed):
        fill(tmp_path / "s", encode=interrupted, chunk=3)
    with open(tmp_path / "s" / "features.f16", "r+b") as file:
        file.seek(3)
        file.write(b"\x55")
    again = Counting()
    with pytest.warns(UserWarning, match="1 of 2 chunks are damaged"):
        store = fill(tmp_path / "s", encode=again, chunk=3)
    assert len(again.rows) == 4  # the damaged three and the last one
    assert_holds(store, ROWS)


# --- refusals ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"teacher": "teacher-b" * 9},
            "teacher is teacher-a, wanted teacher-bteacher…\\. Use another folder or delete",
        ),
        ({"tokenizer": "other"}, "tokenizer is bpe, wanted other"),
        ({"context_length": 32}, "context_length is 16, wanted 32"),
        ({"rows": ROWS[::-1]}, "prompts is .*…, wanted .*…"),
        (
            {"rows": ROWS[:-1], "teacher": "b"},
            "teacher is .*; prompts is .*; count is 7, wanted 6; tokens is",
        ),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_store_made_from_something_else(tmp_path, change, message, finished):
    store = fill(tmp_path / "s")
    if not finished:
        (tmp_path / "s" / "manifest.json").rename(tmp_path / "s" / "partial.json")
    with pytest.raises(ValueError, match=message):
        fill(tmp_path / "s", **change)
    assert_holds(store, ROWS)


def test_open_checks_what_is_expected(tmp_path):
    fill(tmp_path / "s")
    assert_holds(FeatureStore.open(tmp_path / "s", teacher="teacher-a", prompts=prompts_hash(ROWS)), ROWS)
    with pytest.raises(ValueError, match="teacher is teacher-a, wanted b"):
        FeatureStore.open(tmp_path / "s", teacher="b")
    with pytest.raises(ValueError, match="colour: not a field"):
        FeatureStore.open(tmp_path / "s", colour="red")
    with pytest.raises(FileNotFoundError, match="there is no feature store at"):
        FeatureStore.open(tmp_path / "none")


@pytest.mark.parametrize("name", ["features.f16", "lengths.i32"])
@pytest.mark.parametrize("size", [-1, 1, None])
def test_a_file_of_the_wrong_size(tmp_path, name, size):
    fill(tmp_path / "s")
    file = tmp_path / "s" / name
    file.unlink() if size is None else os.truncate(file, file.stat().st_size + size)
    for attempt in (fill, FeatureStore.open):
        with pytest.raises(ValueError, match=f"damaged: {name} has .* bytes instead of .* Delete the folder"):
            attempt(tmp_path / "s")


@pytest.mark.parametrize("name", ["features.f16", "lengths.i32", "checksums.txt"])
def test_a_changed_byte(tmp_path, name):
    fill(tmp_path / "s")
    file = tmp_path / "s" / name
    data = bytearray(file.read_bytes())
    data[4] ^= 3
    file.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        FeatureStore.open(tmp_path / "s", verify=name != "lengths.i32")  # lengths are checked on every open


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"teacher": "a"}'])
def test_a_manifest_that_is_none(tmp_path, text):
    fill(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="damaged or no manifest"):
        fill(tmp_path / "s")


def test_a_later_format(tmp_path):
    fill(tmp_path / "s")
    file = tmp_path / "s" / "manifest.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(ValueError, match="format 9, this version reads 1"):
        FeatureStore.open(tmp_path / "s")


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds other files \(thesis.tex\)"):
        fill(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        fill(tmp_path / "thesis.tex")


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
        ({"context_length": 4}, "row 2 has 5 tokens, more than context_length=4"),
        ({"chunk": 0}, "chunk=0"),
        ({"width": 0}, "width=0"),
    ],
)
def test_arguments_out_of_range(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        fill(tmp_path / "s", **change)


# --- progress ---


def test_progress_is_one_line_off_a_terminal_or_a_function(tmp_path, capfd):
    FeatureStore.fill(tmp_path / "a", ROWS, encode, chunk=2, **MADE_FROM)
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "7 prompts" in err
    FeatureStore.fill(tmp_path / "a", ROWS, encode, chunk=2, **MADE_FROM)
    calls = []
    FeatureStore.fill(tmp_path / "b", ROWS, encode, chunk=3, progress=lambda *n: calls.append(n), **MADE_FROM)
    assert calls == [(0, 7), (3, 7), (6, 7), (7, 7)]
    assert capfd.readouterr() == ("", "")


def test_progress_on_a_terminal(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    FeatureStore.fill(tmp_path / "a", ROWS, encode, chunk=2, **MADE_FROM)
    assert "7/7" in capfd.readouterr().err
