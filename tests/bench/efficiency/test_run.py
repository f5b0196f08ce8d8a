"""What `litetext bench` says of encoders: exact counts, known operations, and rounds that keep to their time."""

import math
import os
import sys
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from litetext.bench.efficiency import backends, measured
from litetext.bench.efficiency import run as efficiency
from litetext.bench.efficiency.backends import missing
from litetext.bench.efficiency.cost import Sam3Cost, prompt_flops, sam3_cost
from litetext.bench.efficiency.measured import MeasuredEncoder, Pass, Spec
from litetext.bench.efficiency.rounds import (
    MAX_REPETITIONS,
    MIN_REPETITIONS,
    SINGLES,
    Cell,
    cap,
    measure,
    spread,
    workers,
)
from litetext.bench.efficiency.run import add_whole, bench_efficiency, compare
from litetext.bench.efficiency.sam3_time import Sam3Seconds
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder

ROWS = [[49406, *range(5, 5 + n), 49407] for n in (1, 2, 3, 6)]


def spec(source: str = "nano", contexts: tuple[int, ...] = (8, 16), **changes: Any) -> Spec:
    lengths = {length: [3, 4, 5, 8] for length in contexts}
    return Spec(source, contexts, lengths, "eager", "float32", "cpu", None)._replace(**changes)


def test_parameters_at_every_context_are_those_of_an_encoder_built_for_it() -> None:
    opened = MeasuredEncoder(spec("nano", (8, 16, 32)))
    for length, cost in opened.facts.costs.items():
        assert cost.parameters == sum(p.numel() for p in MobileClipText("nano", length).parameters())
    assert [cost.parameters for cost in opened.facts.costs.values()] == [359_200, 359_584, 360_352]


def test_megabytes_by_type() -> None:
    cost = measured.Cost(parameters=3 * 2**20, quantized=2**20, padded=0, filled=0, unpadded=0)
    assert cost.megabytes == {"fp32": 12.0, "fp16": 6.0, "int8": 9.0}


@pytest.mark.parametrize(
    ("preset", "gigaflops"), [("s0", {6: 0.204, 16: 0.544}), ("s1", {6: 0.456}), ("l", {6: 1.024})]
)
def test_operations_of_the_students(preset: Any, gigaflops: dict[int, float]) -> None:
    student = MobileClipText(preset, 16).eval().requires_grad_(False)
    counted = prompt_flops(student, gigaflops)
    # The published towers also make a pooled feature, half a million operations that SAM3 never uses.
    assert {n: flops / 1e9 for n, flops in counted.items()} == pytest.approx(gigaflops, abs=2e-3)


def test_operations_of_attention_are_counted() -> None:
    encoder = Sam3TextEncoder.random(0, vocab_size=9, embed_width=8, heads=2, layers=3, hidden=16, eot_width=4, width=4)
    linear = 3 * (4 * 8 * 8 + 2 * 8 * 16) + 8 * 4
    for length, flops in prompt_flops(encoder, [1, 5, 12]).items():
        attention = 3 * 2 * length * length * 8
        assert flops == 2 * (length * linear + attention)


def test_unpadded_operations_are_the_mean_over_the_sample() -> None:
    opened = MeasuredEncoder(spec("nano", (16,), lengths={16: [3, 3, 9]}))
    counted = prompt_flops(opened.encoder, [3, 9, 16])
    cost = opened.facts.costs[16]
    assert cost.unpadded == round((2 * counted[3] + counted[9]) / 3)
    assert cost.padded == counted[16]


def test_sam3_is_counted_whole() -> None:
    whole = sam3_cost()
    assert whole.parameters["text"] == 353_724_672
    assert sum(whole.parameters.values()) == 840_376_374
    assert round(whole.flops["text"] / 1e9, 2) == 19.45
    assert whole.flops["image"] > whole.flops["detector"] > whole.flops["text"]


def test_sam3_of_a_folder() -> None:
    whole = sam3_cost("checkpoints/sam3-tiny")
    assert sum(whole.parameters.values()) == 4_464_006
    assert whole.parameters["text"] == 3_322_496
    with pytest.raises(ValueError, match=r"student-tiny|no-such"):
        sam3_cost("checkpoints/student-tiny")
    with pytest.raises(FileNotFoundError):
        sam3_cost("./no-such-folder")


def test_padding_modes_compute_different_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = MeasuredEncoder(spec())
    seen: list[tuple[tuple[int, ...], list[int]]] = []
    monkeypatch.setattr(opened, "run", lambda ids, lengths: seen.append((tuple(ids.shape), lengths.tolist())))
    opened.encode(8, "masked", ROWS[:3], 2)
    opened.encode(8, "reference", ROWS[:3], 2)
    assert seen == [((2, 4), [3, 4]), ((1, 5), [5]), ((2, 8), [8, 8]), ((1, 8), [8])]


