"""Tables of an audit, from its numbers alone; the terminal and the page print the same ones."""

from collections.abc import Callable, Mapping
from typing import Any

from litetext.audit.report.figures import short
from litetext.audit.report.page import Table
from litetext.audit.report.paper_columns import beside_paper
from litetext.audit.words import NOTHING, at, interval, number, share, small

Audit = Mapping[str, Any]


def _all(audit: Audit) -> dict[str, Mapping[str, Any]]:
    """Sources by name, and last all together where there are several."""
    sources = dict(audit["sources"])
    return sources if len(sources) == 1 else {**sources, "all together": audit["combined"]}


def _corpus(audit: Audit) -> Table:
    rows = [
        [name, number(s["prompts"]), number(s["unique"]), number(s["mean_tokens"]), number(len(s["histogram"]) - 1)]
        for name, s in _all(audit).items()
    ]
    return Table("corpus", "Prompts", ["source", "prompts", "unique", "mean tokens", "longest"], rows)


def _context(audit: Audit) -> Table:
    rows = []
    for name, source in _all(audit).items():
        for length in audit["contexts"]:
            found = source["context"][str(length)]
            cells = [share(found[key], 2 if key in ("truncation", "token_loss") else 1) for key in _CONTEXT]
            rows.append([f"{name}, L = {length}", *cells])
    return Table(
        "context",
        "Context",
        ["source", *_CONTEXT.values()],
        rows,
        note="Density: share of positions that hold a token; padding is the rest. Truncated: share of prompts longer "
        "than L. Tokens lost: cut tokens of all tokens. Attention on padding: share of query-key pairs with padding.",
    )


_CONTEXT = {
    "density": "density",
    "padding": "padding",
    "truncation": "truncated",
    "token_loss": "tokens lost",
    "attention_padding": "attention on padding",
}


def _vocabulary(audit: Audit) -> Table:
    rows = [
        [
            name,
            number(s["vocabulary"]["used"]),
            share(s["vocabulary"]["share"]),
            share(s["vocabulary"]["top_100_share"]),
            share(s["vocabulary"]["special_share"]),
        ]
        for name, s in _all(audit).items()
    ]
    return Table(
        "vocabulary",
        "Vocabulary",
        ["source", "tokens used", "of the vocabulary", "100 most frequent", "start and end"],
        rows,
        note="The last two are shares of all tokens of the source.",
    )


def _covered(audit: Audit) -> Table:
    found = audit["covered"]
    columns = {name for by in found.values() for name in by}
    names = [name for name in dict.fromkeys([*found, *(n for by in found.values() for n in by)]) if name in columns]
    return Table(
        "covered",
        "Prompts that the vocabulary of others covers",
        ["prompts of", *(f"by {name}" for name in names)],
        [[row, *(share(by.get(name)) for name in names)] for row, by in found.items()],
        note="A prompt is covered when every one of its tokens occurs there. The other half: each source is split in "
        "two by a hash of the text, and each half measured by the tokens of the other.",
        shades=[[None, *(by.get(name) for name in names)] for by in found.values()],
    )


def _encoder(audit: Audit) -> Table:
    found = audit["encoder"]
    rows = [
        ["kind", str(found["kind"])],
        ["parameters", f"{found['parameters']:,}"],
        ["context length", number(found["context_length"])],
        ["width of its features", number(found["width"])],
        ["rows of the token table", number(found["vocab_size"])],
    ]
    return Table("encoder", f"Encoder: {found['name']}", ["", "value"], rows, text_columns=frozenset({1}))


def _token_spectrum(audit: Audit) -> Table:
    token = audit["spectra"]["token"]
    rows = []
    for key, name in (("full", "whole table"), ("used", "tokens of the corpus")):
        if found := token.get(key):
            dims = [number(found["dims"][percent]) for percent in ("90", "95", "99")]
            rank = f"{number(found['effective_rank'], 1)} of {found['width']:,}"
            rows.append([name, number(found["rows"]), rank, *dims])
    return Table(
        "token-spectrum",
        "Token embedding",
        ["rows", "number", "effective rank", "90% of the variance", "95%", "99%"],
        rows,
        note="Singular values of the centred table; effective rank: exp of their entropy (Roy and Vetterli 2007).",
    )


def _position_spectrum(audit: Audit) -> Table:
    found = audit["spectra"]["position"]
    rows = [
        ["effective rank", f"{number(found['effective_rank'], 1)} of {found['rows']:,}"],
        ["directions for 90% of the variance", number(found["components_90"])],
        ["mean cosine within positions 0-7", number(found["within_0_7"])],
        ["mean cosine from position 8 on", number(found["within_8_up"])],
    ]
    return Table("position-spectrum", "Position embedding", ["", "value"], rows)


def _dimension(audit: Audit) -> Table:
    kinds = {key: audit["dimension"][key] for key in ("tokens", "pooled") if audit["dimension"].get(key)}
    first = next(iter(kinds.values()))
    estimates: dict[str, Callable[[Any], Any]] = {
        "SVD effective rank": lambda found: found["svd_effective_rank"],
        "TwoNN": lambda found: found["twonn"],
        **{f"MLE, k = {k}": (lambda found, k=k: found["mle"].get(k)) for k in first["mle"]},
    }
    rows = [["points without repeated ones", *(number(found["n"]) for found in kinds.values())]]
    rows += [["repeated points", *(number(found["duplicates"]) for found in kinds.values())]]
    rows += [[name, *(interval(pick(found)) for found in kinds.values())] for name, pick in estimates.items()]
    return Table(
        "dimension",
        "Dimension of the output",
        ["", *({"tokens": "features of tokens", "pooled": "pooled features"}[key] for key in kinds)],
        rows,
        note="In brackets the 95% bootstrap interval.",
    )


