"""An audit in a few sentences: what the corpora ask, what the encoder does, what follows."""

from collections.abc import Mapping
from typing import Any

from litetext.anatomy.words import listed, number, plural, share

Audit = Mapping[str, Any]


def summary(audit: Audit) -> list[str]:
    """The most telling numbers of an audit as sentences.

    Args:
        audit: The content of audit.json.

    Returns:
        One sentence or two a line; the parts that an audit lacks are passed over.
    """
    return [*_corpora(audit)]


def _corpora(audit: Audit) -> list[str]:
    found = audit["combined"]
    names = listed(list(audit["sources"]))
    lines = [
        f"{plural(found['prompts'], 'prompt')} of {names} have {number(found['mean_tokens'])} tokens on average, start "
        f"and end included; the longest has {len(found['histogram']) - 1}."
    ]
    waste = [f"{share(found['context'][str(n)]['padding'])} at L = {n}" for n in sorted(audit["contexts"])]
    lines.append(f"Share of an encoder's positions that hold padding: {listed(waste)}.")
    return lines
