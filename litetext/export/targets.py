"""What a student is exported to: one function a target, each writes a folder, proves it, and says how to open it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.writing import MODEL_PREFIX, replace_text, to_layout, write_state
from litetext.export.card import write_card
from litetext.export.evaluation import Evaluated, write_evaluation
from litetext.export.measure import measure
from litetext.export.onnx_folder import write_onnx
from litetext.export.parity import LEAST, parity_of, require_parity
from litetext.export.place import check_place
from litetext.export.request import Dtype, ExportRequest, ExportResult, our_features, require_sam3_student
from litetext.export.source import Positions, read_source
from litetext.export.torch_program import write_torch
from litetext.export.transformers_target import write_stock, write_trimmed
from litetext.files import whole_folder
from litetext.models.text.compact import save_compact
from litetext.models.text.destinations import obstacle, remedy
from litetext.models.text.folder import write_text_folder
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.pruned_vocabulary import OTHERS, kept_ids
from litetext.tokenizer import UNLIMITED

_OPENS_TEXT = """
```python
from litetext.models.text.loading import load_text_encoder

encoder = load_text_encoder("{{folder}}")
tokens = encoder.tokenizer(["white dog"])
features = encoder(*tokens)  # (1, L, {width})
```
"""


def _text(request: ExportRequest, folder: Path) -> ExportResult:
    source = request.source
    write_text_folder(source.student, folder, litetext=source.about, positions=source.positions or "kept")
    again = load_text_encoder(folder)
    what = "load_text_encoder, float32"
    found = parity_of(our_features(source.student, request.prompts), our_features(again, request.prompts))
    require_parity(what, found, request.tolerance)
    return ExportResult(
        {what: found}, _OPENS_TEXT.format(width=source.student.width), encode=partial(our_features, again)
    )


def _compact(request: ExportRequest, folder: Path) -> ExportResult:
    student, kept = request.source.student, None
    if request.keep is not None:
        tokenizer, size = student.tokenizer.cut_to(UNLIMITED), student.config["vocab_size"]
        ids = [i for row in tokenizer.encode(request.keep) for i in row]
        kept = kept_ids(np.bincount(ids, minlength=size), size, tokenizer.special)
    save_compact(student, folder, kept, request.bits, request.bits)
    again = load_text_encoder(folder)
    what = f"load_text_encoder, {request.bits}-bit weights"
    found = parity_of(our_features(student, request.prompts), our_features(again, request.prompts))
    least = LEAST["compact" if request.bits == 8 else "compact in 4 bits"]
    require_parity(what, found, request.tolerance, least=least)
    rows = "all token rows" if kept is None else f"{len(kept):,} token rows, the others in {OTHERS}"
    notes = (f"In memory: {request.bits}-bit weights, {rows}.",)
    return ExportResult(
        {what: found}, _OPENS_TEXT.format(width=student.width), notes, encode=partial(our_features, again)
    )


def _efficientsam3(request: ExportRequest, folder: Path) -> ExportResult:
    source, student = request.source, require_sam3_student(request, "efficientsam3")
    path = folder / "sam3_litetext.pt"
    if request.sam3 is None:
        state = to_layout(source.dense_state(), "efficientsam3")
    else:
        text = to_layout(source.dense_state(), "efficientsam3", MODEL_PREFIX)
        file = open_state(request.sam3)
        if not any(key.startswith(MODEL_PREFIX) for key in file.keys):
            raise ValueError(f"--sam3 {request.sam3} has no {MODEL_PREFIX}*; efficientsam3 builds on Meta's sam3.pt")
        rest = file.fetch([key for key in file.keys if not key.startswith(MODEL_PREFIX)])
        state = replace_text(rest, text, (MODEL_PREFIX,), request.sam3)
    write_state(state, path)
    # What its code computes: prompts filled with id 0 to the whole table, no mask (checked against it by golden
    # numbers in the tests).
    again = load_text_encoder(path, heads=student.config["heads"])
    what = "padded as efficientsam3 does, float32"
    found = parity_of(our_features(student, request.prompts), our_features(again, request.prompts))
    hint = ""
    if why := obstacle(student.config, "efficientsam3"):
        another = remedy(student.config, "efficientsam3", source.checkpoint, source.about)
        hint = f"{why}; take another target, accept the error with --tolerance, or go on with: {another}"
    require_parity(what, found, request.tolerance, hint)
    whole = "a whole checkpoint" if request.sam3 else "the text encoder alone"
    opens = (
        f"`{path.name}` is {whole} in efficientsam3's layout, `torch.load(..., weights_only=True)['model']`; "
        f"the text encoder has {student.config['heads']} attention heads and a table of {student.context_length} "
        "positions (build it with that context length)."
    )
    return ExportResult({what: found}, opens, encode=partial(our_features, again))


TARGETS: dict[str, Callable[[ExportRequest, Path], ExportResult]] = {
    "transformers": write_stock,
    "trimmed": write_trimmed,
    "efficientsam3": _efficientsam3,
    "text": _text,
    "compact": _compact,
    "onnx": write_onnx,
    "torch": write_torch,
}


def export(
    checkpoint: str,
    target: str,
    output: str,
    prompts: Sequence[str],
    sam3: str | None = None,
    context_length: int | None = None,
    positions: Positions = "keep",
    tolerance: float | None = None,
    dtype: Dtype = "fp32",
    batch: int | None = None,
    keep: Sequence[str] | None = None,
    pairs: int | None = None,
    overwrite: bool = False,
    length: int | None = None,
    bits: Literal[8, 4] = 8,
    evaluated: Evaluated | None = None,
) -> ExportResult:
    """Writes a student in another program's layout, compares it with ours, and adds a model card.

    Args:
        checkpoint: The student, see `load_text_encoder`.
        target: One of `TARGETS`.
        output: A new folder; it is there as a whole or not at all.
        prompts: Real prompts to compare features on.
        sam3: The whole SAM3 that gives the rest of the model, for the targets that hold one.
        context_length: See `read_source`.
        positions: See `read_source`.
        tolerance: Largest absolute error of a feature; None for 1e-4, and for no such bound in `fp16`, `int8` and
            `compact`, whose pooled cosines have to reach 0.9999, 0.99 and 0.999, and 0.97 in 4 bits.
        dtype: What ONNX files store weights in.
        batch: Prompts at once of ONNX and ExportedProgram; None for any number.
        keep: Prompts whose tokens stay, in memory of a compact student, in a trimmed one at all; None for all tokens.
        pairs: Pairs of image and phrase in which what is found is compared too; None takes 160, and 8 in a SAM3 of
            full size; 0 compares none. Where features must be equal to 1e-4, so must scores, and instances be the same.
        overwrite: Replace an earlier export of that name, once the new one is whole.
        length: Tokens of every prompt of ONNX and ExportedProgram, padding included; None for any number.
        bits: What a compact student stores weights in.
        evaluated: What `litetext test` found with the student, for the card and the hub.

    Returns:
        What was made.

    Raises:
        FileNotFoundError: If the checkpoint or the SAM3 is not there.
        ValueError: If the student cannot be exported so, its features there differ by more than the tolerance, or
            it finds something else there, or something else than an export has the name.
        OSError: If a file could not be written.
    """
    if target not in TARGETS:
        raise ValueError(f"--to {target} is unknown; choose from {', '.join(TARGETS)}")
    fixed = batch is not None or length is not None
    if (dtype != "fp32" and target != "onnx") or (fixed and target not in ("onnx", "torch")):
        raise ValueError(
            f"--to {target} is in fp32 and of any shape; --dtype is for onnx, --batch and --length for onnx and torch"
        )
    if keep is not None and target not in ("compact", "trimmed"):
        raise ValueError(f"--to {target} keeps every token; --keep is for compact and trimmed")
    if bits != 8 and target != "compact":
        raise ValueError(f"--to {target} stores no weights in {bits} bits; --bits is for compact")
    if pairs is not None and pairs < 0:
        raise ValueError(f"--pairs {pairs} is below 0; 0 compares nothing in images")
    exact = tolerance is None and dtype in ("fp32", "all") and target != "compact"
    if tolerance is None:
        tolerance = 1e-4 if exact else float("inf")
    source = read_source(checkpoint, context_length, positions)
    request = ExportRequest(source, list(dict.fromkeys(prompts)), tolerance, sam3, dtype, batch, keep, length, bits)
    # The student's teacher gives the rest of the model where no SAM3 is named.
    inputs = [checkpoint, sam3 or str(source.about.get("teacher") or checkpoint)]
    check_place(output, overwrite, inputs)
    with whole_folder(output, replace=overwrite) as folder:
        result = measure(request, TARGETS[target](request, folder), folder, pairs, exact)
        result = replace(result, evaluated=evaluated)
        if evaluated is not None:
            write_evaluation(evaluated, folder)
        name = Path(output).name
        card = write_card(name, target, source, result, sam3)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return result
