"""SAM3's tokenizer: lower-cased byte-pair encoding of cleaned prompts, as Meta's code does it, in batches.

The vocabulary is CLIP's (49,408 entries) and ships with open_clip. The `tokenizers` library does the merging;
Meta's cleaning (ftfy, HTML entities, white space) runs only on prompts that it could change. What must come out is
set by `sam3/model/tokenizer_ve.py` of facebookresearch/sam3.
"""

import gzip
import hashlib
import html
import importlib.util
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import regex
import torch
from jaxtyping import Bool, Int64
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import models, pre_tokenizers
from torch import Tensor

from litetext.garbage import no_collection
from litetext.tokenizer.token_rows import TokenRows

START = 49406
END = 49407
VOCAB_SIZE = 49408
UNLIMITED = 2**31 - 1
"""A context length that cuts no prompt."""

_CLEANING = "ftfy, html x2, strip, spaces, lower"
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_SPECIAL = {"<start_of_text>": START, "<end_of_text>": END}
_PIECES = regex.compile(
    "|".join(_SPECIAL) + r"|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE
)
# Halves that belong together are left to ftfy, which joins them.
_HALF_PAIR = re.compile("[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]")


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
    rows = TokenRows.of(rows)
    lengths = rows.lengths
    longest = int(lengths.max(initial=0))
    length = longest if length is None else length
    if length < longest:
        raise ValueError(f"length={length} is shorter than a row of {longest} tokens; give at least that")
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    ids[np.arange(length) < lengths[:, None]] = rows.ids
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(lengths))


def clean(prompt: str) -> str:
    """Meta's cleaning: mojibake and entities repaired, white space collapsed, lower case.

    Args:
        prompt: Any text.

    Returns:
        The text that is split into words.

    Raises:
        ValueError: If the prompt holds half a surrogate pair, which no encoding can write.
    """
    if half := _HALF_PAIR.search(prompt):
        raise ValueError(
            f"prompt {_short(prompt)} holds a lone surrogate, U+{ord(half[0]):X}, at character {half.start()}: "
            "its source is not valid UTF-8; repair it, or decode it with errors='replace'"
        )
    import ftfy  # slow to import, and needed for few prompts

    text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return regex.sub(r"\s+", " ", text).strip().lower()


class Tokenizer:
    """Prompts to token ids, identical to SAM3's.

    Args:
        context_length: Most tokens a prompt may have, start and end token included.
        overflow: `truncate` cuts a longer prompt, with the end token in the last slot, and counts it; `error`
            refuses it.

    Attributes:
        truncated: Prompts cut so far.

    Raises:
        ValueError: If `context_length` is below 3, or `overflow` is unknown.

    Examples:
        >>> tokens = Tokenizer(16)(["white dog", "the red circle with stripes"])
        >>> tokens.ids.shape, tokens.mask.sum(1).tolist()
        (torch.Size([2, 7]), [4, 7])
        >>> Tokenizer(3).encode(["white dog"])  # cut, with the end token in the last slot
        [[49406, 1579, 49407]]
    """

    def __init__(self, context_length: int = 32, overflow: Literal["truncate", "error"] = "truncate") -> None:
        if context_length < 3:
            raise ValueError(f"context_length={context_length} leaves no room between start and end; give at least 3")
        if overflow not in ("truncate", "error"):
            raise ValueError(f"overflow={overflow!r} is unknown; choose truncate or error")
        self.context_length = context_length
        self.overflow: Literal["truncate", "error"] = overflow
        self.truncated = 0

    vocab_size = VOCAB_SIZE
    """Rows that a token table needs."""
    special = frozenset((START, END))
    """Ids that are no part of a prompt's words."""

    def cut_to(self, context_length: int, overflow: Literal["truncate", "error"] = "truncate") -> "Tokenizer":
        """The same tokenizer for another context, its count at 0."""
        return Tokenizer(context_length, overflow)

    def token_text(self, number: int) -> str:
        """What a token id stands for, to be read; see the function of this name."""
        return token_text(number)

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
        return self.rows(prompts).tolist()

    def rows(self, prompts: Sequence[str]) -> TokenRows:
        """What `encode` gives, in two flat arrays: for many prompts, of which no list is made.

        Args:
            prompts: Any texts.

        Returns:
            For each prompt START, its words, END: at most `context_length` ids.

        Raises:
            ValueError: If a prompt is no text, or too long under `overflow="error"`.
        """
        if isinstance(prompts, str | bytes):
            raise ValueError(f"prompts is one {type(prompts).__name__}, {_short(prompts)}; give a list of prompts")
        prompts = list(prompts)
        pieces = (prompts[first : first + _AT_ONCE] for first in range(0, len(prompts), _AT_ONCE))
        with no_collection():
            rows = TokenRows.concatenated(map(_merge_prompts, pieces))
        long = np.flatnonzero(rows.lengths > self.context_length)
        if not len(long):
            return rows
        if self.overflow == "error":
            raise ValueError(
                f"prompt {_short(prompts[long[0]])} has {rows.lengths[long[0]]} tokens, more than context_length="
                f"{self.context_length}; shorten it, raise the context length, or choose overflow: truncate"
            )
        self.truncated += len(long)
        return rows.cut(self.context_length, END)

    def __call__(self, prompts: Sequence[str], length: int | None = None) -> TokenBatch:
        """Token ids of prompts, padded with 0.

        Args:
            prompts: B prompts.
            length: L; the longest of these prompts when None.

        Returns:
            The batch (B, L).
        """
        return pad(self.rows(prompts), length)


