"""What follows from an audit: each choice by its rule, its numbers exact, and a YAML that runs as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from litetext.audit.audit import audit
from litetext.audit.context import context_cost
from litetext.audit.fit_yaml import to_yaml
from litetext.audit.options import AuditOptions
from litetext.audit.paper import NOTES, PAPER, paper_value, retention, same_corpus, same_weights
from litetext.audit.prescription import CANDIDATES, prescribe, smallest_context
from litetext.commands.lightning import check
from litetext.models.text.mobileclip import MobileClipText
from tests.fixtures.runs import Answer, weights

TINY = {"name": "tiny", "kind": "sam3", "parameters": 3_322_496, "context_length": 32, "width": 64}
SAM3 = TINY | {"name": "facebook/sam3", "parameters": 353_724_672, "width": 256}


def audited(*histograms: list[int], **parts: Any) -> dict[str, Any]:
    """An audit of sources of given lengths, each using 1,000 of 49,408 tokens."""
    longest = max(map(len, histograms))
    summed = [sum(h[n] for h in histograms if n < len(h)) for n in range(longest)]
    sources = {f"source {n}": {"histogram": h} for n, h in enumerate(histograms)}
    table = {"used": 1000, "rows": 49_408}
    combined = {"histogram": summed, "prompts": sum(summed), "unique": sum(summed), "vocabulary": table}
    return {"sources": sources, "combined": combined, **parts}


def lengths(*values: int) -> list[int]:
    return [values.count(n) for n in range(max(values) + 1)]


def value(found: dict[str, Any], key: str) -> str:
    return next(line["value"] for line in found["lines"] if line["key"] == key)


def reason(found: dict[str, Any], key: str) -> str:
    return next(line["reason"] for line in found["lines"] if line["key"] == key)


def test_context_by_hand() -> None:
    # 4 prompts of 40 tokens: 8 cuts 8 of them, 12 cuts 4, 16 none.
    histogram = lengths(4, 8, 12, 16)
    assert [context_cost(histogram, n)["token_loss"] for n in (8, 12, 16)] == [0.3, 0.1, 0.0]
    for budget, context in ((0.3, 8), (0.299, 12), (0.1, 12), (0.0, 16)):
        found = prescribe(audited(histogram), budget)
        assert (found["context_length"], found["budget_met"]) == (context, True)
    assert prescribe(audited(histogram), 0.1, [9, 11, 13])["context_length"] == 13
    assert prescribe(audited(histogram), 0.1)["contexts"]["8"] == 0.3
    assert smallest_context(histogram, 0.0) == 16


@given(st.lists(st.integers(2, 100), min_size=1, max_size=40), st.floats(0, 0.99))
def test_context_is_the_smallest_within_the_budget(values: list[int], budget: float) -> None:
    histogram = lengths(*values)
    chosen = smallest_context(histogram, budget, CANDIDATES)
    losses = {c: context_cost(histogram, c)["token_loss"] for c in CANDIDATES}
    if chosen is None:
        assert all(loss > budget for loss in losses.values())  # type: ignore[operator]
    else:
        assert losses[chosen] <= budget  # type: ignore[operator]
        assert all(losses[c] > budget for c in CANDIDATES if c < chosen)  # type: ignore[operator]


def test_budget_that_cannot_be_met_is_said() -> None:
    found = prescribe(audited(lengths(*[60] * 20)), 0.01)
    assert (found["context_length"], found["budget_met"]) == (32, False)  # SAM3 reads no more
    assert "the teacher reads no more" in found["warnings"][0]
    assert "60 tokens" in found["warnings"][0]
    found = prescribe(audited(lengths(60), encoder=TINY | {"context_length": 10}), 0.01)
    assert found["context_length"] == 10
    assert prescribe(audited(lengths(60)), 0.01, [8, 12])["context_length"] == 12
    assert "even 77 tokens lose more" in prescribe(audited(lengths(600)), 0.01)["warnings"][0]


def test_a_source_that_loses_more_is_named() -> None:
    found = prescribe(audited(lengths(*[5] * 500), lengths(20)), 0.025)
    assert (found["context_length"], found["worst_source"]["name"]) == (8, "source 1")
    assert found["worst_source"]["token_loss"] == 0.6
    assert "source 1 by itself loses 60.00%" in found["warnings"][0]


@pytest.mark.parametrize(
    ("covered", "held_out", "safe"),
    [
        ({"source 0": {"all others": 0.5, "other half": 0.9995}}, 0.9995, True),
        ({"source 0": {"other half": 0.9}, "source 1": {"other half": 1.0}}, 0.9, False),
        ({"source 0": {"all others": 0.999, "other half": 0.2}}, 0.999, True),
        ({"source 0": {}}, None, None),
    ],
)
def test_vocabulary(covered: dict[str, Any], held_out: float | None, safe: bool | None) -> None:
    found = prescribe(audited(lengths(5, 5), covered=covered))
    assert (found["vocabulary"]["held_out"], found["vocabulary"]["safe"]) == (held_out, safe)
    assert found["vocabulary"]["saves"] == {"s0": 48_408 * 512, "s1": 48_408 * 512, "l": 48_408 * 768}
    assert value(found, "vocabulary").startswith("prune to 1,000" if safe else "keep all 49,408")


def test_tokens_of_another_tokenizer_say_nothing_of_the_student() -> None:
    found = prescribe(audited(lengths(5), encoder=SAM3 | {"kind": "bert", "name": "a/bert"}))
    assert found["vocabulary"]["saves"] is None
    assert any("audit the corpora without --text_encoder" in warning for warning in found["warnings"])
    assert found["teacher"]["name"] == "facebook/sam3"
    assert found["teacher"]["audited"] is False


def test_a_student_that_reads_other_tokens_says_nothing_of_sam3s() -> None:
    """Its teacher was no SAM3, or it knows a part of SAM3's tokens."""
    student = SAM3 | {"kind": "student", "name": "mine.ckpt", "tokenizer": "a/bert"}
    found = prescribe(audited(lengths(5), encoder=student))
    assert found["vocabulary"]["saves"] is None
    assert "the tokens are those of mine.ckpt" in reason(found, "vocabulary")
    assert any("audit the corpora without --text_encoder" in warning for warning in found["warnings"])
    assert not prescribe(audited(lengths(5), encoder=student | {"tokenizer": None}))["warnings"][1:]


