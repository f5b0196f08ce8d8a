"""The teacher's features of a run: computed once, stored, made again where they are spoilt."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules import teacher as distill_teacher
from tests.fixtures.runs import Answer, weights

FIT = ("fit", "--config", "tiny.yaml")


ONE = ("--trainer.max_epochs", "1")


def test_stored_and_live_features_give_the_same_losses(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, *ONE, "--run", "stored").code == 0
    assert litetext(*FIT, *ONE, "--run", "live", "--model.teacher_features", "live").code == 0
    stored, live = (
        torch.load(f"checkpoints/{run}/last.ckpt", weights_only=True)["litetext"]["scores"]
        for run in ("stored", "live")
    )
    assert stored.keys() == live.keys()
    for name in stored:
        if name != "agreement":
            assert stored[name] == pytest.approx(live[name], rel=2e-3, abs=2e-4), name
    # The step itself: the same to the rounding of half precision.
    a, b = weights("checkpoints/stored/last.ckpt"), weights("checkpoints/live/last.ckpt")
    assert a.keys() == b.keys()
    assert not any(key.startswith("teacher") for key in b)


def test_a_token_row_is_encoded_once_for_all_runs(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = litetext("predict", "--config", "tiny.yaml")
    assert answer.code == 0, answer.err
    store = next(word for word in answer.out.split() if word.startswith("checkpoints/features/"))
    assert (folder / store / "store.json").is_file()
    assert "144 token rows: 144 encoded, 0 reused, in checkpoints/features/" in answer.out
    encode, seen = Sam3TextEncoder.encode_tokens, []

    def counted(self: Sam3TextEncoder, rows: Any, *more: Any) -> list[Tensor]:
        seen.extend(rows)
        return encode(self, rows, *more)

    def told(*more: str) -> str:
        seen.clear()
        answer = litetext("predict", "--config", "tiny.yaml", *more)
        assert answer.code == 0, answer.err
        return answer.out.partition("token rows: ")[2].partition(", in ")[0]

    monkeypatch.setattr(Sam3TextEncoder, "encode_tokens", counted)
    assert litetext(*FIT, *ONE).code == 0
    assert litetext("validate", "--config", "tiny.yaml", "--ckpt_path", "best").code == 0
    assert not seen
    assert told("--seed_everything", "3") == "0 encoded, 144 reused"
    # Prompts are known whatever side of the split they are on; only permutations that are held out for the first time
    # are new, and prompts that come later.
    for more in (
        ("--data.val_fraction", "0.3"),
        ("--data.permutation", "words"),
        ("--data.sources.shapes", "shapes:130"),
        ("--data.max_prompts", "100"),
    ):
        line = told(*more)
        assert line.startswith(f"{len(seen)} encoded, "), more
        assert len(seen) < 30, more
    assert told(*more).startswith("0 encoded, ")


def test_a_run_that_finds_all_features_reads_no_teacher(
    folder: Path,
    litetext: Callable[..., Answer],
    monkeypatch: pytest.MonkeyPatch,
    teacher_file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copy(teacher_file, "mine.safetensors")
    mine = ("--model.teacher", "mine.safetensors", "--overwrite")
    assert litetext(*FIT, *ONE, *mine).code == 0
    before = torch.load("checkpoints/tiny/last.ckpt", weights_only=True)["litetext"]
    reads: list[str] = []
    read = distill_teacher.load_teacher
    monkeypatch.setattr(distill_teacher, "load_teacher", lambda name: (reads.append(name), read(name))[1])
    assert litetext(*FIT, *ONE, *mine).code == 0
    assert not reads
    after = torch.load("checkpoints/tiny/last.ckpt", weights_only=True)["litetext"]
    for name in ("teacher_fingerprint", "teacher_parameters", "scores"):
        assert before[name] == after[name]
    os.utime("mine.safetensors", ns=(1, 1))  # looked at again, and found to be the same
    with caplog.at_level(logging.INFO):
        assert litetext(*FIT, *ONE, *mine).code == 0
    assert reads == ["mine.safetensors"]
    assert "144 token rows: 0 encoded, 144 reused" in caplog.text


def test_predict_has_nothing_to_store_for_a_live_teacher(folder: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext("predict", "--config", "tiny.yaml", "--model.teacher_features", "live")
    assert answer.code == 0
    assert "nothing was stored" in answer.out
    assert not list(Path("checkpoints/features").glob("*/*.safetensors"))


def test_a_store_that_was_spoilt_is_named_and_made_again(
    folder: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    assert litetext(*FIT, *ONE).code == 0
    (shard,) = Path("checkpoints/features").glob("*/*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-5000:-4000] = np.full(500, np.nan, "<f2").tobytes()
    shard.write_bytes(data)
    damaged = pytest.warns(UserWarning, match=f"{shard} is damaged: the checksum of its features does not hold")
    with damaged, caplog.at_level(logging.INFO):
        assert litetext(*FIT, *ONE, "--run", "other").code == 0
    assert "144 token rows: 144 encoded, 0 reused" in caplog.text
    before, after = (weights(f"checkpoints/{run}/last.ckpt") for run in ("tiny", "other"))
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_nan_from_the_teacher_is_not_stored(
    folder: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = Sam3TextEncoder.encode_tokens

    def spoilt(self: Sam3TextEncoder, rows: Any, *more: Any) -> list[Tensor]:
        features = encode(self, rows, *more)
        features[0][1] = torch.nan
        return features

    monkeypatch.setattr(Sam3TextEncoder, "encode_tokens", spoilt)
    line = refused(*FIT)
    assert "the teacher's features of the prompt '" in line
    assert "not finite" in line
    assert not list(Path("checkpoints/features").glob("*/*.safetensors"))
