"""Pruned token tables give what whole ones give, bit for bit."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from litetext.models.text.few_bits import Int4Embedding
from litetext.models.text.pruned_vocabulary import kept_ids, prune
from litetext.models.text.quantized import Int8Embedding, resident_bytes

TABLE = nn.Embedding(60, 5).requires_grad_(False)


@settings(max_examples=40, deadline=None)
@given(
    kept=st.sets(st.integers(0, 59), min_size=1, max_size=59),
    ids=st.lists(st.integers(0, 59), max_size=20),
    bits=st.sampled_from([32, 8, 4]),
)
def test_every_token_has_its_own_row(
    tmp_path_factory: pytest.TempPathFactory, kept: set[int], ids: list[int], bits: int
) -> None:
    table = TABLE if bits == 32 else (Int8Embedding if bits == 8 else Int4Embedding).of(TABLE)
    pruned = prune(table, kept, tmp_path_factory.mktemp("rows") / "others.safetensors")
    asked = torch.tensor(ids, dtype=torch.int64)
    assert torch.equal(pruned(asked), table(asked))
    assert pruned.read_from_disk == sum(number not in kept for number in ids)
    if len(ids) % 2 == 0:
        assert torch.equal(pruned(asked.view(2, -1)), table(asked.view(2, -1)))


def test_only_kept_rows_are_in_memory_and_only_the_others_in_the_file(tmp_path: Path) -> None:
    pruned = prune(TABLE, range(10), tmp_path / "others.safetensors")
    assert resident_bytes(pruned) == 10 * 5 * 4 + 10 * 8
    assert torch.equal(load_file(tmp_path / "others.safetensors")["weight"], TABLE.weight[10:])
    assert pruned.others.shape() == (50, 5)


def test_copies_and_other_processes_open_the_file_themselves(tmp_path: Path) -> None:
    pruned, ids = prune(TABLE, [3, 4], tmp_path / "others.safetensors"), torch.tensor([3, 30])
    expected = pruned(ids)
    assert torch.equal(copy.deepcopy(pruned)(ids), expected)
    assert torch.equal(pickle.loads(pickle.dumps(pruned))(ids), expected)


def test_a_missing_file_is_an_error_and_no_wrong_answer(tmp_path: Path) -> None:
    pruned = prune(TABLE, [3, 4], tmp_path / "others.safetensors")
    (tmp_path / "others.safetensors").unlink()
    assert torch.equal(pruned(torch.tensor([4, 3])), TABLE(torch.tensor([4, 3])))
    with pytest.raises(FileNotFoundError, match="a prompt may need them"):
        pruned(torch.tensor([3, 30]))


@pytest.mark.parametrize("ids", [[0, 60], [-1, 3]])
def test_ids_outside_the_vocabulary(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(IndexError, match="not all in this token table"):
        prune(TABLE, [0, 3], tmp_path / "others.safetensors")(torch.tensor(ids))


@pytest.mark.parametrize("kept", [[], [60], [-1]])
def test_kept_ids_must_exist(tmp_path: Path, kept: list[int]) -> None:
    with pytest.raises(ValueError, match="token ids 0 to 59"):
        prune(TABLE, kept, tmp_path / "others.safetensors")


def test_an_audit_says_what_to_keep() -> None:
    counts = np.zeros(49408, dtype=np.int64)
    counts[[49406, 49407, 5, 9, 7]] = [100, 100, 3, 50, 3]
    assert kept_ids(counts, 10) == [0, 5, 7, 9, 49406, 49407]
    assert kept_ids(counts, 5) == [0, 5, 9, 49406, 49407]
    with pytest.raises(ValueError, match="keep at least 4"):
        kept_ids(counts, 3)
