"""`litetext bench`: what it prints is what it measured, and bad options end in one line."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from litetext.bench import train
from litetext.bench.compare import RELEASED
from litetext.bench.record import read_record
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from tests.fixtures.runs import Answer


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    colours = ("red", "blue", "green", "old", "wet")
    Path("prompts.txt").write_text("\n".join(f"{a} {b} dog {i}" for i in range(6) for a in colours for b in colours))
    return "prompts.txt"


def figures(answer: Answer) -> dict[str, str]:
    """Names and values that a benchmark printed."""
    assert answer.code == 0, answer.err
    rows = (line.rsplit(maxsplit=1) for line in answer.out.splitlines() if "  " in line)
    return {name.strip(): value for name, value in rows}


def test_tokenize(corpus: str, litetext: Callable[..., Answer]) -> None:
    answer = litetext("bench", "tokenize", "--prompts", corpus, "--rounds", "1", "--output", "figures.json")
    printed, stored = figures(answer), json.loads(Path("figures.json").read_text())
    measured = stored["figures"]
    assert printed.keys() == measured.keys()
    assert measured["prompts"] == 150
    assert measured["different_ids"] == 0
    ratio = measured["ours_prompts_per_s"] / measured["python_prompts_per_s"]
    assert measured["speedup"] == pytest.approx(ratio)
    assert stored["spread"] == {}  # nothing is known of it after one round
    assert (stored["benchmark"], stored["options"]) == ("tokenize", {"prompts": corpus, "rounds": 1})
    assert stored["machine"]["processor"] in answer.out
    assert stored["machine"]["versions"]["torch"] == torch.__version__.split("+")[0]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory as Linux tells it")
def test_corpus(tmp_path: Path, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    fork = multiprocessing.get_context("fork")  # new processes would import all that this one has
    monkeypatch.setattr("litetext.bench.corpus.multiprocessing.get_context", lambda kind: fork)
    printed = figures(litetext("bench", "corpus", "--counts", "3000", "--output", str(tmp_path / "figures.json")))
    measured = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert printed.keys() == measured.keys()
    # Texts of some 15 bytes, 5 tokens, one permutation: what is shared can be told beforehand.
    assert 60 < measured["3,000: shared, bytes a prompt"] < 150
    assert measured["3,000: prepare, CPU s"] > 0
    scale = 1e8 / 3000
    assert measured["100,000,000 planned: prepare, CPU s"] == pytest.approx(measured["3,000: prepare, CPU s"] * scale)


def test_spread_and_comparison(corpus: str, litetext: Callable[..., Answer], refused: Callable[..., str]) -> None:
    answer = litetext("bench", "tokenize", "--prompts", corpus, "--rounds", "3", "--output", "b.json")
    assert answer.code == 0, answer.err
    shutil.copy("b.json", "a.json")
    stored = json.loads(Path("a.json").read_text())
    low, high = stored["spread"]["speedup"]
    assert low <= stored["figures"]["speedup"] <= high
    assert "prompts" not in stored["spread"]
    stored["figures"]["speedup"], stored["spread"]["speedup"] = 1e4, [9e3, 2e4]
    stored["options"]["prompts"] = "others.txt"
    stored["machine"]["versions"]["torch"] = "1.0"
    Path("a.json").write_text(json.dumps(stored))
    out = litetext("bench", "compare", "a.json", "b.json").out
    assert "option: prompts others.txt -> prompts.txt" in out
    assert "machine: version of torch 1.0 ->" in out
    assert "speedup" in out.partition("within the spread")[0]
    assert "10,000 (9,000 to 20,000) ->" in out
    stored["benchmark"], stored["machine"]["kind"] = "metrics", "abacus"
    Path("a.json").write_text(json.dumps(stored))
    assert "different benchmarks, metrics and tokenize" in refused("bench", "compare", "a.json", "b.json")
    assert "no figures of metrics on abacus" in refused("bench", "compare", "a.json")
    for part, wrong, told in (
        ("machine", {}, "says neither kind nor versions"),
        ("machine", {"kind": "amx", "versions": 3}, "says neither kind nor versions"),
        ("spread", {"speedup": [1]}, "the spread of 'speedup' is no smallest and largest value"),
        ("spread", {"speedup": "ab"}, "the spread of 'speedup' is no smallest and largest value"),
    ):
        Path("a.json").write_text(json.dumps(stored | {part: wrong}))
        for files in (("a.json",), ("b.json", "a.json")):
            assert f"a.json: {'' if part == 'spread' else 'machine '}{told}" in refused("bench", "compare", *files)
    stored = json.loads(Path("b.json").read_text())
    stored["figures"] |= {"skipped: bf16": "no such processor", "different_ids": None}
    Path("a.json").write_text(json.dumps(stored))
    out = litetext("bench", "compare", "a.json", "b.json").out
    assert "in words: skipped: bf16: no such processor -> nothing" in out
    assert "only after: different_ids" in out
    Path("a.json").write_text("[1]")
    assert "a.json is no file of litetext bench --output" in refused("bench", "compare", "a.json", "b.json")
    assert "none.json" in refused("bench", "compare", "b.json", "none.json")


def test_figures_are_not_written_over(
    corpus: str, litetext: Callable[..., Answer], refused: Callable[..., str]
) -> None:
    asked = ("bench", "tokenize", "--prompts", corpus, "--rounds", "1", "--output", "figures.json")
    Path("figures.json").write_text("mine")
    for begin in (asked, ("bench", "--seconds", "1", "--output", "figures.json")):
        assert "figures.json is there already" in refused(*begin)
    assert Path("figures.json").read_text() == "mine"
    assert litetext(*asked, "--overwrite").code == 0
    assert "mine" not in Path("figures.json").read_text()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_train(precision: str, corpus: str, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def tiny(preset: str, context_length: int, padding: str = "masked") -> MobileClipText:
        seen.append(f"{preset} {context_length} {padding}")
        return MobileClipText("nano", context_length, layers=1, padding=padding)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "MobileClipText", tiny)
    small = ("--prompts", corpus, "--batches", "2", "--rounds", "1", "--batch_size", "16")
    printed = figures(litetext("bench", "train", *small, "--precision", precision))
    assert printed["precision"] == precision
    assert sorted(seen) == ["s0 16 masked", "s0 16 reference"]
    rate, reference = (float(printed[name].replace(",", "")) for name in ("prompts/s", "reference prompts/s"))
    assert float(printed["ratio"]) == pytest.approx(rate / reference, rel=1e-2)
    assert 4 < float(printed["mean tokens"]) <= 16


def test_train_wants_enough_prompts(corpus: str, refused: Callable[..., str]) -> None:
    line = refused("bench", "train", "--prompts", corpus, "--batches", "9", "--preset", "s0")
    assert "prompts.txt gives" in line
    assert "576 are needed" in line


def test_teacher(corpus: str, litetext: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch) -> None:
    small = Sam3TextEncoder.random(0, embed_width=16, heads=1, layers=2, hidden=32, eot_width=8, width=8)
    monkeypatch.setattr(Sam3TextEncoder, "random", lambda seed: small)
    command = ("bench", "teacher", "--prompts", corpus, "--count", "40")
    printed = figures(litetext(*command))
    assert printed["prompts"] == "40"
    assert float(printed["largest difference"]) < 1e-5
    # The difference is measured: a teacher whose features depend on padding shows one.
    whole = Sam3TextEncoder.forward

    def leaky(self: Sam3TextEncoder, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return whole(self, ids, lengths) + ids.shape[1]

    monkeypatch.setattr(Sam3TextEncoder, "forward", leaky)
    assert float(figures(litetext(*command))["largest difference"]) > 1


def test_metrics(litetext: Callable[..., Answer]) -> None:
    printed = figures(litetext("bench", "metrics", "--datapoints", "12", "--size", "32", "--annotators", "2"))
    assert any("12" in value for value in printed.values())


@pytest.mark.usefixtures("copied")
def test_text_encoders_side_by_side(corpus: str, teacher_file: Path, litetext: Callable[..., Answer]) -> None:
    answer = litetext(
        *("bench", "--encoders", f"own={teacher_file}", "nano", "--context_lengths", "8", "--seconds", "1"),
        *("--batch_sizes", "1", "4", "--prompts", corpus, "--threads", "1", "--sam3", "checkpoints/sam3-tiny"),
        *("--output", "figures.json"),
    )
    assert answer.code == 0, answer.err
    stored = json.loads(Path("figures.json").read_text())
    rows = {(row["encoder"], row["padding"]): row for row in stored["rows"]}
    assert list(rows) == [(name, mode) for mode in ("masked", "reference", "transformers") for name in ("own", "nano")]
    own, nano = rows["own", "masked"], rows["nano", "masked"]
    alike = Sam3TextEncoder(embed_width=16, heads=1, layers=1, hidden=32, eot_width=8, width=64, context_length=8)
    assert own["parameters"] == sum(p.numel() for p in alike.parameters())
    assert nano["parameters"] == 359_200
    for row in rows.values():
        assert set(row["prompts_per_second"]) == {"1", "4"}
        for rate in row["prompts_per_second"].values():
            assert 0 < rate["low"] <= rate["median"] <= rate["high"]
        assert row["context_length"] == 8
        assert (row["backend"], row["dtype"], row["device"]) == ("eager", "float32", "cpu")
    ratio = nano["ratio_to_teacher"]["prompts_per_second"]["4"]
    assert ratio == pytest.approx(nano["prompts_per_second"]["4"]["median"] / own["prompts_per_second"]["4"]["median"])
    assert nano["flops_per_prompt"] < rows["nano", "reference"]["flops_per_prompt"]
    assert nano["whole_sam3"]["parameters"] == 4_464_006 - 3_322_496 + 359_200
    assert 0 < nano["whole_sam3"]["text_share_of_time"] < 1
    assert stored["threads"] == 1
    assert "359,200" in answer.out
    assert "skipped" not in answer.out
    flat, name = stored["figures"], "nano, 8 tokens, masked, eager float32, batch 4"
    assert flat[f"{name}: prompts/s"] == nano["prompts_per_second"]["4"]["median"]
    assert flat[f"{name}: ratio to teacher"] == ratio
    assert stored["machine"]["cores"] >= 1


def test_help_lists_everything(litetext: Callable[..., Answer]) -> None:
    answer = litetext("bench", "--help")
    assert answer.code == 0
    for word in ("--encoders", "--backends", "--sam3", "--output", "tokenize", "audit", "estimators", "segment"):
        assert word in answer.out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--encoders", "s9"], "s9"),
        (["--encoders", "mine=none.ckpt", "--context_lengths", "8"], "none.ckpt"),
        (["--prompts", "none.txt"], "none.txt"),
        (["--padding", "some"], "some"),
        (["--output", "none/figures.json"], "--output none/figures.json"),
        (["tokenize", "--prompts", "none.txt"], "none.txt"),
        (["tokenize", "--prompts", "prompts.txt", "--rounds", "0"], "rounds"),
        (["teacher", "--prompts", "prompts.txt", "--count", "0"], "count"),
        (["metrics", "--annotators", "0"], "annotators"),
        (["train", "--prompts", "prompts.txt", "--preset", "s9"], "s9"),
        (["train"], "prompts"),
        (["speed"], "speed"),
    ],
)
def test_bad_options_end_in_one_line(argv: list[str], told: str, corpus: str, refused: Callable[..., str]) -> None:
    assert told in refused("bench", *argv)


def test_the_released_figures_are_read_and_compared(litetext: Callable[..., Answer]) -> None:
    files = sorted(RELEASED.glob("*.json"))
    assert files
    for path in files:
        record = read_record(path)
        assert path.stem == f"{record['benchmark']}-{record['machine']['kind']}"
        assert record["machine"]["load"] < 1.5  # measured where nothing else ran
        out = litetext("bench", "compare", str(path)).out
        assert f"before: {path.name} of the last release" in out
        assert "beyond the spread of both runs: 0 of" in out
