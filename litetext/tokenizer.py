"""SAM3's tokenizer: lower-cased byte-pair encoding of cleaned prompts, as Meta's code does it, in batches.

The vocabulary is CLIP's (49,408 entries) and ships with open_clip. The `tokenizers` library does the merging; Meta's
cleaning (ftfy, HTML entities, white space) runs only on prompts that it could change.
"""

import gzip
import hashlib
import html
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import regex
import torch
from jaxtyping import Bool, Int64
from tokenizers import models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from torch import Tensor

START = 49406
END = 49407
VOCAB_SIZE = 49408

_CLEANING = "ftfy, html x2, strip, spaces, lower"
_SPECIAL = {"<start_of_text>": START, "<end_of_text>": END}
_PIECES = regex.compile(
    "|".join(_SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)


class TokenBatch(NamedTuple):
    """Token ids padded at the end.

    Attributes:
        ids: Token ids, int64 (B, L).
        lengths: Valid tokens of each prompt, start and end token included, int64 (B,).
    """

    ids: Int64[Tensor, "b l"]
    lengths: Int64[Tensor, " b"]

    @property
    def mask(self) -> Bool[Tensor, "b l"]:
        """Valid tokens, (B, L)."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]


def pad(rows: Sequence[Sequence[int]], length: int | None = None, pad_id: int = 0) -> TokenBatch:
    """Puts token rows into one tensor.

    Args:
        rows: Token ids of B prompts.
        length: L; the longest row when None.
        pad_id: Id after the end of a row; 0, as in Meta's code.

    Returns:
        The batch (B, L).

    Raises:
        ValueError: If a row is longer than `length`.
    """
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    longest = int(lengths.max(initial=0))
    length = longest if length is None else length
    if length < longest:
        raise ValueError(f"length={length} is shorter than a row of {longest} tokens; give at least that")
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    ids[np.arange(length) < lengths[:, None]] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(lengths))


def clean(prompt: str) -> str:
    """Meta's cleaning: mojibake and entities repaired, white space collapsed, lower case.

    Args:
        prompt: Any text.

    Returns:
        The text that is split into words.
    """
    import ftfy  # slow to import, and needed for few prompts

    text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return regex.sub(r"\s+", " ", text).strip().lower()


class Tokenizer:
    """Prompts to token ids, identical to SAM3's.

    Args:
        context_length: Most tokens a prompt may have, start and end token included.
        overflow: `truncate` cuts a longer prompt, with the end token in the last slot, and counts it; `error` refuses.

    Attributes:
        truncated: Prompts cut so far.

    Raises:
        ValueError: If `context_length` is below 3, or `overflow` is unknown.
    """

    def __init__(self, context_length: int = 32, overflow: Literal["truncate", "error"] = "truncate") -> None:
        if context_length < 3:
            raise ValueError(f"context_length={context_length} leaves no room between start and end; give at least 3")
        if overflow not in ("truncate", "error"):
            raise ValueError(f"overflow={overflow!r} is unknown; choose truncate or error")
        self.context_length = context_length
        self.overflow = overflow
        self.truncated = 0

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the ids of a prompt: vocabulary, cleaning, context and overflow."""
        text = f"{_vocabulary()[2]} {_CLEANING} {self.context_length} {self.overflow}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of prompts, unpadded.

        Args:
            prompts: Any texts; an empty one gives start and end token alone.

        Returns:
            For each prompt START, its words, END: at most `context_length` ids.

        Raises:
            ValueError: If a prompt is no text, or too long under `overflow="error"`.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts is one string, {_short(prompts)}; give a list of prompts")
        room = self.context_length - 2
        rows = []
        for prompt, words in zip(prompts, _merge(prompts), strict=True):
            if len(words) > room:
                if self.overflow == "error":
                    raise ValueError(
                        f"prompt {_short(prompt)} has {len(words) + 2} tokens, more than context_length="
                        f"{self.context_length}; shorten it, raise the context length, or choose overflow: truncate"
                    )
                self.truncated += 1
                del words[room:]
            rows.append([START, *words, END])
        return rows

    def __call__(self, prompts: Sequence[str], length: int | None = None) -> TokenBatch:
        """Token ids of prompts, padded with 0.

        Args:
            prompts: B prompts.
            length: L; the longest of these prompts when None.

        Returns:
            The batch (B, L).
        """
        return pad(self.encode(prompts), length)


def _merge(prompts: Sequence[str]) -> list[list[int]]:
    try:
        # Printable ASCII without "&" and "<" holds nothing that cleaning repairs.
        texts = [
            p.lower() if p.isascii() and p.isprintable() and "&" not in p and "<" not in p else clean(p)
            for p in prompts
        ]
    except (TypeError, AttributeError) as error:
        raise ValueError(_not_text(prompts)) from error
    # No token crosses a space, and prompts share most of their words: each word is merged once a process.
    words = [text.split(" ") for text in texts]
    unseen = list({word for row in words for word in row if word not in _SEEN})
    if unseen:
        if len(_SEEN) + len(unseen) > _MOST_SEEN:
            _SEEN.clear()
            unseen = list({word for row in words for word in row})
        _SEEN.update(zip(unseen, _merge_words(unseen), strict=True))
    return [list(chain.from_iterable([_SEEN[word] for word in row])) for row in words]


_SEEN: dict[str, list[int]] = {}
_MOST_SEEN = 1_000_000


def _merge_words(words: list[str]) -> list[list[int]]:
    # Splitting is Meta's own expression in the same regex engine; only its pieces go to the merging library.
    split = [_PIECES.findall(word) for word in words]
    pieces = list({piece for row in split for piece in row})
    merged = _fast_tokenizer().encode_batch_fast(pieces, add_special_tokens=False)
    ids = {piece: encoding.ids for piece, encoding in zip(pieces, merged, strict=True)}
    ids |= {name: [number] for name, number in _SPECIAL.items()}  # Meta knows its special tokens by name
    return [list(chain.from_iterable([ids[piece] for piece in row])) for row in split]


def _not_text(prompts: Sequence[str]) -> str:
    i, odd = next((i, p) for i, p in enumerate(prompts) if not isinstance(p, str))
    return f"prompt {i} is {type(odd).__name__}, not text: {_short(str(odd))}; decode it first"


def _short(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 60 else prompt[:57] + "...")


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]], str]:
    """Ids by symbol, merges in order of rank, and the file's hash."""
    package = importlib.util.find_spec("open_clip")
    folder = Path(package.origin).parent if package is not None and package.origin else Path()
    file = folder / "bpe_simple_vocab_16e6.txt.gz"
    if package is None or not file.is_file():
        raise FileNotFoundError(f"the vocabulary {file.name} ships with open_clip_torch: pip install open_clip_torch")
    packed = file.read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    letters = _byte_letters()
    count = VOCAB_SIZE - len(_SPECIAL) - 2 * len(letters)
    merges = [(a, b) for a, b in (line.split() for line in lines[1 : count + 1])]
    symbols = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), *_SPECIAL]
    return {symbol: i for i, symbol in enumerate(symbols)}, merges, hashlib.sha256(packed).hexdigest()


def _byte_letters() -> list[str]:
    """A printable letter for every byte, in the vocabulary's order: the printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [chr(256 + i) for i in range(256 - len(printable))]
    return [*map(chr, printable), *others]


@lru_cache(maxsize=1)
def _fast_tokenizer() -> FastTokenizer:
    symbols, merges, _ = _vocabulary()
    fast = FastTokenizer(models.BPE(vocab=symbols, merges=merges, end_of_word_suffix="</w>"))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    return fast
