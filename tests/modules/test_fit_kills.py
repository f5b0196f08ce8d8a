"""fit, killed at random moments and resumed, ends with the weights of the run that was left alone."""

import os
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch

from litetext.cli import main
from litetext.files import drafts
from tests.fixtures.kills import KILLS, begun, finished, killed
from tests.fixtures.runs import weights

FIT = ("fit", "--config", "tiny.yaml", "--last.every_n_steps", "1", "--trainer.max_epochs", "4")


@pytest.mark.timeout(120 + 120 * KILLS)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="copies of a process")
def test_fit_killed_at_random_moments(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fit(run: str, *more: str) -> ForkServerProcess:
        return begun(main, [*FIT, "--run", run, *more])

    assert finished(fit("warm"))  # the teacher's features are there from now on
    begin = time.monotonic()
    assert finished(fit("alone"))
    whole = time.monotonic() - begin
    expected = {name: weights(f"checkpoints/alone/{name}.ckpt") for name in ("last", "best")}
    moments, counts = random.Random(0), {"ended before": 0, "no checkpoint yet": 0, "resumed": 0, "in a write": 0}
    for number in range(KILLS):
        run = f"killed{number}"
        stopped = killed(fit(run), moments.uniform(0, 1.0) * whole)
        here = Path("checkpoints", run)
        counts["in a write"] += bool(here.is_dir() and drafts(here))
        there = (here / "last.ckpt").is_file()
        counts["resumed" if there and stopped else "no checkpoint yet" if stopped else "ended before"] += 1
        assert finished(fit(run, *(("--ckpt_path", "last") if there else ()))), run
        for name, before in expected.items():
            after = weights(here / f"{name}.ckpt")
            assert all(torch.equal(value, after[key]) for key, value in before.items()), (run, name)
        assert not drafts(here)
    with capfd.disabled():
        print(f"\n{KILLS} kills of fit: {counts}")
