"""The second stage: a student learns through a frozen SAM3, resumes bit for bit, and refuses what does not fit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from litetext.checkpoints.lightning import read_checkpoint
from litetext.commands.ablate import _content
from litetext.commands.lightning import check
from litetext.data.shapes.world import phrases
from litetext.export.card import _numbers
from litetext.models.text.students import load_student
from litetext.modules.task_distill import PARTS, SCORES, TaskDistillModule
from litetext.shipped import shipped
from tests.fixtures.runs import TWO_EPOCHS, Answer, same_weights, stopped_at, weights

START = "checkpoints/student-tiny/student.ckpt"
FIT = ("fit", "--config", "stage.yaml")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images, prompts about shapes, and `stage.yaml`: 4 steps an epoch, 2 epochs."""
    monkeypatch.chdir(tmp_path)
    for n in range(6):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (40 * n, 200, 20)).save(tmp_path / "images" / f"{n}.png")
    (tmp_path / "prompts.txt").write_text("\n".join(phrases(40, 0)))
    config = {
        "model": {
            "class_path": "litetext.modules.TaskDistillModule",
            "init_args": {"start": START, "sam3": "checkpoints/sam3-tiny", "lr": 1e-3, "masks_drawn": 2},
        },
        "data": {
            "class_path": "litetext.data.TaskDataModule",
            "init_args": {
                "images": "images",
                "prompts": "prompts.txt",
                "asked": 4,
                "phrases": 2,
                "batch_images": 2,
                "val_fraction": 0.3,
            },
        },
        "trainer": dict(TWO_EPOCHS),
        "checkpoint": {"monitor": "val/loss", "mode": "min"},
    }
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def test_a_student_learns_on_resumes_bit_for_bit_and_finds_its_features_again(
    place: Path, litetext: Callable[..., Answer]
) -> None:
    whole = litetext(*FIT, "--run", "whole")
    assert whole.code == 0, whole.err
    assert "held-out images     CG_F1" in whole.out
    files = [*(place / "checkpoints/vision").glob("*/*.safetensors")]
    assert len(files) == 6
    written = {file: file.stat().st_mtime_ns for file in files}
    trained, last = load_student("checkpoints/whole/best.ckpt"), "checkpoints/whole/last.ckpt"
    assert trained.config == load_student(shipped(START)).config
    scores = read_checkpoint(last)["litetext"]["scores"]
    assert set(scores) == {*SCORES, *PARTS, "loss"}, "what may be monitored is what is logged"
    assert "cosine" not in scores, "a loss must not stand where others have the closeness"
    assert "| CG_F1 |" in "\n".join(_numbers(scores, True))
    assert not same_weights(last, shipped(START))
    assert not any(key.startswith("sam3") for key in weights(last)), "the SAM3 is named, not stored"

    stopped = stopped_at(3, lambda: litetext(*FIT, "--run", "part", "--last.every_n_steps", "1"), TaskDistillModule)
    assert "the power failed" in stopped.err
    resumed = litetext(*FIT, "--run", "part", "--ckpt_path", "last")
    assert resumed.code == 0, resumed.err
    assert {file: file.stat().st_mtime_ns for file in written} == written, "no image is looked at again"
    assert same_weights("checkpoints/part/last.ckpt", last)

    (place / "prompts.txt").write_text("\n".join(phrases(40, 1)))
    other = litetext(*FIT, "--run", "part", "--ckpt_path", "last")
    assert other.code == 2
    assert "trained on other images or phrases" in other.err
    again = TaskDistillModule.load_from_checkpoint(last)
    assert all(torch.equal(value, weights(last)[name]) for name, value in again.state_dict().items())


def test_an_ablation_of_it_is_keyed_by_weights_images_and_phrases(place: Path) -> None:
    def content(*more: str) -> dict[str, str]:
        return _content(check("fit", [*FIT[1:], "--run", "keyed", *more]), {})

    told = content()
    assert set(told) == {"start", "SAM3", "images"}
    assert content() == told
    assert content("--model.masks_weight", "0") == told
    hashes: dict[str, str] = {}
    assert _content(check("fit", [*FIT[1:], "--run", "keyed"]), hashes) == told
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskDistillModule, "learns_from", None)
        again = check("fit", [*FIT[1:], "--run", "keyed", "--model.text_weight", "2"])
        assert _content(again, hashes) == told, "what variants share is read once"
        assert not again.datamodule.images
    Image.new("RGB", (44, 30), (9, 9, 9)).save("images/2.png")
    changed = content()
    assert {key for key in told if told[key] != changed[key]} == {"images"}
    stored = torch.load(shipped(START), weights_only=True)
    stored["state_dict"] = {key: value * 1.01 for key, value in stored["state_dict"].items()}
    torch.save(stored, "other.ckpt")
    other = content("--model.start", "other.ckpt")
    assert {key for key in changed if changed[key] != other[key]} == {"start"}


def test_what_does_not_fit_is_refused_in_one_line(
    place: Path, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    assert "no such file" in refused(*FIT, "--model.start", "nowhere.ckpt")
    assert "checkpoints/sam3-none" in refused(*FIT, "--model.sam3", "checkpoints/sam3-none")
    other = refused(*FIT, "--model.sam3", "checkpoints/sam3-nouns")
    assert "name the SAM3 that taught it" in other
    assert "checkpoints/sam3-nouns 96" in other
    assert "model.text_weight is -1" in refused(*FIT, "--model.text_weight", "-1")
    zero = [f"--model.{name}_weight=0" for name in ("text", "presence", "scores", "boxes", "masks", "mse", "cosine")]
    assert "nothing would be learnt" in refused(*FIT, *zero)
    (place / "images/2.png").write_bytes((place / "images/2.png").read_bytes()[:60])
    cut = litetext(*FIT)
    assert cut.code == 2
    assert "2.png: it does not decode" in cut.err


def test_the_features_of_an_image_that_was_damaged_are_made_again(place: Path, litetext: Callable[..., Answer]) -> None:
    one = ("--trainer.max_steps", "1", "--trainer.limit_val_batches", "0")
    assert litetext(*FIT, *one, "--run", "one").code == 0
    (folder,) = (place / "checkpoints/vision").iterdir()
    assert json.loads((folder / "about.json").read_text())["device"] == "cpu"
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match="is damaged or gone"):
        answer = litetext(*FIT, *one, "--run", "two")
    assert answer.code == 0, answer.err
    assert same_weights("checkpoints/one/last.ckpt", "checkpoints/two/last.ckpt")


def test_other_data_is_named(place: Path, refused: Callable[..., str]) -> None:
    config = yaml.safe_load((place / "stage.yaml").read_text())
    config["data"] = {
        "class_path": "litetext.data.PromptDataModule",
        "init_args": {"sources": {"shapes": "shapes:50"}},
    }
    (place / "other.yaml").write_text(yaml.safe_dump(config))
    assert "reads a TaskDataModule; data.class_path names PromptDataModule" in refused("fit", "--config", "other.yaml")
