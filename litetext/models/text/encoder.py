"""A text encoder: phrases in, features of their tokens out. SAM3's own, students and all their forms inherit it.

So do the text encoders of other models (`hub_encoder`), and files of features that one of them made (`bank`).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from litetext.checkpoints.hub_tokenizer import AnyTokenizer, HubTokenizer
from litetext.models.text.stored import Stored
from litetext.tokenizer import UNLIMITED, Tokenizer, pad
from litetext.tokenizer.token_rows import TokenRows

_BATCH = 128
"""Phrases that go through an encoder together."""
_ORIGIN = ("preset",)
"""Options of a student that only stand for others."""


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
        truncated: Phrases that were cut to the context.
    """

    def __init__(
        self, rows: Sequence[Float[Tensor, "_ d"]], number: dict[str, int], width: int, truncated: int = 0
    ) -> None:
        self.rows, self.number, self.width, self.truncated = rows, number, width, truncated

    def __len__(self) -> int:
        """Distinct phrases held."""
        return len(self.rows)

    def __getitem__(self, phrase: str) -> Float[Tensor, "_ d"]:
        """The features of one phrase's tokens.

        Raises:
            ValueError: If the phrase was never encoded.
        """
        try:
            return self.rows[self.number[phrase]]
        except KeyError as error:
            raise ValueError(f"phrase {phrase!r} has no text features; encode it first") from error

    def of(self, phrases: Sequence[str]) -> list[Float[Tensor, "_ d"]]:
        """The features of each phrase's tokens, in the order given.

        Raises:
            ValueError: If a phrase was never encoded.
        """
        return [self[phrase] for phrase in phrases]

    def take(self, phrases: Sequence[str]) -> TextBatch:
        """The features of some phrases, padded to the longest of them.

        Raises:
            ValueError: If a phrase was never encoded.
        """
        chosen = self.of(phrases)
        lengths = torch.tensor([len(rows) for rows in chosen], dtype=torch.int64)
        features = torch.zeros(len(chosen), max(map(len, chosen), default=0), self.width)
        for n, rows in enumerate(chosen):
            features[n, : len(rows)] = rows
        return TextBatch(features, lengths)


