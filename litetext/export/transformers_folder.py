"""A folder that transformers opens as `Sam3LiteTextModel` with its processor, and how it is run there.

The stock model resamples its position table whenever a batch is not exactly as long as the table, without a word, and
`Sam3Processor` always pads to 32 tokens. So the table is given the processor's length. What is behind the student's
own positions then is padding, which the stock attention does not see; RepMixer's convolutions do, as they did in
training with `padding: transformers`.

A student with `padding: reference` must see its padding, of id 0, up to its own context, to which the tokenizer has to
be asked to fill; there is a token of its own for padding, whose row is that of id 0.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from litetext.checkpoints.reading import open_state
from litetext.checkpoints.sam3 import read_without_text
from litetext.checkpoints.writing import replace_text, to_layout, write_state
from litetext.export.source import ExportSource
from litetext.export.tokenizer_file import backend, sam3_vocabulary
from litetext.export.trimming import Trimmed, with_rows
from litetext.models.hub import PROCESSOR_FILES, TEXT_FILES, find_model, load_image_processor, without_bars
from litetext.models.sam3.loading import PARTS, config_beside
from litetext.models.text.mobileclip import STOCK_LENGTH, MobileClipText
from litetext.shipped import shipped
from litetext.tokenizer import VOCAB_SIZE

_BATCH = 64


def find_sam3(sam3: str) -> Path:
    """The folder of a whole SAM3 in transformers' layout, or Meta's `sam3.pt`.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If it is no folder with a config.
    """
    files = (*TEXT_FILES, *PROCESSOR_FILES)
    folder = find_model(shipped(sam3), "SAM3", files, "a local folder")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ValueError(f"--sam3 {sam3} is no SAM3: a transformers folder with config.json or sam3.pt is wanted")
    return folder


def write_transformers(source: ExportSource, sam3: Path, folder: Path, trimmed: Trimmed | None = None) -> None:
    """Writes weights, config, tokenizer and processor.

    Args:
        source: The student.
        sam3: A folder from `find_sam3`; all but its text encoder goes into the export.
        folder: Where to write.
        trimmed: The part of the vocabulary that goes there; None for all of it.

    Raises:
        ValueError: If the student does not fit the SAM3, its context or vocabulary not the processor, or the SAM3 lacks
            weights.
        OSError: If a file could not be written.
    """
    student = source.student
    if not isinstance(student, MobileClipText):
        raise ValueError(
            f"{source.checkpoint} is a {type(student).__name__}; transformers holds MobileCLIP students alone"
        )
    _check(student, source.checkpoint)
    if trimmed is not None:
        student = with_rows(student, trimmed.kept)
        source = replace(source, student=student)
    config = _config(student, sam3)
    if (width := config.detr_encoder_config.hidden_size) != student.width:
        raise ValueError(f"{source.checkpoint} gives {student.width} values a token, and the SAM3 {sam3} reads {width}")
    text = to_layout(_stock_state(source), "litetext")
    whole = replace_text(read_without_text(open_state(sam3)), text, ("text_encoder.", "text_projection."), str(sam3))
    require_model(config, whole, str(sam3))
    write_state(whole, folder / "model.safetensors")
    config.save_pretrained(folder)
    about = {
        **source.about,
        "student": student.config,
        "source": source.checkpoint,
        "positions": source.positions or "kept",
    }
    if trimmed is not None:
        about["trimmed"] = trimmed.kept
    _add_to_json(folder / "config.json", litetext=about, architectures=["Sam3LiteTextModel"], dtype="float32")
    _write_processor(student, sam3, config, folder, trimmed)


def _check(student: MobileClipText, source: str) -> None:
    if student.config["vocab_size"] != VOCAB_SIZE:
        raise ValueError(
            f"{source} has {student.config['vocab_size']:,} token rows, and SAM3's tokenizer {VOCAB_SIZE:,} tokens; "
            "their ids do not mean the same"
        )
    if student.context_length > STOCK_LENGTH:
        raise ValueError(
            f"{source} has {student.context_length} positions, and transformers' Sam3Processor pads to {STOCK_LENGTH} "
            f"tokens; add --context_length {STOCK_LENGTH} --positions slice"
        )


def _stock_state(source: ExportSource) -> dict[str, Tensor]:
    """The weights with the position table and token rows that the exported folder needs."""
    state, student = source.dense_state(), source.student
    if student.padding == "reference":
        token = state["embedding.token.weight"]
        state["embedding.token.weight"] = torch.cat([token, token[:1]])  # the padding token's
    else:
        table = state["embedding.position"]
        # Behind the student's own positions there is only padding; a prompt that is too long finds the last one there.
        state["embedding.position"] = torch.cat([table, table[-1:].expand(STOCK_LENGTH - len(table), -1)])
    return state


def _config(student: MobileClipText, sam3: Path) -> Any:
    from transformers import AutoConfig, Sam3LiteTextConfig

    try:
        found: Any = config_beside(sam3) if sam3.is_file() else AutoConfig.from_pretrained(sam3, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{sam3}/config.json: {str(error).splitlines()[0]}") from error
    found = getattr(found, "detector_config", None) or found
    if missing := [part for part in ("vision_config", *PARTS) if getattr(found, part, None) is None]:
        raise ValueError(f"{sam3} is a {found.model_type}, no whole SAM3: its config has no {missing[0]}")
    parts = {part: getattr(found, part).to_dict() for part in PARTS}
    for part in parts.values():
        part.pop("model_type", None)
    vision = found.vision_config.to_dict()
    return Sam3LiteTextConfig(vision_config=vision, text_config=text_config(student), **parts)


def text_config(student: MobileClipText) -> dict[str, Any]:
    """What transformers calls the student's sizes, in the exported folder."""
    size, reference = student.config, student.padding == "reference"
    return {
        "vocab_size": size["vocab_size"] + reference,
        "hidden_size": size["embed_width"],
        "intermediate_size": 4 * size["embed_width"],
        "projection_dim": size["embed_width"],
        "num_hidden_layers": len(student.blocks),
        "num_attention_heads": size["heads"],
        "max_position_embeddings": student.context_length if reference else STOCK_LENGTH,
        "use_repmixer_blocks": bool(size["repmixer"]),
        "repmixer_kernel_size": size["kernel_size"],
    }


