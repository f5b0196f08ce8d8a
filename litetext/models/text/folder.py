"""Students as files and folders: ours, where `config.json` says what the student is, and those of published weights.

What makes a student from its configuration is an argument, so that a student's own class can open what it wrote.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor

from litetext.checkpoints.hub_tokenizer import JSON, HubTokenizer, read_tokenizer, write_tokenizer
from litetext.checkpoints.text import TextState, read_text_state, require_match, resize_positions
from litetext.checkpoints.writing import to_layout, write_state
from litetext.models.text.compact import COMPACT, Build, compact_student, read_compact
from litetext.models.text.student import KIND, Student


class TextFiles(NamedTuple):
    """What a file or a folder holds of a text encoder, read once.

    Attributes:
        path: The file or folder.
        config: Its config.json; empty where there is none.
        found: Its weights.
    """

    path: Path
    config: dict[str, Any]
    found: TextState

    @property
    def of_sam3(self) -> bool:
        """Whether it is a SAM3's own text encoder, and no student."""
        ours = self.config.get("model_type") == KIND or COMPACT in self.config
        return not ours and self.found.layout in ("sam3", "meta", "native")


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
        raise ValueError(f"{path} does not say what the model is: no JSON ({error})") from error
    if not isinstance(stored, dict):
        raise ValueError(f"{path} does not say what the model is: no JSON with a model_type")
    return stored


def read_text_files(path: Path) -> TextFiles:
    """Reads a text encoder, of a student or a SAM3, in any layout.

    Args:
        path: A file or folder.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or it holds no text encoder.
    """
    config = stored_config(path)
    return TextFiles(path, config, read_compact(path) if COMPACT in config else read_text_state(path))


def student_of(files: TextFiles, build: Build, context_length: int | None = None, heads: int | None = None) -> Student:
    """The student in some files, in eval mode; its weights are those that were read, not copies.

    Args:
        files: What was read.
        build: Makes a student with initial weights from its configuration.
        context_length: For published students, to use the first rows of a longer position table.
        heads: Attention heads, for published students whose files do not say.

    Raises:
        ValueError: The files do not belong together, or hold no student.
    """
    path, config, found = files
    if files.of_sam3:
        raise ValueError(f"{path} holds SAM3's own text encoder, and no student; see load_text_encoder")
    if COMPACT in config:
        student = compact_student(path, config, found, build)
    elif config.get("model_type") == KIND:
        student = _filled(_built(config.get("student"), build, path), found.state, found)
    elif isinstance(config.get("litetext"), dict) and found.layout == "litetext":
        student = _exported(files, build)
    else:
        student = _published(files, build, context_length, heads)
    if config.get("model_type") == KIND and config.get("tokenizer") is not None:
        student.reads = read_tokenizer(config["tokenizer"], path)
    return student.eval().requires_grad_(False)


def _built(config: Any, build: Build, path: Path) -> Student:
    try:
        with torch.device("meta"):
            return build(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}/config.json does not describe a student ({error}); export it again") from error


def _filled(student: Student, state: dict[str, Tensor], found: TextState) -> Student:
    require_match(student.state_dict(), state, found)
    student.load_state_dict(state, assign=True)
    return student


def _exported(files: TextFiles, build: Build) -> Student:
    """A student in the folder that transformers opens, as it was before it went there."""
    path, config, found = files
    told = config["litetext"].get("student")
    student = _built({**told, "embedding_rank": 0} if isinstance(told, dict) else told, build, path)
    # The folder's tables may be longer: filled up to the processor's length, and by a token for padding.
    rows = {"embedding.token.weight": found.state["embedding.token.weight"][: student.vocab_size]}
    state, _ = resize_positions({**found.state, **rows}, student.context_length, "slice", found.source)
    student.reads = trimmed_tokenizer(path, config)
    return _filled(student, state, found)


def _published(files: TextFiles, build: Build, context_length: int | None, heads: int | None) -> Student:
    path, config, found = files
    if "projector.weight" not in found.state:
        raise ValueError(
            f"{path} is a MobileCLIP text tower without a projection to SAM3's features; distil it first: "
            "litetext fit with model.student.init_args.pretrained"
        )
    size = _student_config(found.state)
    told = config.get("text_config", {}).get("num_attention_heads")
    size["heads"] = heads or told or max(1, size["embed_width"] // 64)
    if context_length is not None:
        size["context_length"] = context_length
    with torch.device("meta"):
        student = build({**size, "padding": "reference"})
    state, _ = resize_positions(found.state, student.context_length, "slice", found.source)
    return _filled(student, state, found)


def trimmed_tokenizer(folder: Path, config: dict[str, Any]) -> HubTokenizer | None:
    """The tokenizer of a folder of `export --to trimmed`; None of a folder with all of SAM3's tokens.

    Args:
        folder: The export.
        config: Its config.json.

    Raises:
        ValueError: Its tokenizer.json is missing or damaged, or is not of these tokens.
    """
    kept = config["litetext"].get("trimmed") if isinstance(config.get("litetext"), dict) else None
    if kept is None:
        return None
    try:
        opened = FastTokenizer.from_file(str(folder / JSON))
    except Exception as error:  # the library raises plain exceptions
        raise ValueError(f"{folder}/{JSON} cannot be read ({error}); export it again") from error
    opened.no_padding()
    opened.no_truncation()
    name = f"SAM3, {len(kept):,} tokens of it"
    tokenizer = HubTokenizer({JSON: opened.to_str().encode()}, name, sam3_ids=kept)
    if not len(kept) <= tokenizer.vocab_size <= len(kept) + 1:  # one more where padding has a token of its own
        raise ValueError(
            f"{folder}/{JSON} has {tokenizer.vocab_size:,} tokens, config.json {len(kept):,}; export it again"
        )
    return tokenizer


def _student_config(state: dict[str, Tensor]) -> dict[str, Any]:
    blocks = {int(key.split(".")[1]) for key in state if key.startswith("blocks.")}
    mixers = {int(key.split(".")[1]) for key in state if ".mixer." in key}
    config = {
        "vocab_size": state["embedding.token.weight"].shape[0],
        "embed_width": state["embedding.token.weight"].shape[1],
        "context_length": state["embedding.position"].shape[0],
        "width": state["projector.weight"].shape[0],
        "layers": len(blocks - mixers),
        "repmixer": bool(mixers),
    }
    if mixers:
        config["kernel_size"] = state[f"blocks.{min(mixers)}.conv_mlp.conv.weight"].shape[-1]
    return config
