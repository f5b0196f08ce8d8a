"""An audit's numbers beside the paper's, where corpus and weights are the same, and why not where they are not.

The corpus is taken for the paper's when it holds as many prompts as the paper's six sources, the weights for SAM3's
when kind and number of parameters are its own and its positions resemble each other as only training makes them;
nothing more can be told without the paper's own data.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from litetext.audit.paper import NOTES, PROMPTS, paper_value, same_corpus, same_weights
from litetext.audit.report.page import Table
from litetext.audit.words import at, number, share, small

Audit = Mapping[str, Any]
_TRAINED = 0.2
"""Mean cosine of the first eight positions, 0.54 in SAM3 and about 0 in random weights, that tells them apart."""


class _Row(NamedTuple):
    """One number of the paper's.

    Attributes:
        label: What it is called.
        here: Its keys in audit.json.
        write: How it is written.
        weights: It depends on the encoder's weights.
        corpus: It depends on the corpus.
        there: Its keys in the paper's numbers, where they differ.
    """

    label: str
    here: tuple[str, ...]
    write: Callable[[Any], str]
    weights: bool = False
    corpus: bool = True
    there: tuple[str, ...] = ()


def beside_paper(audit: Audit, section: str) -> Table | str | None:
    """The paper's numbers of one part of the audit beside ours.

    Args:
        audit: The content of audit.json.
        section: `context`, `vocabulary`, `spectra`, `dimension` or `robustness`.

    Returns:
        A table; a sentence, where nothing is comparable; None where the paper or the audit has no numbers.
    """
    rows = [row for row in _rows(audit, section) if at(audit, *row.here) is not None]
    if not rows:
        return None
    reasons = [_reason(audit, row) for row in rows]
    if all(reasons):
        return f"Beside the paper: {'; '.join(dict.fromkeys(reasons))}."
    cells = []
    for row, reason in zip(rows, reasons, strict=True):
        keys = row.there or row.here
        remark = "" if reason else NOTES.get(".".join(keys), "")
        cells.append([row.label, row.write(at(audit, *row.here)), reason or row.write(paper_value(*keys)), remark])
    return Table(
        f"paper-{section}", "Beside the paper", ["", "here", "paper", "remark"], cells, text_columns=frozenset({3})
    )


def comparable(audit: Audit, weights: bool, corpus: bool) -> str:
    """Why a number is not comparable with the paper's; empty where it is.

    Args:
        audit: The content of audit.json.
        weights: The number depends on the encoder's weights.
        corpus: It depends on the corpus.
    """
    if weights and not (same_weights(audit) and (at(audit, "spectra", "position", "within_0_7") or 0) > _TRAINED):
        return "not comparable: other weights"
    if corpus and not same_corpus(audit):
        return f"not comparable: other corpus ({audit['combined']['prompts']:,} prompts, the paper's has {PROMPTS:,})"
    return ""


def _reason(audit: Audit, row: _Row) -> str:
    return comparable(audit, row.weights, row.corpus)


def _rows(audit: Audit, section: str) -> Sequence[_Row]:
    if section == "context":
        shares = {"density": "density", "padding": "padding", "truncation": "truncated", "token_loss": "tokens lost"}
        return [
            _Row("mean tokens", ("combined", "mean_tokens"), number),
            *(
                _Row(f"{label}, L = {length}", ("combined", "context", str(length), key), share)
                for length in audit["contexts"]
                for key, label in shares.items()
                if paper_value("combined", "context", str(length), key) is not None
            ),
        ]
    if section == "vocabulary":
        labels = {
            "used": ("tokens used", number),
            "share": ("of the vocabulary", share),
            "top_100_share": ("100 most frequent", share),
            "special_share": ("start and end", share),
        }
        return [_Row(label, ("combined", "vocabulary", key), write) for key, (label, write) in labels.items()]
    if section == "spectra":
        return _SPECTRA
    if section == "dimension":
        kinds = {"svd_effective_rank": "SVD effective rank", "twonn": "TwoNN"}
        neighbours = [(("mle", k), f"MLE, k = {k}") for k in at(audit, "dimension", "pooled", "mle") or ()]
        return [
            _Row(f"{label}, pooled features", ("dimension", "pooled", *keys, "value"), _one, weights=True)
            for keys, label in [*(((key,), label) for key, label in kinds.items()), *neighbours]
        ]
    if section == "robustness":
        labels = {"input": "input", "logits": "logits", "output": "output", "attenuation": "attenuation"}
        return [
            _Row(
                f"{label}, noise 0.97",
                ("robustness", "noise", "0.97", key),
                small,
                weights=True,
                there=("robustness", "noise", "0.1", key),
            )
            for key, label in labels.items()
        ]
    return ()


def _one(value: float) -> str:
    return number(float(value), 1)


_SPECTRA = (
    _Row("token table, effective rank", ("spectra", "token", "full", "effective_rank"), _one, True, False),
    _Row("token table, directions for 90%", ("spectra", "token", "full", "dims", "90"), number, True, False),
    _Row("used rows, effective rank", ("spectra", "token", "used", "effective_rank"), _one, True),
    _Row("positions, effective rank", ("spectra", "position", "effective_rank"), _one, True, False),
    _Row("positions, directions for 90%", ("spectra", "position", "components_90"), number, True, False),
    _Row("cosine within positions 0-7", ("spectra", "position", "within_0_7"), number, True, False),
    _Row("cosine from position 8 on", ("spectra", "position", "within_8_up"), number, True, False),
)
