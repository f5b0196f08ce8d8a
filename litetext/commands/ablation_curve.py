"""The capacity curve: quality against text parameters, one line a group of an ablation."""

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

_QUALITIES = {
    "agreement": "agreement with the teacher",
    "cosine": "token cosine to the teacher",
    "CG_F1": "CG_F1",
    "retention": "retention of CG_F1 (%)",
}


def draw_curve(
    path: Path, groups: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, Mapping[str, int]], title: str
) -> bool:
    """Draws an ablation's scores against the parameters of its variants, as SVG.

    Args:
        path: The file.
        groups: By group, by label: `variant` and the spreads of the columns.
        sizes: By variant: `parameters`, `bytes` of the checkpoint's weights, `teacher` parameters.
        title: Stands above it.

    Returns:
        Whether there was something to draw: two variants with numbers.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    shown = [q for q in _QUALITIES if any(_mean(e, q) is not None for v in groups.values() for e in v.values())]
    if not shown or sum(len(v) for v in groups.values()) < 2:
        return False
    figure = Figure(figsize=(4.6 * len(shown), 3.8), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    for axis, quality in zip(axes, shown, strict=True):
        for marker, (group, variants) in zip(cycle("osD^v<>Px"), groups.items(), strict=False):
            points = sorted(
                (sizes[e["variant"]]["parameters"], mean, e[quality]["sd"] or 0.0)
                for e in variants.values()
                if (mean := _mean(e, quality)) is not None
            )
            if points:
                x, y, spread = zip(*points, strict=True)
                axis.errorbar(x, y, spread, marker=marker, markersize=5, capsize=3, linewidth=1.4, label=group)
        axis.set_xscale("log", base=2)
        ticks = sorted({size["parameters"] for size in sizes.values()})
        axis.set_xlabel("text parameters (float32 bytes are 4 times as many)")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:.2g}M"))
        axis.set_xlim(ticks[0] / 1.2, ticks[-1] * 1.2)
        axis.set_ylabel(_QUALITIES[quality])
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    return True


def _mean(entry: Mapping[str, Any], quality: str) -> float | None:
    return (entry.get(quality) or {}).get("mean")
