"""What each figure of an audit shows, in sentences made from its numbers."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from litetext.audit.report.figures import short, tail
from litetext.audit.words import at, interval, listed, number, share, small

Audit = Mapping[str, Any]


def caption(audit: Audit, name: str) -> str:
    """What is seen in a figure.

    Args:
        audit: The content of audit.json.
        name: The figure's, one of `litetext.audit.report.figures.FIGURES`.
    """
    return _CAPTIONS[name](audit)


def _lengths(audit: Audit) -> str:
    found = audit["combined"]
    histogram = found["histogram"]
    half = next(n for n, seen in enumerate(accumulate(histogram)) if 2 * seen >= found["prompts"])
    text = f"Prompts by their number of tokens. Half of them have at most {half} tokens, the mean is "
    text += f"{number(found['mean_tokens'])}, the longest has {len(histogram) - 1}."
    sources = audit["sources"]
    if len(sources) > 1:
        means = {name: source["mean_tokens"] for name, source in sources.items()}
        low, high = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        text += f" The prompts of {low} are the shortest ({number(means[low])} on average), "
        text += f"those of {high} the longest ({number(means[high])})."
    return text


def _trade(audit: Audit) -> str:
    found = audit["combined"]["context"]
    parts = [
        f"{share(found[str(length)]['token_loss'], 2)} of the tokens are lost and "
        f"{share(found[str(length)]['padding'])} of the positions are padding at L = {length}"
        for length in sorted(audit["contexts"])
    ]
    text = f"A longer context loses less and wastes more: {'; '.join(parts)}."
    lengths, lost, _ = tail(audit["combined"]["histogram"])
    whole = next((length for length, value in zip(lengths, lost, strict=True) if value <= 0), None)
    return text + (f" From L = {whole} on nothing is lost." if whole else "")


def _vocabulary(audit: Audit) -> str:
    found = audit["combined"]["vocabulary"]
    curve = found["coverage"]
    needed = {part: next((k for k, value in curve if value >= part), None) for part in (0.9, 0.99)}
    text = f"The {number(found['used'])} tokens that occur are {share(found['share'])} of the vocabulary. "
    text += f"The 100 most frequent of them make up {share(found['top_100_share'])} of all tokens"
    text += f", start and end alone {share(found['special_share'])}"
    text += "".join(f"; about {k:,} make up {part:.0%}" for part, k in needed.items() if k) + "."
    return text


def _spectra(audit: Audit) -> str:
    notes = []
    token, position = at(audit, "spectra", "token"), at(audit, "spectra", "position")
    for key, what in (("full", "Token table"), ("used", "Rows of the tokens that occur")):
        found = at(token, key)
        if found and found["effective_rank"] is not None:
            filled = found["effective_rank"] / min(found["width"], found["rows"])
            notes.append(
                f"{what}: effective rank {number(found['effective_rank'], 0)} of at most "
                f"{min(found['width'], found['rows']):,} ({share(filled, 0)}), 90% of the variance in "
                f"{number(found['dims']['90'])} directions"
            )
    if position and position["effective_rank"] is not None:
        notes.append(
            f"Position table: effective rank {number(position['effective_rank'], 1)} of at most "
            f"{min(position['width'], position['rows'])}, 90% of the variance in "
            f"{number(position['components_90'])} directions"
        )
    return " ".join(["Share of the variance that the first directions hold; dots mark 90%.", *(f"{s}." for s in notes)])


def _positions(audit: Audit) -> str:
    found = audit["spectra"]["position"]
    near, far = found["within_0_7"], found["within_8_up"]
    text = "Cosine between the rows of the position table. "
    if near is None or far is None:
        return text + f"Mean between different positions of 0 to 7: {number(near)}; from 8 on: {number(far)}."
    alike = "more alike than" if far - near > 0.02 else "less alike than" if near - far > 0.02 else "as alike as"
    return text + f"Positions from 8 on are {alike} the first eight: {number(far)} on average against {number(near)}."


def _dimension(audit: Audit) -> str:
    notes = []
    for key, what in (("tokens", "Features of tokens"), ("pooled", "Pooled features")):
        found = at(audit, "dimension", key)
        if not found:
            continue
        values = [e["value"] for e in (found["twonn"], *found["mle"].values()) if e["value"] is not None]
        if values:
            notes.append(
                f"{what} lie on about {min(values):.0f} to {max(values):.0f} dimensions by their neighbours, and "
                f"spread over {interval(found['svd_effective_rank'])} directions of {found['width']} by their spectrum"
            )
    return " ".join(
        ["Left: share of the variance. Right: estimates with their 95% intervals.", *(f"{s}." for s in notes)]
    )


def _order(audit: Audit) -> str:
    found = audit["order"]
    permuted, shuffled = found["permuted_over_different"], found["shuffled_over_different"]
    text = "Share of the prompts that move at most so far; dashed lines are means. "
    moved = []
    if permuted is not None:
        moved.append(f"{share(permuted)} when attribute and noun change places")
    if shuffled is not None:
        moved.append(f"{share(shuffled)} when all words are shuffled")
    if not moved:
        return text + "No prompt has another order of words."
    return text + f"Of the distance to a different prompt they move {listed(moved)}: 0% would be a bag of words."


def _robustness(audit: Audit) -> str:
    found = audit["robustness"]
    text = "Relative error of each quantity, against the teacher's features. "
    for name, run in found["students"].items():
        if run["attenuation"] is not None:
            text += f"{short(name)} differs by {share(run['input'])} at the input (cosine {number(run['cosine'], 3)}) "
            text += f"and by {share(run['output'])} at the output of the attention, {_times(run['attenuation'])}; "
            text += f"{share(run['encoded'])} is left in the image tokens that leave the encoder. "
    known = {level: run for level, run in found["noise"].items() if run["attenuation"] is not None}
    if known:
        level = max(known, key=float)
        text += f"Noise of {level} of the features' size is there {_times(known[level]['attenuation'])}."
    return text


def _times(attenuation: float) -> str:
    if attenuation > 1.05:
        return f"{small(attenuation)} times smaller"
    return "no smaller" if attenuation > 0.95 else f"{small(1 / attenuation)} times larger"


_CAPTIONS = {
    "lengths": _lengths,
    "trade": _trade,
    "vocabulary": _vocabulary,
    "spectra": _spectra,
    "positions": _positions,
    "dimension": _dimension,
    "order": _order,
    "robustness": _robustness,
}
