"""Word classes for short noun phrases, one letter a word, from a lexicon on disk and a few rules.

Letters: ``D`` determiner, ``J`` adjective, ``C`` number, ``G`` -ing form, ``V`` past form or participle,
``N`` noun (and anything unknown), ``A`` adverb, ``T`` place noun that is also an adjective (top, back),
``W`` base form of a verb, ``Z`` third person of a verb, ``I`` auxiliary, ``X`` relation word,
``P`` relation word that binds the adjective before it (next *to*, left *of*), ``&`` and/or, ``S`` possessive
("dog's"), ``s`` a possessive ending that stands alone. A lower-case ``j c v g n`` carries a comma; ``n`` also
stands for any word with a stronger mark behind it.

The lexicon is `en-lexicon.txt` of the textblob wheel (Brill's, one Penn Treebank tag a word). The file is
read directly: importing textblob imports NLTK and takes seconds, and nothing of it is needed.
"""

import importlib.util
import re
import string
from functools import lru_cache
from pathlib import Path

_PENN = {
    "JJ": "J", "JJR": "J", "JJS": "J", "CD": "C", "DT": "D", "PDT": "D", "PRP$": "D", "WP$": "X", "EX": "D",
    "VBG": "G", "VBN": "V", "VBD": "V", "VB": "W", "VBP": "W", "VBZ": "Z", "MD": "I",
    "RB": "A", "RBR": "A", "RBS": "A", "CC": "&", "IN": "X", "RP": "X", "TO": "P", "WP": "X", "WDT": "X",
    "WRB": "X", "PRP": "X", "POS": "s",
}  # fmt: skip

# Words whose one tag in the lexicon is not the use they have in names of things.
_WORDS = {
    "&": "and or nor & + and/or",
    "P": "of to than from away",
    "D": "a an the this that these those his her its their my your our some any no every each all both another",
    "I": "is are was were be been being am isn't aren't has have had does do did will not it's "
    "that's who's he's she's there's",
    "X": "wearing holding having facing touching containing including showing hugging looking with "
    "without in on at by for near behind beside besides under over above below between among "
    "against around into onto inside outside toward towards across along through like as but "
    "versus up down off out who which whose where he she it they him them me you i we us then "
    "also just only there here",
    "T": "top bottom front back middle center centre",
    "J": "left right far nearest closest light dark gold silver round next most leftmost rightmost "
    "black white red blue green yellow brown gray grey orange pink purple beige tan teal "
    "maroon turquoise navy khaki cream violet open still upper lower wooden plaid denim",
    "N": "can one ones guy guys dude ski man men woman",
}
_CLOSED = {word: letter for letter, words in _WORDS.items() for word in words.split()}
_SUFFIXES = (
    ("ly", "A"), ("ing", "N"), ("ed", "V"), ("like", "J"), ("ous", "J"), ("ful", "J"), ("able", "J"),
    ("ible", "J"), ("less", "J"), ("ish", "J"), ("ive", "J"), ("ic", "J"), ("ary", "J"),
)  # fmt: skip
_MARKS = string.punctuation + "“”\u2018\u2019«»…\u2013—¿¡、。\uff0c"
_NUMBER = re.compile(r"\W*\d")


@lru_cache(maxsize=1)
def lexicon() -> dict[str, str]:
    """Reads the lexicon: word to class letter, about 94,000 words in a tenth of a second.

    Returns:
        A dictionary from the word as the lexicon spells it to a class letter.

    Raises:
        FileNotFoundError: textblob, or its lexicon file, is not installed.
    """
    spec = importlib.util.find_spec("textblob")  # finds without importing
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        file = Path(folder) / "en" / "en-lexicon.txt"
        if file.is_file():
            break
    else:
        raise FileNotFoundError(
            "the word lexicon textblob/en/en-lexicon.txt is not installed; run: pip install textblob"
        )
    words: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").split("\n"):
        word, _, tag = line.strip().partition(" ")
        if tag and word != ";;;":
            words[word] = _PENN.get(tag.split("|", 1)[0], "N")
    return words


def _letter(core: str) -> str:
    """Class of a word that has no punctuation around it."""
    low = core.lower()
    if low in _CLOSED:
        return _CLOSED[low]
    if _NUMBER.match(low):
        return "C"
    words = lexicon()
    for spelling in (low, core, core.capitalize()):
        if spelling in words:
            return words[spelling]
    if low.endswith("n't"):
        return "I"
    parts = re.split(r"[-/]", low)
    if len(parts) > 1 and parts[-1]:
        # A compound is named by its last part: knee-high, blue-and-white; else a noun: t-shirt.
        return "J" if _letter(parts[-1]) in "JV" else "N"
    for suffix, letter in _SUFFIXES:
        if low.endswith(suffix) and len(low) > len(suffix) + 2:
            return letter
    return "N"


@lru_cache(maxsize=1 << 17)
def word_class(word: str) -> str:
    """Names the class of one whitespace-free word, punctuation included.

    Args:
        word: The word as it stands in the prompt, e.g. ``"large,"`` or ``"bride's"``.

    Returns:
        One letter; the module's docstring lists them.
    """
    if word in ("&", "+"):
        return "&"
    if word in ("'s", "\u2019s", "'"):
        return "s"
    core = word.strip(_MARKS)
    if not core or word[0] in "([{":
        return "X"
    letter = _letter(core)
    if letter in "XPDI&":
        return letter
    if core[-2:].lower() in ("'s", "\u2019s") or word.endswith(("s'", "s\u2019")):
        return "S"
    tail = word[len(word.rstrip(_MARKS)) :]
    if any(mark in tail for mark in ";:!?)]}") or ("." in tail and len(core) > 3):
        return "n"
    if "," in tail:
        return {"J": "j", "C": "c", "V": "v", "G": "g", "T": "j"}.get(letter, "n")
    return letter
