"""What a feature store was made from, and the small files that say so."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from torch import Tensor

FORMAT = 1
FEATURES, LENGTHS, CHECKSUMS, MANIFEST = ("features.f16", "lengths.i32", "checksums.txt", "manifest.json")
PARTIAL = "partial.json"

Rows = Sequence[Sequence[int]]
Encode = Callable[[Rows], Sequence[Tensor]]


@dataclass(frozen=True)
class FeatureManifest:
    """What a store was made from. Two stores with equal manifests hold the same features.

    Attributes:
        teacher: Fingerprint of the teacher's weights and configuration.
        tokenizer: Fingerprint of the tokenizer.
        context_length: Longest row the tokenizer may give.
        width: Numbers in the feature of one token.
        prompts: Hash over the token rows in corpus order (:func:`prompts_hash`).
        count: Number of prompts.
        tokens: Number of tokens of all prompts together.
        format: Version of the layout on disk.
    """

    teacher: str
    tokenizer: str
    context_length: int
    width: int
    prompts: str
    count: int
    tokens: int
    format: int = FORMAT

    @classmethod
    def of(cls, rows: Rows, *, teacher: str, tokenizer: str, context_length: int, width: int) -> "FeatureManifest":
        """The manifest of a corpus, known before anything is encoded.

        Args:
            rows: Token ids of every prompt, unpadded, in corpus order.
            teacher: Fingerprint of the teacher.
            tokenizer: Fingerprint of the tokenizer.
            context_length: Longest row allowed.
            width: Width of the teacher's features.

        Raises:
            ValueError: No rows, an empty row, a row longer than ``context_length``, or a number below 1.
        """
        for name, number in (("context_length", context_length), ("width", width)):
            if number < 1:
                raise ValueError(f"{name}={number}: give a number of at least 1")
        lengths = row_lengths(rows)
        if not len(lengths):
            raise ValueError("rows is empty: a feature store needs at least one prompt")
        if lengths.min() < 1:
            raise ValueError(f"row {int(lengths.argmin())} has no tokens: drop empty prompts first")
        if lengths.max() > context_length:
            raise ValueError(
                f"row {int(lengths.argmax())} has {lengths.max()} tokens, more than context_length="
                f"{context_length}: tokenize with this context length or raise it"
            )
        return cls(teacher, tokenizer, context_length, width, prompts_hash(rows), len(lengths), int(lengths.sum()))

    @property
    def bytes(self) -> int:
        """Size of the feature file in bytes."""
        return self.tokens * self.width * 2


def row_lengths(rows: Rows) -> np.ndarray:
    """Number of tokens of every row, int32."""
    return np.fromiter(map(len, rows), dtype="<i4", count=len(rows))


def prompts_hash(rows: Rows) -> str:
    """SHA-256 over the token rows in order: the lengths, then the ids."""
    digest = hashlib.sha256(row_lengths(rows).tobytes())
    digest.update(np.fromiter(chain.from_iterable(rows), dtype="<i8").tobytes())
    return digest.hexdigest()


def store_path(root: str | Path, manifest: FeatureManifest) -> Path:
    """The folder of a store below ``root``: ``<teacher first 8>-<hash of the whole manifest, first 12>``.

    Equal manifests meet in one folder, so runs share it; any difference leads to another folder.
    """
    digest = hashlib.sha256(json.dumps(asdict(manifest), sort_keys=True).encode()).hexdigest()
    teacher = re.sub(r"[^A-Za-z0-9_.-]", "_", manifest.teacher)[:8].lstrip(".") or "teacher"
    return Path(root) / f"{teacher}-{digest[:12]}"


def sorted_order(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of the prompts in the file, longest first, so that a lack of memory shows in the first chunk.

    Args:
        lengths: Number of tokens of each prompt, ``(count,)``.

    Returns:
        ``order`` ``(count,)``, the prompt at each sorted position, and ``bounds`` ``(count + 1,)``, the first
        token of each sorted position and the end.
    """
    order = np.argsort(-lengths, kind="stable")
    return order, np.concatenate([[0], np.cumsum(lengths[order], dtype=np.int64)])


def check_manifest(path: Path, found: FeatureManifest, expected: dict[str, Any]) -> None:
    """Raises ValueError with every field in which the store at ``path`` differs from ``expected``."""
    unknown = expected.keys() - {field.name for field in fields(FeatureManifest)}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not a field of FeatureManifest")
    differing = [
        f"{name} is {_short(getattr(found, name))}, wanted {_short(value)}"
        for name, value in expected.items()
        if getattr(found, name) != value
    ]
    if differing:
        raise ValueError(
            f"the features in {path} were made from something else: {'; '.join(differing)}. "
            "Use another folder or delete this one"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:16] + "…"


def read_manifest(file: Path) -> tuple[FeatureManifest, dict[str, Any]]:
    """Reads a manifest and the entries beside it.

    Raises:
        ValueError: The file is no manifest, or one of another format.
    """
    kinds = get_type_hints(FeatureManifest)
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        known = {name: entries.pop(name) for name in kinds}
    except (ValueError, KeyError, AttributeError, TypeError):
        entries, known = {}, {}
    if not known or not all(isinstance(known[name], kind) for name, kind in kinds.items()):
        raise ValueError(f"{file} is damaged or no manifest of a feature store: delete the folder, fill again")
    if known["format"] != FORMAT:
        raise ValueError(f"{file} has format {known['format']}, this version reads {FORMAT}: fill again")
    return FeatureManifest(**known), entries


def read_checksums(file: Path) -> list[tuple[int, int, int]]:
    """The whole lines of a checksum file as (first, last, crc32); a torn last line is left out."""
    if not file.exists():
        return []
    lines = re.findall(r"^(\d+) (\d+) ([0-9a-f]{8})\n", file.read_bytes().decode("ascii", "replace"), re.MULTILINE)
    return [(int(first), int(last), int(crc, 16)) for first, last, crc in lines]
