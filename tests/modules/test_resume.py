"""A resumed run takes what it can and refuses the rest by name; a fork speaks for itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from litetext.cli import main
from tests.fixtures.runs import Answer, tiny_config

FIT = ("fit", "--config", "tiny.yaml")
LAST = ("--ckpt_path", "last")


def stored(path: str) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def rates(path: str) -> list[float]:
    """The learning rate of each parameter group."""
    return [group["lr"] for group in stored(path)["optimizer_states"][0]["param_groups"]]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--model.lr", "1e-3"), "model.lr (0.01 there, 0.001 here)"),
        (("--model.weight_decay", "0.1"), "model.weight_decay (0.05 there, 0.1 here)"),
        (("--model.warmup_epochs", "0"), "model.warmup_epochs (1"),
        (("--model.min_lr", "1e-4"), "model.min_lr (1e-05 there, 0.0001 here)"),
        (("--model.scale_lr", "true"), "model.scale_lr (False there, True here)"),
        (("--model.cosine_weight", "1"), "model.cosine_weight (2.0 there, 1.0 here)"),
        (("--model.consistency_weight", "0"), "model.consistency_weight (0.1 there, 0"),
        (("--seed_everything", "3"), "seed_everything (0 there, 3 here)"),
        (("--data.seed", "3"), "data.seed (nothing there, 3 here)"),
        (("--data.batch_size", "8"), "data.batch_size (16 there, 8 here)"),
        (("--data.permutation", "words"), "data.permutation (attribute-noun there, words here)"),
        (("--data.val_fraction", "0.3"), "data.val_fraction (0.2 there, 0.3 here)"),
        (("--data.max_prompts", "50"), "data.max_prompts (nothing there, 50 here)"),
        (("--trainer.accumulate_grad_batches", "2"), "trainer.accumulate_grad_batches (1 there, 2 here)"),
        (("--trainer.gradient_clip_val", "1"), "trainer.gradient_clip_val (nothing there, 1"),
        (("--trainer.precision", "bf16-mixed"), "trainer.precision ("),
        (("--trainer.limit_train_batches", "2"), "trainer.limit_train_batches (nothing there, 2 here)"),
        (("--checkpoint.monitor", "val/cosine"), "checkpoint.monitor (val/agreement there, val/cosine here)"),
    ],
)
def test_options_that_a_resumed_run_cannot_take(
    options: tuple[str, ...], told: str, run_once: Path, refused: Callable[..., str]
) -> None:
    before = Path("checkpoints/tiny/last.ckpt").read_bytes()
    line = refused(*FIT, "--trainer.max_epochs", "2", *options, *LAST)
    assert told in line
    assert "give them as they were, or begin a new run with --run NAME and without --ckpt_path" in line
    assert Path("checkpoints/tiny/last.ckpt").read_bytes() == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path) -> tuple[Path, Path]:
    """A folder in which a run of one epoch was trained, and a copy of what it left there."""
    folder, copy = tmp_path_factory.mktemp("resume") / "here", tmp_path_factory.mktemp("resume") / "copy"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("tiny.yaml").write_text(yaml.safe_dump(tiny_config(teacher_file)))
        assert main([*FIT, "--trainer.max_epochs", "1"]) == 0
    shutil.copytree(folder, copy)
    return folder, copy


@pytest.fixture
def run_once(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder as that run left it; checkpoints know where they were written."""
    folder, copy = trained
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    monkeypatch.chdir(folder)
    return folder


def test_options_that_do_not_decide_may_change(run_once: Path, litetext: Callable[..., Answer]) -> None:
    free = ("--data.val_batch_size", "7", "--last.every_n_steps", "3", "--trainer.log_every_n_steps", "2")
    answer = litetext(*FIT, "--trainer.max_epochs", "1", *free, *LAST)
    assert answer.code == 0, answer.err


