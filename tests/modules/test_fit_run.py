"""A run's folders: nobody's work is written over, and two runs never mix."""

import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from litetext.cli import main
from litetext.modules.distill import DistillModule
from litetext.modules.run_folder import sole_writer
from tests.fixtures.copies import begun
from tests.fixtures.runs import Answer, weights

FIT = ("fit", "--config", "tiny.yaml", "--trainer.max_epochs", "1")


def contents(*folders: str) -> dict[str, bytes]:
    """All files of some folders."""
    files = [p for folder in folders for p in Path(folder).rglob("*") if p.is_file() and p.name != "run.json"]
    return {str(p): p.read_bytes() for p in files}


def test_a_second_fit_is_refused_and_changes_nothing(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert litetext(*FIT).code == 0
    before = contents("checkpoints/tiny", "lightning_logs/tiny")
    for more in ((), ("--seed_everything", "1"), ("--model.lr", "0.02", "--trainer.max_epochs", "2")):
        line = refused(*FIT, *more)
        assert line.startswith("litetext: error: the run tiny is there already (checkpoints/tiny/last.ckpt, written 20")
        for way in ("--ckpt_path last to go on with it", "--run NAME for a run beside it", "--overwrite to replace it"):
            assert way in line
    assert contents("checkpoints/tiny", "lightning_logs/tiny") == before
    assert json.loads(Path("checkpoints/tiny/run.json").read_text())["command"] == "litetext fit"


def test_overwrite_replaces_the_whole_run(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT).code == 0
    events = set(Path("lightning_logs/tiny").glob("events.*"))
    old = weights("checkpoints/tiny/best.ckpt")
    answer = litetext(*FIT, "--overwrite", "--seed_everything", "1")
    assert answer.code == 0, answer.err
    now = set(Path("lightning_logs/tiny").glob("events.*"))
    assert len(now) == 1
    assert not now & events
    new = weights("checkpoints/tiny/best.ckpt")
    assert any(not torch.equal(old[name], new[name]) for name in old)
    config = yaml.safe_load(Path("lightning_logs/tiny/config.yaml").read_text())
    assert (config["overwrite"], config["ckpt_path"], config["seed_everything"]) == (False, None, 1)


def test_a_run_that_cannot_begin_replaces_nothing(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert litetext(*FIT).code == 0
    before = contents("checkpoints/tiny", "lightning_logs/tiny")
    assert "nope.safetensors" in refused(*FIT, "--overwrite", "--model.teacher", "nope.safetensors")
    more = ("--data.sources", '{"a": "shapes:121"}', "--trainer.max_epochs", "2")
    assert "other prompts" in refused(*FIT[:3], *more, "--ckpt_path", "last")
    assert contents("checkpoints/tiny", "lightning_logs/tiny") == before
    # Nor does a validation add to the curves of the training.
    assert litetext("validate", "--config", "tiny.yaml", "--ckpt_path", "best").code == 0
    assert contents("checkpoints/tiny", "lightning_logs/tiny") == before


def test_files_that_no_run_wrote_are_left_alone(folder: Path, refused: Callable[..., str]) -> None:
    Path("checkpoints/mine").mkdir(parents=True)
    Path("checkpoints/mine/student.ckpt").write_text("precious")
    for more in ((), ("--overwrite",)):
        assert "checkpoints/mine holds student.ckpt, which no run wrote" in refused(*FIT, "--run", "mine", *more)
    assert [p.name for p in Path("checkpoints/mine").iterdir()] == ["student.ckpt"]


@pytest.mark.parametrize("name", ["7", "../x", "/tmp/x-litetext"])
def test_a_run_is_named_not_placed(name: str, folder: Path, refused: Callable[..., str]) -> None:
    assert f"--run {name}: " in refused(*FIT, "--run", name)
    assert not Path("lightning_logs").exists()


def test_two_at_a_time_are_refused(folder: Path, refused: Callable[..., str]) -> None:
    with sole_writer([Path("lightning_logs/tiny")], "litetext test", "tiny"):
        line = refused(*FIT)
    assert "lightning_logs/tiny is being written by another process (litetext test, process" in line
    assert not list(Path("checkpoints/tiny").glob("*.ckpt"))


def dies(argv: Sequence[str]) -> int:
    """A fit that kills its process in its first step."""
    DistillModule.training_step = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
    return main(argv)


@pytest.mark.usefixtures("copied")
def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    killed = begun(dies, FIT)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert list(Path("lightning_logs/tiny").glob("events.*"))
    line = refused(*FIT, "--ckpt_path", "last")
    assert "ended before it wrote a checkpoint" in line
    assert "leave --ckpt_path out" in line
    assert litetext(*FIT).code == 0


def test_a_full_disk_leaves_the_old_checkpoints(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT).code == 0
    before = contents("checkpoints/tiny")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path("checkpoints/tiny/best.ckpt").stat().st_size // 2, hard))
    try:
        answer = litetext(*FIT[:3], "--trainer.max_epochs", "3", "--ckpt_path", "last")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert answer.code == 2, answer
    assert "the disk is full; what stood there is as it was" in answer.err.splitlines()[-1]
    assert contents("checkpoints/tiny") == before
    assert not list(Path("checkpoints/tiny").glob(".*"))


def test_more_processes_than_cores_are_not_started(folder: Path, refused: Callable[..., str]) -> None:
    begin = time.monotonic()
    assert "trainer.devices is 999, but the CPU has" in refused(*FIT, "--trainer.devices", "999")
    assert time.monotonic() - begin < 30


def test_the_learning_rate_is_logged(folder: Path, litetext: Callable[..., Answer]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert litetext(*FIT, "--trainer.max_epochs", "2").code == 0
    board = EventAccumulator("lightning_logs/tiny")
    board.Reload()
    tag = next(tag for tag in board.Tags()["scalars"] if tag.startswith("lr"))
    rates = [event.value for event in board.Scalars(tag)]
    assert len(rates) == 10
    assert rates[0] == pytest.approx(1e-6)
    assert rates[4] == pytest.approx(1e-6 + (0.01 - 1e-6) * 4 / 5)
    assert rates[5] == pytest.approx(1e-5 + (0.01 - 1e-5) / 2)


def test_a_resumed_run_is_one_curve(folder: Path, litetext: Callable[..., Answer]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert litetext(*FIT).code == 0
    assert litetext(*FIT[:3], "--trainer.max_epochs", "2", "--ckpt_path", "last").code == 0
    board = EventAccumulator("lightning_logs/tiny")
    board.Reload()
    steps = [event.step for event in board.Scalars("train/loss")]
    assert steps == sorted(set(steps))
    assert len(steps) >= 9


@pytest.mark.usefixtures("copied")
def test_the_closing_lines_are_whole_at_80_columns(folder: Path) -> None:
    import pty

    shown = ("--trainer.enable_progress_bar", "true", "--trainer.enable_model_summary", "true")
    mine, theirs = pty.openpty()
    environment = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = begun(main, [*FIT, *shown], environment=environment, said=os.ttyname(theirs))
    told, ended = b"", False
    while True:
        if select.select([mine], [], [], 0 if ended else 0.02)[0]:
            told += os.read(mine, 65536)
        elif ended:
            break
        else:
            ended = process.exitcode is not None
    assert process.exitcode == 0
    text = told.decode()
    assert "v_num" not in text
    assert "FLOPs" not in text
    lines = [line.rstrip("\r") for line in text.split("\n")]
    command_line = f"{'':20}litetext validate --config lightning_logs/tiny/config.yaml --ckpt_path best"
    assert command_line in lines, lines[-12:]
    bars = [line for line in text.replace("\r", "\n").split("\n") if "Epoch 0" in line]
    assert bars
