"""The teacher of a distillation: loaded, checked against student and data, and its features stored."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litetext.data.features.store import FeatureError, FeatureManifest, FeatureStore, store_path
from litetext.data.prompts.datamodule import PromptDataModule
from litetext.models.finite import check_weights
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import shipped


def load_teacher(path: str) -> Sam3TextEncoder:
    """Loads a teacher.

    Args:
        path: What `model.teacher` names: a SAM3's folder, hub id or file, or `random:SEED` for random weights.

    Raises:
        FileNotFoundError: If there is no such path, and no such model on the hub.
        ValueError: If it holds no text encoder of a SAM3.
    """
    name, _, seed = path.partition(":")
    if name == "random" and seed.isdigit():
        return Sam3TextEncoder.random(int(seed))
    return Sam3TextEncoder.from_pretrained(shipped(path))


def check_teacher(teacher: Sam3TextEncoder, path: str, student: MobileClipText, context_length: int) -> None:
    """Refuses a teacher that the student cannot learn from.

    Args:
        teacher: The teacher.
        path: What it is called.
        student: Who learns.
        context_length: Most tokens of a prompt of the data.

    Raises:
        ValueError: If its context is shorter, its features have another size, or its weights are not finite.
    """
    if teacher.context_length < context_length:
        raise ValueError(
            f"data.context_length is {context_length}, but the teacher {path} has "
            f"{teacher.context_length} positions; lower it, and the student's with it"
        )
    check_weights(teacher, f"model.teacher {path}")
    if teacher.width != student.width:
        raise ValueError(
            f"the teacher's features have {teacher.width} values and the student's {student.width}; "
            f"set model.student.init_args.width to {teacher.width}"
        )


def store_features(
    teacher: Sam3TextEncoder, data: PromptDataModule, folder: str, tokens_per_batch: int, device: torch.device
) -> tuple[Path, FeatureStore]:
    """Encodes the prompts of a run, those that no earlier run has encoded, and opens the store.

    Args:
        teacher: The teacher; moved to the device.
        data: Whose prompts are encoded.
        folder: Where the stores of all teachers and corpora lie.
        tokens_per_batch: Tokens that the teacher encodes together.
        device: Where it computes.

    Returns:
        The store's folder, and the store.

    Raises:
        ValueError: If a prompt's features are not finite, or the store is damaged.
    """
    rows = data.feature_rows()
    origin: dict[str, Any] = {
        "teacher": teacher.fingerprint,
        "tokenizer": data.tokenizer.fingerprint,
        "context_length": data.context_length,
        "width": teacher.width,
    }
    path = store_path(folder, FeatureManifest.of(rows, **origin))
    teacher.to(device)

    def encode(chunk: Any) -> list[Tensor]:
        return teacher.encode_tokens(chunk, tokens_per_batch)

    try:
        return path, FeatureStore.fill(path, rows, encode, **origin)
    except FeatureError as error:
        prompt = quoted(data.feature_prompt(error.row))
        raise ValueError(f"the teacher's features of the prompt {prompt}: {error}") from error


def quoted(prompt: str) -> str:
    """A prompt for a message, in quotes, at most 60 characters of it."""
    return repr(prompt if len(prompt) <= 60 else prompt[:57] + "...")
