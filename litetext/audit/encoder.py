"""The parts of an audit that need weights: what an encoder holds, and what it says of sampled prompts."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from litetext.audit.dimension import feature_matrices, intrinsic_dimension
from litetext.audit.spectra import embedding_spectrum, position_spectrum
from litetext.data.pixels import IMAGE_FILES, to_rgb
from litetext.models.hub import find_model
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.loading import load_text_encoder
from litetext.shipped import shipped, world_of

if TYPE_CHECKING:
    from litetext.audit.corpus import Corpus
    from litetext.audit.options import AuditOptions, Parts

_CHUNK = 256
"""Prompts between two steps of the progress bar."""
_PHRASES = 64
_IMAGES = 8


def sampled(corpora: "Mapping[str, Corpus]", count: int, seed: int) -> list[str]:
    """Prompts drawn from all sources together, each prompt once.

    Args:
        corpora: Sources by name.
        count: How many; all of them where there are fewer.
        seed: Chooses them.
    """
    prompts = list(dict.fromkeys(prompt for corpus in corpora.values() for prompt in corpus.prompts))
    return prompts if len(prompts) <= count else random.Random(seed).sample(prompts, count)


def encode(encoder: TextEncoder, prompts: Sequence[str], progress: Callable[[float], None]) -> list[Tensor]:
    """Features of prompts, in steps.

    Args:
        encoder: The encoder.
        prompts: N prompts.
        progress: Is called with the share that is done.

    Returns:
        For each prompt the features of its valid tokens, (n, width).

    Raises:
        ValueError: A feature is not finite.
    """
    features: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(prompts), _CHUNK):
            progress(start / len(prompts))
            some = prompts[start : start + _CHUNK]
            features += encoder.encode(some).of(some)
    bad = sum(not bool(torch.isfinite(rows).all()) for rows in features)
    if bad:
        raise ValueError(
            f"{encoder.name} gives NaN or infinity for {bad:,} of {len(prompts):,} prompts; its weights are damaged"
        )
    return features


def encoder_parts(
    encoder: TextEncoder, corpora: "Mapping[str, Corpus]", options: "AuditOptions", parts: "Parts"
) -> dict[str, Any]:
    """Everything about an encoder on some corpora.

    Args:
        encoder: The encoder.
        corpora: Sources by name, in its tokens.
        options: Of the audit.
        parts: Runs each part.

    Returns:
        `encoder`, `spectra`, `dimension`, `order` and `robustness`, without those that failed.
    """
    table = encoder.token_vectors()
    found: dict[str, Any] = {"encoder": {**_described(encoder), "embed_width": table.shape[1]}}
    used = np.unique(np.concatenate([corpus.ids for corpus in corpora.values()]))
    spectra = {
        "token": parts.attempt("spectra.token", 0.15, lambda: embedding_spectrum(table, used)),
        "position": _positions(encoder, parts),
    }
    if any(spectra.values()):
        found["spectra"] = spectra
    drawn = sampled(corpora, options.sample, options.seed)
    features = parts.attempt(
        "features",
        0.2,
        lambda: encode(
            encoder, drawn, lambda done: parts.progress(f"features of {len(drawn):,} prompts", 0.2 + 0.45 * done)
        ),
    )
    if features is not None:
        matrices = dict(
            zip(("tokens", "pooled"), feature_matrices(features, options.sample, options.seed), strict=True)
        )
        dimension = {
            key: parts.attempt(
                f"dimension.{key}", 0.65 + 0.05 * n, lambda m=matrix: intrinsic_dimension(m, seed=options.seed)
            )
            for n, (key, matrix) in enumerate(matrices.items())
        }
        if any(dimension.values()):
            found["dimension"] = dimension
        found |= _named("order", parts.attempt("order", 0.75, lambda: _order(encoder, drawn, options)))
    sam3 = options.sam3 or whole_sam3(encoder)
    if sam3 is not None:
        found |= _named("robustness", parts.attempt("robustness", 0.85, lambda: _robustness(sam3, drawn, options)))
    return found


def _named(name: str, value: Any) -> dict[str, Any]:
    return {} if value is None else {name: value}


def _described(encoder: TextEncoder) -> dict[str, Any]:
    return {
        "name": encoder.name,
        "kind": encoder.kind,
        "parameters": encoder.parameter_count,
        "context_length": encoder.context_length,
        "width": encoder.width,
        "vocab_size": encoder.vocab_size,
        "tokenizer": None if encoder.reads is None else encoder.reads.name,  # of a student, its teacher's
    }


def _positions(encoder: TextEncoder, parts: "Parts") -> Any:
    table = encoder.position_vectors()
    return None if table is None else parts.attempt("spectra.position", 0.18, lambda: position_spectrum(table))


def _order(encoder: TextEncoder, prompts: Sequence[str], options: "AuditOptions") -> dict[str, Any]:
    from litetext.audit.order import order_sensitivity

    with torch.inference_mode():
        return order_sensitivity(
            lambda said: encoder.encode(said).of(said),
            prompts,
            seed=options.seed,
            tokenize=encoder.tokenize,
            special=encoder.tokenizer.special,
        )


def whole_sam3(encoder: TextEncoder) -> str | None:
    """Where the SAM3 lies whose own text encoder this is; None for any other, and for text weights alone."""
    if encoder.kind != "sam3":
        return None
    config = find_model(shipped(encoder.name), "SAM3") / "config.json"
    if not config.is_file():
        return None
    stored = json.loads(config.read_text(encoding="utf-8"))
    return encoder.name if stored.get("model_type") in ("sam3", "sam3_video") else None


def _robustness(sam3: str, prompts: Sequence[str], options: "AuditOptions") -> dict[str, Any]:
    from litetext.audit.robustness import drawn_images, softmax_robustness
    from litetext.models.sam3.image import Sam3Image

    segmenter = Sam3Image.from_pretrained(sam3)
    more = 0
    if options.images:
        images, more = _read_images(options.images)
    else:
        images = drawn_images(_IMAGES, options.seed, world_of(sam3))
    students = {path: load_text_encoder(path) for path in options.student}
    found = softmax_robustness(
        segmenter, images, prompts[:_PHRASES], load_text_encoder(sam3), students, options.noise, options.seed
    )
    return found | {"images_left_out": more}


def _read_images(folder: str) -> tuple[list[Tensor], int]:
    """The first images of a folder, and how many more there are."""
    files = sorted(f for f in Path(folder).rglob("*") if f.suffix.lower() in IMAGE_FILES and f.name[0] != ".")
    if not files:
        raise ValueError(f"--images {folder} holds no images ({', '.join(IMAGE_FILES)})")
    return [to_rgb(file) for file in files[:_IMAGES]], len(files[_IMAGES:])
