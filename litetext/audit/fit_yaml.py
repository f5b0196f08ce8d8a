"""A prescription as YAML of `litetext fit`: a shipped recipe with the audit's choices, every line with its reason."""

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from litetext.data.prompts.corpora import drawn_world
from litetext.shipped import config_path

_RECIPES = {"s0": "s0.yaml", "s1": "s1.yaml", "l": "l.yaml", "nano": "shapes_student.yaml"}
_STUDENT = "model.init_args.student.init_args"
_HELD_OUT = (0.05, 0.2)
_ENOUGH = 100
"""Held-out prompts from which agreement, by which the best checkpoint is chosen, is told apart in steps of 1%."""

_PAPER = {
    "model.init_args.teacher_features": "every prompt is encoded once by the teacher, not once an epoch",
    "model.init_args.cosine_weight": "the paper's weight of the cosine loss (equation 3)",
    "model.init_args.consistency_weight": "the paper's best weight of the consistency loss for this student",
    "model.init_args.lr": "the paper's base learning rate, for 512 prompts an optimizer step",
    "model.init_args.scale_lr": "scales it to the prompts that a step really has, as the public trainer does",
    "model.init_args.weight_decay": "as in the paper",
    "model.init_args.warmup_epochs": "as in the paper",
    "data.init_args.permutation": "attribute and noun change places, as the paper describes it",
    "data.init_args.batch_size": "as in the paper, on each device",
    "trainer.max_epochs": "as in the paper",
    "trainer.accumulate_grad_batches": "as in the paper: two batches an optimizer step",
    "trainer.gradient_clip_val": "as the public trainer does",
    "trainer.precision": "mixed precision as in the paper; bfloat16 needs no loss scaling",
    "trainer.accelerator": "whatever this machine has",
    "trainer.devices": "raise it, with --trainer.strategy ddp, where there are more",
    "trainer.use_distributed_sampler": "the data spreads prompts over devices itself",
    "checkpoint": "keeps the student whose nearest neighbours are most often the teacher's",
    "last": "an interrupted run goes on with --ckpt_path last",
}
_PADDING = {
    "masked": "features depend on no padding, so batches need none",
    "transformers": "what transformers' class computes, so that it exports there; masked trains faster on a CPU",
}
_TINY = {
    "model.init_args.lr": "of shapes_student.yaml, for a student of this size",
    "model.init_args.scale_lr": "the rate above is for these batches already",
    "model.init_args.warmup_epochs": "of shapes_student.yaml: a small student needs no long warm-up",
    "trainer.max_epochs": "of shapes_student.yaml: minutes on a CPU",
    "trainer.log_every_n_steps": "epochs are short",
    "threads": "more only wait for each other on a model this small",
}


