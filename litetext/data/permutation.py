"""Attribute-noun permutation: the same words in an order a person would still understand.

The consistency loss asks that a prompt and its permutation get the same feature. The paper names the
operation ("attribute-noun order": "white shirt man", "man white shirt") without rules; the reference code
shuffles all words, which also tears prepositions from their objects. Here the phrase is parsed: words get a
class (`litetext.data.word_classes`), relation words and determiners stay where they are and cut the prompt
into noun phrases, and inside each noun phrase the head noun and its modifiers change sides.
"""

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Literal, NamedTuple, get_args

from litetext.data.word_classes import word_class

Mode = Literal["swap", "attribute-noun", "words"]
"""Ways to reorder a prompt."""
_MODES = get_args(Mode)

_MODIFIERS = frozenset("JCVGBjcvg")
_BREAKS = frozenset("DXPI")


class _Units(NamedTuple):
    """A noun phrase: its units in order (each a tuple of word positions) and which unit is the head."""

    units: tuple[tuple[int, ...], ...]
    head: int


def _fixed(match: re.Match[str]) -> str:
    return "X" * len(match.group())


# Rules that settle a word's class from its neighbours, applied in this order to the string of letters.
_CONTEXT = (
    (re.compile(r"(?<![NT])T(?=[JNT])|T(?=J)"), "J"),  # bottom left corner, but tank top woman
    (re.compile(r"T"), "N"),
    (re.compile(r"(?<=[NnC])Z(?=.)"), "X"),  # woman wears hat
    (re.compile(r"(?<=[NnC])W(?=[DXP])"), "X"),  # men ride a horse
    (re.compile(r"[WZ]"), "N"),
    (re.compile(r"IA*[GVgv]"), _fixed),  # is sitting, not painted
    (re.compile(r"(?<=[NnSs])A*[Gg]"), _fixed),  # dog running
    (re.compile(r"[GV](?=D)"), "X"),  # riding a bike
    (re.compile(r"(?<=[JCVDjcv&])G(?=$|[XP&])"), "N"),  # a blue lighting
    (re.compile(r"(?<=[NnSs])A*[Vv](?=$|[XP])"), _fixed),  # man dressed in black
    (re.compile(r"(?<=[NnSs])A*J(?=P)"), _fixed),  # chair next to, person left of
    (re.compile(r"A+(?![AJCVGjcvg])"), _fixed),  # an adverb that modifies no modifier
    (re.compile(r"(?<=N)J(?=[AJCVGjcvg&]*[NnSs])"), "B"),  # man | blue shirt
)


@lru_cache(maxsize=1 << 16)
def _parse(letters: str) -> tuple[_Units, ...]:
    """Noun phrases with something to move; cached, because few strings of letters are ever met."""
    for pattern, replacement in _CONTEXT:
        letters = pattern.sub(replacement, letters)
    found: list[_Units] = []
    units: list[list[int]] = []
    kinds: list[str] = []  # "N" noun, "M" modifier, one a unit
    glue = False  # the next word joins the last unit

    def close() -> None:
        if len(units) > 1:
            head = max((i for i, kind in enumerate(kinds) if kind == "N"), default=len(units) - 1)
            found.append(_Units(tuple(tuple(unit) for unit in units), head))
        units.clear()
        kinds.clear()

    for i, letter in enumerate(letters):
        if letter in _BREAKS:
            close()
            glue = False
        elif letter == "&":
            follows = letters[i + 1 :].lstrip("A")[:1] if i + 1 < len(letters) else ""
            glue = bool(kinds) and kinds[-1] == "M" and follows in _MODIFIERS
            if glue:
                units[-1].append(i)
            else:
                close()
        elif letter in "Ss":  # everything so far belongs to the owner: the old man's
            if units or letter == "S":
                units[:] = [[*(j for unit in units for j in unit), i]]
                kinds[:] = ["M"]
            glue = False
        else:
            if letter == "B":
                close()
                glue = False
            if glue:
                units[-1].append(i)
            else:
                units.append([i])
                kinds.append("N" if letter in "Nn" else "M")
            glue = letter == "A"
            if letter == "n":
                close()
    close()
    return tuple(found)


