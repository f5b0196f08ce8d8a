"""What a student is exported to: one function a target, each writes a folder, proves it, and says how to open it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.writing import MODEL_PREFIX, replace_text, to_layout, write_state
from litetext.export.card import write_card
from litetext.export.cleaning import NOT_CLEANED, ODD_PROMPTS
from litetext.export.graph import features_of
from litetext.export.graphs import OnnxType, export_onnx, open_onnx
from litetext.export.parity import Parity, parity_of, require_parity
from litetext.export.subject import Positions, Subject, read_subject
from litetext.export.torch_target import export_torch, open_torch
from litetext.files import whole_folder
from litetext.models.text.compact import save_compact
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.folder import write_text_folder
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.pruned_vocabulary import OTHERS, kept_ids
from litetext.tokenizer import UNLIMITED, Tokenizer


@dataclass(frozen=True)
class Order:
    """An export as it was asked for.

    Attributes:
        subject: The student.
        prompts: Real prompts for the gate, distinct.
        tolerance: Largest error that the gate lets through.
        sam3: The whole SAM3 to put the student into, if one was named.
        dtype: What an ONNX file stores weights in.
        batch: Prompts at once of ONNX and ExportedProgram; None for any number.
        keep: Prompts whose tokens stay in memory in a compact student; None for all tokens.
    """

    subject: Subject
    prompts: Sequence[str]
    tolerance: float
    sam3: str | None
    dtype: OnnxType = "fp32"
    batch: int | None = None
    keep: Sequence[str] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a target made.

    Attributes:
        parities: What the gate found, by what was compared; all within the tolerance.
        opens: How the export is opened, Markdown for the card.
        notes: What its user has to know.
    """

    parities: dict[str, Parity]
    opens: str
    notes: tuple[str, ...] = ()


def our_features(encoder: TextEncoder, prompts: Sequence[str]) -> list[Tensor]:
    """Features of each prompt's valid tokens by an encoder of ours, (n_i, D)."""
    encoded = encoder.encode(prompts)
    return [encoded[prompt] for prompt in prompts]


_OPENS_TEXT = """
```python
from litetext.models.text.loading import load_text_encoder
from litetext.tokenizer import Tokenizer

encoder = load_text_encoder("{{folder}}")
tokens = Tokenizer(encoder.context_length)(["white dog"])
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
    return Outcome({what: found}, _OPENS_TEXT.format(width=subject.student.width))


def _compact(order: Order, folder: Path) -> Outcome:
    student, kept = order.subject.student, None
    if order.keep is not None:
        ids = [i for row in Tokenizer(UNLIMITED).encode(order.keep) for i in row]
        kept = kept_ids(np.bincount(ids, minlength=student.config["vocab_size"]), student.config["vocab_size"])
    save_compact(student, folder, kept)
    again = load_text_encoder(folder)
    what = "load_text_encoder, 8-bit weights"
    found = parity_of(our_features(student, order.prompts), our_features(again, order.prompts))
    require_parity(what, found, order.tolerance, least=_LEAST["compact"])
    rows = "all token rows" if kept is None else f"{len(kept):,} token rows, the others in {OTHERS}"
    return Outcome({what: found}, _OPENS_TEXT.format(width=student.width), (f"In memory: 8-bit weights, {rows}.",))


def _efficientsam3(order: Order, folder: Path) -> Outcome:
    subject, student = order.subject, order.subject.student
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
    hint = "" if student.padding == "reference" else (
        "it was trained with padding: masked, and efficientsam3 lets padding take part; train with padding: reference, "
        "or take another target, or accept the error with --tolerance"
    )  # fmt: skip
    require_parity(what, found, order.tolerance, hint)
    whole = "a whole checkpoint" if order.sam3 else "the text encoder alone"
    opens = (
        f"`{path.name}` is {whole} in efficientsam3's layout, `torch.load(..., weights_only=True)['model']`; "
        f"the text encoder has {student.config['heads']} attention heads and a table of {student.context_length} "
        "positions (build it with that context length)."
    )
    return Outcome({what: found}, opens)


def _transformers(order: Order, folder: Path) -> Outcome:
    from litetext.export.transformers_folder import find_sam3, stock_features, write_transformers

    student, source = order.subject.student, order.sam3 or order.subject.about.get("teacher")
    if source is None:
        raise ValueError("--sam3 is missing: name the SAM3 (a transformers folder) that gives all but the text encoder")
    write_transformers(order.subject, find_sam3(source), folder)
    reference = student.padding == "reference"
    tokenizer = Tokenizer(1 << 16)

    def fitting(prompts: Sequence[str]) -> list[str]:
        lengths = [len(row) for row in tokenizer.encode(prompts)]
        return [p for p, n in zip(prompts, lengths, strict=True) if reference or n <= student.context_length]

    own_fits = fitting(order.prompts)
    fits = [*own_fits, *fitting(ODD_PROMPTS)] if own_fits else []
    theirs, ids = stock_features(folder, fits, reference)
    own = Tokenizer(student.context_length).encode(fits)
    odd = [prompt for prompt, a, b in zip(fits, own, ids, strict=True) if a != b]
    if odd:
        raise ValueError(
            f"transformers' tokenizer gives other tokens: {len(odd):,} of {len(fits):,} prompts, say {odd[0]!r}; "
            "nothing was written: clean them as SAM3 does (litetext.tokenizer.clean), or leave them out of --prompts"
        )
    what = f"AutoProcessor and get_text_features{' without mask' if reference else ''}, float32"
    found = parity_of(our_features(student, fits), theirs)
    hint = (
        "its RepMixer convolutions see the padding that transformers adds, and were trained not to; distil s0 with "
        "padding: reference, or a student without RepMixer, or take --to text, or accept the error with --tolerance"
        if student.config["repmixer"] and not reference
        else ""
    )
    require_parity(what, found, order.tolerance, hint)
    return Outcome({what: found}, _STOCK[reference], _stock_notes(student, len(order.prompts) - len(own_fits)))


_STOCK = {
    False: """
