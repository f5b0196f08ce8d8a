"""What text towers of transformers are and how each is fed: CLIP, SigLIP, the BERT family, Grounding DINO's BERT.

Prompts of one length go through a tower together, so that there is no padding that a feature could depend on. Two
kinds are fed as they were trained: SigLIP knows no attention mask and sees every prompt filled up to its context with
padding tokens; Grounding DINO sees a prompt as a phrase that ends with a full stop, in which words attend to
each other and the start and end token to themselves alone (Liu et al. 2023, section 3.4).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from litetext.checkpoints.hub_tokenizer import Form, HubTokenizer
from litetext.files import reason
from litetext.models.hub import quiet

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
TOKENS_PER_BATCH = 2048
"""Most tokens of a batch."""
DELIMITERS = (101, 102, 1012, 1029)
"""Start, end, full stop and question mark in the vocabulary of every Grounding DINO."""


def carried(tokenizer: Any, kind: str, name: str) -> HubTokenizer:
    """A tokenizer of transformers in the form that a student takes along.

    Args:
        tokenizer: Of `open_tokenizer`.
        kind: The model type, one of `FAMILIES`.
        name: What the user calls the model.
    """
    dino = FAMILIES[kind] == "dino"
    form: Form = "sentence" if dino else "plain"
    return HubTokenizer.of(tokenizer, name, form, [DELIMITERS[2]] if dino else [])


def phrase_blocks(ids: Int64[Tensor, "b l"]) -> tuple[Bool[Tensor, "b l l"], Int64[Tensor, "b l"]]:
    """The attention mask of Grounding DINO, and the positions of tokens, which start anew in every phrase.

    A phrase is what lies between two delimiters, with the one that ends it. What no delimiter but the last token ends
    attends to itself alone, at position 0; so do start and end token.

    Args:
        ids: Unpadded token ids with start and end, (B, L).

    Returns:
        The mask (B, L, L) and the positions (B, L).
    """
    length = ids.shape[1]
    ends = torch.isin(ids, torch.tensor(DELIMITERS, device=ids.device))
    phrase = ends.cumsum(1) - ends.long()
    alone = (phrase == 0) | (phrase == phrase[:, -1:])
    mask = (phrase[:, :, None] == phrase[:, None, :]) & ~alone[:, :, None]
    column = torch.arange(length, device=ids.device)
    after = torch.where(ends, column + 1, 0).cummax(1).values
    first = torch.cat([torch.zeros_like(after[:, :1]), after[:, :-1]], 1)
    return mask | torch.eye(length, dtype=torch.bool, device=ids.device), (column - first).masked_fill(alone, 0)


def positions(model: nn.Module) -> Tensor | None:
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
    rows: Sequence[Sequence[int]], filled: int | None, tokens: int = TOKENS_PER_BATCH
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


def loader(kind: str) -> Callable[..., Any]:
    """The `from_pretrained` of a text tower.

    Args:
        kind: Model type of the tower itself, by config.json.
    """
    import transformers

    towers: dict[str, Any] = {
        "clip_text_model": transformers.CLIPTextModel,
        "owlvit_text_model": transformers.OwlViTTextModel,
        "owlv2_text_model": transformers.Owlv2TextModel,
        "siglip_text_model": transformers.SiglipTextModel,
        "siglip2_text_model": transformers.Siglip2TextModel,
    }
    return towers.get(kind, transformers.AutoModel).from_pretrained


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder, of transformers.

    Raises:
        ValueError: If there is none that can be read.
    """
    import transformers

    try:
        if not any(file for pattern in _VOCABULARIES for file in folder.glob(pattern)):
            raise OSError(f"none of {', '.join(_VOCABULARIES)}")  # transformers would make an empty one up
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # missing files and missing libraries come as many kinds
        raise ValueError(
            f"{folder} holds no tokenizer that can be read ({type(error).__name__}: {reason(error)}); "
            "put the model's tokenizer files "
            "beside its weights (SigLIP's spiece.model also wants: pip install sentencepiece)"
        ) from error
