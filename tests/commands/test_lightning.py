"""Checkpoints that come in by `--ckpt_path`, and what a newcomer reads on the terminal."""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.fixtures.runs import Answer, weights

FIT = ("fit", "--config", "tiny.yaml", "--trainer.max_epochs", "1")


class Harm:
    """Makes a file when unpickled."""

    def __reduce__(self) -> tuple:
        return (open, ("harmed", "w"))


def test_damaged_foreign_and_harmful_checkpoints(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert litetext(*FIT).code == 0
    good = Path("checkpoints/tiny/last.ckpt")
    stored = torch.load(good, weights_only=True)

    Path("garbage.ckpt").write_text("garbage")
    assert "garbage.ckpt cannot be read" in refused(*FIT, "--ckpt_path", "garbage.ckpt")
    Path("empty.ckpt").write_bytes(b"")
    assert "empty.ckpt cannot be read" in refused(*FIT, "--ckpt_path", "empty.ckpt")
    whole = good.read_bytes()
    Path("cut.ckpt").write_bytes(whole[: len(whole) // 2])
    assert "cut.ckpt cannot be read" in (line := refused(*FIT, "--ckpt_path", "cut.ckpt"))
    assert "cut short" in line
    torch.save({"model": 1}, "foreign.ckpt")
    assert "foreign.ckpt is no Lightning checkpoint" in refused(*FIT, "--ckpt_path", "foreign.ckpt")

    torch.save(stored | {"harm": Harm()}, "harm.ckpt")
    for command in ("fit", "validate"):
        line = refused(command, *FIT[1:3], "--ckpt_path", "harm.ckpt")
        assert "harm.ckpt cannot be read as a checkpoint: it holds more than tensors and plain values (io.open)" in line
        assert "cut short" not in line
    assert not Path("harmed").exists()
    torch.load("harm.ckpt", weights_only=False)["harm"].close()
    assert Path("harmed").exists()  # it would have done harm

    line = refused(*FIT, "--ckpt_path", "last", "--model.student.preset", "s1", "--model.student.width", "64")
    assert "the checkpoint is of another student: preset 'nano' there, 's1' here" in line
    torch.save({k: v for k, v in stored.items() if k != "litetext"}, "nameless.ckpt")
    assert "no litetext student" in refused(*FIT, "--ckpt_path", "nameless.ckpt")
    stored["state_dict"].pop("student.projector.weight")
    torch.save(stored, "lacking.ckpt")
    assert "student.projector.weight" in (line := refused(*FIT, "--run", "on", "--ckpt_path", "lacking.ckpt"))
    assert "--ckpt_path" in line


def test_validate_and_test_want_a_checkpoint_that_is_there(folder: Path, refused: Callable[..., str]) -> None:
    for command in ("validate", "test", "predict"):
        assert "there is no checkpoints/tiny/best.ckpt" in refused(
            command, "--config", "tiny.yaml", "--ckpt_path", "best"
        )


def test_options_beat_what_the_checkpoint_says(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT).code == 0
    answer = litetext(
        *FIT[:3], "--ckpt_path", "checkpoints/tiny/last.ckpt", "--run", "on", "--trainer.max_epochs", "2",
        "--model.consistency_weight", "0.7",
    )  # fmt: skip
    assert answer.code == 0
    stored = torch.load("checkpoints/on/last.ckpt", weights_only=True)
    assert stored["hyper_parameters"]["consistency_weight"] == 0.7
    assert stored["global_step"] == 10


def test_the_terminal_is_quiet_and_names_real_paths(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT).code == 0
    answer = litetext(*FIT, "--overwrite")  # again, into the same folders
    assert answer.code == 0
    told = answer.out + answer.err
    for noise in ("litlogger", "weights_only", "not empty", "num_workers", "LeafSpec"):
        assert noise not in told, noise
    lines = {line[:20].strip(): line[20:].strip() for line in answer.out.splitlines() if line[:1].isalpha()}
    assert lines["best checkpoint"] == "checkpoints/tiny/best.ckpt"
    assert Path(lines["best checkpoint"]).is_file()
    assert list(Path(lines["TensorBoard run"]).glob("events.*"))
    assert lines["next"] == "tensorboard --logdir lightning_logs"
    scores = torch.load(lines["best checkpoint"], weights_only=True)["litetext"]["scores"]
    assert lines["validation cosine"].startswith(f"{scores['cosine']:.4f} per token")
    assert f"agreement {scores['agreement']:.4f}" in lines["validation cosine"]
    rate = re.fullmatch(r"([\d,.]+) prompts/s; peak memory ([\d.]+) GB.*", lines["training"])
    assert rate is not None
    assert float(rate[1].replace(",", "")) > 0
    student = sum(value.numel() for value in weights(lines["best checkpoint"]).values())
    assert lines["parameters"].startswith(f"{student:,} of the teacher's 794,512: {100 - student / 7945.12:.1f}% fewer")
    # The last line is a command that can be run as it stands.
    command = answer.out.strip().splitlines()[-1].split()
    assert command[0] == "litetext"
    again = litetext(*command[1:])
    assert again.code == 0
    assert f"{scores['agreement']:.6f}"[:6] in again.out


def test_without_a_logger_nothing_is_promised(folder: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext(*FIT, "--trainer.logger", "false")
    assert answer.code == 0, answer.err
    assert not os.path.exists("lightning_logs")
    assert "TensorBoard" not in answer.out


def test_the_commands_leave_the_runs_config_alone(
    folder: Path, litetext: Callable[..., Answer], caplog: pytest.LogCaptureFixture
) -> None:
    assert litetext(*FIT).code == 0
    before = Path("lightning_logs/tiny/config.yaml").read_bytes()
    validate = ("validate", "--config", "tiny.yaml", "--data.val_batch_size", "5")
    told = "the model is scored as its options make it, not as a fit left it (--ckpt_path best"
    with caplog.at_level(logging.INFO):
        assert litetext(*validate, "--ckpt_path", "best").code == 0
        assert told not in caplog.text
        assert litetext(*validate).code == 0
    assert told in caplog.text
    assert Path("lightning_logs/tiny/config.yaml").read_bytes() == before


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_checkpoint_is_plain_data(name: str, folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT).code == 0
    stored = torch.load(f"checkpoints/tiny/{name}.ckpt", weights_only=True)
    assert not [key for key in stored["state_dict"] if key.startswith("teacher")]


def test_all_that_a_run_writes_lies_below_the_root(folder: Path, litetext: Callable[..., Answer]) -> None:
    options = ("--config", "tiny.yaml", "--trainer.default_root_dir", "out", "--trainer.max_epochs")
    assert litetext("fit", *options, "1").code == 0
    root = folder / "out"
    assert {path.name for path in (root / "checkpoints" / "tiny").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert (root / "lightning_logs" / "tiny" / "config.yaml").is_file()
    assert not (folder / "lightning_logs").exists()
    assert not (folder / "checkpoints" / "tiny").exists()
    again = litetext("fit", *options, "2", "--ckpt_path", "last")
    assert again.code == 0, again.err
    assert "out/checkpoints/tiny/best.ckpt" in again.out