def _swap(phrase: _Units) -> list[tuple[int, ...]]:
    """What stood behind the head, the head, what stood before it."""
    units, head = phrase
    return [*units[head + 1 :], units[head], *units[:head]]


def _draw(phrase: _Units, words: list[str], rng: random.Random) -> list[tuple[int, ...]]:
    """A random order in which the head has other units before it than it had; the swap where draws fail."""
    units, head = phrase
    before = set(units[:head])
    for _ in range(4):
        order = rng.sample(units, len(units))
        moved = set(order[: order.index(units[head])]) != before
        if moved and [words[i] for u in order for i in u] != [words[i] for u in units for i in u]:
            return order
    return _swap(phrase)


def _generator(prompt: str, seed: int) -> random.Random:
    digest = blake2b(f"{seed}\n{prompt}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


def noun_phrases(words: Sequence[str]) -> tuple[_Units, ...]:
    """The noun phrases of a prompt that have modifiers.

    Args:
        words: Its words.

    Returns:
        Of each, its units in order, which are the positions of a modifier's or the head's words, and which unit is the
        head.

    Raises:
        FileNotFoundError: The word lexicon is not installed.
    """
    return _parse("".join(map(word_class, words)))


def permute(prompt: str, seed: int = 0, mode: Mode = "swap") -> str:
    """Gives a prompt's permutation: the same whitespace-separated words in another order.

    In mode ``swap`` the head and the modifiers of every noun phrase change sides ("white shirt man" to "man white
    shirt", "white dog left" to "left dog white"), and the modifiers keep their order among themselves; determiners,
    prepositions, conjunctions and verbs keep their places ("the woman holding a red umbrella" to "the woman holding
    a umbrella red"). Coordinated modifiers ("red and white"), an adverb with its adjective and an owner ("old man's")
    move as one. Mode ``attribute-noun`` draws the order of the modifiers, still so that the head changes sides.
    Mode ``words`` shuffles all words, as the reference does, and may return the prompt's own order.

    Args:
        prompt: The prompt; case and punctuation stay with their words.
        seed: Chooses the order; ``swap`` has one alone. The result is a function of (prompt, seed, mode) alone, on
            any machine.
        mode: ``swap``, ``attribute-noun`` or ``words``.

    Returns:
        The permutation, words joined by one space; the prompt itself, unchanged, where there is nothing to
        move (one word, bare nouns, only relation words).

    Raises:
        ValueError: `mode` is none of the three.
        FileNotFoundError: The word lexicon is not installed.

    Source: the augmentation behind the consistency loss of the SAM3-LiteText paper; the rules are our
    own.

    Examples:
        >>> permute("white shirt man")
        'man white shirt'
        >>> permute("the woman holding a red umbrella")
        'the woman holding a umbrella red'
        >>> permute("dog")
        'dog'
    """
    if mode not in _MODES:
        raise ValueError(f"mode={mode!r} is unknown; choose {', '.join(map(repr, _MODES))}")
    words = prompt.split()
    if len(words) < 2:
        return prompt
    if mode == "words":
        return " ".join(_generator(prompt, seed).sample(words, len(words)))
    phrases = noun_phrases(words)
    if not phrases:
        return prompt
    # A generator costs more than the rest of this function, and two units have one other order only.
    rng = _generator(prompt, seed) if mode == "attribute-noun" and any(len(p.units) > 2 for p in phrases) else None
    result = list(words)
    for phrase in phrases:
        order = _swap(phrase) if rng is None or len(phrase.units) == 2 else _draw(phrase, words, rng)
        slots = [i for unit in phrase.units for i in unit]
        for slot, source in zip(slots, (i for unit in order for i in unit), strict=True):
            result[slot] = words[source]
    return prompt if result == words else " ".join(result)
