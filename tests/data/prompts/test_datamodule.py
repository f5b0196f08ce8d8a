"""Corpora become batches: a stable split, true permutations, one policy for long prompts, the rest after a stop."""

import json
import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from litetext.data.prompts.datamodule import PromptBatch, PromptDataModule
from litetext.tokenizer import END, START, Tokenizer

COLOURS = ("red", "white", "blue", "green", "wooden", "small", "old", "striped", "shiny", "yellow")
NOUNS = ("dog", "table", "umbrella", "shirt", "car", "cat", "cup", "boat", "chair", "hat")
GOOD = [f"{colour} {noun}" for colour in COLOURS for noun in NOUNS]


def corpus(name: str, prompts: list[str]) -> str:
    Path(name).write_text(json.dumps(prompts))
    return name


def ready(sources: dict[str, str], **options: Any) -> PromptDataModule:
    data = PromptDataModule(sources, **({"val_fraction": 0.2, "batch_size": 8} | options))
    data.setup("fit")
    return data


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def sides(data: PromptDataModule) -> tuple[set[str], set[str]]:
    return {data.prompts[i] for i in data.train}, {data.prompts[i] for i in data.val}


def end_workers(*loaders: DataLoader) -> None:
    """Ends worker processes now; left to the garbage collector, each would be waited for five seconds."""
    for loader in loaders:
        if loader._iterator is not None:
            loader._iterator._shutdown_workers()  # type: ignore[attr-defined]


def flat(batch: PromptBatch) -> list[Any]:
    """A batch as plain lists."""
    found = [batch.index, *batch.tokens, batch.changed, *batch.permuted]
    return [value.tolist() for value in found]


# Split


def test_the_split_depends_on_the_texts_alone() -> None:
    one = ready({"a": corpus("a.json", GOOD[:60]), "b": corpus("b.json", GOOD[50:])})
    other = ready({"z": "b.json", "y": corpus("y.json", GOOD[59::-1])}, seed=9, batch_size=3)
    assert sides(one) == sides(other)
    train, val = sides(one)
    assert train | val == set(GOOD)
    assert not train & val
    assert sorted([*one.train, *one.val]) == list(range(100))
    assert 8 <= len(val) <= 35
    fewer = sides(ready({"a": "a.json"}))
    assert fewer[0] <= train
    assert fewer[1] <= val


@pytest.mark.parametrize("max_prompts", [None, 60])
def test_a_source_is_held_out_whole(max_prompts: int | None) -> None:
    known = [GOOD[10].upper(), *GOOD[:10]]  # another spelling of a prompt that the other source has first
    sources = {"a": corpus("a.json", GOOD[5:80]), "b": corpus("b.json", known)}
    data = ready(sources, val_sources=["b"], max_prompts=max_prompts, augment=0.5)
    train, val = ({prompt.lower() for prompt in side} for side in sides(data))
    held_out = {prompt.lower() for prompt in known}
    assert val == held_out if max_prompts is None else val < held_out
    assert train.isdisjoint(held_out)
    assert train >= {prompt.lower() for prompt in GOOD[11:80]} or max_prompts is not None
    with pytest.raises(ValueError, match=r"data\.val_sources: 'c' is no source; data\.sources has a, b"):
        ready(sources, val_sources=["c"])
    with pytest.raises(ValueError, match=r"data\.val_sources holds out every source"):
        ready(sources, val_sources=["a", "b"])


def test_spellings_that_no_encoder_can_tell_apart_are_one_prompt() -> None:
    data = ready({"a": corpus("a.json", [*GOOD, "RED dog", "  red   dog ", "red&#32;dog"]), "b": "a.json"})
    assert data.prompts == GOOD
    assert len(set(map(tuple, data.rows))) == len(data.rows) == 100
    assert data.rows == Tokenizer(16).encode(GOOD)


def test_max_prompts_takes_the_same_ones_in_any_order() -> None:
    one = ready({"a": corpus("a.json", GOOD)}, max_prompts=30)
    other = ready({"b": corpus("b.json", GOOD[::-1])}, max_prompts=30)
    assert len(one.prompts) == 30
    assert set(one.prompts) == set(other.prompts)
    assert one.prompts == [prompt for prompt in GOOD if prompt in set(one.prompts)]
    assert set(one.prompts) < set(ready({"a": "a.json"}, max_prompts=40).prompts)
    assert ready({"a": "a.json"}, max_prompts=1000).prompts == GOOD


