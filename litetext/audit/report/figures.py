"""Figures of an audit, drawn from its numbers alone; `svg.LIGHT` names their colours."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from litetext.audit.report.svg import LIGHT, SERIES, STYLE
from litetext.audit.words import at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_SOURCES = len(SERIES)
_HEAD = 24
"""Tokens of the frequency table that are drawn."""


def draw(audit: Mapping[str, Any]) -> Iterator[tuple[str, "Figure"]]:
    """All figures that an audit has the numbers for.

    Args:
        audit: The content of audit.json.

    Yields:
        The figure's name, one of `FIGURES`, and the figure.
    """
    from matplotlib import rc_context

    for name, (has, make) in FIGURES.items():
        if has(audit):
            with rc_context(STYLE):
                yield name, make(audit)


def _figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def _percent(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _whole(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(12, integer=True))


def tail(histogram: Sequence[int]) -> tuple[list[int], list[float], list[float]]:
    """What every context length would cost a corpus.

    Args:
        histogram: Prompts by their number of tokens.

    Returns:
        Lengths from 2 to the longest prompt (at least 33); at each the share of tokens lost, and the share of
        positions that are padding.
    """
    prompts = sum(histogram)
    tokens = sum(length * count for length, count in enumerate(histogram))
    lengths, lost, padding = [], [], []
    kept = sum(min(length, 1) * count for length, count in enumerate(histogram))
    longer = prompts - sum(histogram[:2])  # than the context of before: each keeps one more
    for context in range(2, max(33, len(histogram))):
        kept += longer
        longer -= histogram[context] if context < len(histogram) else 0
        lengths.append(context)
        lost.append(1 - kept / tokens)
        padding.append(1 - kept / (context * prompts))
    return lengths, lost, padding


def _shown(histogram: Sequence[int]) -> int:
    """The length up to which a histogram is drawn: 999 of 1,000 prompts, and 20 at least."""
    prompts, seen = sum(histogram), 0
    for length, count in enumerate(histogram):
        seen += count
        if seen >= 0.999 * prompts:
            return min(max(length + 2, 20), 80)
    return 20


def _lengths(audit: Mapping[str, Any]) -> "Figure":
    figure, axes = _figure(9.2, 3.6)
    combined = audit["combined"]["histogram"]
    top = _shown(combined)
    sources = audit["sources"]
    if len(sources) > 1:
        total = sum(combined)
        heights = [count / total for count in combined[: top + 1]]
        axes.bar(range(len(heights)), heights, color=LIGHT["grid"], width=0.95, label="all together")
    for colour, (name, source) in zip(SERIES, sources.items(), strict=False):
        histogram = source["histogram"][: top + 1]
        values = [count / max(1, source["prompts"]) for count in histogram]
        if len(sources) == 1:
            axes.bar(range(len(values)), values, color=colour, width=0.85, label=name)
        else:
            axes.plot(range(len(values)), values, color=colour, marker=".", label=name)
    highest = axes.get_ylim()[1]
    for context in audit["contexts"]:
        if context <= top:
            axes.axvline(context + 0.5, color=LIGHT["muted"], linestyle="--", linewidth=1)
            axes.text(context + 0.7, highest * 0.99, f"L = {context}", color=LIGHT["muted"], va="top")
    axes.set(xlabel="tokens of a prompt, start and end included", ylabel="share of prompts", xlim=(1, top + 0.9))
    axes.legend(loc="center right")
    axes.grid(visible=False, axis="x")
    _whole(axes.xaxis)
    _percent(axes.yaxis)
    return figure


def _trade(audit: Mapping[str, Any]) -> "Figure":
    figure, (left, right) = _figure(9.2, 3.5, columns=2)
    lengths, lost, padding = tail(audit["combined"]["histogram"])
    top = min(lengths[-1], max(40, 2 * max(audit["contexts"])))
    span = [n for n, length in enumerate(lengths) if length <= top]
    x = [lengths[n] for n in span]
    left.plot(x, [lost[n] for n in span], color=SERIES[0])
    budget = at(audit, "prescription", "budget")
    if budget is not None:
        left.axhline(budget, color=SERIES[4], linestyle="--", linewidth=1.2)
        left.text(x[-1], budget, "budget ", color=SERIES[4], ha="right", va="bottom")
    left.set(xlabel="context length L", ylabel="share of tokens lost", title="Tokens lost", ylim=(0, None))
    right.plot(x, [padding[n] for n in span], color=SERIES[1])
    right.set(xlabel="context length L", ylabel="share of positions", title="Positions that are padding", ylim=(0, 1))
    chosen = at(audit, "prescription", "context_length")
    for axes, values in ((left, lost), (right, padding)):
        for context in audit["contexts"]:
            if context in lengths and context <= top:
                axes.plot(context, values[lengths.index(context)], "o", color=LIGHT["muted"], markersize=4.5)
        if chosen in lengths and chosen <= top:
            axes.axvline(chosen, color=SERIES[2], linewidth=1.2)
            label = {"color": SERIES[2], "va": "top", "textcoords": "offset points", "xytext": (5, -4)}
            axes.annotate(f"prescribed: {chosen}", (chosen, axes.get_ylim()[1]), **label)
        _percent(axes.yaxis)
    return figure


def _vocabulary(audit: Mapping[str, Any]) -> "Figure":
    figure, (left, right) = _figure(9.2, 4.3, columns=2, width_ratios=(1.15, 1))
    sources = {"all together": audit["combined"], **audit["sources"]} if len(audit["sources"]) > 1 else audit["sources"]
    colours = [LIGHT["ink"], *SERIES] if len(sources) > 1 else SERIES
    for colour, (name, source) in zip(colours, sources.items(), strict=False):
        curve = source["vocabulary"]["coverage"]
        left.plot([k for k, _ in curve], [value for _, value in curve], color=colour, label=name)
    left.set(
        xscale="log", ylim=(0, 1.02), xlabel="most frequent tokens", ylabel="share of all tokens", title="Coverage"
    )
    left.legend(loc="lower right")
    _percent(left.yaxis)
    head = audit["combined"]["vocabulary"]["head"][:_HEAD]
    tokens = sum(length * count for length, count in enumerate(audit["combined"]["histogram"]))
    right.barh(range(len(head)), [count / tokens for _, _, count in head], color=SERIES[0], height=0.75)
    right.set_yticks(range(len(head)), [_plain(text) for _, text, _ in head], fontsize=9)
    right.invert_yaxis()
    right.set(xlabel="share of all tokens", title=f"The {len(head)} most frequent tokens")
    right.grid(visible=False, axis="y")
    _percent(right.xaxis)
    return figure


def _plain(text: str) -> str:
    """A token's text without what matplotlib would read as a formula, or no font can draw."""
    return "".join(c if c.isprintable() else "�" for c in text).replace("$", r"\$")[:18]


