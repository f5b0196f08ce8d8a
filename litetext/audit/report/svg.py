"""Colours of the audit's figures, and figures as SVG that takes its colours from the page around it.

A figure is drawn in the colours of a light page; its SVG names them as CSS variables instead, so that one drawing is
legible on a light page, a dark one and on paper.
"""

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHT = {
    "ink": "#1f2933",
    "muted": "#616e7c",
    "grid": "#dde2e8",
    "s1": "#1f6fb2",
    "s2": "#c2570d",
    "s3": "#2a7f4f",
    "s4": "#8a3fa0",
    "s5": "#b3261f",
    "s6": "#7a6a12",
}
"""Colours on a light page; also those of the figures in TensorBoard."""
DARK = {
    "ink": "#e6eaf0",
    "muted": "#a3afbf",
    "grid": "#39424f",
    "s1": "#6cb4f0",
    "s2": "#f5a262",
    "s3": "#6fcf97",
    "s4": "#cf9be6",
    "s5": "#ff8f87",
    "s6": "#d9c65a",
}
"""The same on a dark page."""
SERIES = tuple(LIGHT[f"s{n}"] for n in range(1, 7))

STYLE: dict[Any, Any] = {
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "text.color": LIGHT["ink"],
    "axes.titlecolor": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.edgecolor": LIGHT["muted"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelcolor": LIGHT["ink"],
    "ytick.labelcolor": LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "svg.fonttype": "none",
}
"""Matplotlib settings in which every figure is drawn."""


def to_svg(figure: "Figure", name: str, label: str) -> str:
    """A figure as an `<svg>` element for an HTML page.

    Args:
        figure: Drawn in the colours of `LIGHT`.
        name: Goes before every id, so that several figures can stand on one page.
        label: What a screen reader says of it.

    Returns:
        The element, with CSS variables such as `var(--ink)` for colours, and without a fixed size.
    """
    from html import escape

    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for variable, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{variable})")
    found = re.search(r'<svg[^>]*viewBox="([^"]+)"[^>]*>', text)
    if found is None:
        raise ValueError(f"figure {name}: matplotlib wrote an SVG without a viewBox")
    width = float(found[1].split()[2])
    head = (
        f'<svg viewBox="{found[1]}" style="max-width:{width * 1.25:.0f}px" role="img" aria-label="{escape(label)}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return head + text[found.end() :].strip()
