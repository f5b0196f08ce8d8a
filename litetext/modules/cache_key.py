"""Keys of cached results: one kind for images and videos, text encoders and detectors.

A result is reused under the same key alone. The first part is the same for all items of an evaluation (code, options,
precision, weights); the second is that of one item (its files or pixels, its phrases).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from litetext.shipped import code_version

if TYPE_CHECKING:  # segment keys its results too, and Lightning is slow to import
    from lightning.pytorch import LightningModule

_BLOCK = 1 << 20


def begin_key(module: "LightningModule", options: Mapping[str, Any]) -> Any:
    """The hash of what holds for all items, without the models: `digest` adds those.

    Args:
        module: The module of the evaluation, attached to its trainer.
        options: All options that decide a result, JSON-able. Those that only decide memory and speed stay out.
    """
    facts = {
        "code": code_version(),
        "module": type(module).__name__,
        "options": dict(options),
        "precision": str(module.trainer.precision),
        "matmul": torch.get_float32_matmul_precision(),
        "device": module.trainer.strategy.root_device.type,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True).encode())


def item_key(place: Sequence[Any], phrases: Iterable[Sequence[Any]], content: str) -> str:
    """Key of the results of one image or video.

    Args:
        place: Where it stands in the data, such as subset and file name.
        phrases: Its queries in order: ids, phrases, categories.
        content: Hash of its pixels or files, see `pixels_hash` and `files_hash`.

    Returns:
        32 hexadecimal digits.
    """
    facts = json.dumps([list(place), [list(entry) for entry in phrases], content])
    return hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()


def pixels_hash(image: UInt8[Tensor, "c h w"]) -> str:
    """Hash of a decoded image with its size: whatever options decoded it."""
    hasher = hashlib.blake2b(str(tuple(image.shape)).encode(), digest_size=16)
    pixels: Any = image.cpu().contiguous().numpy()  # hashed without a copy
    hasher.update(pixels)
    return hasher.hexdigest()


def files_hash(paths: Iterable[Path], about: str = "") -> str:
    """Hash of files in order, by size and content; what is not there counts as such.

    Args:
        paths: The files.
        about: What else decides how they are read.
    """
    hasher = hashlib.blake2b(about.encode(), digest_size=16)
    for path in paths:
        try:
            with path.open("rb") as file:
                hasher.update(f"\n{path.stat().st_size}\n".encode())
                while block := file.read(_BLOCK):
                    hasher.update(block)
        except OSError:
            hasher.update(b"\nnone\n")
    return hasher.hexdigest()
