"""SAM3's tokenization in plain Python, one prompt at a time: what `litetext.tokenizer` is timed and tested against.

It follows the steps of Meta's tokenizer (`sam3/model/tokenizer_ve.py` of facebookresearch/sam3), keeps the merges of
words it has met, and shares nothing with `litetext.tokenizer` but the place of the vocabulary.
"""

import gzip
import html
from functools import lru_cache
from itertools import pairwise

import ftfy
import regex

from litetext.tokenizer import vocabulary_file

_SPECIAL = ("<start_of_text>", "<end_of_text>")
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_CLASSES = (r"[\p{L}]+", r"[\p{N}]", r"[^\s\p{L}\p{N}]+")


class PlainBpe:
    """A cached byte-pair encoder in plain Python, with Meta's cleaning before every prompt."""

    def __init__(self) -> None:
        self._letter, self._number, self._rank = _vocabulary()
        self._split = regex.compile("|".join((*_SPECIAL, *_CONTRACTIONS, *_CLASSES)), regex.IGNORECASE)
        self._known = {name: [self._number[name]] for name in _SPECIAL}

    def encode(self, prompt: str) -> list[int]:
        """Ids of a prompt, without start and end token.

        Args:
            prompt: Any text.
        """
        text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
        return self.merge(regex.sub(r"\s+", " ", text).strip().lower())

    def merge(self, text: str) -> list[int]:
        """Ids of a text that needs no cleaning.

        Args:
            text: Cleaned text.
        """
        ids = []
        for piece in self._split.findall(text):
            word = "".join([self._letter[b] for b in piece.encode()])
            if word not in self._known:
                self._known[word] = [self._number[symbol] for symbol in self._symbols(word)]
            ids += self._known[word]
        return ids

    def _symbols(self, word: str) -> list[str]:
        symbols = [*word[:-1], word[-1] + "</w>"]
        while len(symbols) > 1:
            best = min(pairwise(symbols), key=lambda pair: self._rank.get(pair, len(self._rank)))
            if best not in self._rank:
                break
            joined, i = [], 0
            while i < len(symbols):
                width = 2 if tuple(symbols[i : i + 2]) == best else 1
                joined.append("".join(symbols[i : i + width]))
                i += width
            symbols = joined
        return symbols


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[int, str], dict[str, int], dict[tuple[str, ...], int]]:
    """Letters of bytes, ids of symbols, ranks of merges."""
    with gzip.open(vocabulary_file(), "rt", encoding="utf-8", newline="\n") as lines:
        next(lines)  # a version line
        pairs = [tuple(line.split()) for line, _ in zip(lines, range(48_894), strict=False)]
    shown = [b for b in range(256) if chr(b).isprintable() and b not in (0x20, 0xA0, 0xAD)]
    hidden = [b for b in range(256) if b not in shown]
    letter = {b: chr(b) for b in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    letters = list(letter.values())
    names = letters + [x + "</w>" for x in letters] + ["".join(pair) for pair in pairs] + list(_SPECIAL)
    return letter, {name: i for i, name in enumerate(names)}, {pair: i for i, pair in enumerate(pairs)}
