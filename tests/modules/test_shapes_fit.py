"""The training of the tiny SAM3: from the command to a folder that transformers reads."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import Sam3Model

from litetext.data.shapes.datamodule import ShapesDataModule
from litetext.models.sam3.tiny import forward_phrases, tiny_config, tiny_sam3
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.detection_loss import detection_loss
from litetext.modules.shapes_loss import AttributeHeads
from tests.fixtures.runs import Answer, weights

FIT = (
    *("fit", "--config", "sam3_tiny.yaml", "--trainer.enable_progress_bar", "false"),
    *("--trainer.enable_model_summary", "false", "--model.text_steps", "2"),
    *("--model.width", "32", "--model.vision_layers", "1", "--model.layers", "1"),
    *("--data.images", "2", "--data.val_images", "2", "--data.steps", "4", "--trainer.val_check_interval", "4"),
    *("--trainer.log_every_n_steps", "1", "--last.every_n_steps", "2"),
)


def test_the_command_trains_exports_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = litetext(*FIT)
    assert answer.code == 0, answer.err
    out = "checkpoints/sam3_tiny/model"
    assert f"tiny SAM3: {out}; CG_F1 " in answer.out
    model, report = Sam3Model.from_pretrained(out, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert next(model.parameters()).dtype == torch.float16
    trained = weights("checkpoints/sam3_tiny/last.ckpt")
    for name, value in model.state_dict().items():
        assert torch.equal(value, trained[f"averaged.module.{name}"].half()), name
    assert Sam3TextEncoder.from_pretrained(out).width == 32
    card = Path(out, "README.md").read_text()
    assert "4 steps of 2 images x 4 phrases" in card
    scores = torch.load("checkpoints/sam3_tiny/last.ckpt", weights_only=True)["litetext"]["scores"]
    assert f"| {scores['CG_F1']:.1f} | {scores['IL_MCC']:.3f} |" in card

    # The exported folder can be scored, and its scores are those of the training's end.
    again = litetext("validate", *FIT[1:], "--model.start", out)
    assert again.code == 0, again.err
    assert "val/CG_F1" in again.out

    # Two halves are the whole.
    half = litetext(*FIT, "--run", "half", "--trainer.max_steps", "2")
    assert half.code == 0, half.err
    assert torch.load("checkpoints/half/last.ckpt", weights_only=True)["global_step"] == 2
    assert "not scored" in half.out
    assert "| not measured | not measured |" in Path("checkpoints/half/model/README.md").read_text()


def test_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer]) -> None:
    from litetext.modules.shapes_fit import ShapesFitModule

    monkeypatch.chdir(tmp_path)
    assert litetext(*FIT, "--run", "whole").code == 0
    step = ShapesFitModule.training_step

    def dies(self: ShapesFitModule, batch: object, batch_idx: int) -> torch.Tensor:
        if self.trainer.global_step == 3:
            raise ValueError("struck down")
        return step(self, batch, batch_idx)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ShapesFitModule, "training_step", dies)
        assert litetext(*FIT, "--run", "torn").code == 2
    assert litetext(*FIT, "--run", "torn", "--ckpt_path", "last").code == 0
    whole, torn = (weights(f"checkpoints/{run}/last.ckpt") for run in ("whole", "torn"))
    assert whole.keys() == torn.keys()
    for name, value in whole.items():
        assert torch.equal(value, torn[name]), name


def test_a_start_that_is_no_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nowhere" in refused(*FIT, "--model.start", "nowhere")


def test_nothing_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    Path("mine/config.json").write_text("{}")
    assert "model.output mine is there already" in refused(*FIT, "--model.output", "mine")
    assert [p.name for p in Path("mine").iterdir()] == ["config.json"]
    # A shipped name is a folder of this run's own making too: nothing points at the shipped files.
    assert "sam3-tiny" not in str(litetext(*FIT, "--print_config").out)


def test_weights_that_are_not_finite_are_neither_exported_nor_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    from litetext.modules.shapes_fit import ShapesFitModule

    monkeypatch.chdir(tmp_path)
    step = ShapesFitModule.training_step

    def spoils(self: ShapesFitModule, batch: object, batch_idx: int) -> torch.Tensor:
        return step(self, batch, batch_idx) * (torch.nan if self.trainer.global_step == 2 else 1)  # type: ignore[arg-type]

    monkeypatch.setattr(ShapesFitModule, "training_step", spoils)
    line = refused(*FIT)
    assert "not finite at step" in line
    assert "checkpoints/sam3_tiny/last.ckpt stays as it was" in line
    assert all(value.isfinite().all() for value in weights("checkpoints/sam3_tiny/last.ckpt").values())
    assert not Path("checkpoints/sam3_tiny/best.ckpt").exists()
    assert not Path("checkpoints/sam3_tiny/model").exists()


@pytest.fixture(scope="module")
def small() -> Sam3Model:
    torch.manual_seed(0)
    return tiny_sam3(tiny_config(width=32, vision_layers=1, layers=2)).eval()


@torch.no_grad()
def test_our_forward_is_the_official_one_with_the_geometry_token(small: Sam3Model) -> None:
    batch = next(iter(ShapesDataModule(steps=1, images=2, phrases=2).train_dataloader()))
    mask = batch.tokens.mask
    ours = forward_phrases(small, batch.pixels, batch.image, batch.tokens.ids, mask)
    # A box with the label -10 is ignored, but makes transformers add the token that Meta always adds.
    official = small(
        pixel_values=batch.pixels[batch.image],
        input_ids=batch.tokens.ids,
        attention_mask=mask.long(),
        input_boxes=torch.full((4, 1, 4), 0.5),
        input_boxes_labels=torch.full((4, 1), -10),
    )
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(ours.logits[-1], official.pred_logits, **close)
    torch.testing.assert_close(ours.presence[-1], official.presence_logits.squeeze(-1), **close)
    torch.testing.assert_close(ours.masks, official.pred_masks, **close)
    without = small(pixel_values=batch.pixels[batch.image], input_ids=batch.tokens.ids, attention_mask=mask.long())
    assert float((ours.logits[-1] - without.pred_logits).abs().max()) > 1e-3


def test_losses_fall_on_one_batch_and_reach_every_part(small: Sam3Model) -> None:
    torch.manual_seed(0)
    model = tiny_sam3(tiny_config(width=32, vision_layers=1, layers=1))
    heads = AttributeHeads(32)
    batch = next(iter(ShapesDataModule(steps=1, images=2, phrases=4).train_dataloader()))
    positive, mask = batch.owner.unique(), batch.tokens.mask
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=2e-3)
    seen = []
    for _ in range(12):
        out = forward_phrases(model, batch.pixels, batch.image, batch.tokens.ids, mask, positive)
        losses = detection_loss(out, batch, positive)
        total = torch.stack(list(losses.values())).sum() + heads(out.text, mask, out.cells, batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append(total.item())
    assert {"class", "l1", "giou", "mask", "dice", "presence", "semantic"} <= losses.keys()
    assert seen[-1] < 0.8 * seen[0]
    idle = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    busy = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"text_encoder", "vision_encoder", "detr_decoder", "mask_decoder"} <= busy
    assert "text_projection" not in idle
