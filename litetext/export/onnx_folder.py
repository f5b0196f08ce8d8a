"""The target `onnx`: a file and its tokenizer for ONNX Runtime alone, proven as its card opens them."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from litetext.checkpoints.hub_tokenizer import sentence
from litetext.export.cleaning import ODD_PROMPTS
from litetext.export.graph import INPUTS, OUTPUTS
from litetext.export.graphs import OnnxType, export_onnx, float_operators
from litetext.export.masks import THRESHOLD, Encode
from litetext.export.parity import MIN_COSINE, Parity, parity_of, require_parity
from litetext.export.request import ExportRequest, ExportResult, cut_of, our_features
from litetext.export.tokenizer_file import standalone
from litetext.models.text.student import Student

_OPENS = """
```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession("{folder}/FILE", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file("{folder}/tokenizer.json")  # cleans, cuts to CONTEXT tokens and pads
rows = tokenizer.encode_batch(PHRASES)
input_ids = np.array([row.ids for row in rows], np.int64)
attention_mask = np.array([row.attention_mask for row in rows], np.int64)
inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
text_features, text_mask = session.run(["text_features", "text_mask"], inputs)
```

Inputs `input_ids` and `attention_mask` SHAPE, int64, padding behind the tokens; outputs `text_features` SHAPE_OUT,
float32, and `text_mask` SHAPE, bool. `session.get_modelmeta().custom_metadata_map` holds padding, context length,
threshold and version.
"""


def write_onnx(request: ExportRequest, folder: Path) -> ExportResult:
    """`model.onnx` and `tokenizer.json`; with dtype `all` a file a type."""
    student = request.source.student
    length = student.context_length if student.padding == "reference" else request.length
    cut = cut_of(request)
    standalone(cut.most, length, student.reads).save(str(folder / "tokenizer.json"))
    types: Sequence[OnnxType] = ("fp32", "fp16", "int8") if request.dtype == "all" else (request.dtype,)
    parities: dict[str, Parity] = {}
    encoders: dict[str, Encode] = {}
    notes: list[str] = [cut.note] if cut.note else []
    for dtype in types:
        name = "model.onnx" if len(types) == 1 or dtype == "fp32" else f"model_{dtype}.onnx"
        about = properties(student, dtype, length, cut.most)
        traced = folder / "model.onnx" if "fp32" in encoders else None
        file = export_onnx(student, folder, dtype, request.batch, request.length, name, about, traced)
        encode = as_the_card_says(folder, file.name, student, request.batch, cut.most)
        what = f"ONNX Runtime, {dtype}"
        parities[what] = parity_of(our_features(student, request.prompts, cut.most), encode(request.prompts))
        odd = parity_of(our_features(student, ODD_PROMPTS, cut.most), encode(ODD_PROMPTS))
        require_parity(
            what, parities[what], request.tolerance if dtype == "fp32" else float("inf"), min_cosine=MIN_COSINE[dtype]
        )
        require_parity(f"{what}, odd prompts", odd, float("inf"), min_cosine=MIN_COSINE[dtype])
        encoders[dtype] = encode
        notes.append(f"`{name}`: {dtype}, {file.stat().st_size / 1e6:,.1f} MB.")
        if dtype == "int8":
            notes.append(f"In int8 these stay in 32 bits: {'; '.join(float_operators(file))}.")
    if student.reads is not None and student.reads.form == "sentence":
        notes.append("Prompts are given in lower case with a full stop at the end, as their teacher reads them.")
    first = "model.onnx"
    opens = _card(request, first, length, cut.most)
    return ExportResult(parities, opens, tuple(notes), encode=encoders[types[0]], also=encoders, fits=cut.fits)


def properties(student: Student, dtype: str, length: int | None, most: int) -> dict[str, str]:
    """What an ONNX file says of itself."""
    return {
        "litetext_version": metadata.version("litetext"),
        "padding": student.padding,
        "context_length": str(most),
        "length": "dynamic" if length is None else str(length),
        "width": str(student.width),
        "dtype": dtype,
        "threshold": str(THRESHOLD),
        "tokenizer": "tokenizer.json",
    }


def as_the_card_says(folder: Path, name: str, student: Student, batch: int | None, most: int) -> Encode:
    """Features of prompts by the file and its own tokenizer, nothing of ours between.

    Args:
        folder: The export.
        name: The file.
        student: What it was made from; its tokenizer must give the same tokens.
        batch: Prompts at once as the file wants them, the last batch filled up; None for 8.
        most: Tokens to which prompts are cut.
    """
    import onnxruntime
    from tokenizers import Tokenizer as Stock

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
    tokenizer: Any = Stock.from_file(str(folder / "tokenizer.json"))
    size, write = batch or 8, sentence if student.reads is not None and student.reads.form == "sentence" else str

    def encode(prompts: Sequence[str]) -> list[Tensor]:
        features: list[Tensor] = []
        for start in range(0, len(prompts), size):
            chosen = list(prompts[start : start + size])
            texts = [write(prompt) for prompt in chosen]
            rows = tokenizer.encode_batch(texts + texts[:1] * (size - len(texts) if batch else 0))
            ids = np.array([row.ids for row in rows], np.int64)
            mask = np.array([row.attention_mask for row in rows], np.int64)
            found, valid = session.run(list(OUTPUTS), dict(zip(INPUTS, (ids, mask), strict=True)))
            if not np.array_equal(valid, mask > 0):
                raise ValueError("the exported mask does not mark the valid tokens")
            features += [torch.from_numpy(found[n, : int(mask[n].sum())].copy()) for n in range(len(chosen))]
            ours = student.tokenizer.cut_to(most).encode(chosen)
            for prompt, own, row in zip(chosen, ours, rows[: len(chosen)], strict=True):
                if row.ids[: sum(row.attention_mask)] != own:
                    raise ValueError(
                        f"tokenizer.json gives other tokens for the prompt {prompt!r}; nothing was written: clean it "
                        "as SAM3 does (litetext.tokenizer.clean), or leave it out of --prompts"
                    )
        return features

    return encode


def _card(request: ExportRequest, file: str, length: int | None, most: int) -> str:
    student = request.source.student
    tokens = str(length) if length else f"2 to {student.context_length}"
    prompts = str(request.batch or "B")
    phrases = '["red circle", "white dog"]'
    if request.batch is not None:
        phrases = f'["white dog"] * {request.batch}'
    return (
        _OPENS.replace("FILE", file)
        .replace("CONTEXT", str(most))
        .replace("PHRASES", phrases)
        .replace("SHAPE_OUT", f"({prompts}, {tokens}, {student.width})")
        .replace("SHAPE", f"({prompts}, {tokens})")
    )
