"""What an audit leaves to be read: one HTML page and a TensorBoard run, from the audit's numbers alone."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from litetext.audit.report.captions import caption
from litetext.audit.report.figures import draw
from litetext.audit.report.page import figure_html, items, page, paragraph, section, table_html
from litetext.audit.report.paper_columns import beside_paper
from litetext.audit.report.summary import summary
from litetext.audit.report.svg import to_svg
from litetext.audit.report.tables import all_tables
from litetext.audit.words import at, listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from litetext.audit.report.page import Table

Audit = Mapping[str, Any]

_SECTIONS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "context": (
        "Context",
        "How long prompts are, and what a context length costs: too short a one loses tokens, too long a one "
        "computes padding. Start and end token are counted.",
        ("lengths", "trade"),
        ("corpus", "context"),
    ),
    "vocabulary": (
        "Vocabulary",
        "Which of the tokenizer's tokens occur, and whether those of one corpus would do for another: only then is it "
        "safe to leave the others out.",
        ("vocabulary",),
        ("vocabulary", "covered"),
    ),
    "spectra": (
        "Embedding tables",
        "How many directions the tables of token and position embeddings really use.",
        ("spectra", "positions"),
        ("encoder", "token-spectrum", "position-spectrum"),
    ),
    "dimension": (
        "Dimension of the output",
        "How many numbers it takes to say where the features of a prompt lie.",
        ("dimension",),
        ("dimension",),
    ),
    "order": (
        "Word order",
        "How far the encoder is from a bag of words: how its features move when words change places, against how far "
        "different prompts lie from each other.",
        ("order",),
        ("order",),
    ),
    "robustness": (
        "Robustness",
        "How much of an error in the text features is left after the layers of the detector that read them.",
        ("robustness",),
        ("robustness",),
    ),
    "prescription": (
        "Prescription",
        "What follows for a student of this encoder on these corpora.",
        (),
        ("students", "prescription"),
    ),
}
"""Sections of the page: title, question, figures, tables."""


def write_report(audit: Audit, folder: Path) -> list[str]:
    """Writes report.html, prescription.yaml, and figures, scalars and tables for TensorBoard.

    Args:
        audit: The content of audit.json.
        folder: Where to; it is there.

    Returns:
        Lines that say what lies where.
    """
    figures = dict(draw(audit))
    (folder / "report.html").write_text(report_html(audit, figures), encoding="utf-8")
    write_board(audit, figures, folder / "tensorboard")
    lines = [
        f"report        {folder / 'report.html'}",
        f"numbers       {folder / 'audit.json'}",
        f"TensorBoard   tensorboard --logdir {quote(str(folder / 'tensorboard'))}",
    ]
    plan = folder / "prescription.yaml"
    plan.unlink(missing_ok=True)  # one of an earlier audit would mislead
    if (text := at(audit, "prescription", "yaml")) is not None:
        plan.write_text(text, encoding="utf-8")
        lines.append(f"next          litetext fit --config {quote(str(plan))}")
    return lines


def report_html(audit: Audit, figures: "Mapping[str, Figure] | None" = None) -> str:
    """The report as one HTML document that needs no other file, no network and no script.

    Args:
        audit: The content of audit.json.
        figures: Its figures by name; drawn when None.
    """
    figures = dict(draw(audit)) if figures is None else figures
    tables = {table.key: table for table in all_tables(audit)}
    sections = {key: _section(audit, key, figures, tables) for key in _SECTIONS}
    if plan := at(audit, "prescription", "yaml"):
        from html import escape

        shown = f"<h3>prescription.yaml</h3><pre><code>{escape(plan)}</code></pre>"
        sections["prescription"] = sections["prescription"].replace("</section>", shown + "</section>")
    links = "".join(
        f'<li><a href="#{key}-title">{_SECTIONS[key][0]}</a></li>' for key, text in sections.items() if text
    )
    names = listed([str(name) for name in audit["sources"]])
    title = f"Audit of {at(audit, 'encoder', 'name') or 'prompts'} on {names}"
    head = f"<header><h1>{_escaped(title)}</h1>{paragraph(_made(audit), 'lead')}</header>"
    short = f'<div class="summary"><h2 id="summary">In short</h2>{items(summary(audit))}</div>'
    nav = f'<nav aria-label="Sections"><ul>{links}</ul></nav>'
    return page(title, head + short + _failed(audit) + nav + "".join(sections.values()))


def _escaped(text: str) -> str:
    from html import escape

    return escape(text)


def _made(audit: Audit) -> str:
    made = f"litetext {audit['litetext']}"
    if encoder := audit.get("encoder"):
        made += f". Encoder: {encoder['name']} ({encoder['kind']}, {encoder['parameters']:,} parameters)"
    return made + ". Every number stands in audit.json."


def _failed(audit: Audit) -> str:
    if not audit.get("failed"):
        return ""
    lines = [f"{part}: {why}" for part, why in audit["failed"].items()]
    return f'<div class="failed" role="note"><p>Could not be made:</p>{items(lines)}</div>'


def _section(audit: Audit, key: str, figures: "Mapping[str, Figure]", tables: "Mapping[str, Table]") -> str:
    title, question, drawn, listed_tables = _SECTIONS[key]
    shown = [
        figure_html(to_svg(figures[name], name, f"{title}: {caption(audit, name)}"), caption(audit, name))
        for name in drawn
        if name in figures
    ]
    shown += [table_html(tables[name]) for name in listed_tables if name in tables]
    if (paper := beside_paper(audit, key)) is not None:
        shown.append(paragraph(paper, "note") if isinstance(paper, str) else table_html(paper))
    return section(key, title, paragraph(question, "lead"), *shown) if shown else ""


def write_board(audit: Audit, figures: "Mapping[str, Figure]", folder: Path) -> None:
    """Writes a TensorBoard run: figures, the numbers as scalars, the tables and the summary as text.

    Args:
        audit: The content of audit.json.
        figures: Its figures by name; they are closed to further drawing afterwards.
        folder: Of the run; an earlier run in it is replaced.
    """
    from torch.utils.tensorboard import SummaryWriter

    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    board = SummaryWriter(str(folder))
    try:
        board.add_text("summary", "\n".join(f"- {line}" for line in summary(audit)))
        for table in all_tables(audit):
            board.add_text(f"tables/{table.key}", _markdown(table))
        for tag, value in _scalars(audit):
            board.add_scalar(tag, value)
        for name, figure in figures.items():
            figure.set_facecolor("white")
            board.add_figure(f"figures/{name}", figure, close=False)
    finally:
        board.close()


def _markdown(table: "Table") -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", table.note])


_CURVES = {"histogram", "coverage", "head", "curve", "values", "cosine", "positions", "groups", "litetext", "failed"}


def _scalars(audit: Any, tag: str = "") -> Any:
    """Every number of the audit that stands alone, with its path as the tag."""
    if isinstance(audit, Mapping):
        for key, value in audit.items():
            if key not in _CURVES:
                yield from _scalars(value, f"{tag}/{key}" if tag else str(key))
    elif isinstance(audit, int | float) and not isinstance(audit, bool):
        yield tag, audit