def _spectra(audit: Mapping[str, Any]) -> "Figure":
    token, position = at(audit, "spectra", "token"), at(audit, "spectra", "position")
    figure, axes = _figure(9.2, 3.6, columns=2)
    if token:
        for colour, key, label in ((SERIES[0], "full", "whole table"), (SERIES[1], "used", "tokens of the corpus")):
            if token.get(key) and token[key]["curve"]:
                _variance(axes[0], token[key], colour, label)
        axes[0].set_title("Token embedding")
    else:
        axes[0].set_visible(False)
    if position and position.get("curve"):
        _variance(axes[1], position, SERIES[2], "positions")
        axes[1].set_title("Position embedding")
    else:
        axes[1].set_visible(False)
    for part in axes:
        part.axhline(0.9, color=LIGHT["muted"], linestyle=":", linewidth=1)
        part.set(xlabel="directions", ylabel="share of the variance", ylim=(0, 1.02))
        part.legend(loc="lower right")
        _percent(part.yaxis)
    return figure


def _variance(axes: "Axes", found: Mapping[str, Any], colour: str, label: str) -> None:
    axes.plot([k for k, _ in found["curve"]], [value for _, value in found["curve"]], color=colour, label=label)
    if (needed := at(found, "dims", "90")) is not None:
        axes.plot(needed, 0.9, "o", color=colour, markersize=5)