# Ids of plain words met so far in this process. Clearing it costs time and never changes an id.
_KNOWN: dict[str, list[int]] = {}
_MOST_KNOWN = 250_000
_LONGEST_KNOWN = 64
_AT_ONCE = 1 << 16
"""Prompts whose words are in memory at one time."""


def _merge_prompts(prompts: list[str]) -> TokenRows:
    """START, the words' ids, END of one prompt at least: plain words by look-up, all other prompts the long way.

    No token crosses a space, so a prompt of plain words has their ids in a row. A word that is not plain is
    never in the table, so that its prompt is cleaned as a whole. No step is taken for each prompt or word in Python:
    between two prompts stands a line break, a word whose ids are END and START.
    """
    try:
        text = " \n ".join(prompts)
    except TypeError:
        raise ValueError(_not_text(prompts)) from None
    if text.count("\n") >= len(prompts):  # a prompt has one of its own, and must be cleaned: so must a tab
        text = " \n ".join(["\t" if "\n" in prompt else prompt for prompt in prompts])
    number: defaultdict[str, int] = defaultdict(count().__next__)
    words = np.fromiter(map(number.__getitem__, text.split(" ")), np.int64)
    found = _look_up(number)
    breaks = np.zeros(0, np.int64)
    if len(prompts) > 1:
        found[number["\n"]] = [END, START]
        breaks = np.flatnonzero(words == number["\n"])
    table = TokenRows.of([row or [] for row in found])
    inner = table.take(words)
    ids = np.concatenate([[START], inner.ids, [END]]).astype(np.int32)
    bounds = np.concatenate([[0], inner.bounds[breaks + 1], [len(ids)]])
    odd = np.array([row is None for row in found])[words]
    if not odd.any():
        return TokenRows(ids, bounds)
    others = np.unique(np.searchsorted(breaks, np.flatnonzero(odd)))
    merged = _merge([clean(prompts[i]) for i in others])
    order = np.arange(len(prompts))
    order[others] = np.arange(len(prompts), len(prompts) + len(others))
    return TokenRows(ids, bounds).joined(TokenRows.of([[START, *row, END] for row in merged])).take(order)


def _look_up(words: Collection[str]) -> list[list[int] | None]:
    """Ids of distinct words, learned where they are new; None of a word that is not plain, or beyond the table."""
    new = [word for word in words if word not in _KNOWN and _is_plain(word)]
    if len(_KNOWN) + len(new) > _MOST_KNOWN:
        _KNOWN.clear()
        new = [word for word in words if _is_plain(word)][:_MOST_KNOWN]
    _KNOWN.update(zip(new, _merge([word.lower() for word in new]), strict=True))
    return list(map(_KNOWN.get, words))


def _is_plain(word: str) -> bool:
    # Cleaning only lowers printable ASCII without "&" (entities) and "<" (with which ftfy expects HTML).
    return len(word) <= _LONGEST_KNOWN and word.isascii() and word.isprintable() and "&" not in word and "<" not in word


