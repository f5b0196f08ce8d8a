"""What follows from an audit: context, vocabulary, student, and what they save; `fit_yaml` makes a config of it.

Every choice is made from the audit's numbers alone and comes with its reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from litetext.audit.context import context_cost
from litetext.audit.fit_yaml import fit_lines
from litetext.audit.paper import retention
from litetext.audit.vocabulary import HALF, OTHERS
from litetext.audit.words import listed, number, plural, share
from litetext.models.text.encoder import count_parameters
from litetext.models.text.mobileclip import PRESETS, MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder

BUDGET = 0.025
"""Share of the tokens that a context may lose; the paper's choice of 16 loses 2.1%."""
CANDIDATES = (8, 12, 16, 20, 24, 32, 40, 48, 64, 77)
SAFE = 0.999
"""Held-out coverage from which a pruned vocabulary is called safe: one prompt in a thousand may hold a lost token."""
_LONGEST = 77
_FEW = 20
"""Prompts below which a fifth of them, drawn by hash, is none with a chance above one in a hundred (0.8 ** 20)."""
_SMALLER = 0.5
"""A student has at most this share of the teacher's parameters; a larger one is hardly worth its training."""
_PUBLISHED = ("s0", "s1", "l")
_TINY = "nano"
_SAM3_TOKENS = ("sam3", "student")
"""Kinds of encoders that read SAM3's tokens, unless they bring a tokenizer."""
TEACHER = "facebook/sam3"
"""Who teaches where no SAM3 was audited."""


def smallest_context(
    histogram: Sequence[int], budget: float = BUDGET, candidates: Sequence[int] = tuple(range(3, _LONGEST + 1))
) -> int | None:
    """The smallest context that loses at most a share of the tokens.

    Args:
        histogram: Prompts by their number of tokens, start and end included.
        budget: That share.
        candidates: Contexts to choose from.

    Returns:
        The context, or None where all of them lose more.
    """
    return next((c for c in sorted(candidates) if (context_cost(histogram, c)["token_loss"] or 0.0) <= budget), None)


def prescribe(
    audit: Mapping[str, Any],
    budget: float = BUDGET,
    candidates: Sequence[int] = CANDIDATES,
    safe: float = SAFE,
) -> dict[str, Any]:
    """Chooses context, vocabulary and student for the corpora and the encoder of an audit.

    - Context: the smallest candidate that loses at most `budget` of all tokens, and is no longer than the teacher's.
    - Vocabulary: pruning to the used tokens is safe when further prompts of these sources would hold no others: at
      least `safe` of the prompts of every source must be covered without themselves, by the tokens of all other
      sources or by those of the source's other half (by a hash of the text), whichever covers more: both are part of
      the pruned table. `litetext fit` trains the whole table either way.
    - Student: the smallest of S0, S1, L with at most half of the teacher's parameters whose tokens are wide enough for
      the teacher's features: 2 d + 1 for d the largest estimate of their intrinsic dimension (a d-dimensional manifold
      embeds in so many: Whitney 1936), and their effective rank. Without these numbers S0. `nano` where the teacher is
      too small for S0. How deep a student must be, no number of the audit says.
    - Teacher: the audited encoder where it is a SAM3's, `facebook/sam3` otherwise.

    Args:
        audit: The content of audit.json so far; `combined`, and where they are there `sources`, `covered`, `encoder`
            and `dimension` are read.
        budget: Share of the tokens that the context may lose.
        candidates: Contexts to choose from, 3 to 77.
        safe: Held-out coverage from which pruning is called safe.

    Returns:
        `lines` [{`key`, `value`, `reason`}]: the decisions, then each option of the YAML by its path; `warnings`: what
        is not as it should be; the numbers behind them: `budget`, `context_length`, `token_loss`, `budget_met`,
        `contexts` (loss by candidate), `vocabulary`, `teacher`, `student`, `students`; and `config`, which
        `fit_yaml.to_yaml` writes.

    Raises:
        ValueError: If there is no prompt, or an argument is out of its range.
    """
    if not candidates or not all(3 <= c <= _LONGEST for c in candidates):
        raise ValueError(f"candidates {list(candidates)} must be contexts of 3 to {_LONGEST} tokens, one at least")
    if not (0 <= budget < 1 and 0 < safe <= 1):
        raise ValueError(f"budget={budget} must lie in [0, 1) and safe={safe} in (0, 1]; 0.025 and 0.999 are usual")
    if not audit["combined"]["prompts"]:
        raise ValueError("the audit has no prompt, from which nothing follows; give a corpus")
    warnings: list[str] = []
    teacher = _teacher(audit)
    decisions = [_teacher_line(teacher)]
    found: dict[str, Any] = {"budget": budget, "teacher": teacher}
    found |= _context(audit, teacher, budget, candidates, decisions, warnings)
    found |= _student(audit, teacher, found["context_length"], decisions, warnings)
    found["vocabulary"] = _vocabulary(audit, safe, found["student"]["preset"], decisions)
    if (unique := audit["combined"]["unique"]) < _FEW:
        warnings.append(f"{plural(unique, 'prompt')} may leave none to train on or none to hold out; add some")
    config, lines = fit_lines(found, audit["combined"]["unique"])
    return {"lines": [*decisions, *lines], "warnings": warnings, **found, "config": config}


