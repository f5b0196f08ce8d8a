"""A file of encoded phrases: the features that a text encoder gave, so that it need not be loaded again.

A safetensors file. Tokens of all rows stand one behind the other, without padding: `features` (N, D) float32, `tokens`
(N,) their ids, `offsets` (R + 1,) where each row begins. Rows are found by the tokens of a phrase, as an encoder finds
its answer: "White Dog" and "white dog" are the same row. Phrases and origin stand in the metadata, and the
tokenizer where it is not SAM3's.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int32, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from litetext.checkpoints.hub_tokenizer import AnyTokenizer, HubTokenizer, from_text, to_text
from litetext.files import whole_path
from litetext.models.finite import check_tensors
from litetext.models.text.encoder import PhraseFeatures, TextEncoder

_FORMAT = "litetext phrase bank 1"
_COMMAND = "litetext predict --config prompt_bank.yaml"
_MOST_TEXT = 90_000_000  # safetensors reads no header of 100 MB or more


@dataclass(frozen=True)
class BankOrigin:
    """What made a bank.

    Attributes:
        encoder: The text encoder as it was named.
        fingerprint: Hash of its configuration and weights.
        tokenizer: Fingerprint of the tokenizer, see `Tokenizer.fingerprint`.
        context_length: Most tokens of a phrase.
        width: Size of an output feature.
        parameters: Parameters of the text encoder.
    """

    encoder: str
    fingerprint: str
    tokenizer: str
    context_length: int
    width: int
    parameters: int


class PhraseBank(TextEncoder):
    """A text encoder that only knows some phrases: their features, found by their tokens.

    Args:
        origin: What made them.
        phrases: The phrases, for people.
        tokens: Token ids of each row, (n_i,).
        features: Token features of each row, (n_i, D).
        path: The file, for messages.
        reads: The tokenizer, where it is not SAM3's.

    Attributes:
        checksum: Hash of tokens and features.
    """

    def __init__(
        self,
        origin: BankOrigin,
        phrases: Sequence[str],
        tokens: Sequence[Int32[Tensor, " _"]],
        features: Sequence[Float[Tensor, "_ d"]],
        path: str = "bank",
        reads: HubTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.reads = reads
        self.origin, self.phrases, self.path = origin, list(phrases), path
        self.context_length, self.width = origin.context_length, origin.width
        self.tokens, self.features = list(tokens), list(features)
        self.checksum = _checksum(self.tokens, self.features)
        self.config = {**asdict(origin), "checksum": self.checksum}
        self._row = {tuple(row.tolist()): n for n, row in enumerate(self.tokens)}

    kind = "bank"

    @property
    def vocab_size(self) -> int:
        """Tokens of its tokenizer."""
        return self.tokenizer.vocab_size

    def token_vectors(self) -> Float[Tensor, "v d"]:
        """Nothing: what an encoder's tokens are is not kept.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{self.path} holds features and no weights; name the text encoder {self.origin.encoder}")

    def position_vectors(self) -> None:
        """None: as `token_vectors`."""
        return None

    @property
    def parameter_count(self) -> int:
        """Parameters of the text encoder that made it."""
        return self.origin.parameters

    @property
    def summary(self) -> str:
        """What it is, in a few words for people."""
        return f"a bank of {len(self):,} phrases by {self.origin.encoder} ({self.origin.parameters:,} parameters)"

    @property
    def fingerprint(self) -> str:
        """Of the text encoder that made it."""
        return self.origin.fingerprint

    def __len__(self) -> int:
        """Rows: phrases with different tokens."""
        return len(self.features)

    def encode(self, phrases: Sequence[str], tokenizer: AnyTokenizer | None = None) -> PhraseFeatures:
        """The features of some phrases, as the text encoder gave them.

        Args:
            phrases: Phrases in any spelling that has the same tokens as one in the bank.
            tokenizer: One that gives the same tokens; None takes the bank's own.

        Raises:
            ValueError: Some are not in the bank; the message names the first and says how many.
        """
        tokenizer = tokenizer or self.tokenizer
        distinct, before = list(dict.fromkeys(phrases)), tokenizer.truncated
        rows = [self._row.get(tuple(row)) for row in tokenizer.encode(distinct)]
        lost = [phrase for phrase, row in zip(distinct, rows, strict=True) if row is None]
        if lost:
            more = f" and of {len(lost) - 1:,} more" if len(lost) > 1 else ""
            raise ValueError(
                f"{self.path} has no features of the phrase {lost[0]!r}{more} ({len(lost):,} of {len(distinct):,} "
                f"asked are missing); add to the phrases of {_COMMAND}, or name the text encoder instead of its bank"
            )
        chosen = {row: n for n, row in enumerate(dict.fromkeys(row for row in rows if row is not None))}
        number = {phrase: chosen[row] for phrase, row in zip(distinct, rows, strict=True) if row is not None}
        return PhraseFeatures([self.features[row] for row in chosen], number, self.width, tokenizer.truncated - before)

    select = encode
    """Its name in earlier versions."""

    def encode_tokens(
        self, rows: Sequence[Sequence[int]], tokens_per_batch: int = 1 << 30
    ) -> list[Float[Tensor, "n w"]]:
        """The features of tokenized prompts, float32 (n, width).

        Args:
            rows: Token ids of each prompt, start and end token included.
            tokens_per_batch: Nothing is computed; any number.

        Raises:
            ValueError: A prompt is not in the bank.
        """
        found = [self._row.get(tuple(row)) for row in rows]
        if None in found:
            raise ValueError(
                f"{self.path} has no features of prompt {found.index(None)}; add to the phrases of {_COMMAND}"
            )
        return [self.features[row].clone() for row in found if row is not None]

    def forward(self, ids: Int64[Tensor, "b l"], lengths: Int64[Tensor, " b"]) -> Float[Tensor, "b l w"]:
        """Features of every token, (B, L, width), zeros at padding.

        Args:
            ids: Token ids, padded at the end.
            lengths: Valid tokens of each prompt, start and end token included.

        Raises:
            ValueError: A prompt is not in the bank.
        """
        features = torch.zeros(*ids.shape, self.width, device=ids.device)
        rows = [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]
        for n, row in enumerate(self.encode_tokens(rows)):
            features[n, : len(row)] = row.to(ids.device)
        return features

    def check_encoder(self, encoder: TextEncoder, name: str) -> None:
        """Refuses a text encoder that did not make this bank.

        Raises:
            ValueError: It is another one.
        """
        found = encoder.fingerprint
        if found != self.origin.fingerprint:
            raise ValueError(
                f"{self.path} was made by another text encoder than {name}: by {self.origin.encoder} with fingerprint "
                f"{self.origin.fingerprint[:12]}, here {found[:12]}; make the bank again, or leave one of the two out"
            )


