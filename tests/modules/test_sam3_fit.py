"""The trainings of the tiny SAM3s: from the command to a folder that transformers reads."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import Sam3Model

from litetext.cli import main
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.nouns_fit import NounsFitModule
from litetext.modules.sam3_fit import SCORES, Sam3FitModule
from litetext.modules.shapes_fit import ShapesFitModule
from tests.fixtures.runs import Answer, same_weights, stopped_at, weights


class Training(NamedTuple):
    """A training of seconds, of four steps.

    Attributes:
        run: Its run, and its config's name.
        module: What trains.
        options: What makes it small.
        averaged: How the checkpoint's names of averaged weights begin.
        card: What the exported model's card says, with its scores.
    """

    run: str
    module: type[Sam3FitModule]
    options: tuple[str, ...]
    averaged: str
    card: tuple[str, ...]

    @property
    def fit(self) -> tuple[str, ...]:
        return (
            *("fit", "--config", f"{self.run}.yaml", "--threads", "1", "--trainer.enable_progress_bar", "false"),
            *("--trainer.enable_model_summary", "false", "--trainer.precision", "32"),
            *("--trainer.val_check_interval", "4", "--trainer.log_every_n_steps", "1", "--last.every_n_steps", "2"),
            *("--model.width", "32", "--model.vision_layers", "1", "--data.images", "2", "--data.val_images", "2"),
            *self.options,
        )


SHAPES = Training(
    "sam3_tiny",
    ShapesFitModule,
    ("--model.text_steps", "2", "--model.layers", "1", "--data.steps", "4"),
    "averaged.module.",
    ("4 steps of 2 images x 4 phrases", "| {CG_F1:.1f} | {IL_MCC:.3f} |"),
)
NOUNS = Training(
    "sam3_nouns",
    NounsFitModule,
    (
        *("--model.layers", "2", "--model.decoder_layers", "1", "--model.vision_width", "32", "--model.queries", "7"),
        *("--model.text_width", "24", "--model.text_layers", "1", "--data.phrases", "4", "--data.val_phrases", "4"),
        *("--data.vision_steps", "1", "--data.text_steps", "1", "--data.steps", "2", "--data.num_workers", "0"),
    ),
    "smooth.",
    ("1 steps of vision (2 images each), 1 of text (2 x 4 phrases), 2 of both", "| all | 8 | {CG_F1:.1f} |"),
)


class Trained(NamedTuple):
    """A training that ended, and what it said."""

    training: Training
    folder: Path
    said: str

    @property
    def model(self) -> Path:
        return self.folder / "checkpoints" / self.training.run / "model"

    @property
    def last(self) -> Path:
        return self.model.with_name("last.ckpt")


@pytest.fixture(scope="module", params=[SHAPES, NOUNS], ids=lambda training: training.run)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder, said = tmp_path_factory.mktemp(request.param.run), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        assert main([*request.param.fit]) == 0
    return Trained(request.param, folder, said.getvalue())


@pytest.fixture(params=[SHAPES, NOUNS], ids=lambda training: training.run)
def training(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """A training that has not begun, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return request.param


def test_the_command_trains_and_exports(trained: Trained) -> None:
    training = trained.training
    assert f"tiny SAM3: checkpoints/{training.run}/model; CG_F1 " in trained.said
    model, report = Sam3Model.from_pretrained(trained.model, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert next(model.parameters()).dtype == torch.float16
    kept = weights(trained.last)
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[f"{training.averaged}{name}"].half()), name
    assert Sam3TextEncoder.from_pretrained(trained.model).width == 32
    scores = torch.load(trained.last, weights_only=True)["litetext"]["scores"]
    assert set(scores) == set(SCORES), "what may be monitored is what is logged"
    card = " ".join((trained.model / "README.md").read_text().split())
    for line in training.card:
        assert line.format(**scores) in card


def test_the_exported_folder_can_be_scored(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = litetext("validate", *trained.training.fit[1:], "--model.start", str(trained.model))
    assert answer.code == 0, answer.err
    assert "val/CG_F1" in answer.out
    assert ("| all | 8 |" in answer.out) == (trained.training is NOUNS), "nouns have scores by kind of phrase"


def test_a_stopped_run_is_the_same_when_it_is_taken_up_again(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    training = trained.training
    assert stopped_at(3, lambda: litetext(*training.fit, "--run", "torn"), training.module).code == 2
    assert torch.load("checkpoints/torn/last.ckpt", weights_only=True)["global_step"] == 2
    assert litetext(*training.fit, "--run", "torn", "--ckpt_path", "last").code == 0
    assert same_weights("checkpoints/torn/last.ckpt", trained.last)


@pytest.mark.parametrize("trained", [NOUNS], indirect=True, ids=["sam3_nouns"])
def test_a_token_that_training_never_met_says_nothing(trained: Trained) -> None:
    kept = weights(trained.last)
    (table,) = (value for name, value in kept.items() if name.startswith("smooth.") and "token_embedding" in name)
    assert torch.equal(table.any(1), kept["met"])
    assert kept["met"][[49406, 49407]].all()
    assert 10 < int(kept["met"].sum()) < 200
    told = torch.load(trained.last, weights_only=True)["litetext"]
    assert [point["step"] for point in told["curve"]] == [4]


@pytest.mark.parametrize("training", [SHAPES], indirect=True, ids=["sam3_tiny"])
def test_a_run_of_fewer_steps_is_exported_and_not_scored(training: Training, litetext: Callable[..., Answer]) -> None:
    half = litetext(*training.fit, "--run", "half", "--trainer.max_steps", "2")
    assert half.code == 0, half.err
    assert torch.load("checkpoints/half/last.ckpt", weights_only=True)["global_step"] == 2
    assert "not scored" in half.out
    assert "| not measured | not measured |" in Path("checkpoints/half/model/README.md").read_text()


def test_options_that_do_not_fit_are_refused(training: Training, refused: Callable[..., str]) -> None:
    assert "nowhere" in refused(*training.fit, "--model.start", "nowhere")
    assert "model.ema is 1.5" in refused(*training.fit, "--model.ema", "1.5")


def test_nothing_is_written_over(
    training: Training, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    Path("mine").mkdir()
    Path("mine/config.json").write_text("{}")
    assert "model.output mine is there already" in refused(*training.fit, "--model.output", "mine")
    assert [p.name for p in Path("mine").iterdir()] == ["config.json"]
    # A shipped name is a folder of this run's own making too: nothing points at the shipped files.
    shown = litetext(*training.fit, "--print_config").out
    assert training.run.replace("_", "-") not in shown


def test_weights_that_are_not_finite_are_neither_exported_nor_kept(
    training: Training, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    step = training.module.training_step

    def spoils(self: Any, batch: Any, number: int) -> torch.Tensor:
        return step(self, batch, number) * (torch.nan if self.trainer.global_step == 2 else 1)

    monkeypatch.setattr(training.module, "training_step", spoils)
    line, folder = refused(*training.fit), Path("checkpoints", training.run)
    assert "not finite at step" in line
    assert f"{folder}/last.ckpt stays as it was" in line
    assert all(value.isfinite().all() for value in weights(folder / "last.ckpt").values())
    assert not (folder / "best.ckpt").exists()
    assert not (folder / "model").exists()
