"""Token rows in flat arrays behave as lists of lists, and keep the digest that earlier checkpoints carry."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.tokenizer.token_rows import TokenRows, find_keys, order_keys

rows_of = st.lists(st.lists(st.integers(0, 250_000), max_size=6), max_size=12)


@given(rows=rows_of, data=st.data())
def test_as_lists(rows: list[list[int]], data: st.DataObject) -> None:
    held = TokenRows.of(rows)
    assert list(held) == rows
    assert held == rows
    assert [held[i] for i in range(-len(rows), len(rows))] == rows * 2
    assert held.lengths.tolist() == list(map(len, rows))
    if rows:
        chosen = data.draw(st.lists(st.integers(0, len(rows) - 1)))
        assert list(held.take(chosen)) == [rows[i] for i in chosen]
        assert list(held.joined(held.take(chosen))) == rows + [rows[i] for i in chosen]
        assert TokenRows.concatenated([held, held.take(chosen)]).tolist() == rows + [rows[i] for i in chosen]
    assert held.tolist() == rows
    most = data.draw(st.integers(1, 7))
    assert held.cut(most, 9).tolist() == [row if len(row) <= most else [*row[: most - 1], 9] for row in rows]
    with pytest.raises(IndexError):
        held[len(rows)]


@given(rows=rows_of, others=rows_of)
def test_keys_tell_rows_apart_and_are_found(rows: list[list[int]], others: list[list[int]]) -> None:
    keys = TokenRows.of(rows).keys()
    assert len(np.unique(keys, axis=0)) == len({tuple(row) for row in rows})
    if rows:
        order = order_keys(keys)
        place = find_keys(keys[order], TokenRows.of(others).keys())
        for row, at in zip(others, place.tolist(), strict=True):
            assert rows[order[at]] == row if at >= 0 else row not in rows


def test_no_rows() -> None:
    assert TokenRows.concatenated([]).tolist() == TokenRows.of([]).cut(3, 9).tolist() == []


def test_keys_that_share_their_first_half() -> None:
    table = np.array([[1, 5], [1, 7], [1, 7], [2, 0]], dtype=np.uint64)
    looked_for = np.array([[1, 7], [1, 6], [1, 9], [2, 1], [0, 0], [1, 5]], dtype=np.uint64)
    assert find_keys(table, looked_for).tolist() == [1, -1, -1, -1, -1, 0]


def test_the_digest_of_earlier_checkpoints() -> None:
    rows = [[49406, 1579, 49407], [49406, 49407], [7]]
    told = hashlib.sha256(np.array([3, 2, 1], "<i4").tobytes())
    told.update(np.array([49406, 1579, 49407, 49406, 49407, 7], "<i8").tobytes())
    assert TokenRows.of(rows).digest() == told.hexdigest()
    digests = {TokenRows.of(r).digest() for r in ([[1, 2], [3]], [[1], [2, 3]], [[3], [1, 2]], [[1, 2, 3]])}
    assert len(digests) == 4
