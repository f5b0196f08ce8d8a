"""The audit of a large corpus: its time and memory, and a byte-pair pass in plain Python over the same prompts."""

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from litetext.audit.audit import audit
from litetext.audit.options import AuditOptions
from litetext.bench.bpe import PlainBpe
from litetext.data.prompts.corpora import read_prompts
from litetext.tokenizer import bpe as tokenizer


def bench_audit(prompts: str, count: int = 400_000) -> dict[str, Any]:
    """Times the whole audit without an encoder, reading included, and counts its tokens in plain Python.

    Args:
        prompts: Corpus whose prompts are repeated, with a number behind each from the second time on; any layout that
            the data sources take.
        count: Prompts of the corpus made from it.

    Returns:
        Figures by name. The peak is of this process up to the end of the audit, Python and its libraries included.

    Raises:
        ValueError: If `count` is below 1, a part of the audit failed, or both count other tokens.
    """
    if count < 1:
        raise ValueError(f"count={count} leaves nothing to audit; give at least 1")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "corpus.txt"
        file.write_text("".join(f"{prompt}\n" for prompt in _repeated(prompts, count)), encoding="utf-8")
        tokenizer.clear_cache()
        start = time.perf_counter()
        found = audit(AuditOptions({"corpus": str(file)}))
        seconds = time.perf_counter() - start
        unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
        if found["failed"]:
            part, why = next(iter(found["failed"].items()))
            raise ValueError(f"the audit's part {part} failed: {why}")
        corpus = read_prompts("corpus", str(file)).prompts
    plain = PlainBpe()
    start = time.perf_counter()
    tokens = sum(len(plain.encode(prompt)) + 2 for prompt in corpus)
    plain_seconds = time.perf_counter() - start
    ours = sum(length * number for length, number in enumerate(found["combined"]["histogram"]))
    if tokens != ours:
        raise ValueError(f"{prompts} has {ours:,} tokens in the audit, but {tokens:,} in plain Python")
    return {
        "prompts": len(corpus),
        "tokens": tokens,
        "seconds": seconds,
        "peak_mb": peak,
        "prompts_per_s": len(corpus) / seconds,
        "plain_bpe_seconds": plain_seconds,
        "ratio": plain_seconds / seconds,
    }


def _repeated(prompts: str, count: int) -> list[str]:
    """`count` distinct prompts, or a few fewer where a numbered prompt is in the corpus as it is."""
    read = read_prompts("prompts", prompts).prompts
    rounds = -(-count // len(read))
    made = (prompt if not n else f"{prompt} {n}" for n in range(rounds) for prompt in read)
    return list(dict.fromkeys(made))[:count]
