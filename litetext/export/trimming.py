"""A vocabulary cut to what a corpus uses: rows of the token table, and the byte pairs that make those tokens.

All single bytes stay, so that any text can still be written. A token is made by one merge, of two tokens that are made
so too; with the merges of every token that the corpus uses, each of its words is merged as with all of them. Other
words may come out in more and smaller pieces, which the student knows, but seldom saw.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from litetext.export.tokenizer_file import END_TOKEN, START_TOKEN, sam3_vocabulary
from litetext.models.text.mobileclip import MobileClipText

_BYTES = 512
"""Tokens of single bytes, inside and at the end of a word; the first of the vocabulary."""


class Trimmed(NamedTuple):
    """A vocabulary's part.

    Attributes:
        kept: SAM3's ids of its tokens, ascending; a token's new id is its place here, and the end token's the last.
        vocabulary: Token to new id.
        merges: Byte pairs in SAM3's order.
    """

    kept: list[int]
    vocabulary: dict[str, int]
    merges: list[Any]

    def numbers(self, row: Sequence[int]) -> list[int] | None:
        """A prompt's new ids; None if one of its tokens is not there."""
        place = {number: n for n, number in enumerate(self.kept)}
        found = [place.get(number) for number in row]
        return None if None in found else [n for n in found if n is not None]


def trim(rows: Iterable[Sequence[int]]) -> Trimmed:
    """Keeps what some prompts need.

    Args:
        rows: SAM3's token ids of each.
    """
    vocabulary, merges = sam3_vocabulary()
    names = {number: name for name, number in vocabulary.items()}
    made = {a + b: (a, b) for a, b in merges}
    wanted = {names[number] for row in rows for number in row} | {START_TOKEN, END_TOKEN}
    wanted |= {names[number] for number in range(_BYTES)}
    left = list(wanted)
    while left:
        for part in made.get(left.pop(), ()):
            if part not in wanted:
                wanted.add(part)
                left.append(part)
    kept = sorted(vocabulary[name] for name in wanted)
    own = {names[number]: n for n, number in enumerate(kept)}
    return Trimmed(kept, own, [(a, b) for a, b in merges if a + b in own])


def with_rows(student: MobileClipText, kept: Sequence[int]) -> MobileClipText:
    """A copy of a student with some rows of its token table."""
    state = dict(student.state_dict())
    state["embedding.token.weight"] = state["embedding.token.weight"][torch.tensor(list(kept))]
    with torch.device("meta"):
        small = MobileClipText(**{**student.config, "vocab_size": len(kept)})
    small.load_state_dict(state, assign=True)
    return small.eval().requires_grad_(False)