def make_bank(encoder: TextEncoder, name: str, phrases: Sequence[str]) -> PhraseBank:
    """Encodes phrases; the features are those of `TextEncoder.encode` on the same list, bit for bit.

    Args:
        encoder: The text encoder.
        name: What it is called.
        phrases: Noun phrases.

    Raises:
        ValueError: Its features are not finite.
    """
    distinct = list(dict.fromkeys(phrases))
    encoded = encoder.encode(distinct)
    tokens: list[Tensor] = [torch.empty(0)] * len(encoded)
    for phrase, row in zip(distinct, encoder.tokenizer.encode(distinct), strict=True):
        tokens[encoded.number[phrase]] = torch.tensor(row, dtype=torch.int32)
    check_tensors(((f"the features of {p!r}", encoded.rows[n]) for p, n in encoded.number.items()), name)
    origin = BankOrigin(
        encoder=name,
        fingerprint=encoder.fingerprint,
        tokenizer=encoder.tokenizer.fingerprint,
        context_length=encoder.context_length,
        width=encoder.width,
        parameters=encoder.parameter_count,
    )
    return PhraseBank(origin, distinct, tokens, [row.float().cpu() for row in encoded.rows], reads=encoder.reads)


def save_bank(bank: PhraseBank, path: str | os.PathLike[str]) -> None:
    """Writes a bank whole or not at all, over an older bank and over nothing else.

    Args:
        bank: At least one row.
        path: A file that ends in .safetensors.

    Raises:
        FileNotFoundError: The folder is not there.
        ValueError: Another kind of file lies there, or the bank is too large or empty.
    """
    path = Path(path)
    check_place(path)
    said = json.dumps(bank.phrases)
    if not len(bank):
        raise ValueError(f"{path}: there is no phrase to write")
    if len(said) > _MOST_TEXT:
        raise ValueError(f"{path}: {len(bank.phrases):,} phrases have {len(said):,} bytes of text; make several banks")
    lengths = torch.tensor([0, *map(len, bank.tokens)])
    tensors = {"features": torch.cat(bank.features), "tokens": torch.cat(bank.tokens), "offsets": lengths.cumsum(0)}
    origin = {key: str(value) for key, value in asdict(bank.origin).items()}
    about = {"format": _FORMAT, "phrases": said, "checksum": bank.checksum, **origin}
    if bank.reads is not None:
        about["reads"] = to_text(bank.reads)
    with whole_path(path) as draft:  # a reader sees the old bank or the new one
        try:
            save_file(tensors, draft, metadata=about)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}") from error


