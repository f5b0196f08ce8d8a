"""Where the time of a student goes: by kind of operator, in each precision, and what bounds its products."""

import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from litetext.bench.efficiency.measured import open_encoder
from litetext.bench.efficiency.rounds import spread
from litetext.bench.student import stir
from litetext.bench.timing import Measured
from litetext.data.prompts.corpora import read_prompts
from litetext.models.text.fast import FastStudent
from litetext.models.text.fastest import PRECISIONS, Precision
from litetext.models.text.mobileclip import PRESETS, MobileClipText
from litetext.models.text.quantized import dynamic_int8
from litetext.tokenizer import Tokenizer, pad

PRODUCTS = "products of layers"
OTHERS = "moving, adding, making tensors"
_PRODUCT = ("addmm", "linear", "mm", "mkldnn_linear")
_KINDS = {
    PRODUCTS: "",
    "attention": "scaled_dot_product",
    "convolutions": "convolution",
    "GELU": "gelu",
    "norms": "layer_norm",
}
"""Kinds of operators, and what stands in their names."""
_LARGE = 2048
"""Rows, inputs and outputs of the product that stands for what the processor can do."""


def bench_operators(
    prompts: str = "nouns:2000", student: str = "s0", batch_size: int = 64, rounds: int = 9, threads: int = 1
) -> dict[str, Any]:
    """Shares of a student's time by kind of operator; prints a Markdown table.

    What bounds the products of layers is told by one large product in the same precision, measured in turn: their
    operations a second as a share of its.

    Args:
        prompts: Corpus; `nouns:N` needs no file.
        student: `s0`, `s1`, `l` (random weights) or a path.
        batch_size: Prompts at once.
        rounds: Passes in each precision; medians count.
        threads: CPU threads.

    Returns:
        Figures by precision and kind.

    Raises:
        ValueError: If a number is below 1, or the path holds no such student.
    """
    if batch_size < 1 or rounds < 1 or threads < 1:
        raise ValueError(f"batch_size={batch_size}, rounds={rounds} and threads={threads} must be 1 or more")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    small = open_encoder(student, 16)
    if not isinstance(small, MobileClipText):
        raise ValueError(f"--student {student} must be a MobileCLIP student")
    small.eval().requires_grad_(False)
    if student in PRESETS:
        stir(small)
    found = read_prompts("prompts", prompts).prompts
    batch = pad(spread(sorted(Tokenizer(small.context_length).encode(found), key=len), batch_size))
    figures: dict[str, Any] = {"prompts": batch_size, "tokens": int(batch.lengths.sum()), "rounds": rounds}
    rows: dict[str, list[str]] = {}
    for precision in PRECISIONS:
        taken, speed, best = _measure(small, precision, batch.ids, batch.lengths, rounds)
        whole = sum(taken.values())
        figures[f"{precision}: ms a prompt"] = whole / batch_size
        figures |= {f"{precision}: {kind}": part / whole for kind, part in taken.items()}
        figures[f"{precision}: speed of the products over a large one"] = Measured(
            a / b for a, b in zip(speed, best, strict=True)
        )
        rows[precision] = [f"{whole / batch_size:.2f}", *(f"{taken[kind] / whole:.0%}" for kind in (*_KINDS, OTHERS))]
        rows[precision].append(f"{statistics.median(a / b for a, b in zip(speed, best, strict=True)):.0%}")
    head = ["", "ms a prompt", *_KINDS, OTHERS, "speed of the products, of one large product's"]
    lines = [head, ["---"] * len(head), *([name, *cells] for name, cells in rows.items())]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines), end="\n\n")
    return figures


def _measure(
    student: MobileClipText, precision: Precision, ids: Tensor, lengths: Tensor, rounds: int
) -> tuple[dict[str, float], list[float], list[float]]:
    """Milliseconds of a pass by kind of operator; operations a second of its products and of a large one, by round."""
    fast, large = FastStudent(student, precision), _large(precision)
    tokens = int(lengths.sum())
    layers = [m for m in fast.modules() if isinstance(m, nn.Linear | torch.ao.nn.quantized.Linear)]
    operations = sum(2 * tokens * layer.in_features * layer.out_features for layer in layers)
    given = torch.randn(_LARGE, _LARGE, dtype=torch.bfloat16 if precision == "bfloat16" else torch.float32)
    taken: dict[str, list[float]] = defaultdict(list)
    speed, best = [], []
    with torch.inference_mode():
        fast(ids, lengths)
        large(given)  # kernels chosen, memory touched
        for _ in range(rounds):
            with profile(activities=[ProfilerActivity.CPU]) as seen:
                fast(ids, lengths)
            parts = dict.fromkeys((*_KINDS, OTHERS), 0.0)
            for event in seen.key_averages():
                parts[_kind(event.key)] += event.self_cpu_time_total / 1e3
            for kind, part in parts.items():
                taken[kind].append(part)
            speed.append(operations / parts[PRODUCTS])
            began = time.perf_counter()
            large(given)
            best.append(2 * _LARGE**3 / (1e3 * (time.perf_counter() - began)))
    return {kind: statistics.median(parts) for kind, parts in taken.items()}, speed, best


def _large(precision: Precision) -> nn.Module:
    layer = nn.Sequential(nn.Linear(_LARGE, _LARGE)).eval().requires_grad_(False)
    if precision == "int8":
        return dynamic_int8(layer)
    return layer.to(getattr(torch, precision))


def _kind(operator: str) -> str:
    name = operator.rpartition("::")[2]
    if name.startswith(_PRODUCT):
        return PRODUCTS
    return next((kind for kind, part in _KINDS.items() if part and part in name), OTHERS)
