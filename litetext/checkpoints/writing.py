"""Writing text encoders and whole models in public layouts."""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from litetext.checkpoints.text import from_native
from litetext.files import reason

MODEL_PREFIX = "detector.backbone.language_backbone."
"""What stands before a text encoder's names in Meta's `sam3.pt` and in whole checkpoints of efficientsam3."""


def to_layout(state: Mapping[str, Tensor], layout: str, prefix: str = "") -> dict[str, Tensor]:
    """A text encoder under the names of a layout, each tensor with memory of its own as files want it.

    Args:
        state: Tensors by this package's names.
        layout: A name of `litetext.checkpoints.text_names.LAYOUTS`.
        prefix: Put before each name, such as `MODEL_PREFIX`.

    Raises:
        ValueError: The layout has no place for a tensor, or it is misshapen.
    """
    return {prefix + key: t.detach().cpu().contiguous().clone() for key, t in from_native(state, layout).items()}


def write_state(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Writes tensors by name: a `.safetensors` file, or a `.pt` of `{"model": ...}` as Meta and efficientsam3 have it.

    Raises:
        OSError: The file could not be written, such as on a full disk.
        ValueError: The file's name ends in neither.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pt"):
        raise ValueError(f"{path}: its name must end in .safetensors or .pt")
    try:
        if path.suffix == ".pt":
            torch.save({"model": dict(state)}, path)
        else:
            save_file(dict(state), path, metadata={"format": "pt"})
            path.chmod(0o644)  # the library leaves it to its owner alone
    except (OSError, RuntimeError, SafetensorError) as error:  # each library has its own for a full disk
        raise OSError(f"{path} could not be written ({reason(error)}); is the disk full?") from error


def replace_text(
    whole: Mapping[str, Tensor], text: Mapping[str, Tensor], roots: tuple[str, ...], source: str
) -> dict[str, Tensor]:
    """A whole model with another text encoder.

    Args:
        whole: All tensors of the model, or all but those of its text encoder.
        text: The new text encoder's, under the model's own prefix.
        roots: Beginnings of the names that the old text encoder has; all of them go.
        source: The model's file, for messages.

    Raises:
        ValueError: Nothing but a text encoder is there, or a name would be taken twice.
    """
    kept = {key: tensor for key, tensor in whole.items() if not key.startswith(roots)}
    if not kept:
        raise ValueError(f"{source}: holds nothing but a text encoder, and a whole SAM3 is wanted.")
    if twice := sorted(kept.keys() & text.keys()):
        raise ValueError(f"{source}: the name {twice[0]} is taken by something else than a text encoder.")
    return {**kept, **text}