def test_features_of_a_student_are_not_called_its_teachers() -> None:
    parts = {"encoder": SAM3 | {"kind": "student"}, "dimension": dimension(400.0, 900.0)}
    found = prescribe(audited(lengths(5), **parts))
    assert "the dimension of the teacher's features is not known" in reason(found, "student")
    assert found["student"]["preset"] == "s0"


def dimension(near: float, rank: float) -> dict[str, Any]:
    """Features of tokens; the pooled ones could not be measured."""
    estimate = {"value": near, "low": near, "high": near}
    kind = {"svd_effective_rank": {"value": rank}, "twonn": estimate, "mle": {"5": {"value": None}, "10": estimate}}
    return {"tokens": kind, "pooled": None}


@pytest.mark.parametrize(
    ("near", "rank", "preset", "warned"),
    [(17, 85, "s0", False), (260, 85, "l", False), (17, 600, "l", False), (17, 900, "l", True)],
)
def test_student_is_as_wide_as_the_features_ask_for(near: float, rank: float, preset: str, warned: bool) -> None:
    found = prescribe(audited(lengths(5), encoder=SAM3, dimension=dimension(near, rank)))
    assert found["student"]["preset"] == preset
    assert any("as wide as" in warning for warning in found["warnings"]) == warned
    assert f"effective rank of {rank:.1f}" in reason(found, "student")


def test_sizes_are_exact() -> None:
    found = prescribe(audited(lengths(5, 9, 16)), 0.0)
    assert found["context_length"] == 16
    published = {"s0": 42_541_312, "s1": 63_528_192, "l": 123_800_320}
    assert {name: s["parameters"] for name, s in found["students"].items()} == published
    assert found["teacher"]["parameters"] == 353_724_672
    student = found["student"]
    assert (student["preset"], student["fp32_bytes"], student["fp16_bytes"]) == ("s0", 170_165_248, 85_082_624)
    assert student["saving"] == pytest.approx(1 - 42_541_312 / 353_724_672)
    assert "S0 95.9%, S1 97.0% and L 98.2%" in reason(found, "student")


def test_too_few_prompts_are_said() -> None:
    assert prescribe(audited(lengths(5)))["warnings"] == [
        "1 prompt may leave none to train on or none to hold out; add some"
    ]
    assert prescribe(audited(lengths(*[5] * 20)))["warnings"] == []


def test_tiny_teacher_gets_a_tiny_student() -> None:
    found = prescribe(audited(lengths(5), encoder=TINY))
    built = MobileClipText("nano", found["context_length"], width=64)
    assert found["student"]["preset"] == "nano"
    assert found["student"]["parameters"] == sum(p.numel() for p in built.parameters())
    smaller = prescribe(audited(lengths(5), encoder=TINY | {"parameters": 1000}))
    assert any("no student is smaller" in warning for warning in smaller["warnings"])