def test_setup_works_once() -> None:
    data = ready({"a": corpus("a.json", GOOD)})
    rows = data.rows
    Path("a.json").unlink()
    data.setup("validate")
    assert data.rows is rows


# Permutations


@pytest.mark.parametrize("mode", ["attribute-noun", "words"])
def test_permutations_are_other_orders_of_the_same_tokens(mode: Any) -> None:
    odd = ["dog", "umbrella", "dog dog", "a white dog", "the man holding a red umbrella", "ALL RED", "nonesuchword"]
    data = ready({"a": corpus("a.json", [*GOOD, *odd])}, permutation=mode)
    assert len(data.permuted) > 40
    for i, row in data.permuted.items():
        assert row != data.rows[i]
        assert Counter(row) == Counter(data.rows[i])
        assert (row[0], row[-1]) == (START, END)
    for single in ("dog", "umbrella", "dog dog", "nonesuchword"):
        assert data.prompts.index(single) not in data.permuted


def test_modes_differ_in_what_moves() -> None:
    prompts = [*GOOD[:60], "the man holding a red umbrella"]
    texts = {}
    for mode in ("attribute-noun", "words"):
        data = ready({"a": corpus("a.json", prompts)}, permutation=mode)
        texts[mode] = data.permuted.get(60)
    assert texts["attribute-noun"] == Tokenizer(16).encode(["the man holding a umbrella red"])[0]
    assert texts["words"] not in (None, texts["attribute-noun"])
    shuffled = {tuple(data.permutations([60], epoch)[0] or []) for epoch in range(6)}
    assert len(shuffled) > 2


LONG = "a large old red wooden striped table"


@pytest.mark.parametrize("mode", ["attribute-noun", "words"])
def test_a_prompt_is_trained_with_another_order_each_epoch(mode: Any) -> None:
    path = corpus("a.json", [*GOOD, LONG])
    data, again, other = (ready({"a": path}, permutation=mode, seed=s) for s in (3, 3, 4))
    drawn = [data.permutations([100, 0], epoch) for epoch in range(8)]
    assert len({tuple(rows[0] or []) for rows in drawn}) > 4
    short = {tuple(rows[1] or []) for rows in drawn}
    assert short == {tuple(Tokenizer(16).encode(["dog red"])[0]), ()} - ({()} if mode == "attribute-noun" else set())
    for long in (rows[0] for rows in drawn if rows[0] is not None):
        assert long != data.rows[100]
        assert Counter(long) == Counter(data.rows[100])
    assert drawn == [again.permutations([100, 0], epoch) for epoch in range(8)]
    assert drawn != [other.permutations([100, 0], epoch) for epoch in range(8)]
    assert data.feature_rows() == other.feature_rows()  # held-out permutations, and with them the store, are no seed's


def test_swap_has_one_order_in_all_epochs() -> None:
    data = ready({"a": corpus("a.json", [*GOOD, LONG])}, permutation="swap")
    rows = {tuple(data.permutations([100], epoch)[0] or []) for epoch in range(8)}
    assert rows == {tuple(Tokenizer(16).encode(["a table large old red wooden striped"])[0])}


def test_batches_carry_the_orders_of_their_epoch() -> None:
    longs = [f"large old {colour} wooden {noun}" for colour in COLOURS for noun in NOUNS]
    data = ready({"a": corpus("a.json", longs)})
    loader = data.train_dataloader()
    seen = []
    for epoch in (0, 1, 0):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        seen.append({})
        for batch in loader:
            for b, ids, length in zip(batch.changed.tolist(), *(t.tolist() for t in batch.permuted), strict=True):
                i = int(batch.index[b])
                seen[-1][i] = ids[:length]
                assert ids[:length] == data.permutations([i], epoch)[0]
    assert seen[0] == seen[2]
    both = seen[0].keys() & seen[1].keys()
    assert sum(seen[0][i] != seen[1][i] for i in both) > len(both) / 2


def test_the_seed_is_the_runs_unless_it_has_its_own() -> None:
    path = corpus("a.json", GOOD)
    torch.manual_seed(5)
    run = ready({"a": path})
    assert run.seed == 5
    assert ready({"a": path}, seed=0).seed == 0
    torch.manual_seed(6)
    resumed, own = ready({"a": path}), ready({"a": path}, seed=1)
    for data in (resumed, own):
        data.load_state_dict(run.state_dict())
    assert (resumed.seed, own.seed) == (5, 1)


