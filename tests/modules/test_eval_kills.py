"""test, killed at random moments and started again, leaves the files of a run that was left alone, byte for byte."""

import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from litetext.cli import main
from litetext.data.shapes.gold import write_shapes
from litetext.data.shapes.veval import write_video_shapes
from litetext.modules.results_files import _DRAFT
from litetext.modules.resume_cache import ResumeCache
from tests.fixtures.copies import begun, finished
from tests.fixtures.kills import ATTEMPTS, KILLS, killed, wait_until

QUIET = ("--trainer.enable_progress_bar", "false", "--model.text_encoders", "null")


def written(run: str) -> dict[str, bytes]:
    """What an evaluation leaves, by its place in the run's folder."""
    folder = Path("lightning_logs", run)
    paths = [folder / "results.json", *(folder / "predictions").rglob("*"), *(folder / "pictures").rglob("*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths) if path.is_file()}


def answers(run: str) -> int:
    """How many answers a run has stored."""
    return sum(len(ResumeCache(path, 0).known) for path in Path("lightning_logs", run).glob("records/*"))


@pytest.mark.timeout(120 + 60 * KILLS)
@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("kind", ["images", "videos"])
def test_evaluation_killed_at_random_moments(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if kind == "images":
        write_shapes("world", 3)
        argv = ("test", "--config", "shapes.yaml", "--data.root", "world", "--data.subsets", "[common,crowded]")
        argv += ("--model.pictures", "1")
    else:
        write_video_shapes("world", 3, frames=4)
        argv = ("test", "--config", "shapes_video.yaml", "--data.root", "world", "--model.min_hits", "2")

    def test(run: str) -> ForkServerProcess:
        return begun(main, [*argv, *QUIET, "--run", run])

    child = test("alone")
    assert wait_until(lambda: answers("alone"), child)
    begin = time.monotonic()
    assert finished(child)
    work = time.monotonic() - begin  # from the first stored answer to the end; before it, a run loads
    expected, stored = written("alone"), answers("alone")
    assert len(expected) > 2
    moments = random.Random(0)
    counts = {"after the first stored answer": 0, "with all stored, before the end": 0, "in publishing": 0}
    missed = {"before the first stored answer": 0, "after the end": 0}
    for number in range(ATTEMPTS):
        if sum(counts.values()) == KILLS:
            break
        run = f"killed{number}"
        child = test(run)
        # By progress and by time: after any answer, or at any moment from the first answer on.
        by_progress = number % 4 != 3
        least = moments.randint(1, stored) if by_progress else 1
        wait_until(lambda least=least, run=run: answers(run) >= least, child)
        stopped = killed(child, moments.uniform(0, 1) * (work / stored if by_progress else work))
        folder, there = Path("lightning_logs", run), answers(run)
        if not stopped or not there:
            missed["before the first stored answer" if stopped else "after the end"] += 1
        elif (folder / _DRAFT).exists():
            counts["in publishing"] += 1
        else:
            counts["after the first stored answer" if there < stored else "with all stored, before the end"] += 1
        if stopped:
            assert (folder / "results.json").exists() <= (written(run) == expected)
        assert finished(test(run)), run
        assert written(run) == expected, run
        assert not (folder / _DRAFT).exists()
    with capfd.disabled():
        print(f"\n{sum(counts.values())} kills of test on {kind}, {stored} answers: {counts}; that missed: {missed}")
    assert sum(counts.values()) == KILLS
