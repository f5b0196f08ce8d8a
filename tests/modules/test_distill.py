"""The main job: the student that comes back, gradients that are not finite, two processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from litetext.data.prompts.datamodule import PromptDataModule
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.students import load_student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.distill import DistillModule
from litetext.tokenizer import Tokenizer
from tests.fixtures.runs import Answer, finite, quiet, weights

FIT = ("fit", "--config", "tiny.yaml")
ONE = ("--trainer.max_epochs", "1")


def test_the_trained_student_comes_back(folder: Path, litetext: Callable[..., Answer]) -> None:
    assert litetext(*FIT, *ONE).code == 0
    student = load_student("checkpoints/tiny/best.ckpt")
    assert not student.training
    stored = weights("checkpoints/tiny/best.ckpt")
    for name, value in student.state_dict().items():
        assert torch.equal(value, stored[f"student.{name}"])
    tokens = Tokenizer(student.context_length)(["white dog", "the red circle with stripes"])
    assert student(*tokens).shape == (2, tokens.ids.shape[1], 64)
    with pytest.raises(FileNotFoundError, match=r"nope\.ckpt"):
        load_student("nope.ckpt")


def test_nan_from_a_live_teacher_and_a_gradient_that_is_not_finite(
    folder: Path, litetext: Callable[..., Answer], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert litetext(*FIT, *ONE).code == 0
    kept = Path("checkpoints/tiny/last.ckpt").read_bytes()
    live = ("--model.teacher_features", "live", "--ckpt_path", "last")
    with monkeypatch.context() as patch:
        forward = Sam3TextEncoder.forward
        patch.setattr(Sam3TextEncoder, "forward", lambda self, *tokens: forward(self, *tokens) * torch.nan)
        line = refused(*FIT, *live)
        assert "the loss of the prompt '" in line
        assert "its teacher features are not finite" in line
    with monkeypatch.context() as patch:
        total = DistillModule.total
        patch.setattr(
            DistillModule,
            "total",
            lambda self, parts: total(self, parts).clamp_max(1) + 0 * parts["mse"].sub(parts["mse"]).sqrt(),
        )  # finite, with an infinite slope
        line = refused(*FIT, "--ckpt_path", "last")
        assert "a gradient is not finite at step 5" in line
    assert Path("checkpoints/tiny/last.ckpt").read_bytes() == kept
    assert finite("checkpoints/tiny/best.ckpt")


class Gradients(Callback):
    """Adds up the gradients that reach the optimizer, after they were shared between processes."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        if trainer.is_global_zero and trainer.global_step == 0:
            found = {n: p.grad for n, p in pl_module.student.named_parameters() if p.grad is not None}
            torch.save(found, Path(trainer.default_root_dir) / "gradients.pt")


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("blocks", [False, True], ids=["transformer", "repmixer"])
def test_two_processes_are_one_with_the_doubled_batch(blocks: bool, folder: Path, teacher_file: Path) -> None:
    def run(devices: int) -> dict[str, Any]:
        torch.manual_seed(0)
        (folder / str(devices)).mkdir()
        student = MobileClipText("nano", layers=1, repmixer=blocks, kernel_size=3)
        data = PromptDataModule({"shapes": "shapes:120"}, batch_size=16 // devices, val_fraction=0.2, val_batch_size=5)
        module = DistillModule(student, str(teacher_file), lr=5e-3, warmup_epochs=1)
        trainer = quiet(
            max_epochs=2,
            accumulate_grad_batches=2,
            gradient_clip_val=1.0,
            callbacks=[Gradients()],
            enable_checkpointing=True,
            default_root_dir=folder / str(devices),
            **({"devices": 2, "strategy": "ddp_spawn"} if devices == 2 else {}),
        )
        trainer.fit(module, data)
        path = next((folder / str(devices)).rglob("*.ckpt"))
        stored = torch.load(path, weights_only=True)
        return {
            "gradients": torch.load(folder / str(devices) / "gradients.pt", weights_only=True),
            "weights": stored["state_dict"],
            "scores": stored["litetext"]["scores"],
            "steps": stored["global_step"],
        }

    alone, both = run(1), run(2)
    assert alone["steps"] == both["steps"] == 6
    assert alone["gradients"].keys() == both["gradients"].keys()
    for name, gradient in alone["gradients"].items():
        torch.testing.assert_close(both["gradients"][name], gradient, rtol=1e-5, atol=1e-5, msg=name)
    for name, value in alone["weights"].items():
        torch.testing.assert_close(both["weights"][name], value, rtol=1e-5, atol=1e-5, msg=name)
    for name, score in alone["scores"].items():
        assert both["scores"][name] == pytest.approx(score, abs=1e-5), name
