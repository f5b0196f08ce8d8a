"""The audit from its options to its numbers: each part by itself, so that one that fails leaves the others."""

import math
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from litetext.audit.context import context_stats
from litetext.audit.corpus import Corpus, tokenize_corpus
from litetext.audit.prescription import prescribe, to_yaml
from litetext.audit.vocabulary import covered, vocabulary_stats
from litetext.data.prompts.corpora import PromptSource, drawn_world, locate, read_prompts
from litetext.shipped import shipped
from litetext.tokenizer import END, START, VOCAB_SIZE, token_text

if TYPE_CHECKING:
    from litetext.models.text.towers import TextTower

Tell = Callable[[str, float], None]
"""Called with the part at hand and the share of the audit that is done."""


@dataclass(frozen=True)
class AuditOptions:
    """What is to be audited.

    Args:
        prompts: Corpora: name to path, as `litetext.data.prompts.corpora.read_prompts` takes them.
        encoder: Text encoder, as `litetext.models.text.towers.load_tower` takes it; None audits the corpora alone.
        student: Students of the robustness part.
        sam3: SAM3 of the robustness part; None takes the encoder where it is a whole SAM3.
        images: Folder of images for that part; None draws scenes of nouns, or of shapes for the SAM3 of shapes.
        noise: Levels of noise for it, in units of the features' root mean square.
        context_lengths: Contexts to compare.
        sample: Prompts that are encoded.
        budget: Share of the tokens that a context may lose.
        seed: Seed of samples, bootstraps and noise.

    Raises:
        ValueError: If an option is out of its range.
    """

    prompts: Mapping[str, str]
    encoder: str | None = None
    student: Sequence[str] = ()
    sam3: str | None = None
    images: str | None = None
    noise: Sequence[float] = (0.01, 0.03, 0.1, 0.3, 0.97)
    context_lengths: Sequence[int] = (8, 16, 32)
    sample: int = 5000
    budget: float = 0.025
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ValueError("--prompts is empty; give at least one NAME=PATH")
        if min(self.context_lengths, default=0) < 3:
            raise ValueError(
                f"--context_lengths {' '.join(map(str, self.context_lengths)) or 'is empty'}: start and end token "
                "leave no room for a word below 3"
            )
        if self.sample < 1:
            raise ValueError(f"--sample is {self.sample}; it must be at least 1")
        if wrong := [level for level in self.noise if not 0 <= level < math.inf]:
            raise ValueError(f"--noise {wrong[0]}: a level is 0 or more, in units of the features' root mean square")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; it must be 0 or more")
        if not 0 <= self.budget < 1:
            raise ValueError(f"--budget {self.budget} is outside [0, 1); 0.025 lets 2.5% of the tokens be lost")
        if self.student and not (self.sam3 or self.encoder):
            raise ValueError("--student is followed through a SAM3; name one with --sam3 or --text_encoder")

    def check_paths(self) -> None:
        """Sees that everything named is there, before anything is computed.

        Raises:
            FileNotFoundError: A corpus, model or folder is not there.
        """
        from litetext.models.hub import find_model
        from litetext.models.packaged import packaged

        for name, path in self.prompts.items():
            if not drawn_world(path):
                locate(name, path)
        for option, path in (
            ("--text_encoder", self.encoder),
            ("--sam3", self.sam3),
            *(("--student", p) for p in self.student),
        ):
            if path is not None:
                find_model(packaged(shipped(path)), option, instead="a local path")
        if self.images is not None and not Path(self.images).is_dir():
            raise FileNotFoundError(f"--images {self.images}: no such folder")


class Parts:
    """Runs the parts of an audit one after the other; one that fails leaves a line and no result.

    Args:
        tell: Is called before each part.

    Attributes:
        failed: Why a part failed, by its name.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.failed: dict[str, str] = {}

    def attempt(self, name: str, start: float, function: Callable[[], Any]) -> Any:
        """Runs a part.

        Args:
            name: Its name in `failed`.
            start: Share of the audit that is done before it.
            function: Computes it.

        Returns:
            What it computed, or None when it failed.
        """
        self.tell(name, start)
        try:
            return function()
        except Exception as error:  # whatever is wrong with one part, the others are delivered
            if os.environ.get("LITETEXT_DEBUG") == "1":
                traceback.print_exc()
            told = " ".join(str(error).split()) or "no reason given"
            self.failed[name] = told if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {told}"
            return None


def audit(options: AuditOptions, tell: Tell = lambda part, done: None) -> dict[str, Any]:
    """Measures corpora, and an encoder on them.

    Args:
        options: What is asked.
        tell: Is told how far it is.

    Returns:
        The content of audit.json: plain values alone, None for what is undefined. Parts that failed are missing, and
        named under `failed`.

    Raises:
        FileNotFoundError: Something named is not there; nothing was computed then.
        ValueError: No corpus has a prompt.
    """
    options.check_paths()
    parts = Parts(tell)
    sources = _read(options.prompts, parts)
    tower = None
    if options.encoder is not None:
        from litetext.models.text.towers import load_tower

        tower = parts.attempt("encoder", 0.05, lambda: load_tower(str(options.encoder)))
    corpora = _tokenize(sources, tower, parts)
    if "tokens of the encoder" in parts.failed:
        tower = None
    found: dict[str, Any] = {"litetext": version("litetext"), "contexts": sorted(set(options.context_lengths))}
    found |= corpus_parts(corpora, found["contexts"], tower)
    if tower is not None:
        from litetext.audit.encoder import encoder_parts

        found |= encoder_parts(tower, corpora, options, parts)
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


def _tokenize(sources: Sequence[PromptSource], tower: "TextTower | None", parts: Parts) -> dict[str, Corpus]:
    """Every source in the encoder's own tokens; in SAM3's without an encoder, or where that one cannot."""

    def tokens(tokenize: Callable[[list[str]], list[list[int]]] | None) -> dict[str, Corpus]:
        total, before = sum(len(source.prompts) for source in sources), 0
        corpora = {}
        for source in sources:
            first, part = before / total, len(source.prompts) / total
            corpora[source.name] = tokenize_corpus(
                source.prompts,
                tokenize,
                lambda done, first=first, part=part: parts.tell("tokens", 0.05 + 0.07 * (first + part * done)),
            )
            before += len(source.prompts)
        return corpora

    if tower is not None:
        own = parts.attempt("tokens of the encoder", 0.05, lambda: tokens(lambda p: tower.tokenize(p, whole=True)))
        if own is not None:
            return own
    return tokens(None)


def corpus_parts(corpora: Mapping[str, Corpus], contexts: Sequence[int], tower: "TextTower | None") -> dict[str, Any]:
    """What needs no weights: lengths and vocabulary of each source and of all together.

    Args:
        corpora: Sources by name, each with a prompt at least.
        contexts: Context lengths.
        tower: Whose tokens they are; None for SAM3's.

    Returns:
        `sources`, `combined` and `covered`, as audit.json holds them.
    """
    size = VOCAB_SIZE if tower is None else tower.vocab_size
    special = (START, END) if tower is None else [number for number in tower.special if number < size]
    text = token_text if tower is None else tower.token_text
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
