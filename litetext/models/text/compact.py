"""Small students as folders: weights in 8 bits or fewer, a pruned token table, and what they are, in three files.

`config.json` says what the student is and how it is stored, `model.safetensors` holds what stays in memory, and
`other_tokens.safetensors`, where the token table is pruned, the rows that do not.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from litetext.hub_tokenizer import read_tokenizer, write_tokenizer
from litetext.models.text.folder import KIND
from litetext.models.text.kinds import build_student
from litetext.models.text.mobileclip import MobileClipText, RepMixer, RepMixerBlock
from litetext.models.text.pruned_vocabulary import OTHERS, OtherRows, PrunedEmbedding, prune
from litetext.models.text.quantized import EMBEDDINGS, Bits, quantize_weights, swap_layers
from litetext.models.text.student import Student

_KEY = "quantized"


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
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    small = quantize_weights(student, tokens, linears, calibration)
    rows = None
    if kept is not None:
        table = small.embedding.token
        pruned = prune(table, kept, folder / OTHERS)
        small.embedding.token, rows = pruned, len(pruned.kept)  # type: ignore[assignment]  # a table all the same
    stored = {"tokens": tokens, "linears": linears, "kept": rows}
    save_file({key: value.contiguous() for key, value in small.state_dict().items()}, folder / "model.safetensors")
    about: dict[str, Any] = {"model_type": KIND, "student": student.config, _KEY: stored}
    if student.reads is not None:
        about["tokenizer"] = write_tokenizer(student.reads, folder)
    config = json.dumps(about, indent=2)
    (folder / "config.json").write_text(config + "\n", encoding="utf-8")
    return small


def is_compact(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder of `save_compact`."""
    try:
        stored = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(stored, dict) and _KEY in stored


def load_compact(folder: str | os.PathLike[str]) -> Student:
    """Opens a folder of `save_compact`; rows of tokens that were not kept stay in their file.

    Raises:
        FileNotFoundError: A file of the folder is missing.
        ValueError: A file is damaged, or the two do not belong together.
    """
    folder = Path(folder)
    weights = folder / "model.safetensors"
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        student, stored = _frame(config["student"], config[_KEY], folder)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} does not describe a student ({error}); export it again") from error
    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: no such file; the folder is not whole, export the student again")
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise ValueError(f"{weights} is damaged ({error}); export the student again") from error
    expected = student.state_dict()
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
        raise ValueError(f"{weights} does not fit its config.json: {', '.join(wrong[:3])}{more}; export it again")
    student.load_state_dict(state, assign=True)
    if config.get("tokenizer") is not None:
        student.reads = read_tokenizer(config["tokenizer"], folder)
    token: Any = student.embedding.token
    if stored["kept"] is not None:
        shape, size = token.others.shape(), config["student"]["vocab_size"] - stored["kept"]
        if shape != (size, token.table.weight.shape[1]):
            raise ValueError(f"{token.others.path} holds {shape[0]} token rows where {size} are left out; export again")
    return student.eval().requires_grad_(False)


def _frame(config: dict[str, Any], stored: dict[str, Any], folder: Path) -> tuple[Student, dict[str, Any]]:
    """The student's modules without numbers."""
    with torch.device("meta"):
        student = build_student(config)
        for block in student.blocks:
            if isinstance(block, RepMixerBlock) and isinstance(block.mixer, RepMixer):
                block.mixer = block.mixer.fold()
        if isinstance(student, MobileClipText):
            student.eot_projection = nn.Parameter(torch.empty(0, 0), requires_grad=False)
        width = student.embedding.token.weight.shape[1]
        tokens, linears = _bits(stored["tokens"]), _bits(stored["linears"])
        swap_layers(student, tokens, linears)
        if stored["kept"] is not None:
            shape = (stored["kept"], width)
            inner = (nn.Embedding if tokens == 32 else EMBEDDINGS[tokens])(*shape)
            kept = torch.empty(shape[0], dtype=torch.int64)
            student.embedding.token = PrunedEmbedding(inner, kept, OtherRows(folder / OTHERS))  # type: ignore[assignment]
    return student, stored


def _bits(stored: Any) -> Bits:
    """Bits as `config.json` tells them; folders of before 4-bit numbers say true for 8 and false for 32."""
    bits: Any = {True: 8, False: 32}[stored] if isinstance(stored, bool) else stored
    if bits not in get_args(Bits):
        raise ValueError(f"numbers of {stored!r} bits are not known")
    return bits
