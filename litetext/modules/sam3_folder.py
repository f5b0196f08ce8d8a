"""The folder that a tiny SAM3 ships in: transformers' layout in half precision."""

from pathlib import Path
from typing import Any

from transformers import Sam3ImageProcessor, Sam3Model


def write_sam3(model: Sam3Model, folder: Path) -> None:
    """Writes config, weights (float16) and image processor.

    Args:
        model: The trained model; stays as it is.
        folder: Where to; files of the same names are replaced.
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


def count_parameters(model: Sam3Model) -> dict[str, int]:
    """Parameters of the whole model (`parameters`) and of its text side (`text`)."""
    text = sum(p.numel() for n, p in model.named_parameters() if n.startswith(("text_encoder.", "text_projection.")))
    return {"parameters": sum(p.numel() for p in model.parameters()), "text": text}
