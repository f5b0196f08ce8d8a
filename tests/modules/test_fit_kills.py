"""fit, killed at random moments and resumed, ends with the weights of the run that was left alone."""

import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from litetext.cli import main
from litetext.files import drafts
from tests.fixtures.copies import begun, finished
from tests.fixtures.kills import ATTEMPTS, KILLS, killed, wait_until
from tests.fixtures.runs import weights

FIT = ("fit", "--config", "tiny.yaml", "--last.every_n_steps", "1", "--trainer.max_epochs", "2")


@pytest.mark.timeout(120 + 120 * KILLS)
@pytest.mark.usefixtures("copied")
def test_fit_killed_at_random_moments(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fit(run: str, *more: str) -> ForkServerProcess:
        return begun(main, [*FIT, "--run", run, *more])

    child = fit("alone")  # the teacher's features are there from now on
    assert wait_until(Path("checkpoints/alone/last.ckpt").is_file, child)
    begin = time.monotonic()
    assert finished(child)
    work = time.monotonic() - begin  # from the first checkpoint to the end
    expected = {name: weights(f"checkpoints/alone/{name}.ckpt") for name in ("last", "best")}
    moments = random.Random(0)
    counts, missed = {"resumed": 0, "no checkpoint yet": 0}, 0
    in_a_write = 0
    for number in range(ATTEMPTS):
        if sum(counts.values()) == KILLS:
            break
        run = f"killed{number}"
        here = Path("checkpoints", run)
        child = fit(run)
        if number % 4:  # one of four strikes while all is set up and the first checkpoint is written
            assert wait_until((here / "last.ckpt").is_file, child)
        else:
            assert wait_until(here.is_dir, child)
        stopped = killed(child, moments.uniform(0, 1) * (work if number % 4 else work / 10))
        in_a_write += bool(stopped and here.is_dir() and drafts(here))
        there = (here / "last.ckpt").is_file()
        if stopped:
            counts["resumed" if there else "no checkpoint yet"] += 1
        else:
            missed += 1
        assert finished(fit(run, *(("--ckpt_path", "last") if there else ()))), run
        for name, before in expected.items():
            after = weights(here / f"{name}.ckpt")
            assert all(torch.equal(value, after[key]) for key, value in before.items()), (run, name)
        assert not drafts(here)
    with capfd.disabled():
        print(f"\n{sum(counts.values())} kills of fit: {counts}, {in_a_write} in a write; after the end: {missed}")
    assert sum(counts.values()) == KILLS
