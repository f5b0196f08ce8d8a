"""The model card of an export: what it is, whose student, how good, how equal."""

from typing import Any

from litetext.export.evaluation import table
from litetext.export.front_matter import front_matter
from litetext.export.place import EXPORTED
from litetext.export.request import ExportResult
from litetext.export.source import ExportSource
from litetext.models.text.encoder import count_parameters

_ON_PROMPTS = {
    "cosine": "cosine per token",
    "pooled_cosine": "cosine of pooled features",
    "agreement": "agreement (nearest neighbour is the teacher's)",
    "drift": "drift under attribute-noun permutation",
    "teacher_drift": "the teacher's drift",
}
_ON_IMAGES = {name: name for name in ("CG_F1", "IL_MCC", "pmF1")}


def write_card(name: str, target: str, source: ExportSource, result: ExportResult, sam3: str | None) -> str:
    """The card as Markdown, with the front matter that the hub reads.

    Args:
        name: Title, and the folder's name in what the card says.
        target: Of `litetext export`.
        source: The student.
        result: The export.
        sam3: The whole SAM3 that was named.
    """
    from huggingface_hub import ModelCard

    head = front_matter(name, target, source, result, sam3)
    return str(ModelCard(f"---\n{head}\n---\n\n{_body(name, target, source, result)}"))


def _body(name: str, target: str, source: ExportSource, result: ExportResult) -> str:
    about, student = source.about, source.student
    # A compact folder keeps some of the student's numbers in a file of their own, which are not opened.
    count = count_parameters(student) if result.parameters is None or target == "compact" else result.parameters
    whose = "for SAM3 " if student.reads is None else ""
    lines = [f"# {name}", "", f"A text encoder {whose}of {count:,} parameters, {EXPORTED}", ""]
    lines += ["## How it is opened", "", result.opens.replace("{folder}", name).strip(), ""]
    lines += [note + "\n" for note in result.notes]
    lines += ["## What it was distilled from", "", *_origin(about), ""]
    size, blocks = student.config, "no network: a table of token vectors"
    if "layers" in size:
        kind = "RepMixer and transformer blocks" if size["repmixer"] else "transformer blocks"
        blocks = f"{len(student.blocks)} {kind} of width {size['embed_width']} and {size['heads']} heads"
    words = "SAM3's" if student.reads is None else f"that of {student.reads.name}, in this folder"
    if target == "trimmed":
        words = "SAM3's with a part of its tokens, in this folder"
    lines += [
        "## What it is",
        "",
        f"- {blocks}; {student.width} values a token",
        f"- tokenizer: {words}",
        f"- context of {student.context_length} tokens; positions: {source.positions or 'kept as trained'}",
        f"- padding: {student.padding}",
        "",
        "## Its numbers",
        "",
        *_numbers(about.get("scores") or {}, result.exact),
        "",
        *([] if result.evaluated is None else [*table(result.evaluated), ""]),
        "## Equal to the student",
        "",
        "Features of real prompts, this export against litetext:",
        "",
        *(f"- {parity.line(what)}" for what, parity in result.parities.items()),
        "",
        "Predictions on images of the embedded benchmark, this export against litetext:",
        "",
        *(f"- {agreement.line()}" for agreement in result.agreements),
    ]
    if result.unmeasured:
        lines.append(f"- not measured: {result.unmeasured}")
    return "\n".join(lines) + "\n"


def _origin(about: dict[str, Any]) -> list[str]:
    if not about.get("teacher"):
        return ["Unknown: the checkpoint does not say."]
    count = about.get("teacher_parameters")
    size = f", {count:,} parameters" if count else ""
    rows = [f"- teacher: the text encoder of `{about['teacher']}`{size}"]
    rows += [f"- prompts: {name} (`{path}`)" for name, path in (about.get("sources") or {}).items()]
    return rows if len(rows) > 1 else [*rows, "- prompts: unknown"]


def _numbers(scores: dict[str, float], exact: bool) -> list[str]:
    for head, names in (
        ("On held-out prompts, against the teacher:", _ON_PROMPTS),
        ("On held-out images, against the SAM3's own predictions:", _ON_IMAGES),
    ):
        if known := [(text, scores[name]) for name, text in names.items() if name in scores]:
            whose = [] if exact else ["Of the student before this export, which is compared with it below.", ""]
            rows = [*whose, head, "", "| what | value |", "|---|---|"]
            return [*rows, *(f"| {text} | {value:.4f} |" for text, value in known)]
    return ["Unknown: the checkpoint holds no scores of these weights."]