def _line(key: str, value: str, reason: str) -> dict[str, str]:
    return {"key": key, "value": value, "reason": reason}


def _teacher(audit: Mapping[str, Any]) -> dict[str, Any]:
    encoder = audit.get("encoder") or {}
    if encoder.get("kind") == "sam3":
        known = {key: encoder[key] for key in ("name", "parameters", "context_length", "width")}
        return {"audited": True, **known}
    with torch.device("meta"):
        sam3 = Sam3TextEncoder()
    sizes = {"context_length": sam3.context_length, "width": sam3.width}
    return {"audited": False, "name": TEACHER, "parameters": count_parameters(sam3), **sizes}


def _teacher_line(teacher: Mapping[str, Any]) -> dict[str, str]:
    why = "the audited text encoder" if teacher["audited"] else "no SAM3 was audited, so the published one teaches"
    return _line("teacher", teacher["name"], f"{why}: {teacher['parameters']:,} parameters")


def _context(
    audit: Mapping[str, Any],
    teacher: Mapping[str, Any],
    budget: float,
    candidates: Sequence[int],
    decisions: list[dict[str, str]],
    warnings: list[str],
) -> dict[str, Any]:
    histogram, limit = audit["combined"]["histogram"], int(teacher["context_length"])
    choices = {c for c in candidates if c <= limit} | ({limit} if max(candidates) >= limit else set())
    within: list[int] = sorted(choices)
    met = smallest_context(histogram, budget, within)
    chosen = within[-1] if met is None else met
    cost = context_cost(histogram, chosen)
    loss = cost["token_loss"] or 0.0
    exact = smallest_context(histogram, budget)
    why = f"{share(loss, 2)} of the tokens are lost and {share(cost['truncation'], 2)} of the prompts cut, "
    if met is not None:
        why += f"within the budget of {share(budget)}; the smallest of {listed([str(c) for c in within])} to do so"
        why += f" (of all lengths {exact} would do)" if exact != chosen else ""
    else:
        end = "the teacher reads no more" if chosen == limit else "no longer one was to be considered"
        why += f"more than the budget of {share(budget)}: {end}"
        longer = f"it takes {exact} tokens" if exact else f"even {_LONGEST} tokens lose more"
        warnings.append(f"no context keeps the token loss within {share(budget)}: {end}, and {longer}")
    losses = {name: context_cost(s["histogram"], chosen)["token_loss"] or 0.0 for name, s in audit["sources"].items()}
    worst = max(losses, key=losses.__getitem__)
    if len(losses) > 1 and losses[worst] > budget >= loss:
        warnings.append(f"{worst} by itself loses {share(losses[worst], 2)} of its tokens at {chosen}")
    if not _sam3_tokens(audit):
        warnings.append(
            f"lengths are in the tokens of {audit['encoder']['name']}, and the student reads SAM3's: audit the corpora "
            "without --text_encoder for its context"
        )
    decisions.append(_line("context length", str(chosen), why))
    return {
        "context_length": chosen,
        "token_loss": loss,
        "budget_met": met is not None,
        "contexts": {str(c): context_cost(histogram, c)["token_loss"] for c in sorted({*candidates, chosen})},
        "worst_source": {"name": worst, "token_loss": losses[worst]},
    }


def _student(
    audit: Mapping[str, Any],
    teacher: Mapping[str, Any],
    context: int,
    decisions: list[dict[str, str]],
    warnings: list[str],
) -> dict[str, Any]:
    students = {p: _size(p, context, teacher) for p in PRESETS if p in _PUBLISHED}
    small_enough = [p for p in _PUBLISHED if students[p]["parameters"] <= _SMALLER * teacher["parameters"]]
    if not small_enough:
        students[_TINY] = _size(_TINY, context, teacher)
    width_needed, measured = _width_needed(audit)
    wide = [p for p in small_enough or [_TINY] if PRESETS[p]["embed_width"] >= width_needed]
    preset = (wide or small_enough[-1:] or [_TINY])[0]
    chosen = students[preset]
    why = (
        f"the smallest of {listed([_shown(p) for p in small_enough])}"
        if small_enough
        else f"S0 with {students['s0']['parameters']:,} parameters is no smaller than half the teacher"
    )
    if measured and wide:
        why += f"; {measured}, for which its {PRESETS[preset]['embed_width']} values a token are enough"
    elif measured:
        why += f"; {measured}, more than its {PRESETS[preset]['embed_width']} values a token: none is wider"
        warnings.append(f"no student is as wide as the features ask for ({width_needed} values a token)")
    elif small_enough:
        why += "; the dimension of the teacher's features is not known"
    kept = {p: f"{_shown(p)} {share(part)}" for p in _PUBLISHED if (part := retention(p)) is not None}
    if preset in kept:
        why += f"; of SAM3's CG_F1 the paper's students keep: {listed(list(kept.values()))}"
    if chosen["parameters"] >= teacher["parameters"]:
        warnings.append(f"no student is smaller than this teacher: {preset} has {chosen['parameters']:,} parameters")
    decisions += [
        _line("student", preset, why),
        _line(
            "parameters",
            f"{chosen['parameters']:,}",
            f"{share(chosen['saving'])} fewer than the teacher's {teacher['parameters']:,}",
        ),
        _line(
            "memory of the weights",
            f"{_mb(chosen['fp32_bytes'])} in fp32, {_mb(chosen['fp16_bytes'])} in fp16",
            f"the teacher's take {_mb(4 * teacher['parameters'])} and {_mb(2 * teacher['parameters'])}",
        ),
    ]
    return {"student": {"preset": preset, **chosen}, "students": students}


