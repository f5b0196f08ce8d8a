"""The folder that the tiny SAM3 ships in: transformers' layout in half precision, and its model card."""

from pathlib import Path
from typing import Any

import torch
from transformers import Sam3ImageProcessor, Sam3Model

from litetext.data.shapes.datamodule import ShapesDataModule

_CARD = """# sam3-tiny

A SAM3 for the world of shapes (`litetext.data.shapes.world`): transformers' `Sam3Model` with {parameters:,} parameters
({text:,} of them on the text side), images of 112 x 112 pixels, masks of 56 x 56, 16 queries. It knows eight colours,
six shapes, two sizes and three patterns, and nothing else. It exists so that every command of litetext gives
meaningful numbers without a download.

## How it was made

    litetext fit --config sam3_tiny.yaml

{steps:,} steps of {images} images x {phrases} phrases, seed {seed}; weights averaged, stored in half precision.
Text-only detection keeps the geometry token, as Meta's SAM3 does (see `litetext.models.sam3.tiny`).

## What it scores

{val_images} held-out images x {val_phrases} phrases, half of them negatives, masks at full resolution:

| CG_F1 | IL_MCC | pmF1 | F1 at IoU 0.5 | F1 at IoU 0.75 |
|---|---|---|---|---|
| {cgf1:.1f} | {mcc:.3f} | {pmf1:.1f} | {f50:.3f} | {f75:.3f} |

    litetext validate --config sam3_tiny.yaml --model.start {folder}
"""


def export(model: Sam3Model, folder: Path, scores: dict[str, float], steps: int, data: ShapesDataModule) -> None:
    """Writes config, weights (float16), image processor and model card.

    Args:
        model: The trained model; stays as it is.
        folder: Where to; files of the same names are replaced.
        scores: Validation scores by name; CG_F1 and pmF1 in percent.
        steps: Training steps.
        data: What it was trained and scored on.
    """
    half = {name: value.detach().cpu().half() for name, value in model.state_dict().items()}
    copy = Sam3Model(model.config).half()
    copy.load_state_dict(half)
    copy.save_pretrained(folder)
    vision: Any = model.config.vision_config
    size = vision.backbone_config.image_size
    Sam3ImageProcessor(
        size={"height": size, "width": size},
        mask_size={"height": size // 2, "width": size // 2},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(folder)
    text = sum(p.numel() for n, p in model.named_parameters() if n.startswith(("text_encoder.", "text_projection.")))
    values = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "text": text,
        "folder": folder,
        "steps": steps,
        "images": data.images,
        "phrases": data.phrases,
        "seed": data.seed,
        "val_images": data.val_images,
        "val_phrases": data.val_phrases,
        "cgf1": scores.get("CG_F1", torch.nan),
        "mcc": scores.get("IL_MCC", torch.nan),
        "pmf1": scores.get("pmF1", torch.nan),
        "f50": scores.get("F1_50", torch.nan),
        "f75": scores.get("F1_75", torch.nan),
    }
    (folder / "README.md").write_text(_CARD.format(**values), encoding="utf-8")
