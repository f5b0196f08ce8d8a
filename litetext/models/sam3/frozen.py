"""What a SAM3 for images and one for videos have in common: frozen, and fed with text features from outside."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import Sam3ImageProcessor


class FrozenSam3(nn.Module):
    """A frozen SAM3, always in eval mode, that takes text features of any encoder.

    Args:
        model: A SAM3 of transformers; its parameters stop asking for gradients.
        detector: Configuration of its detector.
        geometry_token: Append the geometry encoder's token to every phrase, as Meta's SAM3 does.
        processor: Image processor of the checkpoint; None resizes to the model's square and scales to -1..1.

    Attributes:
        size: Side of the square images in pixels.
        width: Size of the text features it takes.
    """

    model: Any

    def __init__(self, model: Any, detector: Any, geometry_token: bool, processor: Sam3ImageProcessor | None) -> None:
        super().__init__()
        self.model = model
        self.geometry_token = geometry_token
        self.size: int = detector.vision_config.backbone_config.image_size
        self.width: int = detector.detr_encoder_config.hidden_size
        self.processor = processor or Sam3ImageProcessor(size={"height": self.size, "width": self.size})
        self.requires_grad_(False).eval()

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


def squares(processor: Sam3ImageProcessor, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> Float[Tensor, "b 3 s s"]:
    """Resizes and scales images as a checkpoint's processor says, where they lie.

    Args:
        processor: The processor.
        images: RGB images of any sizes, uint8 (3, H, W).

    Returns:
        Normalised squares in float32, (B, 3, S, S).
    """
    return processor(list(images), return_tensors="pt", input_data_format="channels_first")["pixel_values"]
