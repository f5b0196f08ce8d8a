"""The audit from its options to its numbers: each part by itself, so that one that fails leaves the others."""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from litetext.audit.context import context_stats
from litetext.audit.corpus import Corpus, tokenize_corpus
from litetext.audit.fit_yaml import to_yaml
from litetext.audit.options import AuditOptions, Parts, Progress
from litetext.audit.prescription import prescribe
from litetext.audit.vocabulary import covered, vocabulary_stats
from litetext.data.prompts.corpora import PromptSource, read_prompts
from litetext.tokenizer import VOCAB_SIZE, Tokenizer

if TYPE_CHECKING:
    from litetext.models.text.encoder import TextEncoder


def audit(options: AuditOptions, progress: Progress = lambda part, done: None) -> dict[str, Any]:
    """Measures corpora, and an encoder on them.

    Args:
        options: The audit's options.
        progress: Is called with the part and the share that is done.

    Returns:
        The content of audit.json: plain values alone, None for what is undefined. Parts that failed are missing, and
        named under `failed`.

    Raises:
        FileNotFoundError: Something named is not there; nothing was computed then.
        ValueError: No corpus has a prompt.
    """
    options.check_paths()
    parts = Parts(progress)
    sources = _read(options.prompts, parts)
    encoder = None
    if options.encoder is not None:
        from litetext.models.text.loading import load_tower

        encoder = parts.attempt("encoder", 0.05, lambda: load_tower(str(options.encoder)))
    corpora = _tokenize(sources, encoder, parts)
    if "tokens of the encoder" in parts.failed:
        encoder = None
    found: dict[str, Any] = {"litetext": version("litetext"), "contexts": sorted(set(options.context_lengths))}
    found |= corpus_parts(corpora, found["contexts"], encoder)
    if encoder is not None:
        from litetext.audit.encoder import encoder_parts

        found |= encoder_parts(encoder, corpora, options, parts)
    planned = parts.attempt("prescription", 0.98, lambda: _prescription(found, options, [s.name for s in sources]))
    return _plain({**found, **({} if planned is None else {"prescription": planned}), "failed": parts.failed})


def _prescription(found: Mapping[str, Any], options: AuditOptions, names: Sequence[str]) -> dict[str, Any]:
    planned = prescribe(found, options.budget)
    sources = {name: options.prompts[name] for name in names}
    return {**planned, "yaml": to_yaml(planned, sources, options.encoder)}


def _read(prompts: Mapping[str, str], parts: Parts) -> list[PromptSource]:
    sources = [
        parts.attempt(f"source {name}", 0.05 * n / len(prompts), lambda name=name, path=path: read_prompts(name, path))
        for n, (name, path) in enumerate(prompts.items())
    ]
    read = [source for source in sources if source is not None]
    if not read:
        raise ValueError(next(iter(parts.failed.values())))
    return read


def _tokenize(sources: Sequence[PromptSource], encoder: "TextEncoder | None", parts: Parts) -> dict[str, Corpus]:
    """Every source in the encoder's own tokens; in SAM3's without an encoder, or where that one cannot."""

    def tokens(tokenize: Callable[[list[str]], Sequence[Sequence[int]]] | None) -> dict[str, Corpus]:
        total, before = sum(len(source.prompts) for source in sources), 0
        corpora = {}
        for source in sources:
            first, part = before / total, len(source.prompts) / total
            corpora[source.name] = tokenize_corpus(
                source.prompts,
                tokenize,
                lambda done, first=first, part=part: parts.progress("tokens", 0.05 + 0.07 * (first + part * done)),
            )
            before += len(source.prompts)
        return corpora

    if encoder is not None:
        own = parts.attempt("tokens of the encoder", 0.05, lambda: tokens(lambda p: encoder.tokenize(p, whole=True)))
        if own is not None:
            return own
    return tokens(None)


def corpus_parts(
    corpora: Mapping[str, Corpus], contexts: Sequence[int], encoder: "TextEncoder | None"
) -> dict[str, Any]:
    """What needs no weights: lengths and vocabulary of each source and of all together.

    Args:
        corpora: Sources by name, each with a prompt at least.
        contexts: Context lengths.
        encoder: Whose tokens they are; None for SAM3's.

    Returns:
        `sources`, `combined` and `covered`, as audit.json holds them.
    """
    size = VOCAB_SIZE if encoder is None else encoder.vocab_size
    tokenizer = Tokenizer() if encoder is None else encoder.tokenizer
    special, text = [number for number in tokenizer.special if number < size], tokenizer.token_text
    sources, total = {}, np.zeros(size, dtype=np.int64)
    for name, corpus in corpora.items():
        counts = corpus.counts(size)
        total += counts
        sources[name] = context_stats(corpus.lengths, contexts, len(set(corpus.prompts)))
        sources[name]["vocabulary"] = vocabulary_stats(counts, special, text)
    lengths = np.concatenate([corpus.lengths for corpus in corpora.values()])
    unique = len(set().union(*(corpus.prompts for corpus in corpora.values())))
    combined = context_stats(lengths, contexts, unique)
    combined["vocabulary"] = vocabulary_stats(total, special, text)
    return {"sources": sources, "combined": combined, "covered": covered(corpora, size)}


def _plain(value: Any) -> Any:
    """A value as JSON has it: no NaN, no infinity, no numpy; what is undefined is None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
