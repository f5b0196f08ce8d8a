"""The request for an export, and its result: what targets take and give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor

from litetext.export.evaluation import Evaluated
from litetext.export.masks import Encode, MaskAgreement, Segment
from litetext.export.parity import Parity
from litetext.export.source import ExportSource
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.tokenizer import UNLIMITED

Dtype = Literal["fp32", "fp16", "int8", "all"]
"""What ONNX files store weights in; `all` writes one of each."""
Small = Literal[8, 6, 5, 4]
"""Bits that compact students store weights in."""


@dataclass(frozen=True)
class ExportRequest:
    """The request for an export.

    Attributes:
        source: The student.
        prompts: Real prompts for the gate, distinct.
        tolerance: Largest error that the gate lets through.
        sam3: The whole SAM3 to put the student into, if one was named.
        dtype: What ONNX files store weights in.
        batch: Prompts at once of ONNX and ExportedProgram; None for any number.
        keep: Prompts whose tokens stay in memory in a compact student; None for all tokens.
        length: Tokens of every prompt of ONNX and ExportedProgram, padding included; None for any number.
        bits: What a compact student stores weights in; None for what is small and close enough.
        rows: Token rows that it has in memory at most, the most frequent ones of `keep`.
    """

    source: ExportSource
    prompts: Sequence[str]
    tolerance: float
    sam3: str | None
    dtype: Dtype = "fp32"
    batch: int | None = None
    keep: Sequence[str] | None = None
    length: int | None = None
    bits: Small | None = None
    rows: int | None = None


@dataclass(frozen=True)
class ExportResult:
    """What a target made.

    Attributes:
        parities: What the gate measured, by what was compared; all within the tolerance.
        opens: How the export is opened, Markdown for the card.
        notes: What its user has to know.
        encode: Features of prompts as the export gives them.
        also: The same of each of its files, by name, where it has several.
        segment: The export's predictions on an image, where it holds a whole SAM3 that does it alone.
        whole: Path of the whole SAM3 that it holds, relative to its folder; None if it holds none.
        fits: Which phrases it encodes as the student does; None for all.
        agreements: The predictions on images, beside the student's; empty where `unmeasured` says why.
        unmeasured: Why nothing was compared in images.
        evaluated: The scores of `litetext test` with the student, if they were given.
        parameters: Of the text encoder as it is opened from there, where they may be others than the student's.
        exact: Its features are the student's for every prompt, but for rounding in 32 bits, so that scores of the
            student are scores of it.
    """

    parities: dict[str, Parity]
    opens: str
    notes: tuple[str, ...] = ()
    encode: Encode | None = None
    also: Mapping[str, Encode] = field(default_factory=dict)
    segment: Segment | None = None
    whole: str | None = None
    fits: Callable[[str], bool] | None = None
    agreements: tuple[MaskAgreement, ...] = ()
    unmeasured: str = field(default="")
    evaluated: Evaluated | None = None
    parameters: int | None = None
    exact: bool = True


def our_features(encoder: TextEncoder, prompts: Sequence[str], most: int | None = None) -> list[Tensor]:
    """Features of each prompt's valid tokens by an encoder of ours, (n_i, D); `most` cuts prompts to fewer tokens."""
    encoded = encoder.encode(prompts, None if most is None else encoder.tokenizer.cut_to(most))
    return [encoded[prompt] for prompt in prompts]


class Cut(NamedTuple):
    """Where a graph of a fixed length cuts prompts.

    Attributes:
        most: Tokens of a prompt that are read.
        note: What its user has to know, in one sentence; empty where the student reads no more.
        fits: Which phrases are read whole; None where the student cuts the same ones.
    """

    most: int
    note: str = ""
    fits: Callable[[str], bool] | None = None


def cut_of(request: ExportRequest) -> Cut:
    """Where `--length` cuts prompts: a fixed length below the student's context leaves it fewer tokens."""
    student, most = request.source.student, request.length
    if most is None or most >= student.context_length:
        return Cut(student.context_length)
    whole = student.tokenizer.cut_to(UNLIMITED)
    longer = sum(len(row) > most for row in whole.encode(request.prompts))
    note = (
        f"Prompts are cut to {most} tokens, and the student reads {student.context_length}: "
        f"{longer:,} of {len(request.prompts):,} prompts of the gate are longer, and were compared so cut."
    )
    return Cut(most, note, lambda phrase: len(whole.encode([phrase])[0]) <= most)


def require_sam3_student(request: ExportRequest, target: str) -> MobileClipText:
    """The student of a request, if a SAM3 can read it.

    Raises:
        ValueError: If another text encoder taught it, or it is no MobileCLIP.
    """
    student, source = request.source.student, request.source.checkpoint
    if student.reads is not None and student.reads.sam3_ids:
        raise ValueError(
            f"{source} knows {len(student.reads.sam3_ids):,} of SAM3's tokens; export the student that it was made of"
        )
    if student.reads is not None:
        raise ValueError(
            f"--to {target} puts a student into a SAM3, and {source} reads the tokens of {student.reads.name}, which "
            "taught it; export it --to text, compact, onnx or torch"
        )
    if not isinstance(student, MobileClipText):
        raise ValueError(
            f"--to {target} holds MobileCLIP students, and {source} is a {type(student).__name__}; export it --to "
            "text, compact, onnx or torch"
        )
    return student
