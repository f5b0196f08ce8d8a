"""The benchmark of the audit: as many distinct prompts as asked, and as many tokens as plain Python counts."""

from pathlib import Path

import pytest

from litetext.bench import audit
from litetext.bench.audit import _repeated, bench_audit
from litetext.bench.bpe import PlainBpe


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    (tmp_path / "prompts.txt").write_text("red dog\nblue cat\nunbelievable mice\n")
    return str(tmp_path / "prompts.txt")


def test_repeated(corpus: str) -> None:
    assert _repeated(corpus, 2) == ["red dog", "blue cat"]
    assert _repeated(corpus, 5) == ["red dog", "blue cat", "unbelievable mice", "red dog 1", "blue cat 1"]


def test_figures(corpus: str) -> None:
    found = bench_audit(corpus, 7)
    assert found["prompts"] == 7
    assert found["tokens"] == sum(len(PlainBpe().encode(prompt)) + 2 for prompt in _repeated(corpus, 7))
    assert found["ratio"] == pytest.approx(found["plain_bpe_seconds"] / found["seconds"])
    assert found["prompts_per_s"] == pytest.approx(7 / found["seconds"])
    assert 50 < found["peak_mb"] < 20_000


def test_other_tokens_and_failed_parts_are_errors(corpus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="count=0"):
        bench_audit(corpus, 0)
    with monkeypatch.context() as patched:
        patched.setattr(PlainBpe, "encode", lambda self, prompt: [1])
        with pytest.raises(ValueError, match="tokens in the audit, but 9 in plain Python"):
            bench_audit(corpus, 3)
    monkeypatch.setattr(audit, "audit", lambda options: {"failed": {"vocabulary": "no reason"}})
    with pytest.raises(ValueError, match="part vocabulary failed: no reason"):
        bench_audit(corpus, 3)