def require_model(config: Any, state: Mapping[str, Tensor], source: str) -> None:
    """Checks weights against the model that transformers would build.

    Raises:
        ValueError: One line with the missing, unexpected and misshapen keys.
    """
    from transformers import Sam3LiteTextModel

    with torch.device("meta"):
        wanted = Sam3LiteTextModel(config).state_dict()
    faults = {
        "missing": [key for key in wanted if key not in state],
        "unexpected": [key for key in state if key not in wanted],
        "misshapen": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
            for key in wanted
            if key in state and state[key].shape != wanted[key].shape
        ],
    }
    lines = [f"{len(k)} {kind} ({', '.join(k[:3])}{', ...' if len(k) > 3 else ''})" for kind, k in faults.items() if k]
    if lines:
        raise ValueError(f"{source}: does not fit a Sam3LiteTextModel of its config: {'; '.join(lines)}.")


def _write_processor(student: MobileClipText, sam3: Path, config: Any, folder: Path, trimmed: Trimmed | None) -> None:
    from transformers import PreTrainedTokenizerFast, Sam3ImageProcessor, Sam3Processor

    size = config.vision_config.backbone_config.image_size
    images = load_image_processor(sam3, "SAM3") if sam3.is_dir() else None
    if images is None:
        images = Sam3ImageProcessor(size={"height": size, "width": size})
    words = sam3_vocabulary() if trimmed is None else (trimmed.vocabulary, trimmed.merges)
    found, special = backend(*words, padding_token=student.padding == "reference")
    # Not saved as a CLIPTokenizer: that class brings its own normalizer whatever tokenizer.json says.
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=found, model_max_length=student.context_length, **special)
    Sam3Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def _add_to_json(path: Path, **values: Any) -> None:
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**stored, **values}, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def stock_features(folder: Path, prompts: Sequence[str], context: int | None) -> tuple[list[Tensor], list[list[int]]]:
    """Text features through transformers' own processor and model, nothing of ours between.

    Args:
        folder: The export.
        prompts: What to encode.
        context: Let the text encoder see padding, by giving it no mask, and fill and cut prompts to so many tokens;
            None leaves both to the processor.

    Returns:
        For each prompt the features of its valid tokens (n, D), and its ids.
    """
    from transformers import AutoModel, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
    with without_bars():
        model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    features: list[Tensor] = []
    ids: list[list[int]] = []
    for start in range(0, len(prompts), _BATCH):
        chosen = list(prompts[start : start + _BATCH])
        if context is None:
            seen = tokens = processor(text=chosen, return_tensors="pt")
        else:
            to_length = {"padding": "max_length", "truncation": True, "max_length": context}
            tokens = processor.tokenizer(chosen, **to_length, return_tensors="pt")
            seen = {"input_ids": tokens["input_ids"]}
        found = model.get_text_features(**seen).pooler_output
        for row, numbers, mask in zip(found, tokens["input_ids"], tokens["attention_mask"].bool(), strict=True):
            features.append(row[mask].float())
            ids.append(numbers[mask].tolist())
    return features, ids
