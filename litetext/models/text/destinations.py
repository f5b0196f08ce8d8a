"""Where a student can go: which exports give its own features there, why others do not, and what would."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litetext.models.text.mobileclip import STOCK_LENGTH, Padding
from litetext.tokenizer import VOCAB_SIZE

ANYWHERE = ("text", "compact", "onnx", "torch")
"""Targets of `litetext export` that take every student."""
STOCK = ("transformers", "trimmed")
"""Targets that transformers' own classes open."""
_CONFIGS = {"s0": "s0.yaml", "s1": "s1.yaml", "l": "l.yaml", "nano": "quickstart.yaml"}
_EPOCHS = 2


def obstacle(config: Mapping[str, Any], target: str) -> str:
    """Why the features of a student are others in an export; empty if they are its own.

    Args:
        config: `MobileClipText.config`.
        target: Of `litetext export`.
    """
    if target in STOCK:
        if config["vocab_size"] != VOCAB_SIZE:
            return f"it has {config['vocab_size']:,} token rows, and SAM3's tokenizer {VOCAB_SIZE:,} tokens"
        if config["context_length"] > STOCK_LENGTH:
            return f"it has {config['context_length']} positions, and transformers' Sam3Processor {STOCK_LENGTH} tokens"
        if config["repmixer"] and config["padding"] == "masked":
            return "its RepMixer convolutions see the padding that transformers adds, and were trained not to"
    if target == "efficientsam3" and config["padding"] != "reference":
        return f"it was trained with padding: {config['padding']}, and efficientsam3 lets padding take part"
    return ""


def wanted_padding(target: str) -> Padding:
    """The padding mode whose students a target takes."""
    return "reference" if target == "efficientsam3" else "transformers"


def remedy(config: Mapping[str, Any], target: str, checkpoint: str, about: Mapping[str, Any]) -> str:
    """The command that goes on from a student to one that a target takes.

    Args:
        config: `MobileClipText.config`.
        target: Of `litetext export`.
        checkpoint: The student's file; the command begins with its weights.
        about: What the checkpoint says of its making: `teacher`, `sources`.
    """
    padding = wanted_padding(target)
    student = {**config, "padding": padding, "pretrained": checkpoint}
    if target in STOCK:
        student["context_length"] = min(config["context_length"], STOCK_LENGTH)
    words = ["litetext", "fit", "--config", _CONFIGS[config["preset"]]]
    if about.get("teacher"):
        words += ["--model.teacher", str(about["teacher"])]
    for name, value in student.items():
        shown = json.dumps(value) if isinstance(value, bool) else str(value)
        words += [f"--model.student.init_args.{name}", shown]
    words += ["--data.context_length", str(student["context_length"])]
    if about.get("sources"):
        words += ["--data.sources", json.dumps(dict(about["sources"]))]
    run = f"{Path(checkpoint).absolute().parent.name or 'student'}-{padding}"
    return shlex.join([*words, "--trainer.max_epochs", str(_EPOCHS), "--run", run])


def describe(config: Mapping[str, Any], other_tokens: bool = False) -> str:
    """One line for people: where a student can go, and what it would take to go elsewhere.

    Args:
        config: `Student.config`.
        other_tokens: Whether it reads other tokens than SAM3's.
    """
    if other_tokens or "layers" not in config:
        why = "it reads its teacher's own tokens" if other_tokens else "it is no MobileCLIP tower"
        return f"exports of this student: {', '.join(ANYWHERE)}; not {', '.join(STOCK)}, efficientsam3: {why}"
    targets = (*ANYWHERE, *STOCK, "efficientsam3")
    passed = [target for target in targets if not obstacle(config, target)]
    others = [
        f"not {target}: {why} (model.student.init_args.padding {wanted_padding(target)})"
        for target in targets
        if (why := obstacle(config, target)) and target != "trimmed"  # as transformers
    ]
    return "; ".join([f"exports of this student: {', '.join(passed)}", *others])