def _size(preset: str, context: int, teacher: Mapping[str, Any]) -> dict[str, Any]:
    with torch.device("meta"):
        count = count_parameters(MobileClipText(preset, context, width=teacher["width"]))  # type: ignore[arg-type]
    return {
        "parameters": count,
        "fp32_bytes": 4 * count,
        "fp16_bytes": 2 * count,
        "saving": 1 - count / teacher["parameters"],
        "width": teacher["width"],
        "embed_width": PRESETS[preset]["embed_width"],
    }


def _shown(preset: str) -> str:
    return preset.upper() if preset in _PUBLISHED else preset


def _mb(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _sam3_tokens(audit: Mapping[str, Any]) -> bool:
    """Whether lengths and vocabulary are in the tokens of SAM3's whole tokenizer."""
    encoder = audit.get("encoder") or {}
    return encoder.get("kind") in (None, *_SAM3_TOKENS) and not encoder.get("tokenizer")


def _width_needed(audit: Mapping[str, Any]) -> tuple[int, str]:
    """Values a token that the teacher's features ask for, and why; 0 and nothing where they were not measured."""
    if (audit.get("encoder") or {}).get("kind") != "sam3":  # a student's features are not its teacher's
        return 0, ""
    kinds = [kind for kind in (audit.get("dimension") or {}).values() if kind]
    estimates = [e for kind in kinds for e in (kind.get("twonn"), *(kind.get("mle") or {}).values()) if e]
    near = max((e["value"] for e in estimates if e.get("value") is not None), default=None)
    spread = [kind["svd_effective_rank"].get("value") for kind in kinds if kind.get("svd_effective_rank")]
    rank = max((value for value in spread if value is not None), default=None)
    findings, width_needed = [], 0
    if near is not None:
        findings.append(f"an intrinsic dimension of {number(float(near), 1)} at most")
        width_needed = int(2 * near + 1 + 0.5)
    if rank is not None:
        findings.append(f"an effective rank of {number(float(rank), 1)}")
        width_needed = max(width_needed, int(rank + 0.5))
    return width_needed, f"the teacher's features have {listed(findings)}" if findings else ""


def _vocabulary(audit: Mapping[str, Any], safe: float, preset: str, decisions: list[dict[str, str]]) -> dict[str, Any]:
    table = audit["combined"]["vocabulary"]
    used, rows = table["used"], table["rows"]
    shares = audit.get("covered") or {}
    held_out = {name: {by: row[by] for by in (OTHERS, HALF) if by in row} for name, row in shares.items()}
    best = {name: max(row, key=row.__getitem__) for name, row in held_out.items() if row}
    worst = min(best, key=lambda name: held_out[name][best[name]], default=None)
    presets = dict.fromkeys((*_PUBLISHED, preset))
    saves = {p: (rows - used) * (PRESETS[p]["embedding_rank"] or PRESETS[p]["embed_width"]) for p in presets}
    found: dict[str, Any] = {
        "used": used,
        "rows": rows,
        "threshold": safe,
        "held_out": None,
        "source": None,
        "safe": None,
    }
    found["saves"] = saves if _sam3_tokens(audit) else None
    each = listed([f"{saved:,} in {_shown(p)}" for p, saved in saves.items()])
    saving = f"without the {rows - used:,} unused rows there would be fewer parameters: {each}"
    if found["saves"] is None:
        why = f"the tokens are those of {audit['encoder']['name']}, not the student's"
    elif worst is None:
        few = "one prompt has" if audit["combined"]["prompts"] == 1 else "so few prompts have"
        why = f"{few} no held-out side, so whether fewer are safe is unknown"
    else:
        part = held_out[worst][best[worst]]
        found |= {"held_out": part, "source": worst, "safe": part >= safe}
        of = "all other sources" if best[worst] == OTHERS else "one half"
        whose = f"the prompts of {worst}" if best[worst] == OTHERS else f"the prompts in the other half of {worst}"
        why = f"the tokens of {of} cover {share(part, 2)} of {whose}, "
        why += f"{'at least' if found['safe'] else 'less than'} the {share(safe)} that pruning asks for; {saving}"
        if not found["safe"]:
            why += "; but prompts not seen here would lose words"
    value = f"prune to {used:,} of {rows:,} rows after training" if found["safe"] else f"keep all {rows:,} rows"
    decisions.append(_line("vocabulary", value, why))
    return found
