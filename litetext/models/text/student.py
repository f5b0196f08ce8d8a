"""What can be taught: a text encoder with trained weights that is rebuilt from plain values."""

import copy
from typing import Literal

import torch
from torch import nn

from litetext.models.text.encoder import TextEncoder

KIND = "litetext_student"
"""What config.json of our own folders says that they hold."""


class Student(TextEncoder):
    """A text encoder that learns from another one.

    Attributes:
        blocks: The layers between it and the projection.
        padding: `masked` where a prompt's features depend on no padding; see `MobileClipText` for the others.
    """

    padding: Literal["masked", "reference", "transformers"] = "masked"
    blocks: nn.ModuleList
    unused: tuple[str, ...] = ()
    """Parameters that SAM3 never uses, kept for the sake of checkpoints."""

    def reparameterize(self) -> "Student":
        """A copy for inference, in eval mode; this module stays."""
        return copy.deepcopy(self).eval().requires_grad_(False)

    def drop_unused(self) -> None:
        """Empties the parameters that SAM3 never uses; the layouts that hold them can no longer be written."""
        for name in self.unused:
            setattr(self, name, nn.Parameter(torch.empty(0, 0), requires_grad=False))