def check_place(path: Path) -> None:
    """Checks that a bank may be written there, before anything is encoded.

    Raises:
        FileNotFoundError: The folder is not there.
        ValueError: The name does not end in .safetensors, or another kind of file lies there.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: a bank's name ends in .safetensors")
    if not path.parent.is_dir():
        what = "is a file, no folder" if path.parent.exists() else "is not there; make it first"
        raise FileNotFoundError(f"{path}: the folder {path.parent} {what}")
    if path.exists() and not is_bank(path):
        raise ValueError(f"{path} is there and is no phrase bank; choose another name")


def is_bank(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a readable phrase bank."""
    if Path(path).suffix != ".safetensors" or not Path(path).is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format", "").startswith(_FORMAT.rpartition(" ")[0])
    except (SafetensorError, OSError):
        return False


def load_bank(path: str | os.PathLike[str]) -> PhraseBank:
    """Opens a bank; no text encoder is needed.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no bank, damaged, made with another tokenizer, or not finite.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"phrase bank {path}: no such file; {_COMMAND} writes one")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise ValueError(f"phrase bank {path} cannot be read ({reason}); make it again") from error
    if about.get("format") != _FORMAT:
        kind = about.get("format", "a safetensors file of another kind")
        raise ValueError(f"{path} is no phrase bank that this litetext reads, but {kind}; make one with {_COMMAND}")
    try:
        origin = BankOrigin(
            about["encoder"],
            about["fingerprint"],
            about["tokenizer"],
            int(about["context_length"]),
            int(about["width"]),
            int(about["parameters"]),
        )
        lengths = tensors["offsets"].diff().tolist()
        tokens, features = tensors["tokens"].split(lengths), tensors["features"].split(lengths)
        reads = from_text(about["reads"]) if "reads" in about else None
        bank = PhraseBank(origin, json.loads(about["phrases"]), tokens, features, f"phrase bank {path}", reads)
        checksum = about["checksum"]
    except (KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"phrase bank {path} is damaged ({error}); make it again") from error
    if bank.checksum != checksum:
        raise ValueError(f"phrase bank {path} is damaged: its checksum differs; make it again")
    check_tensors([("features", tensors["features"])], f"phrase bank {path}")
    if bank.tokenizer.fingerprint != origin.tokenizer:
        raise ValueError(f"phrase bank {path} was made with another tokenizer; make it again with {_COMMAND}")
    return bank


def _checksum(tokens: Sequence[Tensor], features: Sequence[Tensor]) -> str:
    held = hashlib.blake2b(digest_size=16)
    for ids, row in zip(tokens, features, strict=True):
        held.update(f"{len(ids)} {row.dtype} {tuple(row.shape)}".encode())
        held.update(ids.numpy().tobytes())
        held.update(row.numpy().tobytes())
    return held.hexdigest()
