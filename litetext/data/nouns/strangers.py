"""Words that mean nothing in the world of nouns: a model that never met any takes an unknown noun for a known one."""

import random
import re
from dataclasses import replace
from functools import cache

from litetext.data.nouns.lexicon import meanings, plural
from litetext.data.nouns.phrases import Phrase
from litetext.data.word_classes import lexicon
from litetext.tokenizer import Tokenizer

_COUNT = 4000


@cache
def strangers() -> tuple[str, ...]:
    """English nouns of one token that name nothing here, the same on every machine; open nouns are not among them."""
    known = {part for word in meanings() for part in re.split(r"[ -]", f"{word} {plural(word)}")}
    nouns = sorted(w for w, letter in lexicon().items() if letter == "N" and re.fullmatch("[a-z]{3,12}", w))
    near = {word for word in nouns if word in known or word.removesuffix("s") in known or word + "s" in known}
    chosen = [word for word in nouns if word not in near]
    whole = [w for w, ids in zip(chosen, Tokenizer(32).encode(chosen), strict=True) if len(ids) == 3]
    return tuple(random.Random("strangers").sample(whole, min(_COUNT, len(whole))))


def estrange(phrase: Phrase, rng: random.Random) -> Phrase | None:
    """The phrase with its head's noun exchanged for a stranger, so that it means nothing; None where that fails."""
    head, stranger = phrase.meaning.head, rng.choice(strangers())
    forms = ((rf"\b{re.escape(head.word)}\b", stranger), (rf"\b{re.escape(plural(head.word))}\b", plural(stranger)))
    pattern, instead = next((form for form in forms if re.search(form[0], phrase.text)), forms[0])
    if len(re.findall(pattern, phrase.text)) != 1 or phrase.meaning.excluded is not None:
        return None
    text = re.sub(pattern, instead, phrase.text)
    meaning = phrase.meaning._replace(head=head._replace(word=stranger, nouns=frozenset()))
    return replace(phrase, text=text, targets=(), meaning=meaning)
