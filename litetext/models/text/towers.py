"""Any text encoder that an audit can look into, behind one interface: what it holds and what it says of a prompt.

SAM3's own, every student, and the text towers of other models (`litetext.models.text.hf_towers`), each with the
tokenizer that it was trained with. What a folder holds, its config.json says.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from litetext.hub_tokenizer import HubTokenizer
from litetext.models.hub import TEXT_FILES, find_model
from litetext.models.packaged import packaged
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.folder import KIND, stored_config
from litetext.models.text.hf_towers import FAMILIES, HubTower, read_carried
from litetext.models.text.hub_encoder import HubTextEncoder
from litetext.models.text.loading import load_text_encoder, trimmed_tokenizer
from litetext.models.text.student import Student
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.shipped import shipped
from litetext.tokenizer import UNLIMITED, Tokenizer

_SAM3_TYPES = ("sam3", "sam3_video", "sam3_lite_text", KIND)
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")


@runtime_checkable
class TextTower(Protocol):
    """A text encoder with its tokenizer.

    Attributes:
        name: Its path or hub id, as given.
        kind: `sam3`, `student`, or the model type of config.json (`clip`, `siglip`, `bert`, `grounding-dino`, ...).
        context_length: Most tokens of a prompt, start and end included.
        width: Size of an output feature.
        parameters: How many its text side has; the pooler of a BERT is left out.
        special: Ids that are no part of a prompt's words: start, end, padding.
        vocab_size: Rows of the token table.
        token_table: What stands for each token before positions are added, (V, D).
        position_table: What is added for each position, (P, D); None where positions are relative or rotary.
    """

    name: str
    kind: str
    context_length: int
    width: int
    parameters: int
    special: frozenset[int]
    vocab_size: int
    token_table: Tensor
    position_table: Tensor | None

    def tokenize(self, prompts: Sequence[str], whole: bool = False) -> list[list[int]]:
        """Token ids of each prompt, without padding, cut to the context unless `whole`."""
        ...

    def token_text(self, number: int) -> str:
        """What a token id stands for, to be read."""
        ...

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """Features of each prompt's tokens, float32 (n_i, width); they depend on no other prompt of the call."""
        ...


class Sam3Tower:
    """SAM3's text encoder or a student of it: what the detector reads, after the projection.

    Args:
        encoder: The encoder, in eval mode.
        name: What it is called.
    """

    def __init__(self, encoder: Sam3TextEncoder | Student, name: str) -> None:
        self.encoder, self.name = encoder, name
        self.kind = "sam3" if isinstance(encoder, Sam3TextEncoder) else "student"
        self.context_length, self.width = encoder.context_length, encoder.width
        self.parameters = encoder.parameter_count
        self.vocab_size: int = encoder.config["vocab_size"]
        self.token_table: Tensor = encoder.token_vectors().float()
        self.position_table: Tensor | None = encoder.position_vectors()
        self._tokenizer = encoder.tokenizer
        self.special: frozenset[int] = self._tokenizer.special

    def tokenize(self, prompts: Sequence[str], whole: bool = False) -> list[list[int]]:
        """Token ids of each prompt by the encoder's tokenizer, without padding, cut to the context unless `whole`.

        Raises:
            ValueError: If the encoder has no row for one of them.
        """
        rows = (self._tokenizer.cut_to(UNLIMITED) if whole else self._tokenizer).encode(prompts)
        largest = max((max(row) for row in rows if row), default=0)
        if largest >= self.vocab_size:
            whose = "SAM3's" if isinstance(self._tokenizer, Tokenizer) else "its"
            raise ValueError(
                f"{self.name} has rows for {self.vocab_size} tokens, and {whose} tokenizer gives id {largest}; "
                "give an encoder of the whole vocabulary"
            )
        return rows

    def token_text(self, number: int) -> str:
        """What a token id stands for; of SAM3's, `…` where the word goes on."""
        return self._tokenizer.token_text(int(number))

    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """Features of each prompt's tokens, float32 (n_i, width); a `reference` student pads as it was trained.

        Raises:
            ValueError: As `tokenize`.
        """
        self.tokenize(prompts)
        found = self.encoder.encode(prompts)
        return [found[prompt] for prompt in prompts]


def load_tower(name: str | os.PathLike[str]) -> TextTower:
    """Loads any text encoder with its tokenizer; a path that exists never touches the hub.

    Args:
        name: Whatever `load_text_encoder` takes (a SAM3, a student, published SAM3-LiteText weights); or a folder or
            hub id of transformers with a CLIP, OWL-ViT, OWLv2, SigLIP, BERT-like or Grounding DINO model and its
            tokenizer files; or `package:NAME` for weights that a package brings.
            Weights that are not finite are loaded as they are.

    Raises:
        FileNotFoundError: If there is no such path, and no such model on the hub.
        ValueError: If it is a model of another kind, its weights or tokenizer are missing or cannot be read.
    """
    opened = _open(os.fspath(name))
    return opened if isinstance(opened, HubTower) else Sam3Tower(opened, os.fspath(name))


def load_any_encoder(name: str | os.PathLike[str], what: str = "text encoder") -> TextEncoder:
    """As `load_tower`, behind the interface that teachers have: features of token rows.

    Args:
        name: As `load_tower`.
        what: What it is, for messages.

    Raises:
        FileNotFoundError: As `load_tower`.
        ValueError: As `load_tower`.
    """
    opened = _open(os.fspath(name), what)
    return HubTextEncoder(opened) if isinstance(opened, HubTower) else opened


def load_tokenizer(name: str | os.PathLike[str], what: str = "text encoder") -> HubTokenizer | None:
    """The tokenizer of a text encoder, without its weights; None where it is SAM3's.

    Args:
        name: As `load_tower`.
        what: What it is, for messages.

    Raises:
        FileNotFoundError: As `load_tower`.
        ValueError: As `load_tower`.
    """
    path, kind = _find(os.fspath(name), what)
    if kind in FAMILIES:
        return read_carried(path, kind, os.fspath(name))
    if path.suffix == ".ckpt" or kind == KIND:  # a student, which may have learnt from such a teacher
        return load_text_encoder(path, finite=False).reads
    return trimmed_tokenizer(path, stored_config(path)) if path.is_dir() else None


def _open(name: str, what: str = "text encoder") -> HubTower | Sam3TextEncoder | Student:
    path, kind = _find(name, what)
    if kind in FAMILIES:
        return HubTower.from_pretrained(path, kind, name)
    return load_text_encoder(path, finite=False)


def _find(name: str, what: str) -> tuple[Path, str | None]:
    files = (*TEXT_FILES, *_TOKENIZER_FILES)
    path = find_model(packaged(shipped(name)), what, files, instead="a local folder or sam3.pt")
    kind = _model_type(path)
    if kind is not None and kind not in (*_SAM3_TYPES, *FAMILIES):
        raise ValueError(
            f"{path} is a model of type {kind!r}, whose text side cannot be audited; "
            f"supported are {', '.join([*_SAM3_TYPES, *FAMILIES])}"
        )
    return path, kind


def _model_type(path: Path) -> str | None:
    """What a folder's config.json says it is; None for a file, or a folder that has none."""
    config = path / "config.json"
    if not config.is_file():
        return None
    try:
        stored = json.loads(config.read_text(encoding="utf-8"))
        return str(stored["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{config} does not say what the model is: no JSON with a model_type") from error