def test_transformers_fills_to_32_tokens_whatever_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = MeasuredEncoder(spec())
    seen: list[tuple[tuple[int, ...], list[int]]] = []
    run = opened.run

    def watched(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append((tuple(ids.shape), lengths.tolist()))
        return run(ids, lengths)

    monkeypatch.setattr(opened, "run", watched)
    opened.encode(8, "transformers", ROWS[:3], 2)
    assert seen == [((2, 32), [32, 32]), ((1, 32), [32])]
    wide = MobileClipText("nano", 32).eval().requires_grad_(False)
    assert {cost.filled for cost in opened.facts.costs.values()} == {prompt_flops(wide, [32])[32]}


@pytest.mark.parametrize("padding", ["transformers", "reference"])
def test_an_encoder_runs_with_the_padding_that_it_was_trained_to_see(
    padding: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = MobileClipText("nano", 8, padding=padding, layers=1, repmixer=True)
    monkeypatch.setattr(measured, "open_encoder", lambda *_: student)
    opened = MeasuredEncoder(spec("mine", (8, 16)))
    facts = {"mine": opened.facts}
    report: dict[str, Any] = {"skipped": []}
    running: Any = {"mine": None}
    modes: Any = ("masked", "transformers", "reference")
    found = efficiency._cells(report, facts, running, (8, 16), modes, (1, 4))
    assert {(cell.context, cell.padding) for cell in found} == {(8, padding)}
    assert sum("its weights were trained to see padding" in line for line in report["skipped"]) == 2
    counted = prompt_flops(student.eval().requires_grad_(False), [3])[3]
    (row, *_) = efficiency._rows(
        [cell for cell in found if cell.passes.append(Pass(1.0, None)) is None], facts, "eager", "float32", "cpu"
    )
    assert row["flops_per_prompt"] == counted == opened.facts.costs[8].padded
    opened.encode(8, padding, ROWS[:3], 2)


def test_the_context_does_not_change_features(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = MeasuredEncoder(spec())
    seen: list[torch.Tensor] = []
    run = opened.run
    monkeypatch.setattr(opened, "run", lambda ids, lengths: seen.append(run(ids, lengths)))
    for context in (16, 8, 16):
        opened.encode(context, "masked", ROWS, 4)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    with pytest.raises(ValueError, match="positions"):  # and it is an encoder of that length while it runs
        opened.encode(8, "masked", [[49406, *range(12), 49407]], 1)


def test_memory_of_a_process_holds_the_weights() -> None:
    with workers(["s0"]) as running:
        facts = running["s0"].ask(measured.open_measured, spec("s0", (8,)))
        passed = running["s0"].ask(measured.encode, 8, "masked", ROWS, 4, True)
        assert running["s0"].ask(measured.encode, 8, "masked", ROWS, 4, False).peak_mb is None
    weights = facts.costs[8].megabytes["fp32"]
    if sys.platform == "linux":
        assert weights - 5 < passed.peak_mb < weights + 60


def test_a_process_that_dies_is_told_of() -> None:
    with workers(["s0"]) as running, pytest.raises(ValueError, match="measures s0 died"):
        running["s0"].ask(os._exit, 1)


def test_int8_computes_nearly_the_same_in_less() -> None:
    plain, small = MeasuredEncoder(spec("s0", (8,))), MeasuredEncoder(spec("s0", (8,), backend="int8"))
    assert sum(p.numel() for p in small.encoder.parameters()) == (
        plain.facts.costs[8].parameters
        - plain.facts.costs[8].quantized
        - sum(m.bias.numel() for m in plain.encoder.modules() if isinstance(m, torch.nn.Linear))
    )
    assert plain.facts.costs == small.facts.costs
    small.encode(8, "masked", ROWS, 4)


def test_onnx_runtime_gives_the_same_features() -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    encoder = MobileClipText("nano", 8, layers=1).eval().requires_grad_(False)
    ids, lengths = measured.pad(ROWS, 8)
    expected = encoder(ids, lengths)
    found = torch.as_tensor(backends.prepare(encoder, "onnx", 1)(ids, lengths))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("eager", "cpu") is None
    assert "CPU only" in (missing("int8", "cuda") or "")
    assert "bfloat16" in (missing("int8", "cpu", "bfloat16") or "")
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert (missing("onnx", "cpu") or "").startswith("onnxruntime not installed: pip install onnx")
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    assert "compiler" in (missing("compiled", "cpu") or "")


@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=30), st.floats(0.1, 1000))
def test_cap_shares_the_time(needs: list[float], total: float) -> None:
    limit = cap(needs, total)
    used = sum(min(need, limit) for need in needs)
    assert used <= total * (1 + 1e-9)
    if math.isfinite(limit):
        assert used == pytest.approx(total)
    else:
        assert sum(needs) == used


@given(st.integers(1, 40), st.integers(1, 80))
def test_spread_keeps_order_and_count(rows: int, count: int) -> None:
    chosen = spread([[n] for n in range(rows)], count)
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    assert abs(sum(n for (n,) in chosen) / count - (rows - 1) / 2) <= rows / count


class Clock:
    """A worker whose passes take the time that they are said to take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, per_prompt: dict[int, float]) -> None:
        self.now, self.per_prompt = 0.0, per_prompt
        self.counts: list[tuple[int, int]] = []
        monkeypatch.setattr("litetext.bench.efficiency.rounds.time.perf_counter", lambda: self.now)

    def ask(self, task: Any, context: int, padding: str, rows: list[Any], batch: int, watch_memory: bool) -> Pass:
        seconds = self.per_prompt[context] * len(rows)
        self.now += seconds
        self.counts.append((context, len(rows)))
        return Pass(seconds, None)


def cells(clock: Clock, batch: int) -> list[Cell]:
    return [Cell(str(n), n, "masked", batch, clock) for n in clock.per_prompt]  # type: ignore[arg-type]


def test_rounds_take_encoders_in_turn_and_whole_batches_where_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {8: 0.001, 16: 0.01})
    found = cells(clock, 64)
    measure(found, {8: ROWS, 16: ROWS}, 60.0, whole=False)
    assert clock.counts[:4] == [(8, 1), (16, 1), (8, 4), (16, 4)]
    assert clock.counts[4:8] == [(8, 64), (16, 64), (8, 64), (16, 64)]
    assert [cell.prompts for cell in found] == [64, 64]
    assert [cell.rate()["median"] for cell in found] == pytest.approx([1000, 100])
    assert all(MIN_REPETITIONS < len(cell.passes) <= MAX_REPETITIONS for cell in found)
    assert clock.now < 60


def test_a_slow_encoder_is_given_fewer_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {8: 0.001, 16: 0.5})
    found = cells(clock, 64)
    measure(found, {8: ROWS, 16: ROWS}, 20.0, whole=False)
    assert found[0].prompts == 64
    assert 1 <= found[1].prompts < 16
    assert len(found[1].passes) >= MIN_REPETITIONS
    assert found[1].rate()["median"] == pytest.approx(2)
    assert clock.now < 25


def test_backends_of_fixed_shape_run_whole_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {8: 1.0})
    found = cells(clock, 64)
    measure(found, {8: ROWS}, 10.0, whole=True)
    assert {count for _, count in clock.counts} == {64}
    assert len(found[0].passes) >= 1


def test_single_prompts_are_encoded_several_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, {8: 0.01})
    found = cells(clock, 1)
    measure(found, {8: ROWS}, 10.0, whole=False)
    assert found[0].prompts == SINGLES
    assert found[0].rate()["median"] == pytest.approx(100)


def row(encoder: str, kind: str, context: int, speed: float, **changes: Any) -> dict[str, Any]:
    own = {"encoder": encoder, "kind": kind, "context_length": context, "parameters": 100, "flops_per_prompt": 1000}
    rates = {"prompts_per_second": {"1": {"median": speed}}, "ratio_to_teacher": None}
    return own | rates | {"padding": "masked", "backend": "eager", "dtype": "float32"} | changes


def test_ratios_are_to_the_teacher_at_its_longest_context_in_the_same_mode() -> None:
    rows = [
        row("teacher", "sam3", 16, 4.0),
        row("teacher", "sam3", 32, 2.0),
        row("s0", "student", 16, 10.0, parameters=25, flops_per_prompt=100),
        row("teacher", "sam3", 32, 1.0, padding="reference"),
        row("s0", "student", 16, 10.0, padding="reference"),
        row("s0", "student", 16, 30.0, backend="int8", dtype="int8"),
    ]
    compare(rows)
    assert rows[2]["ratio_to_teacher"] == {
        "parameters": 4.0,
        "flops": 10.0,
        "prompts_per_second": {"1": 5.0},
        "teacher_context_length": 32,
    }
    assert rows[0]["ratio_to_teacher"]["prompts_per_second"] == {"1": 2.0}
    assert rows[4]["ratio_to_teacher"]["prompts_per_second"] == {"1": 10.0}
    assert rows[5]["ratio_to_teacher"] is None


def test_share_of_a_whole_sam3() -> None:
    whole = Sam3Cost(
        "x", {"vision": 500, "detector": 100, "text": 400}, {"image": 7000, "detector": 1000, "text": 2000}
    )
    rows = [row("s0", "student", 16, 10.0)]
    costs = add_whole(rows, whole, Sam3Seconds(image=0.7, prompt=0.2))
    assert costs["parameters"]["total"] == 1000
    assert rows[0]["whole_sam3"] == {
        "parameters": 700,
        "parameters_saved": 0.3,
        "flops_saved": 0.1,
        "flops_saved_further_prompts": pytest.approx(1 / 3),
        "text_share_of_time": pytest.approx(0.1),
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"encoders": ["s9"]}, "s9 is none of"),
        ({"encoders": ["s0", "s0"]}, "twice"),
        ({"encoders": ["mine="]}, "NAME=PATH"),
        ({"context_lengths": [2]}, "no room"),
        ({"batch_sizes": [0]}, "batch_sizes is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"seconds": 0.0}, "seconds is 0"),
        ({"device": "meta"}, "computes nothing"),
        ({"device": "abacus"}, "abacus"),
        ({"dtypes": ["bfloat16"], "backends": ["onnx"]}, "nothing is left to measure"),
    ],
)
def test_options_that_measure_nothing(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        bench_efficiency(**options)
