"""Text towers of other models, by transformers: CLIP, SigLIP, the BERT family, and Grounding DINO's BERT.

Prompts of one length go through a tower together, so that there is no padding that a feature could depend on. Two
kinds are fed as they were trained: SigLIP knows no attention mask and sees every prompt filled up to its context with
padding tokens; Grounding DINO sees a prompt as a phrase that ends with a full stop, in which words attend to
each other and the start and end token to themselves alone (Liu et al. 2023, section 3.4).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from litetext.hub_tokenizer import Form, HubTokenizer, sentence
from litetext.models.hub import explained, load_pretrained
from litetext.models.text.encoder import count_parameters

Family = Literal["clip", "siglip", "bert", "dino"]
"""How a text side is run: OWL-ViT's and OWLv2's as CLIP's."""

FAMILIES: dict[str, Family] = {
    "clip": "clip",
    "clip_text_model": "clip",
    "owlvit": "clip",
    "owlvit_text_model": "clip",
    "owlv2": "clip",
    "owlv2_text_model": "clip",
    "siglip": "siglip",
    "siglip_text_model": "siglip",
    "siglip2": "siglip",
    "siglip2_text_model": "siglip",
    "bert": "bert",
    "roberta": "bert",
    "xlm-roberta": "bert",
    "camembert": "bert",
    "distilbert": "bert",
    "electra": "bert",
    "albert": "bert",
    "mpnet": "bert",
    "deberta-v2": "bert",
    "modernbert": "bert",
    "grounding-dino": "dino",
    "mm-grounding-dino": "dino",
}
"""What config.json may call a model, and how its text side is run."""

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
_TOKENS_PER_BATCH = 2048
_DELIMITERS = (101, 102, 1012, 1029)
"""Start, end, full stop and question mark in the vocabulary of every Grounding DINO."""


class HubTower:
    """A text tower of transformers with its tokenizer; see `litetext.models.text.towers.TextTower`.

    Its features are the last hidden states: what the model's own projection, and its pooling, start from.

    Args:
        model: The text tower.
        tokenizer: Its tokenizer, of transformers.
        kind: Model type by config.json.
        name: What it is called.
        longest: Most tokens that the model around it passes on; None if it sets no limit of its own.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, kind: str, name: str, longest: int | None = None) -> None:
        self.model, self.tokenizer, self.kind, self.name = model.eval().requires_grad_(False), tokenizer, kind, name
        self.family = FAMILIES[kind]
        config: Any = model.config
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # type: ignore[assignment]  # no token feature comes from it, and many files lack it
        self.width: int = config.hidden_size
        self.parameters = count_parameters(model)
        tokens: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
        self.token_table: Tensor = tokens.weight.detach()
        self.vocab_size = len(self.token_table)
        self.position_table = _positions(model)
        rows = config.max_position_embeddings if self.position_table is None else len(self.position_table)
        limits = (rows, longest, tokenizer.model_max_length)  # the last is 1e30 where the tokenizer sets none
        self.context_length = int(min(n for n in limits if n is not None))
        ids = [getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "eos", "cls", "sep", "pad")]
        self.special = frozenset(i for i in ids if i is not None)
        self._padding = int(next(i for i in (tokenizer.pad_token_id, config.pad_token_id, 0) if i is not None))
        if self.family == "dino":
            self.special |= {_DELIMITERS[2]}

    @classmethod
    def from_pretrained(cls, folder: Path, kind: str, name: str) -> "HubTower":
        """Loads the text side of a folder, in float32, and nothing else of it.

        Args:
            folder: A folder of transformers with config.json, weights and tokenizer files.
            kind: Its model type, one of `FAMILIES`.
            name: What the user calls it.

        Raises:
            ValueError: If weights or tokenizer are missing or cannot be read.
        """
        import transformers

        options: dict[str, Any] = {}
        with _quiet():
            config = explained(transformers.AutoConfig.from_pretrained, folder, kind, trust_remote_code=False)
            longest = getattr(config, "max_text_len", None)
            if FAMILIES[kind] == "dino":
                options["key_mapping"] = {r"^(model\.)?text_backbone\.": ""}
            text = config.text_config if FAMILIES[kind] == "dino" else config.get_text_config()
            options |= {"config": text, "dtype": torch.float32, "trust_remote_code": False}
            model = load_pretrained(_loader(text.model_type), folder, kind, ("pooler.",), **options)
        return cls(model, _tokenizer(folder), kind, name, longest)

    def tokenize(self, prompts: Sequence[str], whole: bool = False) -> list[list[int]]:
        """Token ids of each prompt by the model's own tokenizer, no padding, cut to the context unless `whole`."""
        texts = list(prompts)
        if not texts:
            return []
        if self.family == "dino":
            texts = [sentence(text) for text in texts]
        if whole:
            with _quiet():  # it warns of prompts longer than the context
                return self.tokenizer(texts, truncation=False)["input_ids"]
        return self.tokenizer(texts, truncation=True, max_length=self.context_length)["input_ids"]

    def token_text(self, number: int) -> str:
        """What a token id stands for, in the signs of its own vocabulary."""
        return str(self.tokenizer.convert_ids_to_tokens(int(number)))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> list[Tensor]:
        """Last hidden states of each prompt's tokens, float32 (n_i, width), padding left out.

        Raises:
            ValueError: If the model has no row for a token of its tokenizer.
        """
        rows = self.tokenize(prompts)
        if any(not 0 <= number < self.vocab_size for row in rows for number in row):
            raise ValueError(
                f"the tokenizer of {self.name} gives ids beyond the {self.vocab_size} rows of its token table; "
                "give the tokenizer files that belong to these weights"
            )
        features: list[Tensor] = [torch.empty(0, self.width)] * len(rows)
        for members in same_length(rows, self.context_length if self.family == "siglip" else None):
            ids = torch.tensor([rows[n] for n in members], dtype=torch.int64)
            for n, encoded in zip(members, self.run(ids), strict=True):
                features[n] = encoded.clone()
        return features

    def carried_tokenizer(self) -> HubTokenizer:
        """The tokenizer in the form that a student takes along."""
        return _carried(self.tokenizer, self.kind, self.name)

    @torch.no_grad()
    def run(self, ids: Int64[Tensor, "b l"]) -> Float[Tensor, "b l d"]:
        """Last hidden states of token rows of one length, float32, on the model's device.

        Args:
            ids: Token ids without padding, (B, L).
        """
        length = ids.shape[1]
        if not length:  # a tokenizer without start and end gives an empty prompt no token
            return torch.empty(*ids.shape, self.width, device=ids.device)
        given: dict[str, Tensor] = {}
        if self.family == "siglip":
            ids = torch.nn.functional.pad(ids, (0, self.context_length - length), value=self._padding)
        elif self.family == "dino":
            mask, places = phrase_blocks(ids)
            given = {"attention_mask": mask[:, None], "position_ids": places}
        return self.model(input_ids=ids, **given).last_hidden_state[:, :length].float()


