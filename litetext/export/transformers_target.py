"""The targets `transformers` and `trimmed`: folders that the stock classes open, proven as their cards open them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litetext.export.cleaning import NOT_CLEANED, ODD_PROMPTS
from litetext.export.masks import THRESHOLD, Segment
from litetext.export.parity import parity_of, require_parity
from litetext.export.request import ExportRequest, ExportResult, our_features, require_sam3_student
from litetext.export.transformers_folder import find_sam3, stock_features, write_transformers
from litetext.export.trimming import Trimmed, trim
from litetext.models.hub import without_bars
from litetext.models.text.destinations import obstacle, remedy
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import STOCK_LENGTH, MobileClipText
from litetext.saco.instances import Instances
from litetext.tokenizer import UNLIMITED, VOCAB_SIZE, Tokenizer

_BEGIN = """
```python
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

processor, model = AutoProcessor.from_pretrained("{folder}"), AutoModel.from_pretrained("{folder}")
image, phrases = Image.open("image.png").convert("RGB"), ["red circle", "white dog"]
ignored = {  # one box that does not count: with it, transformers appends the geometry token that SAM3 was trained with
    "input_boxes": torch.full((len(phrases), 1, 4), 0.5),
    "input_boxes_labels": torch.full((len(phrases), 1), -10),
}
"""
_MASKED = """inputs = processor(images=[image] * len(phrases), text=phrases, return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs, **ignored)
"""
_REFERENCE = """inputs = processor(images=[image] * len(phrases), return_tensors="pt")
to_length = {"padding": "max_length", "truncation": True, "max_length": CONTEXT}  # the processor itself fills to 32
words = processor.tokenizer(phrases, **to_length, return_tensors="pt")
with torch.no_grad():
    text = model.get_text_features(input_ids=words["input_ids"])  # no mask: this student sees its padding
    pixels, mask = inputs["pixel_values"], words["attention_mask"]
    outputs = model(pixel_values=pixels, text_embeds=text, attention_mask=mask, **ignored)
"""
_END = """sizes = inputs["original_sizes"].tolist()
found = processor.post_process_instance_segmentation(outputs, threshold=0.5, target_sizes=sizes)
```
"""


def write_stock(request: ExportRequest, folder: Path) -> ExportResult:
    """A folder of `Sam3LiteTextModel` with its processor."""
    return _write(request, folder, None, "transformers")


def write_trimmed(request: ExportRequest, folder: Path) -> ExportResult:
    """The same with the tokens of a corpus, and a tokenizer that knows no others."""
    if request.keep is None:
        raise ValueError("--to trimmed needs --keep, the corpus whose tokens stay")
    rows = Tokenizer(UNLIMITED).encode(request.keep)
    trimmed = trim(rows)
    result = _write(request, folder, trimmed, "trimmed")
    same = sum(identical(folder, trimmed)(prompt) for prompt in request.prompts)
    share = same / len(request.prompts) if request.prompts else None
    share_text = (
        "no prompt was compared" if share is None else f"{same:,} of {len(request.prompts):,} prompts ({share:.1%})"
    )
    note = (
        f"Tokens: {len(trimmed.kept):,} of {VOCAB_SIZE:,}. The prompts of --keep are tokenized as before, and of those "
        f"of --prompts {share_text}; words of others may come out in smaller pieces. `litetext export --to compact` "
        "has all tokens, the rare ones in a file."
    )
    return replace(result, notes=(note, *result.notes))


def _write(request: ExportRequest, folder: Path, trimmed: Trimmed | None, target: str) -> ExportResult:
    source = request.source
    student, about = require_sam3_student(request, target), source.about
    sam3 = request.sam3 or about.get("teacher")
    if sam3 is None:
        raise ValueError("--sam3 is missing: name the SAM3 (a transformers folder) that gives all but the text encoder")
    write_transformers(source, find_sam3(sam3), folder, trimmed)
    reference = student.padding == "reference"
    fits = fitting(student)
    own_fits = [prompt for prompt in request.prompts if fits(prompt)]
    prompts = [*own_fits, *filter(fits, ODD_PROMPTS)] if own_fits else []
    if trimmed is not None:
        same = identical(folder, trimmed)
        prompts = [prompt for prompt in prompts if same(prompt)]
        fits = _both(fits, same)

    context = student.context_length if reference else None
    theirs, ids = stock_features(folder, prompts, context)
    own = Tokenizer(student.context_length).encode(prompts)
    if trimmed is not None:
        own = [trimmed.numbers(row) for row in own]
    odd = [prompt for prompt, a, b in zip(prompts, own, ids, strict=True) if a != b]
    if odd:
        raise ValueError(
            f"transformers' tokenizer gives other tokens: {len(odd):,} of {len(prompts):,} prompts, say {odd[0]!r}; "
            "nothing was written: clean them as SAM3 does (litetext.tokenizer.clean), or leave them out of --prompts"
        )
    what = f"AutoProcessor and get_text_features{' without mask' if reference else ''}, float32"
    found = parity_of(our_features(student, prompts), theirs)
    hint = ""
    if why := obstacle(student.config, target):
        another = remedy(student.config, target, source.checkpoint, about)
        hint = f"{why}; take --to text, accept the error with --tolerance, or go on with: {another}"
    require_parity(what, found, request.tolerance, hint)
    middle = _REFERENCE.replace("CONTEXT", str(context)) if reference else _MASKED
    return ExportResult(
        {what: found},
        _BEGIN + middle + _END,
        _notes(student, len(request.prompts) - len(own_fits)),
        segment=stock_segment(folder, context),
        whole=".",
        fits=fits,
        parameters=load_text_encoder(folder).parameter_count,
    )


def _both(one: Callable[[str], bool], other: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda prompt: one(prompt) and other(prompt)


def identical(folder: Path, trimmed: Trimmed) -> Callable[[str], bool]:
    """Which prompts a folder's tokenizer takes apart as SAM3's does."""
    from tokenizers import Tokenizer as Stock

    stock, whole = Stock.from_file(str(folder / "tokenizer.json")), Tokenizer(UNLIMITED)
    return lambda prompt: stock.encode(prompt).ids == trimmed.numbers(whole.encode([prompt])[0])


def fitting(student: MobileClipText) -> Callable[[str], bool]:
    """Which prompts a stock processor hands to a student as the student's own tokenizer does."""
    tokenizer = Tokenizer(UNLIMITED)
    cuts = student.padding == "reference"
    return lambda prompt: cuts or len(tokenizer.encode([prompt])[0]) <= student.context_length


