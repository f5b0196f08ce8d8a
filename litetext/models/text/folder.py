"""Our small text-only folder: `config.json` says what the student is, `model.safetensors` holds its weights."""

import json
import os
from pathlib import Path
from typing import Any

import torch

from litetext.checkpoints.text import read_text_state, require_match
from litetext.checkpoints.writing import to_layout, write_state
from litetext.hub_tokenizer import read_tokenizer, write_tokenizer
from litetext.models.text.kinds import build_student
from litetext.models.text.student import Student

KIND = "litetext_student"


def write_text_folder(student: Student, folder: str | os.PathLike[str], **notes: Any) -> None:
    """Writes a student; `load_text_encoder` opens the folder.

    Args:
        student: The student.
        folder: Made if need be.
        notes: Plain values to keep in `config.json` beside it, such as what was done to its positions.

    Raises:
        OSError: If a file could not be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_state(to_layout(student.state_dict(), "native"), folder / "model.safetensors")
    config = {"model_type": KIND, "student": student.config, **notes}
    if student.reads is not None:
        config["tokenizer"] = write_tokenizer(student.reads, folder)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def stored_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What `config.json` of a folder says; nothing where there is none.

    Raises:
        ValueError: If it is no JSON, or no mapping.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{path} is no mapping; is it a model's folder?")
    return stored


def load_text_folder(folder: str | os.PathLike[str]) -> Student:
    """Opens a folder of `write_text_folder`.

    Returns:
        The student in eval mode.

    Raises:
        FileNotFoundError: If the weights are missing.
        ValueError: If a file is damaged, or the two do not belong together.
    """
    stored = stored_config(folder)
    config = stored.get("student")
    found = read_text_state(folder)
    try:
        with torch.device("meta"):
            student = build_student(config)  # type: ignore[arg-type]  # a TypeError says what is wrong with it
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}/config.json does not describe a student ({error}); export it again") from error
    require_match(student.state_dict(), found.state, found)
    student.load_state_dict(found.state, assign=True)
    if stored.get("tokenizer") is not None:
        student.reads = read_tokenizer(stored["tokenizer"], Path(folder))
    return student.eval().requires_grad_(False)
