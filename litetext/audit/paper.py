"""What the paper reports (SAM3-LiteText, arXiv 2602.12173), under the keys of audit.json, to be set beside an audit."""

from collections.abc import Mapping
from typing import Any

PROMPTS = 404_796
"""Of all six sources: RF100-VL 554, LVIS 1,199, RefCOCO/+/g 246,040, SA-Co Gold 51,577, Silver 54,178, VEval 51,248."""

TEACHER_PARAMETERS = 353_724_672

PAPER: dict[str, Any] = {
    "combined": {
        "prompts": PROMPTS,
        "mean_tokens": 7.9,
        "context": {
            "8": {"density": 0.800, "padding": 0.200, "truncation": 0.285, "token_loss": 0.123},
            "16": {"density": 0.480, "padding": 0.520, "truncation": 0.050, "token_loss": 0.021},
            "32": {"density": 0.245, "padding": 0.755},
        },
        "vocabulary": {"used": 17_300, "top_100_share": 0.585, "special_share": 0.346},
    },
    "spectra": {
        "token": {
            "full": {"effective_rank": 943.0, "width": 1024, "dims": {"90": 834}},
            "used": {"effective_rank": 906.0, "width": 1024},
        },
        "position": {"effective_rank": 20.0, "rows": 32, "within_0_7": 0.54, "within_8_up": 0.775, "components_90": 7},
    },
    "dimension": {
        "pooled": {
            "n": 5000,
            "svd_effective_rank": {"value": 85.3},
            "twonn": {"value": 17.5, "low": 16.0, "high": 19.0},
            "mle": {str(k): {"value": 17.5, "low": 16.0, "high": 19.0} for k in (5, 10, 20, 50)},
        }
    },
    "robustness": {
        "noise": {"0.1": {"input": 0.97, "logits": 0.96, "output": 0.0034, "attenuation": 282.0}},
        "students": {"mean": {"cosine": 0.938}},
    },
    "prescription": {
        "context_length": 16,
        "teacher": {"parameters": 353_720_000, "cg_f1": 54.1},
        "students": {
            "s0": {"parameters": 42_540_000, "saving": 0.88, "cg_f1": 51.9},
            "s1": {"parameters": 63_530_000, "saving": 0.82, "cg_f1": 52.5},
            "l": {"parameters": 123_800_000, "saving": 0.65, "cg_f1": 53.1},
        },
    },
}
"""Reference numbers; what the paper does not give is missing."""

NOTES: dict[str, str] = {
    "combined.context.8.token_loss": (
        "the paper's row at L = 8 does not add up: a density of 0.800 keeps 6.4 of 7.9 tokens, so about 19% are lost, "
        "not 12.3%; ours is cut tokens over all tokens"
    ),
    "combined.vocabulary.special_share": (
        "start and end are 2 of 7.9 tokens, 25.3%: the paper's 34.6% does not follow from its mean length; ours is "
        "start and end over all tokens"
    ),
    "spectra.position.within_8_up": "the paper gives 0.76 to 0.79; here the middle",
    "dimension.pooled.twonn": "the paper gives about 16 to 19 for TwoNN and MLE together; here the middle",
    "dimension.pooled.mle": "the paper gives about 16 to 19 for TwoNN and MLE (k = 5, 10, 20, 50) together",
    "robustness.noise.0.1.attenuation": (
        "282 is the error of the logits over that of the output (0.96 / 0.0034); from the input it is 285"
    ),
    "prescription.context_length": (
        "the paper calls 16 the best trade-off; of 32 its table says slightly worse and its conclusion slightly better"
    ),
    "prescription.students.l.cg_f1": "53.1 of 54.1 is the headline's 98.1% of the teacher; the 88% fewer are S0's",
}
"""Where the paper contradicts itself or gives a range, by the number's path in `PAPER`."""


def paper_value(*keys: str) -> Any:
    """The paper's number below some keys of audit.json; None where it gives none."""
    found: Any = PAPER
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def same_corpus(audit: Mapping[str, Any]) -> bool:
    """Whether an audit is of as many prompts as the paper's; numbers of other corpora are not comparable."""
    return audit["combined"]["prompts"] == PROMPTS


def same_weights(audit: Mapping[str, Any]) -> bool:
    """Whether an audit is of a text encoder of SAM3's kind and size; only the weights themselves could tell more."""
    encoder = audit.get("encoder") or {}
    return encoder.get("kind") == "sam3" and encoder.get("parameters") == TEACHER_PARAMETERS


def retention(preset: str) -> float | None:
    """The share of SAM3's CG_F1 that a student keeps in the paper's Table 3; None for a student not in it.

    Args:
        preset: s0, s1 or l.
    """
    score = paper_value("prescription", "students", preset, "cg_f1")
    return None if score is None else score / PAPER["prescription"]["teacher"]["cg_f1"]
