"""Checkpoints that Lightning wrote: read without running what they hold, damaged ones told apart."""

import pickle
import re
import zipfile
from pathlib import Path

import torch

from litetext.files import reason


def read_checkpoint(path: str) -> dict:
    """Reads a Lightning checkpoint with `weights_only`, memory-mapped.

    Raises:
        ValueError: If the file is cut short, or no Lightning checkpoint, or holds more than plain values.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises KeyError, RuntimeError, UnpicklingError, ... for damaged files
        raise ValueError(f"{path} cannot be read as a checkpoint: {_why_unreadable(Path(path), error)}") from error
    if not isinstance(stored, dict) or "state_dict" not in stored:
        raise ValueError(f"{path} is no Lightning checkpoint: it has no state_dict")
    _name_losses(stored)
    return stored


def _name_losses(stored: dict) -> None:
    """Second stages of earlier versions kept their cosine loss under the name of the closeness."""
    about = stored.get("litetext")
    scores = about.get("scores") if isinstance(about, dict) and "detector" in about else None
    if isinstance(scores, dict) and "cosine" in scores and "cosine_distance" not in scores:
        scores["cosine_distance"] = scores.pop("cosine")


def _why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a file that torch does not load, and the way out."""
    another = "take another, such as last.ckpt or best.ckpt of the same run"
    if path.is_file() and not path.stat().st_size:
        return f"it is empty (0 bytes); {another}"
    if isinstance(error, pickle.UnpicklingError):
        named = re.search(r"(?:GLOBAL|global|class) ['\"]?([\w.]+)", str(error))
        what = f" ({named[1]})" if named else ""
        return (
            f"it holds more than tensors and plain values{what}, which could run code when it is opened; it is not "
            "opened: give a checkpoint that `litetext fit` wrote"
        )
    if path.is_file() and not zipfile.is_zipfile(path):
        return f"it is no whole file of torch.save: of another kind, or cut short; {another}"
    return f"{type(error).__name__}: {reason(error, 120)}; it may be cut short: {another}"
