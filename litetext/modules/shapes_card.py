"""The model card of the tiny SAM3 for shapes."""

from pathlib import Path

from transformers import Sam3Model

from litetext.data.shapes.datamodule import ShapesDataModule
from litetext.files import whole_folder
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
| {cgf1} | {mcc} | {pmf1} | {f50} | {f75} |

    litetext validate --config sam3_tiny.yaml --model.start {folder}
"""


def export(model: Sam3Model, folder: Path, scores: dict[str, float], steps: int, data: ShapesDataModule) -> None:
    """Writes config, weights (float16), image processor and model card.

    Args:
        model: The trained model; stays as it is.
        folder: Where to; what this run exported there before is replaced.
        scores: Validation scores by name, CG_F1 and pmF1 in percent; empty if the model was not scored.
        steps: Training steps.
        data: What it was trained and scored on.
    """
    values = {
        **count_parameters(model),
        "folder": folder,
        "steps": steps,
        "images": data.images,
        "phrases": data.phrases,
        "seed": data.seed,
        "val_images": data.val_images,
        "val_phrases": data.val_phrases,
        "cgf1": _rounded(scores, "CG_F1", 1),
        "mcc": _rounded(scores, "IL_MCC", 3),
        "pmf1": _rounded(scores, "pmF1", 1),
        "f50": _rounded(scores, "F1_50", 3),
        "f75": _rounded(scores, "F1_75", 3),
    }
    with whole_folder(folder, replace=True) as draft:
        write_sam3(model, draft)
        (draft / "README.md").write_text(_CARD.format(**values), encoding="utf-8")


def _rounded(scores: dict[str, float], name: str, digits: int) -> str:
    return f"{scores[name]:.{digits}f}" if name in scores else "not measured"
