"""Masks for boxes: a SAM or SAM 2 of transformers, prompted by the boxes that zero-shot detectors find."""

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor, nn
from transformers import AutoConfig, Sam2ImageProcessor, Sam2Model, SamImageProcessor, SamModel

from litetext.models.finite import check_weights
from litetext.models.hub import PROCESSOR_FILES, TEXT_FILES, explained, find_model, load_pretrained

_KINDS: dict[str, tuple[Any, Any]] = {
    "sam": (SamModel, SamImageProcessor),
    "sam2": (Sam2Model, Sam2ImageProcessor),
    "sam2_video": (Sam2Model, Sam2ImageProcessor),  # how SAM 2.1 is published; its memory is left out
}


class Seen(NamedTuple):
    """One image after the vision tower.

    Attributes:
        features: What the mask decoder takes.
        size: Height and width of the image in pixels.
        reshaped: Height and width of the image within the model's square, without padding.
    """

    features: Any
    size: tuple[int, int]
    reshaped: tuple[int, int]


class BoxSegmenter(nn.Module):
    """A SAM that cuts out what boxes hold: one mask a box, the model's single-mask answer, as for any one box.

    Args:
        model: `SamModel` or `Sam2Model`; its parameters are frozen.
        images: Its image processor.
    """

    def __init__(self, model: Any, images: Any) -> None:
        super().__init__()
        self.model, self.images = model, images
        self.requires_grad_(False).eval()

    def settings(self) -> str:
        """All that decides its answers besides its weights."""
        return f"{self.model.config.to_json_string()} {self.images.to_json_string()}"

    @torch.no_grad()
    def see(self, image: UInt8[Tensor, "3 h w"]) -> Seen:
        """Runs the vision tower on an image.

        Args:
            image: RGB, uint8 (3, H, W).
        """
        read = self.images([image], return_tensors="pt", input_data_format="channels_first")
        pixels = read["pixel_values"].to(self.model.device)
        # SAM keeps the shape and pads, SAM 2 stretches to the square.
        reshaped = read["reshaped_input_sizes"][0].tolist() if "reshaped_input_sizes" in read else pixels.shape[-2:]
        size = (int(image.shape[1]), int(image.shape[2]))
        return Seen(self.model.get_image_embeddings(pixels), size, (int(reshaped[0]), int(reshaped[1])))

    @torch.no_grad()
    def segment(self, seen: Seen, boxes: Float64[Tensor, "k 4"], chunk: int = 16) -> Iterator[Bool[Tensor, "h w"]]:
        """The mask of each box, one at a time.

        Args:
            seen: The image, from `see`.
            boxes: [x, y, width, height], normalised to 0..1 of the image.
            chunk: Boxes at once: memory grows with it, results do not change.
        """
        height, width = seen.reshaped
        scale = torch.tensor([width, height, width, height], dtype=torch.float64)
        corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1).cpu().double() * scale
        for part in corners.to(torch.float32).split(chunk):
            output = self.model(
                image_embeddings=seen.features, input_boxes=part[None].to(self.model.device), multimask_output=False
            )
            for logits in output.pred_masks[0].float():
                yield self._at_full_size(logits, seen)[0]

    def _at_full_size(self, logits: Tensor, seen: Seen) -> Tensor:
        options = {"reshaped_input_sizes": [seen.reshaped]} if isinstance(self.model, SamModel) else {}
        return self.images.post_process_masks([logits[None]], [seen.size], **options)[0][0]


def load_box_segmenter(name: str | os.PathLike[str]) -> BoxSegmenter:
    """Loads a SAM in transformers' layout, in float32 and eval mode.

    Args:
        name: A folder, or a hub id (`facebook/sam-vit-huge`, `facebook/sam2.1-hiera-large`).

    Raises:
        FileNotFoundError: If there is no such folder, and no such model on the hub.
        ValueError: If the folder holds something else, or weights are missing, cannot be read or are not finite.
    """
    folder = find_model(name, "box segmenter", (*TEXT_FILES, *PROCESSOR_FILES), "a local folder")
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{folder} is no SAM in transformers' layout: it has no readable config.json") from error
    if kind not in _KINDS:
        raise ValueError(f"{folder} is a {kind!r}; box segmenters are {', '.join(_KINDS)} (SAM, SAM 2 and SAM 2.1)")
    of_model, of_images = _KINDS[kind]
    options: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True}
    if kind == "sam2_video":
        options["config"] = _of_images(folder)
    model = load_pretrained(of_model.from_pretrained, folder, "box segmenter", **options)
    if not any((folder / file).is_file() for file in PROCESSOR_FILES):
        raise ValueError(f"{folder} has no preprocessor_config.json, which says how SAM sees images; copy it there")
    images = explained(of_images.from_pretrained, folder, "box segmenter")
    check_weights(model, f"box segmenter {folder}")
    return BoxSegmenter(model, images)


def _of_images(folder: Any) -> Any:
    """The configuration of SAM 2 for images within that for videos."""
    from transformers import Sam2Config

    whole = explained(AutoConfig.from_pretrained, folder, "box segmenter")
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    return Sam2Config(**{part: getattr(whole, part).to_dict() for part in parts})
