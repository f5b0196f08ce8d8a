"""The cleaning that travels with an exported tokenizer is Meta's, but for what it says."""

import html
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litetext.export.cleaning import ODD_PROMPTS, normalizer
from litetext.tokenizer import clean

CLEANER = normalizer()
PHRASES = ["women's shoe", "red circle", "blue & green bag", 'the "big" dog', "5€ note", "naïve art, 50% off", "fish"]
ODD = {
    "quotes": lambda s: f"“{s}” ‘x’ it’s ʼn‛".replace("'", "’"),
    "entities": lambda s: html.escape(s).replace("€", "&euro;").replace("ï", "&iuml;") + " &nbsp;&rsquo;&hellip;",
    "no semicolon": lambda s: s.replace("&", "&amp") + " &amp dog &lt3 &copy2 &notit; AT&T r&d",
    "escaped twice": lambda s: html.escape(html.escape(s + " & x")),
    "decimal": lambda s: "".join(f"&#{ord(c)};" if n % 3 == 0 else c for n, c in enumerate(s)),
    "hexadecimal": lambda s: "".join(f"&#x{ord(c):{'xX'[n % 2]}};" if n % 3 else c for n, c in enumerate(s)),
    "full width": lambda s: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in s) + "\u3000ｶﾅ",
    "ligatures": lambda s: s.replace("fi", "ﬁ") + " ﬂy oﬃce ĳs ǆ",
    "space": lambda s: "\u2003" + s.replace(" ", " \t\r\n\u2028\u00a0") + "\x0c\x0b ",
    "control": lambda s: "\ufeff\x00" + s.replace(" ", "\x07 \x7f\u200b"),
    "combining": lambda s: unicodedata.normalize("NFD", s + " é Å ñ"),
    "Windows-1252": lambda s: s.replace("'", "\x92") + " \x93red\x94 it\x92s \x85",
    "capitals": lambda s: s.upper() + " İSTANBUL ΣΑΣ ẞ",
    "terminal": lambda s: f"\x1b[1;31m{s}\x1b[0m",
    "scripts": lambda s: s + " 犬 собака ½ ² № … – ™ 🐕",
}


@pytest.mark.parametrize("kind", list(ODD))
def test_it_cleans_what_meta_cleans(kind: str) -> None:
    for phrase in PHRASES:
        text = ODD[kind](phrase)
        assert CLEANER.normalize_str(text) == clean(text), text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&<"), max_size=30))
@settings(max_examples=60, deadline=None)
def test_plain_text_is_lowered_and_its_white_space_collapsed(text: str) -> None:
    assert CLEANER.normalize_str(text) == clean(text)


def test_mojibake_is_what_is_left() -> None:
    assert clean("cafÃ©") == "café"
    assert CLEANER.normalize_str("cafÃ©") == "cafã©"
    assert all(CLEANER.normalize_str(prompt) == clean(prompt) for prompt in ODD_PROMPTS)