def fit_lines(prescription: Mapping[str, Any], prompts: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The options of `litetext fit` that follow, and why.

    Args:
        prescription: Its `student`, `teacher`, `context_length` and `token_loss`.
        prompts: How many different ones there are to train on and to hold out.

    Returns:
        The config, without the paths of teacher and corpora; and for each option its path, value and reason.
    """
    student, context = prescription["student"], prescription["context_length"]
    preset = student["preset"]
    config = yaml.safe_load(config_path(_RECIPES[preset]).read_text(encoding="utf-8"))
    held_out = _HELD_OUT[0] if _HELD_OUT[0] * prompts >= _ENOUGH else _HELD_OUT[1]
    config["model"]["init_args"]["teacher"] = prescription["teacher"]["name"]
    padding = config["model"]["init_args"]["student"]["init_args"].get("padding", "masked")
    config["model"]["init_args"]["student"]["init_args"] = {
        "preset": preset,
        "context_length": context,
        "width": student["width"],
        "padding": padding,
    }
    config["data"]["init_args"] |= {"sources": {}, "context_length": context, "val_fraction": held_out}
    reasons = _PAPER | (_TINY if preset == "nano" else {})
    reasons |= {
        "model.init_args.teacher": "the audited text encoder" if prescription["teacher"]["audited"] else "SAM3's own",
        f"{_STUDENT}.preset": f"{student['parameters']:,} parameters, {student['saving']:.1%} fewer than the teacher",
        f"{_STUDENT}.context_length": f"loses {prescription['token_loss']:.2%} of the tokens of these prompts",
        f"{_STUDENT}.width": "values a token that the teacher's features have",
        f"{_STUDENT}.padding": _PADDING[padding],
        "data.init_args.context_length": "the student's",
        "data.init_args.val_fraction": f"about {held_out * prompts:,.0f} prompts tell how close the student is",
    }
    lines = []
    for path, value in _leaves(config):
        shown = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
        if path != _SOURCES and not path.endswith("class_path"):
            lines.append({"key": path, "value": shown, "reason": reasons[path]})
    return config, lines


_SOURCES = "data.init_args.sources"
_WHOLE = ("checkpoint", "last", _SOURCES)
"""Mappings that are explained as one."""


def _leaves(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and path not in _WHOLE:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def to_yaml(prescription: Mapping[str, Any], sources: Mapping[str, str], encoder: str | None = None) -> str:
    """The YAML that trains the prescribed student: `litetext fit --config FILE` runs it as it is, from any folder.

    Args:
        prescription: What `prescribe` returned.
        sources: The corpora by name, as the audit was given them; paths become absolute.
        encoder: Path or hub id of the audited encoder, which teaches where it is a SAM3's.

    Returns:
        The file's content, every option with its reason.

    Raises:
        ValueError: If there are no sources.
    """
    if not sources:
        raise ValueError("sources is empty; give the corpora that were audited")
    config = dict(prescription["config"])
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    teacher = encoder if encoder is not None and prescription["teacher"]["audited"] else model["teacher"]
    config["model"] = {**config["model"], "init_args": {**model, "teacher": _absolute_model(teacher)}}
    placed = {name: _absolute(path) for name, path in sources.items()}
    config["data"] = {**config["data"], "init_args": {**data, "sources": placed}}
    head = [f"A student of SAM3's text encoder for {', '.join(sources)}, as litetext audit prescribes it."]
    head += ["  litetext fit --config prescription.yaml"]
    shown = ("context length", "student", "parameters", "memory of the weights", "vocabulary")
    by_key = {line["key"]: line for line in prescription["lines"]}
    reasons = {key: line["reason"] for key, line in by_key.items()} | {_SOURCES: "the audited corpora"}
    head += [text for key in shown for text in (f"{key}: {by_key[key]['value']}", f"  {by_key[key]['reason']}")]
    head += [f"note: {warning}" for warning in prescription["warnings"]]
    lines = [line for text in head for line in _comment(text, "")]
    lines += _block(config, reasons, "", "")
    return "\n".join(lines) + "\n"


def _absolute(path: str) -> str:
    return path if drawn_world(path) else os.path.abspath(Path(path).expanduser())


def _absolute_model(name: str) -> str:
    # Neither a hub id nor the name of a shipped model is a path from here.
    return os.path.abspath(name) if Path(name).exists() else name


def _block(config: Mapping[str, Any], reasons: Mapping[str, str], above: str, indent: str) -> Iterator[str]:
    for key, value in config.items():
        path = f"{above}{key}"
        if path in reasons:
            yield from _comment(reasons[path], indent)
        if isinstance(value, Mapping) and value and path not in _WHOLE[:2]:
            yield f"{indent}{key}:"
            yield from _block(value, reasons, f"{path}.", indent + "  ")
        else:
            flow = None if isinstance(value, Mapping) else False  # a mapping in braces, a plain value without
            text = yaml.safe_dump({key: value}, default_flow_style=flow, width=10**6, allow_unicode=True)
            yield from (indent + line for line in text.splitlines())


def _comment(text: str, indent: str) -> Iterator[str]:
    # split() also takes out line ends, behind which a name would no longer be a comment.
    start = " " * (len(text) - len(text.lstrip()))
    yield from textwrap.wrap(
        " ".join(text.split()), 110, initial_indent=f"{indent}# {start}", subsequent_indent=f"{indent}# {start}"
    )
