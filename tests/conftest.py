"""What all tests share: no network, shapes of tensors checked, and a small world to distil in."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # the models are tiny, and threads that wait spin

import jaxtyping

# Must come before the first import of these rooms.
_hook = jaxtyping.install_import_hook(["litetext.losses", "litetext.models", "litetext.metrics"], "beartype.beartype")

import pytest
import torch
import yaml

from litetext.cli import main


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher with random weights that knows the whole vocabulary; 64 features a token."""
    from safetensors.torch import save_file

    from litetext.models.sam3_text import Sam3TextEncoder

    teacher = Sam3TextEncoder.random(0, embed_width=16, heads=1, layers=1, hidden=32, eot_width=8, width=64)
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_file(teacher.state_dict(), path)
    return path


def tiny_config(teacher: Path) -> dict[str, Any]:
    """A distillation of seconds: 5 batches of 16 prompts an epoch, 27 prompts held out, 2 epochs."""
    return {
        "model": {
            "class_path": "litetext.modules.distill.DistillModule",
            "init_args": {
                "student": {
                    "class_path": "litetext.models.mobileclip.MobileClipText",
                    "init_args": {"preset": "nano", "layers": 1},
                },
                "teacher": str(teacher),
                "warmup_epochs": 1,
                "lr": 0.01,
                "scale_lr": False,
            },
        },
        "data": {
            "class_path": "litetext.data.prompt_datamodule.PromptDataModule",
            "init_args": {"sources": {"shapes": "shapes:120"}, "batch_size": 16, "val_fraction": 0.2},
        },
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": 1,
            "use_distributed_sampler": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
        },
        "checkpoint": {"monitor": "val/agreement", "mode": "max"},
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_file: Path) -> Path:
    """An empty working folder with `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(teacher_file)))
    return tmp_path


@pytest.fixture
def litetext(capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs `litetext` in this process."""

    def run(*argv: str) -> Answer:
        capfd.readouterr()
        code = main(argv)
        out, err = capfd.readouterr()
        return Answer(code, out, err)

    return run


@pytest.fixture
def refused(litetext: Callable[..., Answer]) -> Callable[..., str]:
    """Runs a command that must end with exit code 2 and one line on stderr; gives that line."""

    def run(*argv: str) -> str:
        answer = litetext(*argv)
        lines = [line for line in answer.err.splitlines() if not line.startswith(_TALK)]
        assert answer.code == 2, answer
        assert len(lines) == 1, answer.err
        assert lines[0].startswith("litetext: error: "), answer.err
        assert "Traceback" not in answer.err
        return lines[0]

    return run


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """No check of types and shapes, as users run: wrong input reaches litetext's own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# Lightning's lines about seed and devices, ours about corpora and stores: said before a run fails.
_TALK = ("Seed set to", "GPU available", "TPU available", "source ", "all ", "shapes ", "teacher features of")


def weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The state dict of a checkpoint."""
    return torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
