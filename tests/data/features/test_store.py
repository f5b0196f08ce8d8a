"""The feature store: a token row's features are found whoever encoded them, and refused where they would be wrong."""

import errno
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.data.features import shards as shard_file
from litetext.data.features.fill import fill as fill_store
from litetext.data.features.manifest import StoreKey
from litetext.data.features.store import FeatureStore

WIDTH = 4
KEY = StoreKey("teacher-a", WIDTH)
ROWS = [[7, 1, 9], [7, 9], [7, 2, 3, 4, 9], [7, 5, 9], [7, 6, 6, 9], [7, 8, 9], [7, 2, 9]]
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


def fill(path, rows=ROWS, encode=encode, chunk=2, key=KEY, **other):
    return fill_store(path, rows, encode, key, chunk=chunk, progress=False, **other)


def assert_holds(store, rows):
    assert len(store) == len(rows)
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(store[i], features(row).half().numpy())


# --- what is stored, and reading it ---


@settings(max_examples=40, deadline=None)
@given(rows=corpora, before=corpora, chunk=st.integers(1, 13), data=st.data())
def test_any_rows_over_any_others_and_any_chunk_size(rows, before, chunk, data):
    with tempfile.TemporaryDirectory() as folder:
        path, counting = Path(folder) / "s", Counting()
        fill(path, before, chunk=chunk)
        store = fill(path, rows, counting, chunk=3)
        new = {tuple(row) for row in rows} - {tuple(row) for row in before}
        assert sorted(counting.rows) == sorted(new)  # each once, and nothing that was known
        assert (store.encoded, store.reused) == (len(new), len(rows) - len(new))
        assert_holds(store, rows)
        assert_holds(FeatureStore.open(path, before, KEY), before)
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


def test_order_and_repeats_of_rows_encode_nothing(tmp_path):
    store = fill(tmp_path / "s")
    assert (store.encoded, store.reused) == (7, 0)
    counting = Counting()
    for rows in (ROWS[::-1], ROWS[2:5], [ROWS[1], *ROWS, ROWS[1]]):
        assert_holds(fill(tmp_path / "s", rows, counting), rows)
    assert not counting.rows
    twice = fill(tmp_path / "t", [ROWS[0], ROWS[0]], counting)
    assert counting.rows == [tuple(ROWS[0])]
    assert_holds(twice, [ROWS[0], ROWS[0]])


def test_a_row_is_found_where_it_was_written_first(tmp_path):
    first = fill(tmp_path / "s", ROWS[:4], chunk=4)
    kept = [first[i] for i in range(4)]
    moved = tmp_path / "moved"
    fill(moved, ROWS[2:6], encode=lambda rows: [f + 1 for f in encode(rows)], chunk=4)
    for shard in moved.glob("*.safetensors"):
        shutil.copy(shard, tmp_path / "s")  # a run beside this one wrote the same rows a little later
    again = FeatureStore.open(tmp_path / "s", ROWS[:6], KEY)
    for i, row in enumerate(kept):
        np.testing.assert_array_equal(again[i], row)
    np.testing.assert_array_equal(again[5], (features(ROWS[5]) + 1).half().numpy())


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


# --- whose features they are ---


def test_a_folder_for_every_difference(tmp_path):
    others = [
        StoreKey(**{"teacher": "teacher-a", "width": WIDTH, name: value})
        for name, value in [
            ("teacher", "teacher-ab"),
            ("width", 5),
            ("computed", "padded to 64"),
            ("code", "1"),
            ("device", "cuda"),
            ("dtype", "float32"),
        ]
    ]
    assert len({key.folder(tmp_path) for key in (KEY, *others)}) == 7
    assert KEY.folder(tmp_path) == StoreKey("teacher-a", WIDTH).folder(tmp_path)
    assert KEY.folder(tmp_path).name.startswith("teacher--")
    assert StoreKey("../a/b:c", 4).folder(tmp_path).parent == tmp_path