def stock_segment(folder: Path, context: int | None) -> Segment:
    """What the stock model and processor of a folder find, run as the card says.

    Args:
        folder: The export.
        context: Tokens to which a student that sees its padding is filled; None for others.
    """
    held: list[Any] = []

    @torch.no_grad()
    def segment(image: Tensor, phrases: Sequence[str]) -> list[Instances]:
        from transformers import AutoModel, AutoProcessor

        if not held:
            held.append(AutoProcessor.from_pretrained(folder, local_files_only=True))
            with without_bars():
                held.append(AutoModel.from_pretrained(folder, local_files_only=True))
        processor, model = held
        texts = list(phrases)
        ignored = {
            "input_boxes": torch.full((len(texts), 1, 4), 0.5),
            "input_boxes_labels": torch.full((len(texts), 1), -10),
        }
        if context is None:
            inputs = processor(images=[image] * len(texts), text=texts, return_tensors="pt")
            outputs = model(**inputs, **ignored)
        else:
            inputs = processor(images=[image] * len(texts), return_tensors="pt")
            to_length = {"padding": "max_length", "truncation": True, "max_length": context}
            words = processor.tokenizer(texts, **to_length, return_tensors="pt")
            text = model.get_text_features(input_ids=words["input_ids"])
            pixels, mask = inputs["pixel_values"], words["attention_mask"]
            outputs = model(pixel_values=pixels, text_embeds=text, attention_mask=mask, **ignored)
        sizes = inputs["original_sizes"].tolist()
        found = processor.post_process_instance_segmentation(outputs, threshold=THRESHOLD, target_sizes=sizes)
        return [Instances(part["scores"].double(), masks=part["masks"].bool()) for part in found]

    return segment


def _notes(student: MobileClipText, left_out: int) -> tuple[str, ...]:
    geometry = (
        "Without the ignored box transformers leaves out SAM3's geometry token, and its own threshold is 0.3: then it "
        "finds other instances than SAM3 does."
    )
    cleaning = (
        "The tokenizer cleans prompts as SAM3 does (quotes, entities, ligatures, full-width letters, control "
        f"characters, white space), which was compared on {len(ODD_PROMPTS)} odd prompts too. It leaves as they "
        f"are: {NOT_CLEANED}."
    )
    if student.padding == "reference":
        return (
            f"Prompts are filled and cut to {student.context_length} tokens by the tokenizer, as above. Not by the "
            "processor: that fills to 32, and the model then resamples its positions without a word. Nor does "
            "`model(**inputs)` give its features: one mask serves the text encoder and the detector there, and this "
            "student needs the padding.",
            cleaning,
            geometry,
        )
    excluded = f" ({left_out:,} such prompts were left out of the comparison)" if left_out else ""
    return (
        f"The position table is filled up to {STOCK_LENGTH} rows, to which the stock processor pads, so that nothing "
        f"is resampled; other lengths than {STOCK_LENGTH} are resampled by transformers. Prompts of more than "
        f"{student.context_length} tokens are not cut by the stock processor, and the student never saw such"
        f"{excluded}.",
        cleaning,
        geometry,
    )
