"""What a SAM3 for images and one for videos have in common: frozen, and fed with text features from outside."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import Sam3ImageProcessor

from litetext.models.devices import DType
from litetext.models.finite import check_weights
from litetext.models.hub import PROCESSOR_FILES, TEXT_FILES, find_model, load_image_processor, say_large
from litetext.shipped import shipped

T = TypeVar("T", bound="FrozenSam3")


class FrozenSam3(nn.Module, ABC):
    """A frozen SAM3, always in eval mode, that takes text features of any encoder.

    Args:
        model: A SAM3 of transformers, or one for videos; its parameters are frozen.
        geometry_token: Append the geometry encoder's token to every phrase, as Meta's SAM3 does. `False` gives what
            transformers computes when no box is given, which is not what SAM3 was trained with.
        processor: Image processor of the checkpoint; None resizes to the model's square and scales to -1..1.

    Attributes:
        size: Side of the square images in pixels.
        width: Size of the text features it takes.
    """

    model: Any

    def __init__(self, model: Any, geometry_token: bool = True, processor: Sam3ImageProcessor | None = None) -> None:
        super().__init__()
        detector = getattr(model.config, "detector_config", model.config)
        self.model = model
        self.geometry_token = geometry_token
        self.size: int = detector.vision_config.backbone_config.image_size
        self.width: int = detector.detr_encoder_config.hidden_size
        self.processor = processor or Sam3ImageProcessor(size={"height": self.size, "width": self.size})
        self.requires_grad_(False).eval()

    @classmethod
    def from_pretrained(
        cls: type[T], name: str | os.PathLike[str], geometry_token: bool = True, dtype: DType = "float32"
    ) -> T:
        """Loads a SAM3 without its text encoder.

        Args:
            name: A path or a hub id of what the class takes; `facebook/sam3` is taken by all.
            geometry_token: See the class.
            dtype: Type of weights and computation; boxes, scores and post-processing are always in float32.

        Raises:
            FileNotFoundError: There is no such path, and no such model on the hub.
            ValueError: It holds something else, or weights are missing, cannot be read or are not finite.
        """
        folder = find_sam3(name)
        say_large(folder, "SAM3")
        model = cls._load(name, folder, getattr(torch, dtype))
        processor = load_image_processor(folder, "SAM3")
        check_weights(model, f"SAM3 {folder}")
        return cls(model, geometry_token, processor)

    @classmethod
    @abstractmethod
    def _load(cls, name: str | os.PathLike[str], folder: Path, dtype: torch.dtype) -> Any:
        """The model without its text encoder."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.model.dtype

    def train(self, mode: bool = True) -> "FrozenSam3":
        """Stays in eval mode."""
        return super().train(False)

    def settings(self) -> str:
        """All that decides its answers besides its weights."""
        return f"{self.geometry_token} {self.model.config.to_json_string()} {self.processor.to_json_string()}"

    def check_width(self, width: int, name: str = "these text features") -> None:
        """Refuses a text encoder whose features are not of the size that this SAM3 reads.

        Raises:
            ValueError: If `width` is another one.
        """
        if width != self.width:
            raise ValueError(
                f"{name}: {width} values a token, and this SAM3 reads {self.width}; "
                f"take a text encoder that was made for it (width={self.width})"
            )


def find_sam3(name: str | os.PathLike[str]) -> Path:
    """The local path of a SAM3: a path, one that ships with litetext, or a hub id.

    Raises:
        FileNotFoundError: It is none of them.
    """
    return find_model(shipped(os.fspath(name)), "SAM3", (*TEXT_FILES, *PROCESSOR_FILES), "a local folder")


def squares(processor: Sam3ImageProcessor, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> Float[Tensor, "b 3 s s"]:
    """Resizes and scales images as a checkpoint's processor says, where they lie.

    Args:
        processor: The processor.
        images: RGB images of any sizes, uint8 (3, H, W).

    Returns:
        Normalised squares in float32, (B, 3, S, S).
    """
    return processor(list(images), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
