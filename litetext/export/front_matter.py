"""What a card says to the hub: license, library, base model, tags and scores, as its YAML front matter."""

import re
from pathlib import Path
from typing import Any

from litetext.export.evaluation import model_index
from litetext.export.request import ExportResult
from litetext.export.source import ExportSource
from litetext.shipped import shipped

_LIBRARY = {"transformers": "transformers", "trimmed": "transformers", "onnx": "onnx"}
_METRICS = {
    "cosine": "cosine per token",
    "pooled_cosine": "cosine of pooled features",
    "agreement": "share of prompts with the teacher's nearest neighbour",
}
_SAM = {
    "license": "other",
    "license_name": "sam-license",
    "license_link": "https://github.com/facebookresearch/sam3/blob/main/LICENSE",
}


def front_matter(name: str, target: str, source: ExportSource, result: ExportResult, sam3: str | None) -> str:
    """The YAML between the card's dashes, without them.

    Args:
        name: The card's title.
        target: Of `litetext export`.
        source: The student.
        result: The export.
        sam3: The whole SAM3 that was named.
    """
    from huggingface_hub import ModelCardData

    about = source.about
    teacher = str(about["teacher"]) if about.get("teacher") else None
    origin = (sam3 if result.whole is not None else None) or teacher
    # What was not scored as it is exported gets no scores on the hub.
    known = about.get("scores") or {} if result.exact else {}
    scores = _scores(known, ", ".join(about.get("sources") or {}) or "unknown prompts")
    scores += [] if result.evaluated is None else model_index(result.evaluated)
    terms: dict[str, Any] = dict(license_of(origin))
    data = ModelCardData(
        **terms,
        language="en",
        library_name=_LIBRARY.get(target, "litetext"),
        pipeline_tag="mask-generation" if result.whole is not None else "feature-extraction",
        base_model=[teacher] if teacher is not None and is_hub_id(teacher) else None,
        datasets=[path for path in (about.get("sources") or {}).values() if is_hub_id(path)] or None,
        tags=["sam3", "sam3-litetext", "text-encoder", "knowledge-distillation", "litetext", target],
        model_name=name if scores else None,
        eval_results=scores or None,
    )
    return data.to_yaml()


def license_of(origin: str | None) -> dict[str, str]:
    """The license under which weights may be passed on, from what they were made of.

    Args:
        origin: The SAM3 that they contain or learnt from; None if that is not known.
    """
    if origin is None:
        return {"license": "unknown"}
    if shipped(origin) != origin or origin.startswith(("checkpoints/sam3-tiny", "checkpoints/sam3-nouns")):
        return {"license": "apache-2.0"}
    return dict(_SAM) if re.search(r"sam-?3", origin.lower()) else {"license": "unknown"}


def is_hub_id(name: str) -> bool:
    """Whether a name is that of a repository on the hub: owner/name, and no local path or file."""
    if shipped(name) != name or re.match(r"(checkpoints|data|\.)", name) or Path(name).exists():
        return False
    known = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name)
    return bool(known) and not re.search(r"\.(pt|pth|ckpt|safetensors|txt|csv|jsonl?|p|gz)$", name)


def _scores(scores: dict[str, float], prompts: str) -> list[Any]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="feature-extraction",
            task_name="text features of SAM3's prompts",
            dataset_type="held-out-prompts",
            dataset_name=f"held-out prompts of {prompts}",
            metric_type=metric,
            metric_name=_METRICS[metric],
            metric_value=round(float(scores[metric]), 6),
        )
        for metric in _METRICS
        if metric in scores
    ]