class TextEncoder(nn.Module):
    """A text encoder; it reads SAM3's tokens unless it brings a tokenizer of its own.

    A subclass computes features of a padded batch in `forward(ids (B, L), lengths (B,)) -> (B, L, width)`.

    Attributes:
        config: Plain values from which the encoder can be built again.
        context_length: Most tokens of a prompt, start and end token included.
        width: Size of an output feature.
        reads: The tokenizer of another text encoder, where it was that one which taught; None for SAM3's.
        kind: `sam3`, `student`, `bank`, or the model type by config.json (`clip`, `siglip`, `bert`, ...).
        name: Its path or hub id, as given; empty where it was not read from anywhere.
        embedding: The token table, with what lifts it and, where there are some, the positions.
    """

    config: dict[str, Any]
    context_length: int
    width: int
    reads: HubTokenizer | None = None
    kind: str = "student"
    name: str = ""
    embedding: Any
    packs: bool = False
    """`forward` takes the positions of valid tokens too, where they are known."""

    @property
    def tokenizer(self) -> AnyTokenizer:
        """A tokenizer that cuts to this encoder's context."""
        return Tokenizer(self.context_length) if self.reads is None else self.reads.cut_to(self.context_length)

    @property
    def vocab_size(self) -> int:
        """Rows of the token table."""
        return self.config["vocab_size"]

    @torch.no_grad()
    def token_vectors(self) -> Float[Tensor, "v d"]:
        """What stands for each token before positions are added, float32 (V, D)."""
        # By look-up: the table may be in 8 bits, or partly in a file.
        rows = self.embedding.token(torch.arange(self.vocab_size, device=self._device))
        return self.embedding.lift(rows).detach().float().cpu()

    def position_vectors(self) -> Float[Tensor, "p d"] | None:
        """What is added for each position, float32 (P, D); None where nothing is."""
        position = getattr(self.embedding, "position", None)
        return None if position is None else position.detach().float().cpu()

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def parameter_count(self) -> int:
        """Number of parameters, frozen ones included."""
        return count_parameters(self)

    @property
    def summary(self) -> str:
        """What it is, in a few words for people."""
        return f"{self.parameter_count:,} parameters"

    def digest_of(self, about: str) -> str:
        """Hash of every weight and of a description; 32 hex digits."""
        identity = hashlib.blake2b(digest_size=16)
        digest(identity, self, about)
        return identity.hexdigest()

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides what the encoder makes of tokens: configuration and weights; 32 hex digits."""
        config = {key: value for key, value in self.config.items() if key not in _ORIGIN}
        return self.digest_of(json.dumps(config, sort_keys=True, default=str))

    @property
    def computed(self) -> str:
        """What decides a prompt's features besides its tokens, weights and configuration: the padding it sees."""
        return "unpadded"

    def tokenize(self, phrases: Sequence[str], whole: bool = False) -> TokenRows:
        """Token ids of phrases by the encoder's tokenizer, without padding.

        Args:
            phrases: Noun phrases.
            whole: Do not cut them to the context.

        Returns:
            For each phrase its ids, as a sequence of lists.

        Raises:
            ValueError: If the encoder has no row for a token.
        """
        return self._rows(phrases, self.tokenizer.cut_to(UNLIMITED) if whole else self.tokenizer)

    def _rows(self, phrases: Sequence[str], tokenizer: AnyTokenizer) -> TokenRows:
        rows = tokenizer.rows(phrases)
        largest = int(rows.ids.max(initial=0))
        if largest >= self.vocab_size:
            whose = "SAM3's" if isinstance(tokenizer, Tokenizer) else "its"
            raise ValueError(
                f"{self.name or type(self).__name__} has rows for {self.vocab_size} tokens, and {whose} tokenizer "
                f"gives id {largest}; give weights and tokenizer that belong together"
            )
        return rows

    @torch.no_grad()
    def encode(self, phrases: Sequence[str], tokenizer: AnyTokenizer | None = None) -> PhraseFeatures:
        """Encodes phrases in eval mode, those that have the same tokens once.

        A student with `padding: reference` fills every phrase to its own context length, as its weights were trained;
        the others see no padding.

        Args:
            phrases: Noun phrases; repeats cost nothing.
            tokenizer: At most as long as the encoder's context; counts what it cuts. None takes the encoder's own.

        Returns:
            The features of each distinct phrase.

        Raises:
            ValueError: If the tokenizer gives more tokens than the encoder takes, or one that it has no row for.
        """
        tokenizer = tokenizer or self.tokenizer
        if tokenizer.context_length > self.context_length:
            raise ValueError(
                f"the tokenizer gives up to {tokenizer.context_length} tokens, the text encoder takes "
                f"{self.context_length}; use Tokenizer({self.context_length})"
            )
        distinct, before = list(dict.fromkeys(phrases)), tokenizer.truncated
        tokens = [tuple(row) for row in self._rows(distinct, tokenizer)]
        number: dict[tuple[int, ...], int] = {}
        for row in tokens:
            number.setdefault(row, len(number))
        training = self.training
        self.eval()
        try:
            # A tokenizer without start and end gives an empty phrase no token.
            encoded = iter(self.encode_tokens([row for row in number if row]))
            features = [next(encoded) if row else torch.empty(0, self.width) for row in number]
        finally:
            self.train(training)
        named = {phrase: number[row] for phrase, row in zip(distinct, tokens, strict=True)}
        return PhraseFeatures(features, named, self.width, tokenizer.truncated - before)

    @torch.no_grad()
    def encode_tokens(
        self, rows: Sequence[Sequence[int]], tokens_per_batch: int = 1 << 30
    ) -> list[Float[Tensor, "n w"]]:
        """Features of tokenized prompts, in batches of prompts of about one length.

        Args:
            rows: Token ids of each prompt, start and end token included.
            tokens_per_batch: Most tokens in one batch, which has at most 128 prompts.

        Returns:
            For each prompt, in the order given, float32 features (n, width) on the CPU.
        """
        device = self._device
        features: list[Tensor] = [torch.empty(0)] * len(rows)
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        longest = max(map(len, rows), default=1)
        size = min(_BATCH, max(1, tokens_per_batch // max(1, longest)))
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            ids, lengths = pad([rows[n] for n in batch])
            known = self._known_here(lengths, ids.shape[1])
            encoded = self(ids.to(device), *(part.to(device) for part in known)).float().cpu()
            for line, n in enumerate(batch):
                features[n] = encoded[line, : len(rows[n])].clone()
        return features

    def _known_here(self, lengths: Tensor, width: int) -> tuple[Tensor, ...]:
        """Lengths, and the positions of valid tokens for an encoder that would else read them back from a device."""
        if not self.packs:
            return (lengths,)
        return lengths, (torch.arange(width) < lengths[:, None]).flatten().nonzero().squeeze(1)


def known(encoder: nn.Module, valid: Tensor | None) -> tuple[Tensor, ...]:
    """What an encoder's `forward` takes of the positions of valid tokens, where they are known."""
    return (valid,) if getattr(encoder, "packs", False) and valid is not None else ()


def require_sam3_tokens(tokenizer: AnyTokenizer | None, name: str) -> None:
    """Refuses what reads other tokens than SAM3's where a SAM3 shall read its features.

    Args:
        tokenizer: The text encoder's, or None for SAM3's.
        name: What the text encoder is called.

    Raises:
        ValueError: If it is the tokenizer of another text encoder.
    """
    if isinstance(tokenizer, HubTokenizer) and tokenizer.sam3_ids:
        raise ValueError(
            f"{name} knows {len(tokenizer.sam3_ids):,} of SAM3's tokens, by numbers of its own; give the student that "
            "it was made of"
        )
    if isinstance(tokenizer, HubTokenizer):
        raise ValueError(
            f"{name} reads the tokens of {tokenizer.name}, which taught it, and its features are that one's; a SAM3 "
            "cannot read them: give a text encoder that a SAM3's own taught"
        )


def require_sam3_features(tokenizer: AnyTokenizer | None, name: str) -> None:
    """As `require_sam3_tokens`, but SAM3's own tokenizer may lack tokens: for callers that encode text, not ids.

    Args:
        tokenizer: The text encoder's, or None for SAM3's.
        name: What the text encoder is called.

    Raises:
        ValueError: If it is the tokenizer of another text encoder.
    """
    if not (isinstance(tokenizer, HubTokenizer) and tokenizer.sam3_ids):
        require_sam3_tokens(tokenizer, name)


def encode_phrases(encoder: TextEncoder, tokenizer: AnyTokenizer, phrases: Sequence[str]) -> PhraseFeatures:
    """Former name of `TextEncoder.encode`, for scripts of earlier versions."""
    return encoder.encode(phrases, tokenizer)


def count_parameters(module: nn.Module) -> int:
    """Number of parameters of a model, frozen ones included; numbers of few bits count as numbers, not as bytes."""
    parts = [part for part in module.modules() if isinstance(part, Stored)]
    stored = {id(part.weight): part.numbers for part in parts} | {id(part.scale): part.scales for part in parts}
    return sum(stored.get(id(p), p.numel()) for p in module.parameters())


def digest(identity: Any, module: nn.Module, about: str) -> None:
    """Takes a model into a hash: a description, and every weight."""
    identity.update(about.encode())
    for key, value in sorted(module.state_dict().items()):
        _digest_value(identity, key, value)


def _digest_value(identity: Any, key: str, value: Any) -> None:
    if isinstance(value, Tensor) and value.is_quantized:  # of a layer that was packed to compute in 8 bits
        value = (value.int_repr(), value.q_per_channel_scales(), value.q_per_channel_zero_points())
    if isinstance(value, tuple):
        for place, part in enumerate(value):
            _digest_value(identity, f"{key}.{place}", part)
    elif isinstance(value, Tensor):
        identity.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        identity.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    else:
        identity.update(f"{key} {value}".encode())