def test_none_permutes_nothing() -> None:
    data = ready({"a": corpus("a.json", GOOD)}, permutation="none")
    assert not len(data.permuted)
    assert data.feature_rows() == data.rows
    batch = next(iter(data.train_dataloader()))
    assert len(batch.changed) == 0
    assert batch.permuted.ids.shape == (0, batch.tokens.ids.shape[1])


def test_a_cut_prompt_that_would_lose_other_words_has_no_permutation() -> None:
    data = ready(
        {"a": corpus("a.json", [*GOOD, "old large red blue wooden table", "white dog in the sun"])}, context_length=6
    )
    cut, cut_behind = data.prompts.index("old large red blue wooden table"), data.prompts.index("white dog in the sun")
    assert len(data.rows[cut]) == len(data.rows[cut_behind]) == 6
    assert cut not in data.permuted
    assert data.permuted[cut_behind] == Tokenizer(6).encode(["dog white in the"])[0]


def test_feature_rows_are_prompts_then_held_out_permutations() -> None:
    data = ready({"a": corpus("a.json", [*GOOD, "dog", "cat"])})
    rows = data.feature_rows()
    held_out = [i for i in data.val if i in data.permuted]
    assert rows[: len(data.rows)] == data.rows
    assert rows[len(data.rows) :] == [data.permuted[i] for i in held_out]
    assert data.permuted_numbers(held_out).tolist() == list(range(len(data.rows), len(rows)))
    assert data.feature_prompt(3) == data.prompts[3]
    assert data.feature_prompt(len(rows) - 1) == data.prompts[held_out[-1]]


# Context


def test_what_is_too_long_is_cut_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    prompts = [*GOOD, "one two three four five six seven", "a b c d e f g"]
    with caplog.at_level(logging.INFO):
        data = ready({"a": corpus("a.json", prompts)}, context_length=6)
    assert data.context_length == 6
    assert max(map(len, data.rows)) == 6
    assert all(row[-1] == END for row in data.rows)
    assert "2 cut at 6 tokens" in caplog.text
    assert f"{len(data.train)} to train on, {len(data.val)} held out" in caplog.text
    assert ready({"a": "a.json"}, context_length=9).tokenizer.truncated == 0


def test_or_it_stops() -> None:
    with pytest.raises(ValueError, match=r"'a b c d e f g'.* 9 tokens.*context_length=6"):
        ready({"a": corpus("a.json", [*GOOD, "a b c d e f g"])}, context_length=6, overflow="error")