def test_a_longer_run_follows_its_own_schedule(run_once: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext(*FIT, "--trainer.max_epochs", "4", *LAST)
    assert answer.code == 0, answer.err
    assert (
        "trainer.max_epochs 1 there, 4 here: the run goes on by the schedule of the new length, from step 5 at"
        in answer.out
    )
    assert litetext(*FIT, "--trainer.max_epochs", "4", "--run", "alone").code == 0
    assert rates("checkpoints/tiny/last.ckpt") == rates("checkpoints/alone/last.ckpt")
    assert rates("checkpoints/tiny/last.ckpt")[0] == pytest.approx(1e-5)


def test_each_step_of_a_longer_run_has_the_rate_of_its_schedule(
    run_once: Path, litetext: Callable[..., Answer]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def curve(run: str) -> dict[int, float]:
        board = EventAccumulator(f"lightning_logs/{run}")
        board.Reload()
        return {event.step: event.value for event in board.Scalars("lr/pg1")}

    assert litetext(*FIT, "--trainer.max_epochs", "3", *LAST).code == 0
    assert litetext(*FIT, "--trainer.max_epochs", "3", "--run", "alone").code == 0
    resumed, alone = curve("tiny"), curve("alone")
    assert [resumed[step] for step in range(6, 15)] == pytest.approx([alone[step] for step in range(6, 15)])


def test_other_prompts_are_refused(run_once: Path, refused: Callable[..., str]) -> None:
    line = refused(*FIT, "--trainer.max_epochs", "2", "--data.sources", '{"a": "shapes:121"}', *LAST)
    assert "trained on other prompts (120 there, 121 from data.sources shapes:121 here)" in line


def test_another_teacher_is_refused_and_one_that_moved_is_not(
    run_once: Path, litetext: Callable[..., Answer], refused: Callable[..., str], teacher_file: Path
) -> None:
    weights = load_file(teacher_file)
    save_file(weights, "moved.safetensors")
    weights["projector.bias"] = weights["projector.bias"] + 1
    save_file(weights, "other.safetensors")
    line = refused(*FIT, "--trainer.max_epochs", "2", "--model.teacher", "other.safetensors", *LAST)
    assert "learnt from another teacher" in line
    assert litetext(*FIT, "--trainer.max_epochs", "2", "--model.teacher", "moved.safetensors", *LAST).code == 0


def test_a_fork_reports_its_own_best(run_once: Path, litetext: Callable[..., Answer]) -> None:
    old = Path("checkpoints/tiny/best.ckpt")
    before = old.read_bytes()
    fork = (*FIT, "--run", "fork", "--ckpt_path", "checkpoints/tiny/last.ckpt")
    # Nothing is trained, nothing validated: there is no best checkpoint to speak of.
    answer = litetext(*fork, "--trainer.max_epochs", "1")
    assert answer.code == 0, answer.err
    assert "checkpoints/tiny/best.ckpt" not in answer.out
    assert "best checkpoint     none" in answer.out
    again = litetext(*fork, "--trainer.max_epochs", "2", "--overwrite", "--model.consistency_weight", "0.3")
    assert again.code == 0, again.err
    assert "best checkpoint     checkpoints/fork/best.ckpt" in again.out
    assert stored("checkpoints/fork/best.ckpt")["global_step"] == 10
    assert old.read_bytes() == before
    last = (*FIT, "--run", "fork", *LAST, "--trainer.max_epochs", "3", "--model.consistency_weight", "0.3")
    assert litetext(*last).code == 0
    origin = "checkpoints/tiny/last.ckpt, step 5"
    assert stored("checkpoints/fork/last.ckpt")["litetext_run"]["origin"] == origin
    config = Path("lightning_logs/fork/config.yaml").read_text()
    assert config.startswith(f"# This run went on from {origin} (--ckpt_path).\n")
    assert "went on" not in Path("lightning_logs/tiny/config.yaml").read_text()


@pytest.mark.parametrize("gone", [False, True])
def test_a_run_that_was_moved_keeps_its_best(gone: bool, run_once: Path, litetext: Callable[..., Answer]) -> None:
    last = stored("checkpoints/tiny/last.ckpt")
    state = next(value for name, value in last["callbacks"].items() if name.startswith("ModelCheckpoint"))
    score = torch.tensor(2.0)  # no later validation reaches that
    state["best_model_score"] = state["kth_value"] = score
    state["best_k_models"] = dict.fromkeys(state["best_k_models"], score)
    torch.save(last, "checkpoints/tiny/last.ckpt")
    Path("moved").mkdir()
    shutil.move("checkpoints", "moved/checkpoints")  # as on another machine: what the checkpoint names is not there
    best = Path("moved/checkpoints/tiny/best.ckpt")
    if gone:
        best.unlink()
    answer = litetext(*FIT, "--trainer.max_epochs", "2", "--trainer.default_root_dir", "moved", *LAST)
    assert answer.code == 0, answer.err
    assert stored(str(best))["global_step"] == (10 if gone else 5)


def test_a_fork_cannot_take_another_rate_either(run_once: Path, refused: Callable[..., str]) -> None:
    line = refused(*FIT, "--run", "fork", "--ckpt_path", "checkpoints/tiny/last.ckpt", "--model.lr", "1")
    assert "model.lr (0.01 there, 1.0 here)" in line


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--data.val_fraction", "0.1"), None),  # a part of what the run held out
        (("--data.val_fraction", "0.5"), "held out data.val_fraction 0.2, here 0.5 is"),
        (("--data.sources", '{"shapes": "shapes:120", "b": "shapes:60"}', "--data.val_sources", "[b]"), "val_sources"),
    ],
)
def test_a_validation_on_what_was_trained_on_says_so(
    options: tuple[str, ...], told: str | None, run_once: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert main(["validate", *FIT[1:], "--ckpt_path", "best", *options]) == 0
    lines = [str(warning.message) for warning in recwarn if "too good" in str(warning.message)]
    assert len(lines) == (told is not None)
    assert told is None or told in lines[0]


def test_checkpoints_that_fit_cannot_go_on_from(run_once: Path, refused: Callable[..., str]) -> None:
    good = stored("checkpoints/tiny/last.ckpt")
    torch.save({"state_dict": {"x": torch.zeros(2)}}, "other.ckpt")
    assert "other.ckpt: it holds no litetext student or model" in refused(*FIT, "--ckpt_path", "other.ckpt")
    torch.save({k: good[k] for k in ("state_dict", "litetext", "epoch", "global_step")}, "student.ckpt")
    assert "holds weights alone" in refused(*FIT, "--ckpt_path", "student.ckpt")
    assert "checkpoints/tiny is a folder; give the .ckpt file" in refused(*FIT, "--ckpt_path", "checkpoints/tiny")
    good["state_dict"]["student.projector.bias"][0] = torch.nan
    torch.save(good, "nan.ckpt")
    line = refused(*FIT, "--run", "nan", "--ckpt_path", "nan.ckpt")
    assert "--ckpt_path: 1 of its" in line
    assert "NaN or infinite values, such as student.projector.bias" in line


def test_teachers_and_initial_weights_that_are_not_finite(
    folder: Path, teacher_file: Path, refused: Callable[..., str]
) -> None:
    weights = load_file(teacher_file)
    weights["projector.bias"][1] = torch.inf
    save_file(weights, "inf.safetensors")
    line = refused(*FIT, "--model.teacher", "inf.safetensors")
    assert "inf.safetensors: 1 of its" in line
    assert "NaN or infinite values, such as projector.bias" in line
    assert not list(Path("checkpoints").rglob("*.safetensors"))


def test_a_score_that_is_not_finite_is_no_best(
    folder: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    from litetext.metrics.agreement import Agreement

    compute = Agreement.compute
    monkeypatch.setattr(Agreement, "compute", lambda self: compute(self) | {"agreement": torch.tensor(torch.nan)})
    answer = litetext(*FIT)
    assert answer.code == 0, answer.err
    assert not Path("checkpoints/tiny/best.ckpt").exists()
    assert "best checkpoint     none" in answer.out


def test_the_options_are_in_the_checkpoint(run_once: Path) -> None:
    kept = json.loads(stored("checkpoints/tiny/best.ckpt")["litetext_run"]["options"])
    assert (kept["model.lr"], kept["data.batch_size"], kept["seed_everything"]) == (0.01, 16, 0)
