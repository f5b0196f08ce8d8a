"""The training of the tiny SAM3 for nouns: its losses and stages, and the model that ships."""

from pathlib import Path

import torch
from transformers import Sam3Model

from litetext.data.nouns.batches import CELL_VALUES
from litetext.data.nouns.datamodule import HeldOutNouns, NounsDataset, Stages
from litetext.models.sam3.postprocess import postprocess
from litetext.models.sam3.tiny import forward_phrases, tiny_config, tiny_sam3
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.detection_loss import detection_loss
from litetext.modules.nouns_loss import NounsHeads, cell_cover
from litetext.shipped import shipped


def test_losses_fall_on_one_batch_and_reach_every_part() -> None:
    torch.manual_seed(0)
    model = tiny_sam3(tiny_config(width=32, vision_layers=1, layers=2, text_width=24, queries=9))
    heads = NounsHeads(32, 2)
    batch = NounsDataset(Stages(0, 0, 1), images=2, phrases=4, seed=0, strangers=0.1)[0]
    optimizer = torch.optim.AdamW([*model.parameters(), *heads.parameters()], lr=2e-3)
    seen = []
    for _ in range(10):
        out = forward_phrases(model, batch.images, batch.image, batch.tokens.ids, batch.tokens.mask, batch.positive)
        parts = detection_loss(out, batch, batch.positive)
        vision, _ = heads.vision_loss(out.cells, batch)
        text, _ = heads.text_loss(out.text, batch.tokens.mask, batch)
        roles = heads.role_loss(list(out.encoded), batch)
        total = torch.stack([*parts.values(), vision, text, roles]).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        seen.append(total.item())
    assert seen[-1] < 0.8 * seen[0]
    idle = [name for name, p in heads.named_parameters() if p.grad is None or not p.grad.any()]
    assert all(name.startswith("others.") for name in idle)  # not every batch has an anchor or an exception


def test_the_text_stage_leaves_the_shared_matrix_alone() -> None:
    heads = NounsHeads(16, 1)
    batch = NounsDataset(Stages(0, 1, 0), images=2, phrases=4, seed=0, strangers=0.0)[0]
    text = torch.randn(8, 32, 16, requires_grad=True)
    loss, _ = heads.text_loss(text, batch.tokens.mask, batch, frozen=True)
    loss.backward()
    assert heads.noun.weight.grad is None
    assert text.grad is not None
    loss, _ = heads.text_loss(text, batch.tokens.mask, batch)
    loss.backward()
    assert heads.noun.weight.grad is not None


def test_cells_are_named_by_what_covers_them() -> None:
    """Heads that are told the truth have no loss; the share of right cells says the same."""
    batch = NounsDataset(Stages(1, 0, 0), images=2, phrases=1, seed=0, strangers=0.0)[0]
    cover = cell_cover(batch.objects, 14)
    which = cover.argmax(1)
    sizes = [n() if callable(n) else n for n in CELL_VALUES.values()]
    heads = NounsHeads(sum(sizes), 1)
    cells, first = torch.zeros(2, sum(sizes), 196), 0
    for k, (size, head) in enumerate(zip(sizes, [heads.noun, *heads.cell], strict=True)):
        value = batch.labels[..., k].gather(1, which).clamp(min=0)
        cells[:, first : first + size].scatter_(1, value[:, None], 50.0)
        with torch.no_grad():
            head.weight.zero_()
            head.bias.zero_()
            head.weight[:, first : first + size] = torch.eye(size)
        first += size
    loss, right = heads.vision_loss(cells.view(2, -1, 14, 14), batch)
    assert loss.item() < 1e-4
    assert float(right) == 1.0


@torch.no_grad()
def test_the_shipped_model_knows_its_world() -> None:
    model = Sam3Model.from_pretrained(shipped("checkpoints/sam3-nouns"), dtype=torch.float32).eval()
    batch = HeldOutNouns(1, 4, 8)[0]
    out = forward_phrases(model, batch.images, batch.image, batch.tokens.ids, batch.tokens.mask)
    found = postprocess(out.logits[-1], out.presence[-1], out.boxes[-1], out.masks, (112, 112))
    truths = [batch.masks[batch.owner == n] for n in range(len(batch.image))]
    right = [len(one.scores) == len(truth) for one, truth in zip(found, truths, strict=True)]
    assert sum(right) >= 29  # of 32
    for one, truth, fits in zip(found, truths, right, strict=True):
        if fits and len(truth):
            overlap = (one.masks[:, None] & truth).sum((-1, -2)) / (one.masks[:, None] | truth).sum((-1, -2))
            assert (overlap.max(0).values > 0.5).float().mean() >= 0.5


def test_the_shipped_model_is_small_and_over_provisioned_in_its_text() -> None:
    folder = Path(shipped("checkpoints/sam3-nouns"))
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 20_000_000
    encoder = Sam3TextEncoder.from_pretrained(folder)
    assert sum(p.numel() for p in encoder.parameters()) > 7_000_000
