"""SAM3's tokenizer: prompts to token ids and back."""

from litetext.tokenizer.bpe import (
    END,
    START,
    UNLIMITED,
    VOCAB_SIZE,
    TokenBatch,
    Tokenizer,
    byte_pairs,
    clean,
    clear_cache,
    pad,
    token_text,
    vocabulary_file,
)

__all__ = [
    "END",
    "START",
    "UNLIMITED",
    "VOCAB_SIZE",
    "TokenBatch",
    "Tokenizer",
    "byte_pairs",
    "clean",
    "clear_cache",
    "pad",
    "token_text",
    "vocabulary_file",
]