def _positions(audit: Mapping[str, Any]) -> "Figure":
    position = audit["spectra"]["position"]
    matrix = [[float("nan") if value is None else value for value in row] for row in position["cosine"]]
    size = len(matrix)
    figure, axes = _figure(5.2, 4.4)
    image = axes.imshow(matrix, cmap="viridis", vmin=min(0.0, _smallest(matrix)), vmax=1.0, interpolation="nearest")
    shown = position.get("positions", list(range(size)))
    ticks = list(range(0, size, max(1, size // 8)))
    axes.set_xticks(ticks, [str(shown[n]) for n in ticks])
    axes.set_yticks(ticks, [str(shown[n]) for n in ticks])
    axes.set(xlabel="position", ylabel="position")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, label="cosine")
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _smallest(matrix: Sequence[Sequence[float]]) -> float:
    return min((value for row in matrix for value in row if value == value), default=0.0)


def _dimension(audit: Mapping[str, Any]) -> "Figure":
    figure, (left, axes) = _figure(9.2, 3.6, columns=2)
    names: list[str] = []
    for colour, offset, (key, label) in zip(SERIES, (-0.12, 0.12), _KINDS, strict=False):
        found = at(audit, "dimension", key)
        if not found:
            continue
        if curve := at(found, "svd_effective_rank", "curve"):
            left.plot([k for k, _ in curve], [value for _, value in curve], color=colour, label=label)
        estimates = {"TwoNN": found.get("twonn"), **{f"MLE\nk = {k}": e for k, e in (found.get("mle") or {}).items()}}
        names = list(estimates)
        for n, estimate in enumerate(estimates.values()):
            if not estimate or estimate.get("value") is None:
                continue
            value, low, high = estimate["value"], estimate.get("low"), estimate.get("high")
            spread = None if low is None or high is None else [[max(0, value - low)], [max(0, high - value)]]
            axes.errorbar(n + offset, value, yerr=spread, fmt="o", color=colour, capsize=4)
    left.axhline(0.9, color=LIGHT["muted"], linestyle=":", linewidth=1)
    left.set(xlabel="directions", ylabel="share of the variance", ylim=(0, 1.02), title="Spectrum of the output")
    left.legend(loc="lower right")
    _percent(left.yaxis)
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="dimensions", xlim=(-0.5, len(names) - 0.5), title="Dimension by neighbours")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    axes.grid(visible=False, axis="x")
    return figure


def _order(audit: Mapping[str, Any]) -> "Figure":
    from itertools import accumulate

    figure, axes = _figure(9.2, 3.4)
    histogram = audit["order"]["histogram"]
    labels = {"permuted": "attribute and noun change places", "shuffled": "all words shuffled"}
    labels["different"] = "a different prompt"
    for colour, (key, label) in zip(SERIES, labels.items(), strict=False):
        if total := sum(histogram[key]):
            reached = [0.0, *(count / total for count in accumulate(histogram[key]))]
            axes.plot(histogram["edges"], reached, color=colour, label=label)
            axes.axvline(audit["order"][key]["mean"], color=colour, linestyle="--", linewidth=1.2)
    axes.set(
        xlabel="distance of pooled features, 1 - cosine",
        ylabel="share of prompts so near",
        xlim=(0, histogram["edges"][-1]),
        ylim=(0, 1.02),
    )
    axes.legend(loc="center right")
    _percent(axes.yaxis)
    return figure


STEPS = {"input": "input", "logits": "logits", "weights": "attention\nweights", "output": "output of\nattention"}
"""Where an error is measured on its way, as the robustness part names it."""


def _robustness(audit: Mapping[str, Any]) -> "Figure":
    figure, (left, right) = _figure(9.2, 3.7, columns=2)
    found = audit["robustness"]
    runs = {f"noise {level}": run for level, run in found["noise"].items()}
    runs |= {short(name): run for name, run in found["students"].items()}
    grey = [n / (len(found["noise"]) + 1) for n in range(1, len(found["noise"]) + 1)]
    colours = iter(SERIES)
    ends: dict[str, float] = {}
    for n, (name, run) in enumerate(runs.items()):
        noise = n < len(grey)
        look: dict[str, Any] = {"color": LIGHT["muted"], "alpha": 0.35 + 0.65 * grey[n]} if noise else {}
        look |= {"marker": "o", "markersize": 4, "linewidth": 1.4 if noise else 2.2}
        if not noise:
            look["color"] = next(colours, LIGHT["ink"])
        values = [run[step] for step in STEPS]
        if all(values):
            left.plot(range(len(STEPS)), values, **look)
            ends[name] = values[-1]
        layers = [layer["output"] for layer in run["layers"]]
        if all(layers):
            right.plot(range(1, len(layers) + 1), layers, **look)
    for name, height in apart(ends, math.log10(max(ends.values(), default=1) / min(ends.values(), default=1)) / 16):
        left.text(len(STEPS) - 0.92, height, name, va="center", fontsize=9)
    left.set_xticks(range(len(STEPS)), STEPS.values(), fontsize=9)
    left.set(yscale="log", xlim=(-0.2, len(STEPS) + 0.1), ylabel="relative error", title="Mean over the layers")
    right.set(yscale="log", xlabel="layer of the DETR encoder", title="Output of each layer's attention")
    layers = range(1, 1 + max((len(run["layers"]) for run in runs.values()), default=1))
    right.set_xticks(list(layers), [str(n) for n in layers])
    return figure


def apart(heights: Mapping[str, float], gap: float) -> list[tuple[str, float]]:
    """Labels at their heights on a logarithmic axis, moved up where two would lie on each other.

    Args:
        heights: Height by label, above 0.
        gap: Smallest distance in powers of ten.

    Returns:
        Labels and heights, lowest first.
    """
    placed: list[tuple[str, float]] = []
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[-1][1] * 10**gap if placed else 0.0
        placed.append((name, max(height, lowest)))
    return placed


def short(path: str) -> str:
    """A student's path without its folders, `best.ckpt` and the like with the last one."""
    parts = path.rstrip("/").split("/")
    generic = parts[-1].rpartition(".")[0] in ("best", "last", "student", "model")
    return parts[-2] if generic and len(parts) > 1 else parts[-1]


_KINDS = (("tokens", "features of tokens"), ("pooled", "pooled features of prompts"))

FIGURES: dict[str, tuple[Callable[[Mapping[str, Any]], Any], Callable[[Mapping[str, Any]], "Figure"]]] = {
    "lengths": (lambda audit: at(audit, "combined", "histogram"), _lengths),
    "trade": (lambda audit: at(audit, "combined", "histogram"), _trade),
    "vocabulary": (lambda audit: at(audit, "combined", "vocabulary", "coverage"), _vocabulary),
    "spectra": (
        lambda audit: at(audit, "spectra", "token", "full", "curve") or at(audit, "spectra", "position", "curve"),
        _spectra,
    ),
    "positions": (lambda audit: at(audit, "spectra", "position", "cosine"), _positions),
    "dimension": (
        lambda audit: any(at(audit, "dimension", key, "twonn", "value") is not None for key, _ in _KINDS),
        _dimension,
    ),
    "order": (lambda audit: at(audit, "order", "different", "n"), _order),
    "robustness": (lambda audit: at(audit, "robustness", "noise") or at(audit, "robustness", "students"), _robustness),
}
"""Each figure by name: whether an audit has the numbers for it, and how it is drawn."""
