"""An audit in a few sentences: what the corpora ask, what the encoder does, what follows."""

from collections.abc import Mapping
from typing import Any

from litetext.audit.report.figures import short
from litetext.audit.words import at, listed, number, plural, share

Audit = Mapping[str, Any]


def summary(audit: Audit) -> list[str]:
    """The most telling numbers of an audit as sentences.

    Args:
        audit: The content of audit.json.

    Returns:
        One sentence or two a line; the parts that an audit lacks are passed over.
    """
    return [*_corpora(audit), *_encoder(audit), *_plan(audit)]


def _corpora(audit: Audit) -> list[str]:
    found = audit["combined"]
    names = listed(list(audit["sources"]))
    lines = [
        f"{plural(found['prompts'], 'prompt')} of {names} have {number(found['mean_tokens'])} tokens on average, start "
        f"and end included; the longest has {len(found['histogram']) - 1}."
    ]
    contexts = sorted(audit["contexts"])
    waste = [f"{share(found['context'][str(n)]['padding'])} at {plural(n, 'token')} of context" for n in contexts]
    lines.append(f"Of an encoder's positions {listed(waste)} are padding.")
    used = found["vocabulary"]
    lines.append(
        f"{number(used['used'])} of {number(used['rows'])} tokens of the vocabulary occur ({share(used['share'])}); "
        f"the 100 most frequent make up {share(used['top_100_share'])} of the text, start and end included."
    )
    return lines


def _encoder(audit: Audit) -> list[str]:
    lines = []
    pooled = at(audit, "dimension", "pooled")
    values = (
        [e["value"] for e in (pooled["twonn"], *pooled["mle"].values()) if e["value"] is not None] if pooled else []
    )
    if pooled and values:
        lines.append(
            f"Pooled features have {pooled['width']} values and lie on about {min(values):.0f} to {max(values):.0f} "
            f"dimensions; their effective rank is {number(pooled['svd_effective_rank']['value'], 1)}."
        )
    if (drift := at(audit, "order", "shuffled_over_different")) is not None:
        lines.append(
            f"Shuffling all words of a prompt moves its features by {share(drift)} of the distance to a "
            "different prompt."
        )
    for name, run in (at(audit, "robustness", "students") or {}).items():
        if run["input"] is not None and run["output"] is not None:
            lines.append(
                f"The features of {short(name)} have a cosine of {number(run['cosine'], 3)} to the teacher's; their "
                f"error of {share(run['input'])} is {share(run['output'])} behind the text cross-attention."
            )
    return lines


def _plan(audit: Audit) -> list[str]:
    found = audit.get("prescription")
    if not found:
        return []
    student, context = found["student"], found["context_length"]
    lost = f"a context of {context} tokens loses {share(found['token_loss'], 2)} of the text"
    within = "within" if found["budget_met"] else "more than"
    plan = (
        f"Prescription: {lost}, {within} the budget of {share(found['budget'])}; start from {student['preset']} with "
        f"{student['parameters']:,} parameters, {share(student['saving'])} fewer than the teacher's."
    )
    return [plan, *(f"Note: {warning}." for warning in found["warnings"])]
