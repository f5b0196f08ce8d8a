"""SAM3's cleaning of prompts as a normalizer of the `tokenizers` library, which travels in tokenizer.json.

Meta's code cleans with ftfy and `html.unescape` before it splits; a stock CLIP tokenizer does not, and reads a
typographic apostrophe, `&amp;` or full-width letters as other tokens. A normalizer can replace what always means the
same: entities, quotes, ligatures, widths, control characters, white space. It cannot guess: text that was decoded with
the wrong encoding (mojibake), which ftfy repairs by weighing what is likely, stays as it is.
"""

import html.entities
from typing import Any

NOT_CLEANED = (
    "text decoded with the wrong encoding (mojibake such as `cafÃ©`), and entities that HTML 4 has no name for or that "
    "give their number, outside Latin and general punctuation"
)
"""What `litetext.tokenizer.clean` repairs and the normalizer does not, for people."""

ODD_PROMPTS = (
    "women’s shoe",
    "“red” circle",
    "red &amp; blue circle",
    "men&#39;s tie",
    "caf&eacute;",
    "ｒｅｄ ｃｉｒｃｌｅ",
    "ﬁsh and ﬂowers",
    "café",
    "red\u00a0\u2003cup",
    "blue\ufeff bag\u200b",
    "it\x92s",
)
"""What people type and files hold, each of which a stock CLIP tokenizer reads as other tokens or might."""

_ESCAPES = "\x1b\\[(?:[0-9]|;)*[a-zA-Z]"


def normalizer() -> Any:
    """The cleaning as one `tokenizers` normalizer, in the order of ftfy."""
    from ftfy.chardata import CONTROL_CHARS, LIGATURES, WIDTH_MAP
    from tokenizers import Regex, normalizers

    steps: list[Any] = [normalizers.Replace(Regex(pattern), text) for pattern, text in _entities()]
    steps.append(normalizers.Replace(Regex(_ESCAPES), ""))
    steps += [normalizers.Replace(chr(code), text) for code, text in _windows_controls()]
    steps += [normalizers.Replace(chr(code), text) for code, text in sorted({**LIGATURES, **WIDTH_MAP}.items())]
    removed = "".join(f"\\x{{{code:x}}}" for code, text in sorted(CONTROL_CHARS.items()) if text is None)
    steps += [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
        normalizers.Replace(Regex(f"[{removed}]"), ""),
        normalizers.NFC(),
        normalizers.Replace(Regex("[\\s\x1c-\x1f\x85]+"), " "),
        normalizers.Strip(),
        normalizers.Replace(Regex("(?<=\\p{L})Σ(?!\\p{L})"), "ς"),  # lower case at the end of a word
        normalizers.Lowercase(),
    ]
    return normalizers.Sequence(steps)


def _entities() -> list[tuple[str, str]]:
    """Patterns of entities with their characters: names of HTML 4 and numbers, `&amp;` first since it hides others."""
    open_names = {name for name in html.entities.html5 if not name.endswith(";")}
    names: dict[str, list[str]] = {}
    for name, text in html.entities.html5.items():
        bare = name.removesuffix(";")
        if bare in html.entities.name2codepoint or bare in open_names:
            names.setdefault(text, [])
            if bare not in names[text]:
                names[text].append(bare)
    patterns: list[tuple[int, str, str]] = []
    numbers = [*range(0x20, 0x7F), *range(0xA0, 0x100), *range(0x2010, 0x2027), 0x20AC, 0x2122]
    for text in {*names, *map(chr, numbers)}:
        code, own = ord(text), sorted(names.get(text, ()), key=lambda name: (-len(name), name))
        ways = [name + (";?" if name in open_names else ";") for name in own]
        if code in numbers:
            ways += [f"#0*{code}(?![0-9]);?", f"#[xX]0*(?i:{code:x})(?![0-9a-fA-F]);?"]
        # A longer name goes before the shorter one that begins it: &notin; before &not.
        patterns.append((max((len(name) for name in own), default=0), f"&(?:{'|'.join(ways)})", text))
    patterns.sort(key=lambda row: (-row[0], row[1]))
    return [("&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+", "&"), *((pattern, text) for _, pattern, text in patterns)]


def _windows_controls() -> list[tuple[int, str]]:
    """Control characters U+0080 to U+009F that are letters of Windows-1252 left undecoded."""
    found = []
    for code in range(0x80, 0xA0):
        try:
            found.append((code, bytes([code]).decode("cp1252")))
        except UnicodeDecodeError:
            continue
    return found