def test_the_folder_says_what_it_holds(tmp_path):
    fill(tmp_path / "s")
    about = json.loads((tmp_path / "s" / "store.json").read_text())
    assert about["teacher"] == "teacher-a"
    assert about["computed"] == "unpadded"


def test_a_shard_of_another_store_is_refused(tmp_path):
    fill(tmp_path / "s")
    with pytest.raises(ValueError, match=r"\.safetensors is of another store"):
        fill(tmp_path / "s", key=StoreKey("teacher-b", WIDTH))
    with pytest.raises(ValueError, match="is of another store"):
        FeatureStore.open(tmp_path / "s", ROWS, StoreKey("teacher-a", WIDTH, code="2"))


def test_open_wants_all_rows(tmp_path):
    fill(tmp_path / "s")
    assert_holds(FeatureStore.open(tmp_path / "s", ROWS[1:], KEY), ROWS[1:])
    with pytest.raises(FileNotFoundError, match="lacks the features of 2 of 9 token rows"):
        FeatureStore.open(tmp_path / "s", [*ROWS, [1], [2]], KEY)
    with pytest.raises(FileNotFoundError, match="lacks the features of 7 of 7"):
        FeatureStore.open(tmp_path / "none", ROWS, KEY)


# --- damage ---


def shards(path):
    return sorted(path.glob("*.safetensors"))


def flip(file, place):
    data = bytearray(file.read_bytes())
    data[place] ^= 3
    file.write_bytes(data)


@pytest.mark.parametrize("place", [2, 40, 70, 100, 140, -1, -60])
def test_a_changed_byte_is_named_and_made_again(tmp_path, place):
    fill(tmp_path / "s", chunk=7)
    (shard,) = shards(tmp_path / "s")
    before = shard.read_bytes()
    flip(shard, place)
    counting = Counting()
    with pytest.warns(UserWarning, match=rf"{shard.name} is damaged: .*; its features are encoded again"):
        store = fill(tmp_path / "s", ROWS, counting, chunk=7)
    assert len(counting.rows) == store.encoded == len(ROWS)
    assert_holds(store, ROWS)
    assert shard.read_bytes() == before


def test_only_the_damaged_shard_is_made_again(tmp_path):
    fill(tmp_path / "s")
    flip(shards(tmp_path / "s")[1], -1)
    counting = Counting()
    with pytest.warns(UserWarning, match="the checksum of its features does not hold"):
        assert_holds(fill(tmp_path / "s", ROWS, counting), ROWS)
    assert len(counting.rows) == 2


def test_a_damaged_shard_that_is_not_read_costs_nothing(tmp_path, recwarn):
    fill(tmp_path / "s", ROWS[:3])
    wanted = set(shards(tmp_path / "s"))
    fill(tmp_path / "s", ROWS, chunk=9)
    (other,) = set(shards(tmp_path / "s")) - wanted
    flip(other, -1)
    assert_holds(fill(tmp_path / "s", ROWS[:3]), ROWS[:3])
    assert not recwarn.list
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(FileNotFoundError, match="lacks the features of 4"):
        FeatureStore.open(tmp_path / "s", ROWS, KEY)


@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_file_that_is_no_shard_or_cut_short(tmp_path, content):
    fill(tmp_path / "s")
    file = shards(tmp_path / "s")[0]
    file.write_bytes(file.read_bytes()[:-9] if content is None else content)
    with pytest.warns(UserWarning, match=f"{file.name} is damaged: it cannot be read"):
        assert_holds(fill(tmp_path / "s"), ROWS)


def test_a_shard_that_cannot_be_read_is_neither_removed_nor_encoded_for_ever(tmp_path, monkeypatch):
    fill(tmp_path / "s")
    before, counting = shards(tmp_path / "s"), Counting()

    def denied(path, mode):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(shard_file, "open", denied, raising=False)
    with pytest.raises(
        PermissionError, match=r"cannot be read \(Permission denied\); .*features_dir\): '.*safetensors'"
    ):
        fill(tmp_path / "s", ROWS, counting)
    assert counting.rows == []
    assert shards(tmp_path / "s") == before
