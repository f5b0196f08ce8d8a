"""A store whose filling was killed at random moments and run again holds what it would have held."""

import os
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from litetext.data.features.store import FeatureStore
from tests.fixtures.kills import KILLS, begun, finished, killed

ROWS = [[n + 1] * (1 + n % 7) for n in range(600)]
ORIGIN = {"teacher": "t", "tokenizer": "k", "context_length": 16, "width": 32}


def features(row: list[int]) -> Tensor:
    return torch.arange(len(row) * 32).view(len(row), 32) / 1000 + row[0] / 7


def work(store: Path) -> None:
    """Fills a store, and notes beside it how many rows were encoded."""

    def encode(rows: list[list[int]]) -> list[Tensor]:
        store.with_name(f"{store.name}.log").open("a").write(f"{len(rows)}\n")
        return [features(row) for row in rows]

    FeatureStore.fill(store, ROWS, encode, chunk=10, progress=False, **ORIGIN)  # type: ignore[arg-type]


@pytest.mark.timeout(120 + 120 * KILLS)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="copies of a process")
def test_filling_killed_at_random_moments(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fill(name: str) -> ForkServerProcess:
        return begun(work, tmp_path / name)

    begin = time.monotonic()
    assert finished(fill("alone"))
    whole = time.monotonic() - begin
    expected = {p.name: p.read_bytes() for p in (tmp_path / "alone").iterdir() if p.suffix != ".txt"}
    moments, unfinished, again = random.Random(1), 0, 0
    for number in range(KILLS):
        name = f"killed{number}"
        killed(fill(name), moments.uniform(0, 1.2) * whole)
        unfinished += not (tmp_path / name / "manifest.json").is_file()
        assert finished(fill(name))
        store = tmp_path / name
        after = {p.name: p.read_bytes() for p in store.iterdir() if p.suffix != ".txt" and not p.name.startswith(".")}
        assert after == expected
        FeatureStore.open(store, verify=True)
        encoded = sum(map(int, (tmp_path / f"{name}.log").read_text().split()))
        assert encoded <= len(ROWS) + 10  # one chunk is lost at most
        again += encoded - len(ROWS)
    with capfd.disabled():
        print(f"\n{KILLS} kills of filling: {unfinished} unfinished, {again} of {KILLS * len(ROWS)} rows encoded twice")