```python
from transformers import AutoModel, AutoProcessor

processor, model = AutoProcessor.from_pretrained("{folder}"), AutoModel.from_pretrained("{folder}")
inputs = processor(images=image, text="white dog", return_tensors="pt")
outputs = model(**inputs)
found = processor.post_process_instance_segmentation(outputs, target_sizes=inputs["original_sizes"].tolist())
```
""",
    True: """
```python
from transformers import AutoModel, AutoProcessor

processor, model = AutoProcessor.from_pretrained("{folder}"), AutoModel.from_pretrained("{folder}")
inputs = processor(images=image, text=["white dog"], return_tensors="pt")
text = model.get_text_features(input_ids=inputs["input_ids"])  # no mask: this student sees its padding
outputs = model(pixel_values=inputs["pixel_values"], text_embeds=text, attention_mask=inputs["attention_mask"])
```
""",
}


def _stock_notes(student: MobileClipText, left_out: int) -> tuple[str, ...]:
    geometry = (
        "transformers leaves out SAM3's geometry token when no box is given, which changes scores and masks. With one "
        "ignored box it is there, as in Meta's SAM3: `input_boxes=torch.full((n, 1, 4), 0.5)`, "
        "`input_boxes_labels=torch.full((n, 1), -10)`."
    )
    cleaning = (
        "The tokenizer cleans prompts as SAM3 does (quotes, entities, ligatures, full-width letters, control "
        f"characters, white space), which was compared on {len(ODD_PROMPTS)} odd prompts too. It leaves as they "
        f"are: {NOT_CLEANED}."
    )
    if student.padding == "reference":
        return (
            f"The processor pads and cuts to {student.context_length} tokens. Do not use `Sam3Processor` with it: that "
            "pads to 32, and the model then resamples its positions without a word. Nor `model(**inputs)`: one mask "
            "serves the text encoder and the detector there, and this student needs the padding.",
            cleaning,
            geometry,
        )
    asked = f" ({left_out:,} such prompts were left out of the comparison)" if left_out else ""
    return (
        f"The position table is filled up to 32 rows, to which the stock processor pads, so that nothing is "
        f"resampled; other lengths than 32 are resampled by transformers. Prompts of more than "
        f"{student.context_length} tokens are not cut by the stock processor, and the student never saw such{asked}.",
        cleaning,
        geometry,
    )


_GRAPH = """
Inputs `ids` {shape} and `lengths` ({prompts},), int64; outputs `features` and `mask` of the valid tokens.