def _order(audit: Audit) -> Table:
    found = audit["order"]
    kinds = {
        "permuted": "attribute and noun change places",
        "shuffled": "all words shuffled",
        "shuffled_alike": "all words shuffled, prompts of the first row",
        "different": "a different prompt",
        "token_permuted": "each token, attribute and noun change places",
        "token_shuffled": "each token, all words shuffled",
    }
    different = found["different"]["mean"]
    rows = []
    for key, name in kinds.items():
        if not (drift := found.get(key)) or drift["mean"] is None:
            continue
        ratio = drift["mean"] / different if different and not key.startswith("token") else None
        estimate = {**drift, "value": drift["mean"]}
        rows.append([name, number(drift["n"]), interval(estimate, 4), share(ratio)])
    return Table(
        "order",
        "Drift under another order of words",
        ["what changes", "prompts", "mean distance (95% interval)", "of the distance to a different prompt"],
        rows,
        note="Distance: 1 - cosine of pooled features; the rows of each token compare the features of the same token.",
    )


def _robustness(audit: Audit) -> Table:
    found = audit["robustness"]
    runs = {f"noise {level}": run for level, run in found["noise"].items()}
    runs |= {short(name): run for name, run in found["students"].items()}
    by_layer = set(runs) if not found["students"] else set(map(short, found["students"]))
    rest = f" (the first of the folder; {more:,} left out)" if (more := found.get("images_left_out")) else ""
    rows = []
    for name, run in runs.items():
        ends = [small(run["input"]), number(run["cosine"], 4)]
        rows.append([name, *ends, *(small(run[key]) for key in _ERRORS), small(run["encoded"])])
        if name in by_layer:
            for n, layer in enumerate(run["layers"], 1):
                rows.append([f"    layer {n}", "", "", *(small(layer[key]) for key in _ERRORS), ""])
    return Table(
        "robustness",
        "Relative errors on the way through the text cross-attention",
        ["text features", "input", "cosine", *(word for word in _ERRORS.values()), "encoded image"],
        rows,
        note=f"{found['phrases']:,} phrases on {found['images']:,} images{rest}; means over layers, and each layer. "
        "Attenuation: error at the input over error at the output of the attention. A noise level is in units of the "
        "features' root mean square.",
    )


_ERRORS = {"logits": "logits", "weights": "weights", "output": "output", "attenuation": "attenuation"}


def _prescription(audit: Audit) -> Table:
    rows = [[line["key"], line["value"], line["reason"]] for line in audit["prescription"]["lines"]]
    return Table(
        "prescription",
        "Decisions, and the lines of prescription.yaml",
        ["what", "value", "why"],
        rows,
        text_columns=frozenset({1, 2}),
    )


def _students(audit: Audit) -> Table:
    found = audit["prescription"]
    teacher = found["teacher"]
    rows = [
        [
            f"teacher ({teacher['name']})",
            f"{teacher['parameters']:,}",
            NOTHING,
            _megabytes(2 * teacher["parameters"]),
            NOTHING,
        ]
    ]
    for name, student in found["students"].items():
        saved = (found["vocabulary"]["saves"] or {}).get(name)
        chosen = " (prescribed)" if name == found["student"]["preset"] else ""
        cells = [f"{student['parameters']:,}", _fewer(student["saving"]), _megabytes(student["fp16_bytes"])]
        rows.append([name + chosen, *cells, number(saved)])
    return Table(
        "students",
        f"Students at L = {found['context_length']}",
        ["", "parameters", "fewer than the teacher", "weights in fp16", "parameters of unused tokens"],
        rows,
    )


def _fewer(saving: float) -> str:
    return share(saving) if saving >= 0 else f"{1 - saving:.1f} times as many"


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


TABLES: dict[str, tuple[Callable[[Audit], Any], Callable[[Audit], Table]]] = {
    "corpus": (lambda a: a.get("sources"), _corpus),
    "context": (lambda a: a.get("sources"), _context),
    "vocabulary": (lambda a: at(a, "combined", "vocabulary"), _vocabulary),
    "covered": (lambda a: any((a.get("covered") or {}).values()), _covered),
    "encoder": (lambda a: a.get("encoder"), _encoder),
    "token-spectrum": (lambda a: at(a, "spectra", "token", "full"), _token_spectrum),
    "position-spectrum": (lambda a: at(a, "spectra", "position"), _position_spectrum),
    "dimension": (lambda a: at(a, "dimension", "tokens") or at(a, "dimension", "pooled"), _dimension),
    "order": (lambda a: at(a, "order", "different", "n"), _order),
    "robustness": (lambda a: a.get("robustness"), _robustness),
    "students": (lambda a: at(a, "prescription", "students"), _students),
    "prescription": (lambda a: at(a, "prescription", "lines"), _prescription),
}
"""Each table by key: whether an audit has the numbers for it, and how it is made."""


def all_tables(audit: Audit) -> list[Table]:
    """The tables that an audit has the numbers for.

    Args:
        audit: The content of audit.json.
    """
    ours = [make(audit) for has, make in TABLES.values() if has(audit)]
    paper = (beside_paper(audit, section) for section in _COMPARED)
    return [*ours, *(table for table in paper if isinstance(table, Table))]


_COMPARED = ("context", "vocabulary", "spectra", "dimension", "robustness")