def test_wrong_arguments_are_refused() -> None:
    for options in ({"candidates": []}, {"candidates": [2]}, {"candidates": [78]}, {"budget": 1.0}, {"safe": 0.0}):
        with pytest.raises(ValueError, match="must"):
            prescribe(audited(lengths(5)), **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no prompt"):
        prescribe(audited([]))
    with pytest.raises(ValueError, match="sources is empty"):
        to_yaml(prescribe(audited(lengths(5))), {})


def test_yaml_says_why_and_where(folder: Path) -> None:
    (folder / "mine.csv").write_text("text\nred dog\n")
    sources = {"my: list": "mine.csv#text", "drawn": "shapes:5"}
    text = to_yaml(prescribe(audited(lengths(5))), sources)
    written = yaml.safe_load(text)
    assert written["data"]["init_args"]["sources"] == {
        "my: list": str(folder / "mine.csv#text"),
        "drawn": "shapes:5",
    }
    assert written["model"]["init_args"]["teacher"] == "facebook/sam3"
    odd = yaml.safe_load(to_yaml(prescribe(audited(lengths(5))), {"a\nmodel: {}": "shapes:5"}))
    assert odd["data"]["init_args"]["sources"] == {"a\nmodel: {}": "shapes:5"}
    assert odd["model"] == written["model"]
    lines = text.splitlines()
    options = [n for n, line in enumerate(lines) if ": " in line and not line.lstrip().startswith("#")]
    bare = [lines[n].strip() for n in options if not lines[n - 1].lstrip().startswith("#")]
    assert all("class_path" in line or line.endswith(("mine.csv#text", "shapes:5")) for line in bare), bare


def test_every_option_is_one_of_fit(folder: Path) -> None:
    for encoder in (None, SAM3, TINY):
        found = prescribe(audited(lengths(5), **({"encoder": encoder} if encoder else {})))
        Path("p.yaml").write_text(to_yaml(found, {"drawn": "shapes:50"}))
        built = check("fit", ["--config", "p.yaml", "--trainer.accelerator", "cpu", "--trainer.logger", "false"])
        student = built.model.student
        assert sum(p.numel() for p in student.parameters()) == found["student"]["parameters"]
        keys = {line["key"] for line in found["lines"] if "." in line["key"]}
        assert "model.init_args.student.init_args.context_length" in keys


def test_prescription_runs_as_written(folder: Path, litetext: Callable[..., Answer]) -> None:
    words = [f"{a} {b}" for a in ("red", "blue", "old", "wet", "small", "the") for b in ("dog", "cat", "cup of tea")]
    (folder / "prompts.txt").write_text("\n".join([*words, *(f"{w} on a table" for w in words)]))
    found = audit(AuditOptions({"mine": "prompts.txt"}, encoder="checkpoints/sam3-tiny", sample=20))
    planned = found["prescription"]
    assert planned["teacher"]["audited"] is True
    assert (planned["student"]["preset"], planned["context_length"]) == ("nano", 12)  # 8 cuts 6 of 222 tokens
    (folder / "out").mkdir()
    text = to_yaml(planned, {"mine": "prompts.txt"}, "checkpoints/sam3-tiny")
    (folder / "out" / "prescription.yaml").write_text(text)
    answer = litetext("fit", "--config", "out/prescription.yaml", "--trainer.max_steps", "2")
    assert answer.code == 0, answer.err
    state = weights("checkpoints/prescription/best.ckpt")
    student = {key: tensor for key, tensor in state.items() if key.startswith("student.")}
    assert student["student.embedding.position"].shape == (12, 48)


def test_paper_numbers() -> None:
    assert paper_value("combined", "context", "16", "token_loss") == 0.021
    assert paper_value("combined", "context", "9") is paper_value("combined", "prompts", "x") is None
    assert [round(retention(p) or 0, 3) for p in ("s0", "s1", "l")] == [0.959, 0.970, 0.982]
    assert retention("nano") is None
    for path in NOTES:  # every note is about a number that is there
        assert any(paper_value(*keys) is not None for keys in _splits(path)), path
    eight = PAPER["combined"]["context"]["8"]
    kept = eight["density"] * 8 / PAPER["combined"]["mean_tokens"]
    assert abs((1 - kept) - eight["token_loss"]) > 0.06  # what the note says
    mine = audited(lengths(5), encoder=SAM3)
    assert same_weights(mine)
    assert not same_weights(audited(lengths(5), encoder=TINY))
    assert not same_corpus(mine)


def _splits(path: str) -> list[list[str]]:
    """A dotted path as keys; a noise level has a dot of its own."""
    return [path.split("."), path.replace("0.1", "0,1").replace(".", "\n").replace("0,1", "0.1").split("\n")]
