"""Text features of phrases, by any text encoder, each distinct phrase encoded once."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.models.text.teacher import Sam3TextEncoder
from litetext.tokenizer import Tokenizer, pad

_BATCH = 128
"""Phrases that go through a student together."""


@runtime_checkable
class TextEncoder(Protocol):
    """What a text encoder has to be, besides an `nn.Module`: the teacher's, a student, anything with these.

    Attributes:
        context_length: Most tokens of a prompt.
        width: Size of an output feature.
    """

    context_length: int
    width: int

    def __call__(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, L) with their valid counts (B,) to features (B, L, width)."""
        ...


class TextBatch(NamedTuple):
    """Text features as the detector takes them.

    Attributes:
        features: Token features, zeros after the last valid token, (N, L, D).
        lengths: Valid tokens of each phrase, start and end token included, int64 (N,).
    """

    features: Float[Tensor, "n l d"]
    lengths: Int64[Tensor, " n"]


class PhraseFeatures:
    """Features of distinct phrases, kept without padding on the CPU.

    Args:
        rows: Token features of each distinct phrase, (n_i, D).
        number: Which row a phrase has; phrases of the same tokens share one.
        width: D, needed where there is no row.
    """

    def __init__(self, rows: Sequence[Float[Tensor, "_ d"]], number: dict[str, int], width: int) -> None:
        self.rows, self.number, self.width = rows, number, width

    def __len__(self) -> int:
        """Distinct phrases held."""
        return len(self.rows)

    def take(self, phrases: Sequence[str]) -> TextBatch:
        """The features of some phrases, padded to the longest of them.

        Raises:
            ValueError: If a phrase was never encoded.
        """
        try:
            chosen = [self.rows[self.number[phrase]] for phrase in phrases]
        except KeyError as error:
            raise ValueError(
                f"phrase {error.args[0]!r} has no text features; give it to encode_phrases first"
            ) from error
        lengths = torch.tensor([len(rows) for rows in chosen], dtype=torch.int64)
        features = torch.zeros(len(chosen), max(map(len, chosen), default=0), self.width)
        for n, rows in enumerate(chosen):
            features[n, : len(rows)] = rows
        return TextBatch(features, lengths)


@torch.no_grad()
def encode_phrases(encoder: TextEncoder, tokenizer: Tokenizer, phrases: Sequence[str]) -> PhraseFeatures:
    """Encodes phrases in eval mode, those that have the same tokens once.

    A student with `padding: reference` fills every phrase to its own context length, as its weights were trained; the
    others see no padding.

    Args:
        encoder: A text encoder that is an `nn.Module`.
        tokenizer: At most as long as the encoder's context; counts what it cuts.
        phrases: Noun phrases; repeats cost nothing.

    Returns:
        The features of each distinct phrase.

    Raises:
        ValueError: If the tokenizer gives more tokens than the encoder takes.
    """
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"a text encoder is a torch.nn.Module, and {type(encoder).__name__} is none")
    if tokenizer.context_length > encoder.context_length:
        raise ValueError(
            f"the tokenizer gives up to {tokenizer.context_length} tokens, the text encoder takes "
            f"{encoder.context_length}; use Tokenizer({encoder.context_length})"
        )
    distinct = list(dict.fromkeys(phrases))
    tokens = [tuple(row) for row in tokenizer.encode(distinct)]
    number: dict[tuple[int, ...], int] = {}
    for row in tokens:
        number.setdefault(row, len(number))
    rows = list(number)
    if isinstance(encoder, Sam3TextEncoder):
        features = encoder.encode(rows)
    else:
        training = encoder.training
        encoder.eval()
        try:
            features = _encode(encoder, rows)
        finally:
            encoder.train(training)
    named = {phrase: number[row] for phrase, row in zip(distinct, tokens, strict=True)}
    return PhraseFeatures(features, named, encoder.width)


def _encode(encoder: nn.Module, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    device = next((p.device for p in encoder.parameters()), "cpu")
    features: list[Tensor] = [torch.empty(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        ids, lengths = pad([rows[n] for n in batch])
        encoded = encoder(ids.to(device), lengths.to(device)).float().cpu()
        for line, n in enumerate(batch):
            features[n] = encoded[line, : len(rows[n])].clone()
    return features
