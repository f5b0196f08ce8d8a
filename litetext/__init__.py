"""litetext: the text side of promptable segmentation, small, measured and shippable.

from litetext import Segmenter
segmenter = Segmenter("checkpoints/sam3-tiny", text_encoder="student.ckpt")
found = segmenter("image.png", ["white dog", "cup"])
"""

import importlib
from typing import Any

_ROOMS = {
    "Segmenter": "litetext.segmenter",
    "Segments": "litetext.segmenter",
    "Tokenizer": "litetext.tokenizer",
    "load_student": "litetext.models.text.students",
    "load_text_encoder": "litetext.models.text.loading",
}

__all__ = ["Segmenter", "Segments", "Tokenizer", "load_student", "load_text_encoder"]  # pyright: ignore


def __getattr__(name: str) -> Any:
    # Looked up when asked for: `litetext --help` has no use for torch.
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'litetext' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