```python
{load}
from litetext.tokenizer import Tokenizer

ids, lengths = Tokenizer({context})(["white dog"]{count}{full})
features, mask = {call}
```
"""


def _graph_opens(order: Order, load: str, call: str) -> str:
    student, prompts = order.subject.student, str(order.batch or "B")
    full = student.padding == "reference"
    return _GRAPH.format(
        shape=f"({prompts}, {student.context_length if full else f'2 to {student.context_length}'})",
        prompts=prompts,
        load=load.replace("FOLDER", "{folder}"),
        context=student.context_length,
        count=f" * {order.batch}" if order.batch and order.batch > 1 else "",
        full=f", {student.context_length}" if full else "",
        call=call,
    )


def _onnx(order: Order, folder: Path) -> Outcome:
    student = order.subject.student
    run = open_onnx(export_onnx(student, folder, order.dtype, order.batch))
    what = f"ONNX Runtime, {order.dtype}"
    theirs = features_of(run, student, order.prompts, order.batch)
    found = parity_of(our_features(student, order.prompts), theirs)
    require_parity(what, found, order.tolerance, least=_LEAST[order.dtype])
    load = 'import onnxruntime\n\nsession = onnxruntime.InferenceSession("FOLDER/model.onnx")'
    call = 'session.run(None, {"ids": ids.numpy(), "lengths": lengths.numpy()})'
    return Outcome({what: found}, _graph_opens(order, load, call))


_LEAST = {"fp32": 0.99999, "fp16": 0.9999, "int8": 0.99, "compact": 0.999}
"""Pooled cosine that a type must reach, the smallest of all prompts."""


def _torch(order: Order, folder: Path) -> Outcome:
    student = order.subject.student
    run = open_torch(export_torch(student, folder, order.batch))
    what = "torch.export.load, float32"
    theirs = features_of(run, student, order.prompts, order.batch)
    found = parity_of(our_features(student, order.prompts), theirs)
    require_parity(what, found, order.tolerance)
    load = 'import torch\n\nprogram = torch.export.load("FOLDER/model.pt2").module()'
    return Outcome({what: found}, _graph_opens(order, load, "program(ids, lengths)"))


TARGETS: dict[str, Callable[[Order, Path], Outcome]] = {
    "transformers": _transformers,
    "efficientsam3": _efficientsam3,
    "text": _text,
    "compact": _compact,
    "onnx": _onnx,
    "torch": _torch,
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
    dtype: OnnxType = "fp32",
    batch: int | None = None,
    keep: Sequence[str] | None = None,
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
            `compact`, whose pooled cosines have to reach 0.9999, 0.99 and 0.999.
        dtype: What an ONNX file stores weights in.
        batch: Prompts at once of ONNX and ExportedProgram; None for any number.
        keep: Prompts whose tokens stay in memory in a compact student; None for all tokens.

    Returns:
        What was made.

    Raises:
        FileNotFoundError: If the checkpoint or the SAM3 is not there.
        ValueError: If the student cannot be exported so, or its features there differ by more than the tolerance.
        OSError: If a file could not be written.
    """
    if target not in TARGETS:
        raise ValueError(f"--to {target} is unknown; choose from {', '.join(TARGETS)}")
    if (dtype != "fp32" and target != "onnx") or (batch is not None and target not in ("onnx", "torch")):
        raise ValueError(f"--to {target} is in fp32 and of any batch; --dtype is for onnx, --batch for onnx and torch")
    if keep is not None and target != "compact":
        raise ValueError(f"--to {target} keeps every token; --keep is for compact")
    if tolerance is None:
        tolerance = 1e-4 if dtype == "fp32" and target != "compact" else float("inf")
    subject = read_subject(checkpoint, context_length, positions)
    order = Order(subject, list(dict.fromkeys(prompts)), tolerance, sam3, dtype, batch, keep)
    with whole_folder(output) as folder:
        made = TARGETS[target](order, folder)
        name = Path(output).name
        card = write_card(name, subject, made.opens.replace("{folder}", name), made.parities, made.notes)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return made