# Options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sources": {}}, r"data\.sources is empty; name at least one corpus"),
        ({"val_fraction": 0.0}, r"data\.val_fraction is 0\.0; choose a share between 0 and 1"),
        ({"val_fraction": 1.0}, r"data\.val_fraction is 1\.0"),
        ({"batch_size": 0}, r"data\.batch_size is 0; it must be at least 1"),
        ({"val_batch_size": -3}, r"data\.val_batch_size is -3; it must be at least 1"),
        ({"seed": -1}, r"data\.seed is -1; it must be 0 or more"),
        ({"num_workers": -1}, r"data\.num_workers is -1; it must be 0 or more"),
        ({"max_prompts": 9}, r"data\.max_prompts is 9; a run needs at least 10"),
        ({"context_length": 2}, r"context_length"),
        ({"overflow": "ignore"}, r"overflow"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        PromptDataModule(**({"sources": {"a": "a.json"}} | options))


def test_a_side_without_prompts_and_a_missing_corpus() -> None:
    corpus("a.json", GOOD)
    with pytest.raises(ValueError, match=r"no validation prompts: 100 prompts with data\.val_fraction=1e-06"):
        ready({"a": "a.json"}, val_fraction=1e-6)
    with pytest.raises(ValueError, match=r"no training prompts: 100 prompts with data\.val_fraction=0\.999999"):
        ready({"a": "a.json"}, val_fraction=0.999999)
    with pytest.raises(FileNotFoundError, match=r"nope\.json"):
        ready({"a": "a.json", "b": "nope.json"})


# Batches


def test_training_batches_hold_what_they_say() -> None:
    data = ready({"a": corpus("a.json", [*GOOD, "dog", "cat", "the very old man holding a red umbrella"])})
    seen: list[int] = []
    batches = list(data.train_dataloader())
    assert len(batches) == data.batches_per_epoch == len(data.train) // 8
    for batch in batches:
        assert batch.features is batch.permuted_features is None
        rows = [data.rows[i] for i in batch.index.tolist()]
        assert batch.tokens.lengths.tolist() == list(map(len, rows))
        assert batch.tokens.ids.shape == (8, max(map(len, rows)))
        for ids, row in zip(batch.tokens.ids.tolist(), rows, strict=True):
            assert ids == row + [0] * (len(ids) - len(row))
        assert batch.changed.tolist() == [b for b, i in enumerate(batch.index.tolist()) if i in data.permuted]
        for b, ids, length in zip(batch.changed.tolist(), *(t.tolist() for t in batch.permuted), strict=True):
            assert ids[:length] == data.permuted[int(batch.index[b])]
        seen += batch.index.tolist()
    assert len(seen) == len(set(seen))
    assert set(seen) <= set(data.train)


def test_validation_has_every_held_out_prompt_once_by_length() -> None:
    data = ready({"a": corpus("a.json", [*GOOD, *NOUNS])}, val_batch_size=7)
    batches = list(data.val_dataloader())
    seen = [i for batch in batches for i in batch.index.tolist()]
    assert sorted(seen) == data.val.tolist()
    lengths = [length for batch in batches for length in batch.tokens.lengths.tolist()]
    assert lengths == sorted(lengths)
    assert {len(batch.index) for batch in batches[:-1]} == {7}
    for batch in batches:
        assert batch.permuted_index is not None
        rows = data.feature_rows()
        assert [rows[k] for k in batch.permuted_index] == [data.permuted[int(i)] for i in batch.index[batch.changed]]
        wide = batch.widened(16)
        assert wide.tokens.ids.shape[1] == wide.permuted.ids.shape[1] == 16
        assert not wide.tokens.ids[:, batch.tokens.ids.shape[1] :].any()
        assert torch.equal(wide.tokens.lengths, batch.tokens.lengths)


def test_worker_processes_give_the_same_batches() -> None:
    path = corpus("a.json", GOOD)
    alone, helped = (ready({"a": path}, num_workers=n, val_batch_size=9) for n in (0, 2))
    train, val = helped.train_dataloader(), helped.val_dataloader()
    assert list(map(flat, alone.train_dataloader())) == list(map(flat, train))
    assert list(map(flat, alone.val_dataloader())) == list(map(flat, val))
    end_workers(train, val)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_module_gives_the_remaining_batches(workers: int) -> None:
    path = corpus("a.json", GOOD)
    whole = list(map(flat, ready({"a": path}).train_dataloader()))
    stopped = ready({"a": path}, num_workers=workers)
    assert stopped.state_dict()["done"] == 0
    broken_off = stopped.train_dataloader()
    batches = iter(broken_off)
    had = [flat(next(batches)) for _ in range(4)]
    assert stopped.state_dict()["done"] == 4
    resumed = ready({"a": path}, num_workers=workers)
    resumed.load_state_dict(stopped.state_dict())
    loader = resumed.train_dataloader()
    assert had + list(map(flat, loader)) == whole
    assert resumed.state_dict()["done"] == len(whole)
    assert list(map(flat, loader)) == whole  # once; the next pass is a full one
    end_workers(broken_off, loader)
    finished = ready({"a": path})
    finished.load_state_dict({"done": len(whole)})
    assert len(list(finished.train_dataloader())) == len(whole)  # stopped at an epoch's end: the next is whole


def test_new_phrases_of_another_seed_are_not_taken_for_other_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"nouns": "nouns:200"}
    one, other, same = (ready(sources, augment=0.5, seed=seed) for seed in (1, 2, 1))
    monkeypatch.setattr(PromptDataModule, "_fitting", True)
    same.load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match=r"drawn with seed 2 here, and with 1 in the run .* give --data\.seed 1"):
        other.load_state_dict(one.state_dict())


def test_the_order_is_the_seeds() -> None:
    path = corpus("a.json", GOOD)
    orders = [[flat(b)[0] for b in ready({"a": path}, seed=seed).train_dataloader()] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_shapes_are_a_source_and_predict_has_one_empty_batch() -> None:
    data = ready({"shapes": "shapes:80"})
    assert len(data.prompts) > 70
    assert list(data.predict_dataloader()) == [None]
    assert all(isinstance(t, torch.Tensor) for t in next(iter(data.val_dataloader()))[1])


def test_a_full_folder_for_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, array: np.ndarray) -> None:
        raise OSError("130890 requested and 30592 written")  # as numpy says it

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=f"disk is full .*set TMPDIR to another folder: '{tmp_path}'"):
        ready({"a": corpus("a.json", GOOD)})
    assert not list(tmp_path.glob("litetext-*"))
