"""test, killed at random moments and started again, leaves the files of a run that was left alone, byte for byte."""

import os
import random
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from litetext.cli import main
from litetext.data.shapes.gold import write_shapes
from litetext.data.shapes.veval import write_video_shapes
from litetext.modules.journal import Journal
from litetext.modules.results_files import _DRAFT
from tests.fixtures.kills import KILLS, begun, finished, killed

QUIET = ("--trainer.enable_progress_bar", "false", "--model.text_encoders", "null")


def written(run: str) -> dict[str, bytes]:
    """What an evaluation leaves, by its place in the run's folder."""
    folder = Path("lightning_logs", run)
    paths = [folder / "results.json", *(folder / "predictions").rglob("*"), *(folder / "pictures").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths) if path.is_file()}


def wait_for_records(run: str, seconds: float) -> None:
    """Waits until the first answer is stored, or for a multiple of what a run takes."""
    end = time.monotonic() + 5 * seconds
    while not list(Path("lightning_logs", run).glob("records/*/*.jsonl")) and time.monotonic() < end:
        time.sleep(0.002)


def time_of_work(run: str, test: Callable[[str], ForkServerProcess]) -> float:
    """Seconds from the first stored answer to the end."""
    child = test(run)
    wait_for_records(run, 60)
    begin = time.monotonic()
    assert finished(child)
    return time.monotonic() - begin


@pytest.mark.timeout(120 + 60 * KILLS)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="copies of a process")
@pytest.mark.parametrize("kind", ["images", "videos"])
def test_evaluation_killed_at_random_moments(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "images":
        write_shapes("world", 2)
        argv = ("test", "--config", "shapes.yaml", "--data.root", "world", "--model.pictures", "1")
    else:
        write_video_shapes("world", 3, frames=4)
        argv = ("test", "--config", "shapes_video.yaml", "--data.root", "world", "--model.min_hits", "2")

    def test(run: str) -> ForkServerProcess:
        return begun(main, [*argv, *QUIET, "--run", run])

    assert finished(test("warm"))
    begin = time.monotonic()
    assert finished(test("alone"))
    whole = time.monotonic() - begin
    expected = written("alone")
    assert len(expected) > 2
    assert expected == written("warm")
    moments, counts = random.Random(0), {"ended before": 0, "nothing stored": 0, "some stored": 0, "in publishing": 0}
    # Most of a run of so few items is loading: two of three kills fall behind the first stored answer.
    work = time_of_work("timed", test)
    for number in range(KILLS):
        run = f"killed{number}"
        child = test(run)
        if number % 3:
            wait_for_records(run, whole)
            stopped = killed(child, moments.uniform(0, 1.2) * work)
        else:
            stopped = killed(child, moments.uniform(0.1, 1.0) * whole)
        folder = Path("lightning_logs", run)
        stored = sum(len(Journal(path, 0).known) for path in folder.glob("records/*"))
        if stopped and (folder / _DRAFT).exists():
            counts["in publishing"] += 1
        else:
            counts["ended before" if not stopped else "some stored" if stored else "nothing stored"] += 1
        if stopped:
            assert (folder / "results.json").exists() <= (written(run) == expected)
        assert finished(test(run)), run
        assert written(run) == expected, run
        assert not (folder / _DRAFT).exists()
    with capfd.disabled():
        print(f"\n{KILLS} kills of test on {kind}: {counts}")
