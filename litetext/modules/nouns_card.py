"""The model card of the tiny SAM3 for nouns."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import Sam3Model

from litetext.data.nouns.datamodule import NounsDataModule
from litetext.data.nouns.sheet import core
from litetext.files import whole_folder
from litetext.modules.sam3_folder import count_parameters, write_sam3

Scores = Mapping[str, float]

_HEAD = "CG_F1 | IL_MCC | pmF1 | F1 at IoU 0.5 | F1 at IoU 0.75"
_CARD = """# sam3-nouns

A SAM3 for the world of nouns (`litetext.data.nouns`): transformers' `Sam3Model` with {parameters:,} parameters
({text:,} of them on the text side, with the whole CLIP vocabulary), images of 112 x 112 pixels, masks of 56 x 56. It
knows {nouns} nouns drawn by one artist, with synonyms and categories, attributes, positions, relations, counts and
negations, and nothing else. It exists so that every command of litetext gives meaningful numbers without a download.

## How it was made

    litetext fit --config sam3_nouns.yaml

Three stages, one command: {vision:,} steps of vision ({images} images each), {reading:,} of text ({images} x {phrases}
phrases), {joint:,} of both and the detector ({images} images x {phrases} phrases). Seed {seed}; weights averaged,
stored in half precision. Text-only detection keeps the geometry token, as Meta's SAM3 does
(see `litetext.models.sam3.tiny`).

## What it scores

{val_images} held-out images x {val_phrases} phrases of the grammar of training, half of them negatives, masks at full
resolution:

{kinds}

    litetext validate --config sam3_nouns.yaml --model.start {folder}

In training:

{curve}
"""


def export(
    model: Sam3Model,
    folder: Path,
    by_kind: Mapping[str, Scores],
    curve: Sequence[Scores],
    data: NounsDataModule,
) -> None:
    """Writes config, weights (float16), image processor and model card.

    Args:
        model: The trained model; stays as it is.
        folder: Where to; what this run exported there before is replaced.
        by_kind: Validation scores by kind of phrase, `all` among them; CG_F1 and pmF1 in percent.
        curve: Scores of all phrases in the course of training, each with its `step`.
        data: What it was trained and scored on.
    """
    values = {
        **count_parameters(model),
        "nouns": core(),
        "folder": folder,
        "vision": data.stages.vision,
        "reading": data.stages.text,
        "joint": data.stages.joint,
        "images": data.images,
        "phrases": data.phrases,
        "seed": data.seed,
        "val_images": data.val_images,
        "val_phrases": data.val_phrases,
        "kinds": kind_table(by_kind),
        "curve": curve_table(curve),
    }
    with whole_folder(folder, replace=True) as draft:
        write_sam3(model, draft)
        (draft / "README.md").write_text(_CARD.format(**values), encoding="utf-8")


def kind_table(by_kind: Mapping[str, Scores]) -> str:
    """Scores by kind of phrase as a Markdown table."""
    lines = [
        "| kind | phrases | CG_F1 | IL_MCC | pmF1 | F1 at IoU 0.5 | F1 at IoU 0.75 |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, scores in by_kind.items():
        lines.append(f"| {kind} | {scores['phrases']:,.0f} | {_cells(scores)} |")
    return "\n".join(lines)


def curve_table(curve: Sequence[Scores]) -> str:
    """Scores by training step as a Markdown table."""
    lines = [f"| step | {_HEAD} |", "|---|---|---|---|---|---|"]
    lines += [f"| {scores['step']:,.0f} | {_cells(scores)} |" for scores in curve]
    return "\n".join(lines)


def _cells(scores: Scores) -> str:
    numbers = f"{scores['CG_F1']:.1f} | {scores['IL_MCC']:.3f} | {scores['pmF1']:.1f}"
    return f"{numbers} | {scores['F1_50']:.3f} | {scores['F1_75']:.3f}"
