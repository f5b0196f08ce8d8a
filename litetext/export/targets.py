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
from litetext.export.order import Dtype, Order, Outcome, our_features, require_sam3_student
from litetext.export.parity import LEAST, parity_of, require_parity
from litetext.export.place import check_place
from litetext.export.subject import Positions, read_subject
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


def _text(order: Order, folder: Path) -> Outcome:
    subject = order.subject
    write_text_folder(subject.student, folder, litetext=subject.about, positions=subject.positions or "kept")
    again = load_text_encoder(folder)
    what = "load_text_encoder, float32"
    found = parity_of(our_features(subject.student, order.prompts), our_features(again, order.prompts))
    require_parity(what, found, order.tolerance)
    return Outcome({what: found}, _OPENS_TEXT.format(width=subject.student.width), hear=partial(our_features, again))


def _compact(order: Order, folder: Path) -> Outcome:
    student, kept = order.subject.student, None
    if order.keep is not None:
        tokenizer, size = student.tokenizer.cut_to(UNLIMITED), student.config["vocab_size"]
        ids = [i for row in tokenizer.encode(order.keep) for i in row]
        kept = kept_ids(np.bincount(ids, minlength=size), size, tokenizer.special)
    save_compact(student, folder, kept, order.bits, order.bits)
    again = load_text_encoder(folder)
    what = f"load_text_encoder, {order.bits}-bit weights"
    found = parity_of(our_features(student, order.prompts), our_features(again, order.prompts))
    least = LEAST["compact" if order.bits == 8 else "compact in 4 bits"]
    require_parity(what, found, order.tolerance, least=least)
    rows = "all token rows" if kept is None else f"{len(kept):,} token rows, the others in {OTHERS}"
    notes = (f"In memory: {order.bits}-bit weights, {rows}.",)
    return Outcome({what: found}, _OPENS_TEXT.format(width=student.width), notes, hear=partial(our_features, again))


def _efficientsam3(order: Order, folder: Path) -> Outcome:
    subject, student = order.subject, require_sam3_student(order, "efficientsam3")
    path = folder / "sam3_litetext.pt"
    if order.sam3 is None:
        state = to_layout(subject.dense_state(), "efficientsam3")
    else:
        text = to_layout(subject.dense_state(), "efficientsam3", MODEL_PREFIX)
        file = open_state(order.sam3)
        if not any(key.startswith(MODEL_PREFIX) for key in file.keys):
            raise ValueError(f"--sam3 {order.sam3} has no {MODEL_PREFIX}*; efficientsam3 builds on Meta's sam3.pt")
        rest = file.fetch([key for key in file.keys if not key.startswith(MODEL_PREFIX)])
        state = replace_text(rest, text, (MODEL_PREFIX,), order.sam3)
    write_state(state, path)
    # What its code computes: prompts filled with id 0 to the whole table, no mask (checked against it by golden
    # numbers in the tests).
    again = load_text_encoder(path, heads=student.config["heads"])
    what = "padded as efficientsam3 does, float32"
    found = parity_of(our_features(student, order.prompts), our_features(again, order.prompts))
    hint = ""
    if why := obstacle(student.config, "efficientsam3"):
        another = remedy(student.config, "efficientsam3", subject.source, subject.about)
        hint = f"{why}; take another target, accept the error with --tolerance, or go on with: {another}"
    require_parity(what, found, order.tolerance, hint)
    whole = "a whole checkpoint" if order.sam3 else "the text encoder alone"
    opens = (
        f"`{path.name}` is {whole} in efficientsam3's layout, `torch.load(..., weights_only=True)['model']`; "
        f"the text encoder has {student.config['heads']} attention heads and a table of {student.context_length} "
        "positions (build it with that context length)."
    )
    return Outcome({what: found}, opens, hear=partial(our_features, again))


TARGETS: dict[str, Callable[[Order, Path], Outcome]] = {
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
) -> Outcome:
    """Writes a student in another program's layout, compares it with ours, and adds a model card.

    Args:
        checkpoint: The student, see `load_text_encoder`.
        target: One of `TARGETS`.
        output: A new folder; it is there as a whole or not at all.
        prompts: Real prompts to compare features on.
        sam3: The whole SAM3 that gives the rest of the model, for the targets that hold one.
        context_length: See `read_subject`.
        positions: See `read_subject`.
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
    subject = read_subject(checkpoint, context_length, positions)
    order = Order(subject, list(dict.fromkeys(prompts)), tolerance, sam3, dtype, batch, keep, length, bits)
    # The student's teacher gives the rest of the model where no SAM3 is named.
    inputs = [checkpoint, sam3 or str(subject.about.get("teacher") or checkpoint)]
    check_place(output, overwrite, inputs)
    with whole_folder(output, replace=overwrite) as folder:
        made = replace(measure(order, TARGETS[target](order, folder), folder, pairs, exact), evaluated=evaluated)
        if evaluated is not None:
            write_evaluation(evaluated, folder)
        name = Path(output).name
        card = write_card(name, target, subject, made, sam3)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return made
