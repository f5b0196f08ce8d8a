"""The words of the world of nouns: names, synonyms, categories, and their plurals."""

import re
from functools import cache
from typing import NamedTuple

from litetext.data.nouns.sheet import core, nouns

_MIN_NOUNS = 3  # nouns of a category that is asked for

_PLURALS = {
    **{"mouse": "mice", "goose": "geese", "die": "dice", "foot": "feet", "tooth": "teeth", "ox": "oxen"},
    **{"wolf": "wolves", "knife": "knives", "loaf": "loaves", "leaf": "leaves", "scarf": "scarves"},
    **{"cactus": "cacti", "man": "men", "woman": "women", "snowman": "snowmen"},
    **{"mango": "mangoes", "potato": "potatoes"},
    **{"tomato": "tomatoes", "volcano": "volcanoes", "buffalo": "buffaloes", "child": "children"},
}
# Words that are the same in the plural, are plural already, or have none.
_SAME = frozenset(
    """deer moose elk bison cattle fish tropical-fish shrimp prawn squid grapes glasses eyeglasses spectacles sunglasses
    shades goggles jeans trousers pants gloves mittens socks shorts cherries blueberries bilberries pancakes peas
    french-fries fries chips maracas shakers swords firewood luggage popcorn sushi tempura corn maize bread cheese
    bacon garlic lettuce cabbage broccoli salt milk coffee beer candy chocolate soap yarn thread silverware
    clothing footwear headwear eyewear furniture food kitchenware cutlery stationery electronics toiletries bricks
    baked-goods meat fast-food jewelry equipment supplies shoes slippers pins bags dice binoculars scissors tea
    leafy-green ice-cream pottery spectacles shrimp bowling-pins aircraft spacecraft gold""".split()  # noqa: SIM905
)
_NO_ARTICLE = frozenset(
    """cattle firewood luggage popcorn sushi tempura corn maize bread cheese bacon garlic lettuce broccoli salt milk
    coffee beer candy chocolate soap yarn thread silverware clothing footwear headwear eyewear furniture food
    kitchenware cutlery stationery electronics toiletries goods meat equipment supplies gold""".split()  # noqa: SIM905
)


@cache
def meanings() -> dict[str, frozenset[int]]:
    """The nouns that each word may mean; a word may be a name and a category at once."""
    found: dict[str, set[int]] = {}
    for number, noun in enumerate(nouns()):
        for word in (*noun.words, *noun.categories):
            found.setdefault(word, set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


class Words(NamedTuple):
    """The words for a noun of training.

    Attributes:
        name: Its name.
        synonyms: Other names.
        categories: The categories that phrases name; each holds three nouns at least.
    """

    name: str
    synonyms: tuple[str, ...]
    categories: tuple[str, ...]


@cache
def words(noun: int) -> Words:
    """The words for a noun."""
    row = nouns()[noun]
    wide = tuple(word for word in row.categories if len(meanings()[word]) >= _MIN_NOUNS and word not in row.words)
    return Words(row.name, row.words[1:], wide)


@cache
def categories() -> tuple[str, ...]:
    """All categories that phrases name, sorted."""
    return tuple(sorted({word for noun in range(core()) for word in words(noun).categories}))


@cache
def plural(word: str) -> str:
    """The plural of a noun phrase: cups of coffee, mice."""
    first, of, rest = _split(word)
    *before, last = first.split(" ")
    return " ".join([*before, _plural(last, first)]) + of + rest


def _split(word: str) -> tuple[str, str, str]:
    """The part that bends, and the rest: cup, of coffee."""
    found = re.search(r" (of|and|with|in) ", word)
    return (word[: found.start()], found.group(), word[found.end() :]) if found else (word, "", "")


def _plural(last: str, whole: str) -> str:
    if last.endswith("fish") or last in _SAME or whole.replace(" ", "-") in _SAME:
        return last
    if last in _PLURALS:
        return _PLURALS[last]
    if last.endswith(("s", "x", "z", "ch", "sh")):
        return last + "es"
    if last.endswith("y") and last[-2:-1] not in "aeiou":
        return last[:-1] + "ies"
    return last + "s"


@cache
def is_countable(word: str) -> bool:
    """Whether one can be counted: a dog, but neither bread nor glasses."""
    first, _, _ = _split(word)
    return plural(word) != word and first.split(" ")[-1] not in _NO_ARTICLE


@cache
def is_plural(word: str) -> bool:
    """Whether a word is plural as it stands: gloves, jeans."""
    first = _split(word)[0]
    return plural(word) == word and first.endswith("s")
