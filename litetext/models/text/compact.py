"""Small students as folders: weights in 8 bits or fewer, a pruned token table, and what they are, in three files.

`config.json` says what the student is and how it is stored, `model.safetensors` holds what stays in memory, and
`other_tokens.safetensors`, where the token table is pruned, the rows that do not.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from litetext.checkpoints.hub_tokenizer import write_tokenizer
from litetext.checkpoints.text import TextState
from litetext.checkpoints.writing import write_state
from litetext.models.text.few_bits import FewBits
from litetext.models.text.pruned_vocabulary import OTHERS, OtherRows, PrunedEmbedding, prune
from litetext.models.text.quantized import EMBEDDINGS, Bits, quantize_weights, swap_layers
from litetext.models.text.student import KIND, Student

COMPACT = "quantized"
"""What config.json of a compact student says beside the student: how its numbers are stored."""
_SCALES = "scales"
_BYTES = "bytes"
"""How that says that scales of 6-bit numbers are bytes; folders of before have them in bfloat16 and say nothing."""
Build = Callable[[Mapping[str, Any]], Student]
"""Makes a student with initial weights from its configuration."""


def save_compact(
    student: Student,
    folder: str | os.PathLike[str],
    kept: Iterable[int] | None = None,
    tokens: Bits = 8,
    linears: Bits = 8,
    calibration: Sequence[Sequence[int]] = (),
) -> Student:
    """Writes a student in few bytes; `load_text_encoder` opens the folder.

    Args:
        student: Any student; it stays as it is.
        folder: Made if need be; files of these names in it are replaced.
        kept: Token ids whose rows stay in memory, `litetext.models.text.pruned_vocabulary.kept_ids`; None keeps all.
        tokens: Bits that the token table is stored in.
        linears: Bits that the linear layers are stored in.
        calibration: See `quantize_weights`.

    Returns:
        The student as it was written.

    Raises:
        ValueError: If `kept` names ids that the token table does not have, or numbers of that many bits are not known.
        OSError: If a file could not be written, such as on a full disk.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    small = quantize_weights(student, tokens, linears, calibration)
    rows = None
    if kept is not None:
        table = small.embedding.token
        pruned = prune(table, kept, folder / OTHERS)
        small.embedding.token, rows = pruned, len(pruned.kept)  # type: ignore[assignment]  # a table all the same
    stored: dict[str, Any] = {"tokens": tokens, "linears": linears, "kept": rows}
    if any(isinstance(part, FewBits) and part.scale.dtype == torch.uint8 for part in small.modules()):
        stored[_SCALES] = _BYTES
    write_state({key: value.contiguous() for key, value in small.state_dict().items()}, folder / "model.safetensors")
    about: dict[str, Any] = {"model_type": KIND, "student": student.config, COMPACT: stored}
    if student.reads is not None:
        about["tokenizer"] = write_tokenizer(student.reads, folder)
    config = json.dumps(about, indent=2)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    return small


def read_compact(folder: Path) -> TextState:
    """The numbers of a folder of `save_compact`, as they are stored; those of tokens not kept stay in their file.

    Raises:
        FileNotFoundError: A file of the folder is missing.
        ValueError: A file is damaged.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file; the folder is not whole, export the student again")
    try:
        return TextState(load_file(weights), "native", "", str(weights))
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged ({error}); export the student again") from error


def compact_student(folder: Path, config: Mapping[str, Any], found: TextState, build: Build) -> Student:
    """The student of a folder of `save_compact`.

    Args:
        folder: Where the rows lie that are not in memory.
        config: Its config.json.
        found: Of `read_compact`.
        build: Makes a student with initial weights from its configuration.

    Raises:
        ValueError: What is stored does not belong together.
    """
    try:
        student, stored = _frame(config["student"], config[COMPACT], folder, build)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} does not describe a student ({error}); export it again") from error
    expected, state = student.state_dict(), found.state
    wrong = sorted(
        key
        for key in expected.keys() | state.keys()
        if key not in state
        or key not in expected
        or state[key].shape != expected[key].shape
        or state[key].dtype != expected[key].dtype
    )
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{found.source} does not fit its config.json: {', '.join(wrong[:3])}{more}; export it again")
    student.load_state_dict(state, assign=True)
    token: Any = student.embedding.token
    if stored["kept"] is not None:
        shape, size = token.others.shape(), config["student"]["vocab_size"] - stored["kept"]
        if shape != (size, token.table.weight.shape[1]):
            raise ValueError(f"{token.others.path} holds {shape[0]} token rows where {size} are left out; export again")
        own = {name: (part.shape[1:].numel(), part.dtype) for name, part in token.table.state_dict().items()}
        if token.others.layout() != own:
            raise ValueError(f"{token.others.path} stores its token rows unlike {found.source}; export again")
    return student


def _frame(
    config: Mapping[str, Any], stored: Mapping[str, Any], folder: Path, build: Build
) -> tuple[Student, Mapping[str, Any]]:
    """The student's modules without numbers."""
    with torch.device("meta"):
        student = build(config).reparameterize()
        student.drop_unused()
        width = student.embedding.token.weight.shape[1]
        tokens, linears = _bits(stored["tokens"]), _bits(stored["linears"])
        swap_layers(student, tokens, linears)
        if stored["kept"] is not None:
            shape = (stored["kept"], width)
            inner = (nn.Embedding if tokens == 32 else EMBEDDINGS[tokens])(*shape)
            kept = torch.empty(shape[0], dtype=torch.int64)
            student.embedding.token = PrunedEmbedding(inner, kept, OtherRows(folder / OTHERS))  # type: ignore[assignment]
        scales = stored.get(_SCALES)
        if scales not in (None, _BYTES):
            raise ValueError(f"scales as {scales!r} are not known")
        for part in student.modules():
            if scales is None and isinstance(part, FewBits):
                part.use_bfloat16_scales()
    return student, stored


def _bits(stored: Any) -> Bits:
    """Bits as `config.json` tells them; folders of before 4-bit numbers say true for 8 and false for 32."""
    bits: Any = {True: 8, False: 32}[stored] if isinstance(stored, bool) else stored
    if bits not in get_args(Bits):
        raise ValueError(f"numbers of {stored!r} bits are not known")
    return bits
