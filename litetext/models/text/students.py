"""Students back from our own Lightning checkpoints."""

import pickle
import re
import zipfile
from pathlib import Path

import torch

from litetext.checkpoints.hub_tokenizer import HubTokenizer
from litetext.checkpoints.reading import open_state
from litetext.checkpoints.text import TextState, require_match
from litetext.files import reason
from litetext.models.finite import check_weights
from litetext.models.text.kinds import build_student
from litetext.models.text.student import Student


def load_student(path: str, finite: bool = True) -> Student:
    """Builds the student of a checkpoint that `litetext fit` wrote, without its teacher.

    Args:
        path: The `.ckpt` file.
        finite: Refuse weights that are not finite.

    Returns:
        The student in eval mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no checkpoint of a litetext student, or its weights are of another one or not finite.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"student checkpoint {path}: no such file; fit writes checkpoints/RUN/best.ckpt")
    stored = read_checkpoint(path)
    config = stored.get("litetext", {}).get("student")
    if config is None:
        raise ValueError(f"{path} holds no litetext student; give a .ckpt that `litetext fit` wrote with DistillModule")
    try:
        with torch.device("meta"):
            student = build_student(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} describes a student that this version cannot build ({error})") from error
    reads = stored["litetext"].get("tokenizer")
    if reads is not None:
        student.reads = HubTokenizer.from_state(reads)
    del stored
    weights = {key.removeprefix("student."): value for key, value in open_state(path).under(["student."]).items()}
    require_match(student.state_dict(), weights, TextState(weights, "native", "student.", path))
    student.load_state_dict(weights, assign=True)
    if finite:
        check_weights(student, path)
    return student.eval()


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
    return stored


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
