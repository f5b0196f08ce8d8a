"""Processes that wait for each other by files, for longer than a collective would."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from litetext.modules.ranks import Ranks
from tests.fixtures.kills import begun, finished

SLOW, TIMEOUT = 1.8, 1.0


def late(rank: int, folder: str, by_files: bool) -> None:
    """One of two processes, of which each in turn takes longer than a collective waits."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.distributed.barrier()
    hasty = torch.distributed.new_group(timeout=timedelta(seconds=TIMEOUT))
    ranks = Ranks(Path(folder) / "signs", "t", rank, 2)
    if rank:
        time.sleep(SLOW)
    if by_files:
        ranks.wait("recorded")
    torch.distributed.barrier(hasty)
    if not rank:
        time.sleep(SLOW)  # it writes
    ranks.part("written")
    torch.distributed.barrier(hasty)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="copies of a process")
def test_a_slow_process_does_not_run_into_the_timeout(tmp_path: Path) -> None:
    for name in ("files", "collectives"):
        (tmp_path / name).mkdir()
    children = {
        name: [begun(late, rank, str(tmp_path / name), name == "files") for rank in range(2)]
        for name in ("files", "collectives")
    }
    ended = {name: [finished(child) for child in both] for name, both in children.items()}
    assert ended["files"] == [True, True]
    assert not ended["collectives"][0]
    assert not list((tmp_path / "files/signs").iterdir()), "nothing is left"


def test_a_dead_process_is_named(tmp_path: Path) -> None:
    Ranks(tmp_path, "t", 1, 2)._ended.set()
    with pytest.raises(RuntimeError, match=r"process 1 of 2 has shown no sign of life .*the same command goes on"):
        Ranks(tmp_path, "t", 0, 2, patience=0.3).wait("recorded")


def test_one_process_waits_for_nobody_and_writes_nothing(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path / "f", "")
    ranks.wait("recorded")
    ranks.part("written")
    assert not (tmp_path / "f").exists()
