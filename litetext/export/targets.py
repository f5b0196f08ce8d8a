"""What a student is exported to: one function a target, each writes a folder, proves it, and says how to open it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.writing import MODEL_PREFIX, replace_text, to_layout, write_state
from litetext.data.prompts.corpora import read_prompts
from litetext.export.card import write_card
from litetext.export.evaluation import Evaluated, require_same_encoder, write_evaluation
from litetext.export.masks import world_of
from litetext.export.measure import measure
from litetext.export.onnx_folder import write_onnx
from litetext.export.parity import MIN_COSINE, Parity, parity_of, require_parity
from litetext.export.place import check_place
from litetext.export.request import Dtype, ExportRequest, ExportResult, Small, our_features, require_sam3_student
from litetext.export.source import Positions, read_source
from litetext.export.torch_program import write_torch
from litetext.export.transformers_target import write_stock, write_trimmed
from litetext.files import whole_folder
from litetext.models.text.compact import save_compact
from litetext.models.text.destinations import obstacle, remedy
from litetext.models.text.encoder import TextEncoder, count_parameters
from litetext.models.text.folder import write_text_folder
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.pruned_vocabulary import OTHERS, kept_ids
from litetext.models.text.quantized import calibration_rows, resident_bytes
from litetext.tokenizer import UNLIMITED

_EQUAL = 1e-4
"""Largest difference of a feature that is rounding."""
DRAWN = 200
"""Phrases to compare features on, if nobody names a corpus."""
SMALL: tuple[Small, ...] = (6, 8)
"""Bits that a compact student is stored in, if nobody says: the first that keep the cosine."""
WHY_SMALL = "the smallest form that kept 99.5% of a student's CG_F1 on the embedded benchmark of nouns"
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
    tokenizer, met = student.tokenizer, request.prompts if request.keep is None else request.keep
    if request.keep is not None:
        size = student.config["vocab_size"]
        ids = tokenizer.cut_to(UNLIMITED).rows(request.keep).ids
        kept = kept_ids(np.bincount(ids, minlength=size), request.rows or size, tokenizer.special)
    calibration, ours = tokenizer.encode(met), our_features(student, request.prompts)

    def write(bits: Small) -> tuple[TextEncoder, Parity]:
        save_compact(student, folder, kept, bits, bits, calibration)
        again = load_text_encoder(folder)
        return again, parity_of(ours, our_features(again, request.prompts))

    bits, *more = SMALL if request.bits is None else (request.bits,)
    notes: list[str] = []
    again, found = write(bits)
    while more and not found.pooled >= MIN_COSINE[_gate(bits)]:
        notes.append(
            f"Not smaller, since {found.line(f'with {bits}-bit weights')}; {MIN_COSINE[_gate(bits)]} is wanted."
        )
        bits, *more = more
        again, found = write(bits)
    what = f"load_text_encoder, {bits}-bit weights"
    require_parity(what, found, request.tolerance, min_cosine=MIN_COSINE[_gate(bits)])
    rows = "all token rows" if kept is None else f"{len(kept):,} token rows, the others in {OTHERS}"
    notes.insert(0, f"In memory, {resident_bytes(again):,} bytes: {bits}-bit weights, {rows}.")
    if request.bits is None and bits == SMALL[0]:
        notes.append(f"So many bits are the default: {WHY_SMALL}.")
    if bits < 8:
        count = len(calibration_rows(calibration))
        some = f"{count:,} of the {len(met):,}" if count < len(met) else f"{count:,}"
        notes.append(f"Weights are rounded for what layers meet on {some} prompts of {_met(request)}.")
    return ExportResult(
        {what: found},
        _OPENS_TEXT.format(width=student.width),
        tuple(notes),
        encode=partial(our_features, again),
        parameters=again.parameter_count,
    )


def _gate(bits: Small) -> str:
    return "compact" if bits == 8 else f"compact in {bits} bits"


def _met(request: ExportRequest) -> str:
    return "the gate, since no --keep named others" if request.keep is None else "the corpus whose tokens are kept"


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
    return ExportResult({what: found}, opens, encode=partial(our_features, again), parameters=again.parameter_count)


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
    prompts: Sequence[str] | None = None,
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
    bits: Small | None = None,
    rows: int | None = None,
    evaluated: Evaluated | None = None,
) -> ExportResult:
    """Writes a student in another program's layout, compares it with ours, and adds a model card.

    Args:
        checkpoint: The student, see `load_text_encoder`.
        target: One of `TARGETS`.
        output: A new folder; it is there as a whole or not at all.
        prompts: Real prompts to compare features on; None takes `DRAWN` phrases of the world of the shipped SAM3 that
            reads features of this width, of nouns where none does.
        sam3: The whole SAM3 that gives the rest of the model, for the targets that hold one.
        context_length: See `read_source`.
        positions: See `read_source`.
        tolerance: Largest absolute error of a feature; None for 1e-4, and for no such bound in `fp16`, `int8` and
            `compact`, whose pooled cosines have to reach 0.9999, 0.99 and 0.999, and less in fewer than 8 bits.
        dtype: What ONNX files store weights in.
        batch: Prompts at once of ONNX and ExportedProgram; None for any number.
        keep: Prompts whose tokens stay, in memory of a compact student, in a trimmed one at all; None for all tokens.
        pairs: Pairs of image and phrase whose predictions are compared too; None takes 160, and 8 in a SAM3 of
            full size; 0 compares none. Where features must be equal to 1e-4, so must scores, and instances be the same.
        overwrite: Replace an earlier export of that name, once the new one is whole.
        length: Tokens of every prompt of ONNX and ExportedProgram, padding included, to which longer ones are cut; None
            for any number.
        bits: What a compact student stores weights in; None takes the first of `SMALL` that are close enough.
        rows: Token rows that a compact student has in memory at most, the most frequent ones of `keep`.
        evaluated: The scores of `litetext test` with the student, for the card and the hub.

    Returns:
        What was made.

    Raises:
        FileNotFoundError: If the checkpoint or the SAM3 is not there.
        ValueError: If the student cannot be exported so, its features there differ by more than the tolerance, or
            it predicts something else there, or something else than an export has the name.
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
    if bits is not None and target != "compact":
        raise ValueError(f"--to {target} stores no weights in {bits} bits; --bits is for compact")
    if rows is not None and (target != "compact" or keep is None):
        raise ValueError(f"--rows {rows} counts the token rows of --keep that --to compact has in memory; give both")
    if pairs is not None and pairs < 0:
        raise ValueError(f"--pairs {pairs} is below 0; 0 compares nothing in images")
    exact = tolerance is None and dtype in ("fp32", "all") and target != "compact"
    if tolerance is None:
        tolerance = _EQUAL if exact else float("inf")
    source = read_source(checkpoint, context_length, positions)
    parameters = [count_parameters(source.student)]
    if evaluated is not None and target in ("text", "onnx", "torch"):  # as many when they are exported
        require_same_encoder(evaluated, checkpoint, parameters)
    if prompts is None:
        prompts = read_prompts("prompts", f"{world_of(source.student.width)}:{DRAWN}").prompts
    request = ExportRequest(
        source, list(dict.fromkeys(prompts)), tolerance, sam3, dtype, batch, keep, length, bits, rows
    )
    # The student's teacher gives the rest of the model where no SAM3 is named.
    inputs = [checkpoint, sam3 or str(source.about.get("teacher") or checkpoint)]
    check_place(output, overwrite, inputs)
    with whole_folder(output, replace=overwrite) as folder:
        result = measure(request, TARGETS[target](request, folder), folder, pairs, exact)
        # A trimmed vocabulary takes some prompts apart in another way, and a short graph cuts some.
        cut = length is not None and length < source.student.context_length
        equal = not (target == "trimmed" or cut) and next(iter(result.parities.values())).largest <= _EQUAL
        if evaluated is not None:
            more = [] if result.parameters is None else [result.parameters]
            require_same_encoder(evaluated, checkpoint, [*parameters, *more])
            evaluated = evaluated._replace(before=not equal and evaluated.parameters not in more)
            write_evaluation(evaluated, folder)
        result = replace(result, evaluated=evaluated, exact=equal)
        name = Path(output).name
        card = write_card(name, target, source, result, sam3)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return result
