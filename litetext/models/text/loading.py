"""Any text encoder by its path: a SAM3's own, students in all their forms, phrase banks, those of other models."""

import os
from pathlib import Path

from litetext.checkpoints.hub_tokenizer import HubTokenizer, read_tokenizer
from litetext.models.finite import check_weights
from litetext.models.hub import TEXT_FILES, find_model
from litetext.models.packaged import packaged
from litetext.models.text.bank import is_bank, load_bank
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.folder import read_text_files, stored_config, student_of, trimmed_tokenizer
from litetext.models.text.hf_towers import FAMILIES, carried, open_tokenizer
from litetext.models.text.hub_encoder import HubTextEncoder
from litetext.models.text.kinds import build_student
from litetext.models.text.student import KIND
from litetext.models.text.students import load_student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import shipped

_SAM3_TYPES = ("sam3", "sam3_video", "sam3_lite_text", KIND)
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")


def load_text_encoder(
    name: str | os.PathLike[str],
    context_length: int | None = None,
    heads: int | None = None,
    finite: bool = True,
    for_sam3: bool = True,
    what: str = "text encoder",
) -> TextEncoder:
    """Loads a text encoder in eval mode; what it is, its file says. A path that exists never touches the hub.

    Args:
        name: A `.ckpt` of `litetext fit`; a SAM3 (transformers folder, hub id, `sam3.pt`) for its own; published
            SAM3-LiteText weights (transformers folder, hub id, or efficientsam3's `.pt`); a folder that `litetext
            export` or `litetext.models.text.compact` wrote; or a phrase bank, which knows its phrases alone.
        context_length: For published students, to use the first rows of a longer position table; None takes the
            whole table. They are padded to it as they were trained (`padding: reference`).
        heads: Attention heads, for a file that does not say; None means 64 channels a head, as in all published ones.
        finite: Refuse weights that are not finite. Without, they are loaded as they are, to be looked at.
        for_sam3: Its features are for a SAM3. Without, it is looked into or learnt from: no phrase bank then, but any
            model whose text side can be read as well, a folder or hub id of transformers with a CLIP, OWL-ViT, OWLv2,
            SigLIP, BERT-like or Grounding DINO model and its tokenizer files, or `package:NAME` for weights that a
            package brings.
        what: What it is, for messages.

    Raises:
        FileNotFoundError: If there is no such path, and no such model on the hub.
        ValueError: If it holds no text encoder, or none of the kind that is wanted; or its weights or tokenizer are
            missing, cannot be read, or are not finite.
    """
    name = os.fspath(name)
    path, kind = _find(name, what)
    if kind in FAMILIES and for_sam3:
        raise ValueError(
            f"{path} is a model of type {kind!r}, whose features a SAM3 cannot read; give a SAM3, or a student of its "
            "text encoder"
        )
    encoder: TextEncoder
    if kind in FAMILIES:
        encoder = HubTextEncoder.from_pretrained(path, kind, name)
    elif path.suffix == ".ckpt":
        encoder = load_student(str(path), finite=False)
    elif is_bank(path):
        if not for_sam3:
            raise ValueError(f"{what} {path} is a phrase bank, which holds no weights; name the text encoder it is of")
        encoder = load_bank(path)
    elif (files := read_text_files(path)).of_sam3:
        encoder = Sam3TextEncoder.from_state(files.found, path, heads)
    else:
        encoder = student_of(files, build_student, context_length, heads)
    encoder.name = name
    if finite:
        check_weights(encoder, name)
    return encoder


def load_tower(name: str | os.PathLike[str]) -> TextEncoder:
    """A text encoder of any model, to be looked into: `load_text_encoder(name, finite=False, for_sam3=False)`."""
    return load_text_encoder(name, finite=False, for_sam3=False)


def load_tokenizer(name: str | os.PathLike[str], what: str = "text encoder") -> HubTokenizer | None:
    """The tokenizer of a text encoder of any model, without its weights; None where it is SAM3's.

    Args:
        name: As `load_text_encoder`.
        what: What it is, for messages.

    Raises:
        FileNotFoundError: As `load_text_encoder`.
        ValueError: As `load_text_encoder`.
    """
    path, kind = _find(os.fspath(name), what)
    if kind in FAMILIES:
        return carried(open_tokenizer(path), kind, os.fspath(name))
    if path.suffix == ".ckpt":  # a student, which may have learnt from such a teacher
        return load_student(str(path), finite=False).reads
    config = stored_config(path)
    if kind == KIND:
        return read_tokenizer(config["tokenizer"], path) if config.get("tokenizer") is not None else None
    return trimmed_tokenizer(path, config)


def _find(name: str, what: str) -> tuple[Path, str | None]:
    """Where a text encoder lies, and the model type that its config.json tells, if it has one."""
    files = (*TEXT_FILES, *_TOKENIZER_FILES)
    path = find_model(packaged(shipped(name)), what, files, instead="a local folder or sam3.pt")
    kind = stored_config(path).get("model_type")
    if kind is not None and kind not in (*_SAM3_TYPES, *FAMILIES):
        raise ValueError(
            f"{path} is a model of type {kind!r}, whose text side cannot be read; "
            f"supported are {', '.join([*_SAM3_TYPES, *FAMILIES])}"
        )
    return path, kind