def _merge(texts: list[str]) -> list[list[int]]:
    """Ids of cleaned texts."""
    # Splitting is Meta's own expression in the same regex engine; letters alone are one piece.
    split = [[text] if text.isascii() and text.isalpha() else _PIECES.findall(text) for text in texts]
    ids: dict[str, list[int]] = {piece: [] for piece in set(chain.from_iterable(split))}
    # Merging ends with a whole word wherever the vocabulary has it (all of them are tested), in letters that are bytes.
    symbols = _vocabulary()[0]
    pieces = []
    for piece, row in ids.items():
        if piece.isascii() and (number := symbols.get(piece + "</w>")) is not None:
            row.append(number)
        else:
            pieces.append(piece)
    # One call for all pieces, as if they were the words of one text: the library's threads bring nothing for pieces
    # this short, and once it has used them, every process forked later warns of it.
    merged = _fast_tokenizer().encode(pieces, is_pretokenized=True, add_special_tokens=False)
    for number, word in zip(merged.ids, merged.word_ids, strict=True):
        if word is not None:
            ids[pieces[word]].append(number)
    ids |= {name: [number] for name, number in _SPECIAL.items()}  # Meta knows its special tokens by name
    # Most words are one piece; what is made here is only read.
    return [ids[row[0]] if len(row) == 1 else list(chain.from_iterable([ids[piece] for piece in row])) for row in split]


def _not_text(prompts: list[str]) -> str:
    i, odd = next((i, p) for i, p in enumerate(prompts) if not isinstance(p, str))
    return f"prompt {i} is {type(odd).__name__}, not text: {_short(odd)}; give str, bytes decoded as UTF-8"


def _short(prompt: object) -> str:
    return repr(prompt[:57] + "..." if isinstance(prompt, str) and len(prompt) > 60 else prompt)[:100]


def clear_cache() -> None:
    """Empties the tables of this process, as if no prompt had been encoded yet. Ids stay as they are."""
    _KNOWN.clear()
    _fast_tokenizer.cache_clear()


def vocabulary_file() -> Path:
    """The file of byte-pair merges that ships with open_clip, found without importing open_clip.

    Raises:
        FileNotFoundError: If open_clip or its file is missing.
    """
    name = "bpe_simple_vocab_16e6.txt.gz"
    package = importlib.util.find_spec("open_clip")
    for folder in (package and package.submodule_search_locations) or ():
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise FileNotFoundError(f"the vocabulary {name} ships with open_clip_torch: pip install open_clip_torch")


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]], str]:
    """Ids by symbol, merges in order of rank, and the file's hash."""
    packed = vocabulary_file().read_bytes()
    lines = gzip.decompress(packed).decode("utf-8").split("\n")
    letters = _byte_letters()
    count = VOCAB_SIZE - len(_SPECIAL) - 2 * len(letters)
    merges = [(a, b) for a, b in (line.split() for line in lines[1 : count + 1])]
    symbols = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), *_SPECIAL]
    return {symbol: i for i, symbol in enumerate(symbols)}, merges, hashlib.sha256(packed).hexdigest()


def byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids by symbol, a copy, and merges in order of rank: what other byte-pair libraries take."""
    symbols, merges, _ = _vocabulary()
    return dict(symbols), list(merges)


def _byte_letters() -> list[str]:
    """A printable letter for every byte, in the vocabulary's order; printable bytes stand for themselves."""
    others = [chr(256 + i) for i in range(256 - len(_PRINTABLE))]
    return [*map(chr, _PRINTABLE), *others]


@lru_cache(maxsize=1)
def _symbols() -> list[str]:
    return list(_vocabulary()[0])


def token_text(number: int) -> str:
    """What a token id stands for, to be read: `cat` ends a word, `str…` is continued by the next token.

    Args:
        number: An id of SAM3's vocabulary. Bytes that are no whole character are shown as U+FFFD.

    Raises:
        ValueError: If the vocabulary has no such id.
    """
    if not 0 <= number < VOCAB_SIZE:
        raise ValueError(f"token id {number} is outside SAM3's vocabulary, 0 to {VOCAB_SIZE - 1}")
    symbol = _symbols()[number]
    if symbol in _SPECIAL:
        return symbol
    whole = symbol.removesuffix("</w>")
    text = bytes(map(_bytes_by_letter().__getitem__, whole)).decode("utf-8", errors="replace")
    return text if whole != symbol else text + "…"


@lru_cache(maxsize=1)
def _bytes_by_letter() -> dict[str, int]:
    return dict(zip(_byte_letters(), [*_PRINTABLE, *sorted(set(range(256)) - set(_PRINTABLE))], strict=True))


@lru_cache(maxsize=1)
def _fast_tokenizer() -> FastTokenizer:
    symbols, merges, _ = _vocabulary()
    fast = FastTokenizer(models.BPE(vocab=symbols, merges=merges, end_of_word_suffix="</w>"))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    return fast
