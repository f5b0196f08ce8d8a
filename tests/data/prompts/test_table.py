"""Prompts in flat arrays: what lists of strings and ids would hold, shared by a file that has no name any more."""

import errno
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from litetext.data.permutation import permute
from litetext.data.prompts import table as tables
from litetext.data.prompts.corpora import split_prompts
from litetext.data.prompts.datamodule import PromptDataModule
from litetext.data.prompts.table import PromptTable, SomeRows, Texts, first_by_hash
from litetext.tokenizer import Tokenizer
from litetext.tokenizer.token_rows import TokenRows

PHRASES = [f"{colour} {size} dog {n}" for n in range(40) for colour in ("red", "Blue") for size in ("big", "small")]


@given(texts=st.lists(st.text(max_size=8)))
def test_texts_are_a_list_of_strings(texts: list[str]) -> None:
    held = Texts.of([*texts, "\ud800"])
    assert held == [*texts, "\ud800"]
    assert list(held) == [*texts, "\ud800"]
    assert held[1:] == [*texts, "\ud800"][1:]
    assert held[-1] == "\ud800"
    with pytest.raises(IndexError):
        held[len(texts) + 1]


def test_rows_that_some_have() -> None:
    some = SomeRows(np.array([2, 5]), TokenRows.of([[1, 2], [3]]))
    assert some == {2: [1, 2], 5: [3]}
    assert some.place([5, 3, 2, 9]).tolist() == [1, -1, 0, -1]
    assert some.get(3) is None
    assert SomeRows(np.zeros(0, np.int64), TokenRows.of([])).place([1]).tolist() == [-1]


@pytest.mark.parametrize("most", [None, 50])
@pytest.mark.parametrize("piece", [7, 1 << 16])
def test_a_table_is_what_lists_would_be(
    most: int | None, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_PIECE", piece)
    texts = [*PHRASES, *(phrase.upper() for phrase in PHRASES), *PHRASES]  # one token row, one prompt
    built = PromptTable.build(
        texts, Tokenizer(16), Tokenizer(16), "swap", partial(split_prompts, val_fraction=0.2), most
    )
    kept = PHRASES if most is None else [PHRASES[i] for i in first_by_hash(PHRASES, most)]
    assert built.prompts == kept
    assert built.rows == Tokenizer(16).encode(kept)
    assert (built.train.tolist(), built.val.tolist()) == split_prompts(kept, 0.2)
    moved = {i: permute(text) for i, text in enumerate(kept) if permute(text) != text}
    assert len(moved) > 10
    assert built.permuted == dict(zip(moved, Tokenizer(16).encode(list(moved.values())), strict=True))
    built.save(tmp_path)
    loaded = PromptTable.load(tmp_path)
    assert loaded.prompts == kept
    for name, array in built.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array)
    for file in tmp_path.iterdir():
        file.unlink()
    assert loaded.rows == Tokenizer(16).encode(kept)  # what is mapped stays


def test_the_files_are_gone_after_setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = PromptDataModule({"shapes": "shapes:100"})
    data.prepare_data()
    assert len(list(tmp_path.glob("litetext-prompts-*/*.npy"))) == 9
    data.prepare_data()  # once
    data.setup("fit")
    assert not list(tmp_path.iterdir())
    assert len(data.prompts) == 100
    assert len(list(data.train_dataloader())) == data.batches_per_epoch
    data.setup("validate")


def test_a_full_folder_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "ids.npy")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="the disk is full"):
        PromptDataModule({"shapes": "shapes:100"}).setup("fit")
    assert not list(tmp_path.iterdir())
