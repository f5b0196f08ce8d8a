"""The page that a report is printed on: its style, and tables, figures and sections as HTML without any script."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from litetext.audit.report.svg import DARK, LIGHT


@dataclass(frozen=True)
class Table:
    """A table to be read, in the terminal as on the page.

    Args:
        key: Short name, an anchor on the page.
        title: What it holds.
        columns: Heads of the columns.
        rows: Cells as text, one list a row; the first column names the row.
        note: What is to be known to read it.
        shades: For each cell a number between 0 and 1 that colours it, or None.
        text_columns: Columns after the first that hold words and are aligned left.
    """

    key: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    shades: Sequence[Sequence[float | None]] | None = None
    text_columns: frozenset[int] = field(default_factory=frozenset)


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in colours.items())


_LIGHT = _variables({**LIGHT, "page": "#ffffff", "card": "#f5f7fa", "shade": "#1f6fb2"}) + "color-scheme:light;"
_DARK = _variables({**DARK, "page": "#14181f", "card": "#1d232c", "shade": "#6cb4f0"}) + "color-scheme:dark;"

STYLE = (
    ":root{" + _LIGHT + "}"
    "@media (prefers-color-scheme:dark){:root{" + _DARK + "}}"
    "@media print{:root{" + _LIGHT + "}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif}
main{max-width:64rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .35rem}
h2{font-size:1.35rem;margin:2.8rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--grid)}
h3{font-size:1.05rem;margin:1.6rem 0 .4rem}
p{margin:.5rem 0;max-width:48rem}
a{color:var(--s1)}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--card);padding:.9rem 1rem;border-radius:.5rem;overflow-x:auto;font-size:.88rem;line-height:1.45}
.lead{color:var(--muted)}
.summary{background:var(--card);border-radius:.6rem;padding:.7rem 1.2rem .8rem;margin:1.2rem 0}
.summary h2{margin:.3rem 0;padding:0;border:0;font-size:1.15rem}
.summary li{margin:.3rem 0}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:.8rem 0;list-style:none}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;white-space:nowrap;font-weight:600;padding:.2rem 0 .4rem}
th,td{padding:.32rem .8rem;text-align:right;border-bottom:1px solid var(--grid);vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:.2rem}
thead th{border-bottom:2px solid var(--muted);font-weight:600;vertical-align:bottom}
tbody th{font-weight:500;white-space:pre-wrap}
td.words,th.words{text-align:left;min-width:8rem}
td.none{color:var(--muted)}
tr.paper{color:var(--muted);font-style:italic}
.note{font-size:.9rem;color:var(--muted)}
figure{margin:1.4rem 0}
figure svg{display:block;width:100%;height:auto}
figure svg text{font-family:"DejaVu Sans","Segoe UI",Roboto,Arial,sans-serif!important}
figcaption{font-size:.95rem;margin-top:.4rem;max-width:48rem}
.failed{border-left:.3rem solid var(--s5);padding:.1rem .9rem;background:var(--card)}
@media (max-width:40rem){main{padding:1rem .8rem}h1{font-size:1.5rem}}
@media print{body{font-size:9.5pt}.scroll,.lead{break-inside:avoid}.lead{break-after:avoid}
main{max-width:none;padding:0}nav{display:none}
h2{break-after:avoid;margin-top:1.4rem}
figure,tr,.summary,pre{break-inside:avoid}h3{break-after:avoid}.scroll{overflow:visible}pre{white-space:pre-wrap}
table{font-size:8.5pt}th,td{padding:.2rem .45rem}figure svg{max-height:8.5cm}
*{print-color-adjust:exact}@page{margin:15mm}}
"""
)


def table_html(table: Table) -> str:
    """A table as HTML; a wide one scrolls by itself."""
    words = {0, *table.text_columns}
    head = "".join(
        f'<th scope="col"{" class=words" if n in table.text_columns else ""}>{escape(column)}</th>'
        for n, column in enumerate(table.columns)
    )
    rows = []
    for r, row in enumerate(table.rows):
        cells = [f'<th scope="row">{escape(row[0])}</th>']
        for n, cell in enumerate(row[1:], 1):
            shade = table.shades[r][n] if table.shades is not None else None
            style = "" if shade is None else f' style="background:{_mix(shade)}"'
            kind = "words" if n in words else "none" if cell == "–" else ""
            cells.append(f"<td{f' class={kind}' if kind else ''}{style}>{escape(cell)}</td>")
        paper = ' class="paper"' if row[0].startswith("paper") else ""
        rows.append(f"<tr{paper}>{''.join(cells)}</tr>")
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll" id="{escape(table.key)}" tabindex="0" role="region" aria-label="{escape(table.title)}">'
        f"<table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>{note}"
    )


def _mix(share: float) -> str:
    return f"color-mix(in srgb,var(--shade) {round(45 * min(max(share, 0.0), 1.0))}%,transparent)"


def figure_html(svg: str, caption: str) -> str:
    """A figure with what is seen in it."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def section(key: str, title: str, *parts: str) -> str:
    """A section of the page; nothing where it has no part."""
    inside = "".join(part for part in parts if part)
    return (
        f'<section aria-labelledby="{key}-title"><h2 id="{key}-title">{escape(title)}</h2>{inside}</section>'
        if inside
        else ""
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; nothing for no text."""
    return f"<p{f' class={kind}' if kind else ''}>{escape(text)}</p>" if text else ""


def items(lines: Iterable[str]) -> str:
    """A list of plain lines."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def page(title: str, body: str) -> str:
    """A whole HTML document that needs nothing but itself."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>\n"
    )
