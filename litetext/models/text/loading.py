"""Any text encoder by its path: the teacher's own, students that `litetext fit` wrote, published SAM3-LiteText."""

import os
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor

from litetext.checkpoints.text import TextState, read_text_state, require_match, resize_positions
from litetext.hub_tokenizer import JSON, HubTokenizer
from litetext.models.finite import check_weights
from litetext.models.hub import find_model
from litetext.models.text.compact import is_compact, load_compact
from litetext.models.text.folder import KIND, load_text_folder, stored_config
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.student import Student
from litetext.models.text.students import load_student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import shipped


def load_text_encoder(
    name: str | os.PathLike[str], context_length: int | None = None, heads: int | None = None, finite: bool = True
) -> Sam3TextEncoder | Student:
    """Loads a text encoder in eval mode; what it is, its file says.

    Args:
        name: A `.ckpt` of `litetext fit`; a SAM3 (transformers folder, hub id, `sam3.pt`) for the teacher's own; or
            published SAM3-LiteText weights (transformers folder, hub id, or efficientsam3's `.pt`); or a folder that
            `litetext export` or `litetext.models.text.compact` wrote.
        context_length: For published students, to use the first rows of a longer position table; None takes the
            whole table. They are padded to it as they were trained (`padding: reference`).
        heads: Attention heads, for a file that does not say; None means 64 channels a head, as in all published ones.
        finite: Refuse weights that are not finite. Without, they are loaded as they are, to be looked at.

    Raises:
        FileNotFoundError: If there is no such path, and no such model on the hub.
        ValueError: If it holds no text encoder whose features a SAM3 reads, or its weights are not finite.
    """
    path = find_model(shipped(os.fspath(name)), "text encoder", instead="a local path")
    encoder = _load(path, context_length, heads)
    if finite:
        check_weights(encoder, os.fspath(name))
    return encoder


def _load(path: Path, context_length: int | None, heads: int | None) -> Sam3TextEncoder | Student:
    if path.suffix == ".ckpt":
        return load_student(str(path), finite=False)
    if is_compact(path):
        return load_compact(path)
    config = stored_config(path)
    if config.get("model_type") == KIND:
        return load_text_folder(path)
    found = read_text_state(path)
    if isinstance(config.get("litetext"), dict) and found.layout == "litetext":
        student = _exported(found, config["litetext"].get("student"))
        student.reads = trimmed_tokenizer(path, config)
        return student
    if found.layout in ("sam3", "meta", "native"):
        return Sam3TextEncoder.from_state(found, path, heads)
    if "projector.weight" not in found.state:
        raise ValueError(
            f"{path} is a MobileCLIP text tower without a projection to SAM3's features; distil it first: "
            "litetext fit with model.student.init_args.pretrained"
        )
    size = _student_config(found.state)
    size["heads"] = (
        heads or config.get("text_config", {}).get("num_attention_heads") or max(1, size["embed_width"] // 64)
    )
    if context_length is not None:
        size["context_length"] = context_length
    with torch.device("meta"):
        student = MobileClipText(**size, padding="reference")
    state, _ = resize_positions(found.state, student.context_length, "slice", found.source)
    require_match(student.state_dict(), state, found)
    student.load_state_dict(state, assign=True)
    return student.eval().requires_grad_(False)


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


def _exported(found: TextState, config: Any) -> MobileClipText:
    """A student of ours in the folder that transformers opens, as it was before it went there."""
    try:
        with torch.device("meta"):
            student = MobileClipText(**{**config, "embedding_rank": 0})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{found.source}: its config.json does not describe a student ({error})") from error
    # The folder's tables may be longer: filled up to the processor's length, and by a token for padding.
    rows = {"embedding.token.weight": found.state["embedding.token.weight"][: config["vocab_size"]]}
    state, _ = resize_positions({**found.state, **rows}, student.context_length, "slice", found.source)
    require_match(student.state_dict(), state, found)
    student.load_state_dict(state, assign=True)
    return student.eval().requires_grad_(False)


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