def read_carried(folder: Path, kind: str, name: str) -> HubTokenizer:
    """The tokenizer of a folder in the form that a student takes along; no weights are read.

    Args:
        folder: As `HubTower.from_pretrained`.
        kind: Its model type, one of `FAMILIES`.
        name: What the user calls it.

    Raises:
        ValueError: If there is no tokenizer that can be read.
    """
    return _carried(_tokenizer(folder), kind, name)


def _carried(tokenizer: Any, kind: str, name: str) -> HubTokenizer:
    dino = FAMILIES[kind] == "dino"
    form: Form = "sentence" if dino else "plain"
    return HubTokenizer.of(tokenizer, name, form, [_DELIMITERS[2]] if dino else [])


def phrase_blocks(ids: Int64[Tensor, "b l"]) -> tuple[Bool[Tensor, "b l l"], Int64[Tensor, "b l"]]:
    """Which tokens attend to which in Grounding DINO, and their positions, which start anew in every phrase.

    A phrase is what lies between two delimiters, with the one that ends it. What no delimiter but the last token ends
    attends to itself alone, at position 0; so do start and end token.

    Args:
        ids: Unpadded token ids with start and end, (B, L).

    Returns:
        The mask (B, L, L) and the positions (B, L).
    """
    length = ids.shape[1]
    ends = torch.isin(ids, torch.tensor(_DELIMITERS, device=ids.device))
    phrase = ends.cumsum(1) - ends.long()
    alone = (phrase == 0) | (phrase == phrase[:, -1:])
    mask = (phrase[:, :, None] == phrase[:, None, :]) & ~alone[:, :, None]
    column = torch.arange(length, device=ids.device)
    after = torch.where(ends, column + 1, 0).cummax(1).values
    first = torch.cat([torch.zeros_like(after[:, :1]), after[:, :-1]], 1)
    return mask | torch.eye(length, dtype=torch.bool, device=ids.device), (column - first).masked_fill(alone, 0)


def _positions(model: nn.Module) -> Tensor | None:
    """Rows that are added for the positions of a prompt's tokens."""
    embeddings = getattr(model, "embeddings", None)
    for name in ("position_embedding", "position_embeddings"):
        table = getattr(embeddings, name, None)
        if isinstance(table, nn.Embedding):
            # RoBERTa and its kin count positions from the padding id on.
            start = 0 if table.padding_idx is None else table.padding_idx + 1
            return table.weight.detach()[start:]
    return None


def same_length(
    rows: Sequence[Sequence[int]], filled: int | None, tokens: int = _TOKENS_PER_BATCH
) -> Iterator[list[int]]:
    """Prompt numbers in batches of one length.

    Args:
        rows: Token ids of each prompt.
        filled: The length that each takes after padding; None if it stays as it is.
        tokens: Most tokens of a batch.
    """
    lengths: dict[int, list[int]] = {}
    for n, row in enumerate(rows):
        lengths.setdefault(len(row), []).append(n)
    for length, members in sorted(lengths.items()):
        size = max(1, tokens // max(1, filled or length))
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _loader(kind: str) -> Callable[..., Any]:
    import transformers

    towers: dict[str, Any] = {
        "clip_text_model": transformers.CLIPTextModel,
        "owlvit_text_model": transformers.OwlViTTextModel,
        "owlv2_text_model": transformers.Owlv2TextModel,
        "siglip_text_model": transformers.SiglipTextModel,
        "siglip2_text_model": transformers.Siglip2TextModel,
    }
    return towers.get(kind, transformers.AutoModel).from_pretrained


def _tokenizer(folder: Path) -> Any:
    import transformers

    try:
        if not any(file for pattern in _VOCABULARIES for file in folder.glob(pattern)):
            raise OSError(f"none of {', '.join(_VOCABULARIES)}")  # transformers would make an empty one up
        with _quiet():
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # missing files and missing libraries come as many kinds
        raise ValueError(
            f"{folder} holds no tokenizer that can be read ({_reason(error)}); put the model's tokenizer files "
            "beside its weights (SigLIP's spiece.model also wants: pip install sentencepiece)"
        ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:160]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' long table of weights that were left alone, which here are those of the image side."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
