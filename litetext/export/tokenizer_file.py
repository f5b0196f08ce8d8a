"""SAM3's tokenizer as a `tokenizer.json`, with its cleaning of prompts in it."""

from typing import Any

from tokenizers import Tokenizer as Stock
from tokenizers import decoders

from litetext.checkpoints.hub_tokenizer import JSON, HubTokenizer
from litetext.export.cleaning import normalizer
from litetext.tokenizer import END, VOCAB_SIZE, byte_pairs

_END_OF_WORD = "</w>"
START_TOKEN, END_TOKEN, PAD_TOKEN = "<|startoftext|>", "<|endoftext|>", "<|padding|>"


def backend(vocabulary: dict[str, int], merges: list[Any], padding_token: bool = False) -> tuple[Any, dict[str, Any]]:
    """A tokenizer of the `tokenizers` library and the names of its special tokens.

    Args:
        vocabulary: Token to id, start and end among them under the names of `START_TOKEN` and `END_TOKEN`.
        merges: Byte pairs in order.
        padding_token: Padding has a token of its own behind all others; otherwise the end token pads.
    """
    from transformers import CLIPTokenizer

    names = {PAD_TOKEN: len(vocabulary)} if padding_token else {}
    special = {"bos_token": START_TOKEN, "eos_token": END_TOKEN, "unk_token": END_TOKEN}
    special["pad_token"] = PAD_TOKEN if padding_token else END_TOKEN
    clip: Any = CLIPTokenizer(vocab={**vocabulary, **names}, merges=merges, **special)  # type: ignore[arg-type]
    clip.backend_tokenizer.normalizer = normalizer()
    # What CLIPTokenizer does in Python of its own, which no other class does that opens the file: words end in spaces.
    clip.backend_tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(_END_OF_WORD, " ")])
    return clip.backend_tokenizer, special


def sam3_vocabulary() -> tuple[dict[str, int], list[Any]]:
    """SAM3's tokens by the names that transformers gives them, and its merges."""
    vocabulary, merges = byte_pairs()
    vocabulary[START_TOKEN] = vocabulary.pop("<start_of_text>")
    vocabulary[END_TOKEN] = vocabulary.pop("<end_of_text>")
    return vocabulary, merges


def standalone(context_length: int, length: int | None, reads: HubTokenizer | None = None) -> Any:
    """A tokenizer that cuts and pads by itself, masked; SAM3's with end tokens.

    Args:
        context_length: Most tokens of a prompt; longer ones are cut as its tokenizer cuts them.
        length: Tokens to which every prompt is padded; None pads to the longest of a batch.
        reads: The tokenizer, where it is not SAM3's.

    Raises:
        ValueError: If the tokenizer has no `tokenizer.json`, or open_clip's vocabulary is not SAM3's.
    """
    if reads is not None:
        if JSON not in reads.files:
            raise ValueError(
                f"the tokenizer of {reads.name} has no {JSON}, which other programs open; export it --to text"
            )
        own = Stock.from_str(reads.files[JSON].decode("utf-8"))
        own.enable_truncation(context_length)
        own.enable_padding(length=length)
        return own
    found, _ = backend(*sam3_vocabulary())
    if (size := found.get_vocab_size()) != VOCAB_SIZE:
        raise ValueError(
            f"open_clip's vocabulary has {size:,} tokens and SAM3's {VOCAB_SIZE:,}: install another open_clip"
        )
    found.enable_truncation(context_length)
    found.enable_padding(pad_id=END, pad_token=END_TOKEN, length=length)
    return found
