"""The model card of the tiny SAM3 for shapes."""

from pathlib import Path

import torch
from transformers import Sam3Model

from litetext.data.shapes.datamodule import ShapesDataModule
from litetext.modules.sam3_folder import count_parameters, write_sam3

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
    write_sam3(model, folder)
    values = {
        **count_parameters(model),
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
