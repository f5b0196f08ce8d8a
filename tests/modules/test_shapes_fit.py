"""The training of the tiny SAM3 for shapes: its forward pass is the official one, and its losses fall."""

import pytest
import torch
from transformers import Sam3Model

from litetext.data.shapes.datamodule import ShapesDataModule
from litetext.models.sam3.tiny import forward_phrases, tiny_config, tiny_sam3
from litetext.modules.detection_loss import detection_loss
from litetext.modules.shapes_loss import AttributeHeads


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
