"""What worker processes do of an evaluation of images: the hash of the pixels, and the square that the SAM3 takes."""

from typing import NamedTuple

from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import Sam3ImageProcessor

from litetext.data.images.items import SegItem
from litetext.models.sam3.frozen import squares
from litetext.modules.cache_key import pixels_hash


class Prepared(NamedTuple):
    """An image on its way to the device.

    Attributes:
        content: Hash of its pixels.
        square: Resized and normalised, float32 (1, 3, S, S); None where no SAM3 looks at it.
    """

    content: str
    square: Float[Tensor, "1 3 s s"] | None


class Prepare:
    """Makes it of an image; as small as its processor, so that processes can be sent one.

    Args:
        processor: The SAM3's, None without one.
    """

    def __init__(self, processor: Sam3ImageProcessor | None) -> None:
        self.processor = processor

    def __call__(self, image: UInt8[Tensor, "3 h w"]) -> Prepared:
        """The hash and the square of an image."""
        return Prepared(pixels_hash(image), None if self.processor is None else squares(self.processor, [image]))


def content_of(item: SegItem) -> str:
    """Hash of an item's pixels, computed where no worker has."""
    return item.prepared.content if isinstance(item.prepared, Prepared) else pixels_hash(item.image)
