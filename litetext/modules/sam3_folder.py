"""The folder that a tiny SAM3 ships in: transformers' layout in half precision."""

from pathlib import Path
from typing import Any

import torch
from transformers import Sam3ImageProcessor, Sam3Model

from litetext.models.finite import check_weights
from litetext.models.hub import load_pretrained, without_bars
from litetext.shipped import shipped


def open_start(start: str) -> Sam3Model:
    """The tiny SAM3 that a training goes on from, in float32 and training mode.

    Args:
        start: Its folder, or the name of a shipped one.

    Raises:
        ValueError: There is none, or its weights cannot be read, are missing or not finite.
    """
    folder = Path(shipped(start))
    if not (folder / "config.json").is_file():
        raise ValueError(f"model.start {start}: no config.json there; give the folder of a trained tiny SAM3")
    model = load_pretrained(Sam3Model.from_pretrained, folder, "SAM3", dtype=torch.float32).train()
    check_weights(model, f"model.start {start}")
    return model


def write_sam3(model: Sam3Model, folder: Path) -> None:
    """Writes config, weights (float16) and image processor.

    Args:
        model: The trained model; stays as it is.
        folder: Where to; files of the same names are replaced.
    """
    half = {name: value.detach().cpu().half() for name, value in model.state_dict().items()}
    copy = Sam3Model(model.config).half()
    copy.load_state_dict(half)
    with without_bars():
        copy.save_pretrained(folder)
    vision: Any = model.config.vision_config
    size = vision.backbone_config.image_size
    Sam3ImageProcessor(
        size={"height": size, "width": size},
        mask_size={"height": size // 2, "width": size // 2},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(folder)


def count_parameters(model: Sam3Model) -> dict[str, int]:
    """Parameters of the whole model (`parameters`) and of its text side (`text`)."""
    text = sum(p.numel() for n, p in model.named_parameters() if n.startswith(("text_encoder.", "text_projection.")))
    return {"parameters": sum(p.numel() for p in model.parameters()), "text": text}
