"""Processes that wait for each other by files, for longer than a collective would."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from litetext.modules.ranks import FailWithRanks, Ranks
from tests.fixtures.copies import begun, finished

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


@pytest.mark.usefixtures("copied")
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


class Failing(LightningModule):
    """An evaluation that has begun and ends with an error."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def test_step(self, batch: object) -> None:
        raise OSError("the disk is full")


def test_a_process_that_fails_is_not_waited_for_and_nothing_is_left(tmp_path: Path) -> None:
    first, second = (Ranks(tmp_path, "t", rank, 2) for rank in range(2))
    module = Failing(second)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(accelerator="cpu", callbacks=[FailWithRanks()], **quiet)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="the disk is full"):
        trainer.test(module, [0], verbose=False)
    assert {path.name for path in tmp_path.iterdir()} == {".t.alive.0", ".t.failed.1"}
    with pytest.raises(RuntimeError, match=r"process 1 of 2 failed \(OSError: the disk is full\).* goes on from it"):
        first.wait("recorded")
    first.fail("it lost the other")
    first.fail("again")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    names = {
        "old": (".0123abcd.alive.0", ".0123abcd.recorded.1"),
        "recent": (".4567abcd.alive.0",),
        "lasting": (".4567abcd.recorded.1", ".hidden", ".notatokn.alive.0", "rank0.jsonl"),
    }
    for kind, some in names.items():
        for name in some:
            (tmp_path / name).touch()
            if kind != "recent":
                os.utime(tmp_path / name, (1, 1))
    for world_size in (1, 2):
        Ranks(tmp_path, "89abcdef", 1, world_size)
        assert (tmp_path / names["old"][0]).exists(), "the first process alone removes"
    Ranks(tmp_path, "89abcdef", 0, 2)
    left = {path.name for path in tmp_path.iterdir()} - {".89abcdef.alive.0", ".89abcdef.alive.1"}
    assert left == {*names["recent"], *names["lasting"]}


def test_one_process_waits_for_nobody_and_writes_nothing(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path / "f", "")
    ranks.wait("recorded")
    ranks.part("written")
    assert not (tmp_path / "f").exists()
