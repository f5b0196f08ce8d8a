"""What can be taught: a text encoder with trained weights that is rebuilt from plain values."""

import copy
from typing import Any, Literal

from torch import nn

from litetext.models.text.encoder import TextEncoder


class Student(TextEncoder):
    """A text encoder that learns from another one.

    Attributes:
        embedding: The token table, with what lifts it and, where there are some, the positions.
        blocks: The layers between it and the projection.
        padding: `masked` where a prompt's features depend on no padding; see `MobileClipText` for the others.
    """

    padding: Literal["masked", "reference", "transformers"] = "masked"
    embedding: Any
    blocks: nn.ModuleList

    def reparameterize(self) -> "Student":
        """A copy for inference, in eval mode; this module stays."""
        return copy.deepcopy(self).eval().requires_grad_(False)
