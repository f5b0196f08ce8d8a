"""A store whose filling was killed at random moments and run again holds what it would have held."""

import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from litetext.data.features.fill import fill
from litetext.data.features.manifest import StoreKey
from litetext.data.features.store import FeatureStore
from litetext.files import drafts
from tests.fixtures.copies import begun, finished
from tests.fixtures.kills import KILLS, killed

ROWS = [[n + 1] * (1 + n % 7) for n in range(600)]
KEY = StoreKey("t", 32)


def features(row: list[int]) -> Tensor:
    return torch.arange(len(row) * 32).view(len(row), 32) / 1000 + row[0] / 7


def work(store: Path) -> None:
    """Fills a store, and notes beside it when it began and how many rows were encoded."""

    def encode(rows: list[list[int]]) -> list[Tensor]:
        store.with_name(f"{store.name}.log").open("a").write(f"{len(rows)}\n")
        return [features(row) for row in rows]

    store.with_name(f"{store.name}.begun").touch()
    fill(store, ROWS, encode, KEY, chunk=10, progress=False)  # type: ignore[arg-type]
    store.with_name(f"{store.name}.ended").touch()


@pytest.mark.timeout(120 + 120 * KILLS)
@pytest.mark.usefixtures("copied")
def test_filling_killed_at_random_moments(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def filling(name: str) -> ForkServerProcess:
        return begun(work, tmp_path / name)

    def began(name: str) -> None:
        while not (tmp_path / f"{name}.begun").exists():
            time.sleep(0.0005)

    assert finished(filling("alone"))
    whole = (tmp_path / "alone.ended").stat().st_mtime - (tmp_path / "alone.begun").stat().st_mtime
    expected = {p.name: p.read_bytes() for p in (tmp_path / "alone").iterdir()}
    moments, counts, again = random.Random(1), {"unfinished": 0, "in a write": 0, "finished before": 0}, 0
    for number in range(KILLS):
        name = f"killed{number}"
        child = filling(name)
        began(name)  # the moment counts from here, not from the start of the process
        struck = killed(child, moments.uniform(0, 0.95) * whole) and not (tmp_path / f"{name}.ended").exists()
        store = tmp_path / name
        counts["in a write"] += struck and store.is_dir() and bool(drafts(store))
        counts["unfinished" if struck else "finished before"] += 1
        assert finished(filling(name))
        # Shard for shard the same bytes, whatever was cut off; a draft goes later, when nobody can be writing it.
        assert {p.name: p.read_bytes() for p in store.iterdir() if not p.name.startswith(".")} == expected
        FeatureStore.open(store, ROWS, KEY)
        encoded = sum(map(int, (tmp_path / f"{name}.log").read_text().split()))
        assert encoded <= len(ROWS) + 10  # one shard is lost at most
        again += encoded - len(ROWS)
    with capfd.disabled():
        twice = f"{again} of {KILLS * len(ROWS)} rows encoded twice"
        print(f"\n{KILLS} kills of filling within {whole:.2f} s: {counts}, {twice}")
