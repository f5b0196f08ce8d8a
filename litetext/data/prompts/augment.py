"""New phrases from a corpus's own words: heads and modifiers of its noun phrases change places between prompts."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from litetext.data.permutation import noun_phrases

_TRIES = 20  # draws for each phrase wanted, after which the words are taken to give no more
_Kind = Literal["head", "modifier"]


class _Template(NamedTuple):
    """A prompt whose heads and modifiers can give way to others; places are positions of words."""

    words: tuple[str, ...]
    places: tuple[tuple[_Kind, tuple[int, ...]], ...]

    def units(self) -> Iterator[tuple[_Kind, str]]:
        """What stands in the places."""
        for kind, place in self.places:
            yield kind, " ".join(self.words[i] for i in place)


def recombine(
    prompts: Sequence[str], count: int, seed: int, refused: Callable[[str], bool] = lambda phrase: False
) -> list[str]:
    """New phrases that are built as prompts are, of what stands in the same places in other prompts.

    A prompt is drawn, and at least one of its head nouns and modifiers gives way to one of another prompt, of which
    each distinct one is as likely: rare words come to stand in more phrases than the corpus has.

    Args:
        prompts: Prompts to train on; no other words are used.
        count: How many phrases.
        seed: Seed of the draw; it and the prompts in their order decide the result, on any machine.
        refused: Says of a phrase that it must not be made, such as that it is held out.

    Returns:
        At most `count` phrases, each once and none of them a prompt; fewer where the words give no more.

    Raises:
        FileNotFoundError: The word lexicon is not installed.

    Examples:
        >>> recombine(["white dog", "small zebra"], 2, 0)
        ['small dog', 'white zebra']
    """
    templates = [template for template in map(_template, prompts) if template.places]
    pools: dict[str, dict[str, None]] = {"head": {}, "modifier": {}}
    for template in templates:
        for kind, text in template.units():
            pools[kind].setdefault(text)
    choices = {kind: list(pool) for kind, pool in pools.items()}
    known = {_plain(prompt) for prompt in prompts}
    rng = random.Random(f"recombine {seed}")
    found: list[str] = []
    for _ in range(_TRIES * count if templates else 0):
        if len(found) == count:
            break
        phrase = _changed(rng.choice(templates), choices, rng)
        plain = _plain(phrase)
        if plain not in known and not refused(phrase):
            known.add(plain)
            found.append(phrase)
    return found


def _template(prompt: str) -> _Template:
    words = prompt.split()
    places: list[tuple[_Kind, tuple[int, ...]]] = []
    for units, head in noun_phrases(words):
        for k, unit in enumerate(units):
            places.append(("head" if k == head else "modifier", unit))
    if len(words) == 1:
        places = [("head", (0,))]
    return _Template(tuple(words), tuple(places))


def _changed(template: _Template, choices: dict[str, list[str]], rng: random.Random) -> str:
    """The prompt with one place, and each other one with even chances, filled anew."""
    words: list[str] = list(template.words)
    surely = rng.randrange(len(template.places))
    for k, (kind, place) in enumerate(template.places):
        if k == surely or rng.random() < 0.5:
            words[place[0]] = rng.choice(choices[kind])
            for i in place[1:]:
                words[i] = ""
    return " ".join(word for word in words if word)


def _plain(text: str) -> str:
    """What tokenizers make no difference of: case and spacing."""
    return " ".join(text.lower().split())
