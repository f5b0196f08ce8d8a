"""The text side of an evaluation: any number of text encoders before one SAM3, every phrase encoded once by each."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_info

from litetext.models.finite import check_tensors
from litetext.models.text.encoder import PhraseFeatures, digest, require_sam3_features
from litetext.models.text.loading import load_text_encoder

TEACHER = "teacher"


class TextSide(NamedTuple):
    """What every text encoder gives for the phrases.

    Attributes:
        phrases: Features of the phrases, by the name of the text encoder.
        parameters: Parameters of each text encoder.
    """

    phrases: dict[str, PhraseFeatures]
    parameters: dict[str, int]


def name_encoders(sam3: str | None, text_encoders: Mapping[str, str] | None, teacher: bool) -> dict[str, str]:
    """Paths of the text encoders by name, SAM3's own first.

    Args:
        sam3: The segmenter, or None.
        text_encoders: Further ones.
        teacher: SAM3's own is among them.

    Raises:
        ValueError: A name is taken, or there are text encoders without a SAM3.
    """
    others = dict(text_encoders or {})
    if sam3 is None and others:
        raise ValueError("model.sam3 is null, and model.text_encoders need one; name a SAM3")
    if teacher and TEACHER in others:
        raise ValueError(f"model.text_encoders.{TEACHER} is SAM3's own; choose another name, or model.teacher false")
    return {**({TEACHER: sam3} if teacher and sam3 is not None else {}), **others}


def encode_all(
    names: Mapping[str, str],
    phrases: Sequence[str],
    check_width: Callable[[int, str], None],
    device: torch.device,
    identity: Any,
) -> TextSide:
    """Encodes phrases with every text encoder, one in memory at a time; a phrase bank is one too.

    Args:
        names: Paths of the text encoders, or of phrase banks that they made, by name.
        phrases: Distinct phrases.
        check_width: Refuses features of a size that the SAM3 does not read.
        device: Where they compute.
        identity: A hash that takes up what decides the features.

    Raises:
        FileNotFoundError: There is no such text encoder.
        ValueError: One cannot be read or does not fit, its features are not finite, or a phrase is not in a bank.
    """
    side = TextSide({}, {})
    for name, path in names.items():
        encoder = load_text_encoder(path)
        require_sam3_features(encoder.reads, f"text encoder {name} ({path})")
        check_width(encoder.width, f"text encoder {name} ({path})")
        side.parameters[name] = encoder.parameter_count
        encoder.to(device)
        side.phrases[name] = encoded = encoder.encode(phrases)
        check_tensors(
            ((f"the features of {p!r}", encoded.rows[n]) for p, n in encoded.number.items()), f"{name} ({path})"
        )
        # Padding mode and heads are in no weight, and a bank has none: its checksum is in its configuration.
        about = json.dumps(encoder.config, sort_keys=True, default=str)
        digest(identity, encoder, f"{name} {type(encoder).__name__} {about} {encoder.tokenizer.fingerprint}")
        rank_zero_info(
            f"text encoder {name}: {path}, {encoder.summary}; "
            f"{encoded.truncated:,} of {len(phrases):,} phrases cut at {encoder.context_length} tokens"
        )
        if encoder.reads is not None:
            same = sum(encoder.reads.cut_to(encoder.context_length).as_sam3(phrases))
            rank_zero_info(
                f"text encoder {name}: {same:,} of {len(phrases):,} phrases ({same / max(1, len(phrases)):.1%}) are "
                "tokenized as by SAM3's whole tokenizer, the others in smaller pieces"
            )
    return side
