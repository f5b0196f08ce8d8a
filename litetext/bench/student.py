"""How fast and how small a student gets: every way to run it against its teacher and transformers, in one run."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from litetext.bench.efficiency.backends import missing
from litetext.bench.efficiency.measured import open_encoder
from litetext.bench.efficiency.rounds import spread
from litetext.bench.timing import Measured
from litetext.data.prompts.corpora import read_prompts
from litetext.export.graphs import export_onnx, open_onnx
from litetext.losses import pool
from litetext.models.text.compact import save_compact
from litetext.models.text.encoder import count_parameters
from litetext.models.text.fast import FastStudent
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import PRESETS, MobileClipText
from litetext.models.text.pruned_vocabulary import kept_ids
from litetext.models.text.quantized import Bits, resident_bytes
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.tokenizer import VOCAB_SIZE, Tokenizer, pad

Encode = Callable[[Tensor, Tensor], Any]

TARGETS = {
    "fp32 over teacher": 100,
    "bf16 over teacher": 200,
    "int8 over teacher": 300,
    "fp32 over unpadded teacher": 20,
    "fp32 over transformers": 2,
    "int8 over transformers": 8,
    "batch 1, ONNX int8 over teacher": 200,
}
"""Least ratios that S0 is to reach, on a processor with 8-bit dot products and bfloat16."""
_TEACHER_PROMPTS = 16
"""Prompts of a teacher's padded pass: 512 tokens, from where on its speed does not change."""
_SINGLES = 6
"""Prompts that a pass at batch size 1 encodes, one after the other."""
COMPACT: dict[str, tuple[Bits, Bits]] = {
    "8 bits": (8, 8),
    "8-bit tokens and 6-bit layers": (8, 6),
    "8-bit tokens and 5-bit layers": (8, 5),
    "8-bit tokens and 4-bit layers": (8, 4),
    "4 bits": (4, 4),
}
"""Bits of the token table and of linear layers in the compact forms whose size is taken."""


class _Way(NamedTuple):
    """A way to encode prompts: batches of ids and lengths, and what runs them."""

    run: Encode
    batches: list[tuple[Tensor, Tensor]]

    def seconds(self) -> float:
        """Of one pass, a prompt; processor time where there is one thread, so that other work does not count."""
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        began = clock()
        with torch.inference_mode():
            for ids, lengths in self.batches:
                self.run(ids, lengths)
        return (clock() - began) / sum(len(ids) for ids, _ in self.batches)


def bench_student(
    prompts: str = "nouns:2000",
    student: str = "s0",
    teacher: str = "teacher",
    batch_size: int = 64,
    kept: int = 10_000,
    seconds: float = 120.0,
    threads: int | None = 1,
) -> dict[str, Any]:
    """A student in 32, 16 and 8 bits against its teacher (padded, and not) and transformers' own model.

    All ways take turns; a ratio is the median over rounds of the two times of a round. The teacher pads to its context
    and computes in 32 bits, transformers' model pads to the student's.

    Args:
        prompts: Corpus; `nouns:N` needs no file.
        student: `s0`, `s1`, `l` (random weights) or a path.
        teacher: `teacher` (SAM3's size, random weights) or a path.
        batch_size: Prompts at once; also measured at 1.
        kept: Token rows in memory of the compact student.
        seconds: For the rounds, of which there are three at least; building the models comes on top.
        threads: CPU threads.

    Returns:
        Figures by name: ratios with their targets, milliseconds a prompt, bytes, and cosines to the student in 32 bits.

    Raises:
        ValueError: If a number is out of its range, or a path holds no such encoder.
    """
    for name, value in {"batch_size": batch_size, "kept": kept, "seconds": seconds}.items():
        if value <= 0:
            raise ValueError(f"{name}={value} must be more than 0")
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    small, big = open_encoder(student, 16), open_encoder(teacher, 32)
    if not isinstance(small, MobileClipText) or not isinstance(big, Sam3TextEncoder):
        raise ValueError(f"--student {student} must be a student, and --teacher {teacher} a SAM3's text encoder")
    small.eval().requires_grad_(False)
    if student in PRESETS:
        stir(small)
    found = read_prompts("prompts", prompts).prompts
    rows = sorted(Tokenizer(small.context_length).encode(found), key=len)
    batch = pad(spread(rows, batch_size))
    figures: dict[str, Any] = {
        "prompts": len(found),
        "tokens a prompt": float(batch.lengths.float().mean()),
        "threads": torch.get_num_threads(),
    }
    with TemporaryDirectory() as folder:
        ways, skipped = _ways(small, big, spread(rows, batch_size), spread(rows, _SINGLES), Path(folder))
        figures |= _sizes(small, big, rows, kept, Path(folder) / "compact", batch.ids, batch.lengths)
        for name, run in {"fp32": ways["fp32"].run, "int8": ways["int8"].run}.items():
            figures[f"{name}: smallest pooled cosine"] = _cosine(small, run, batch.ids, batch.lengths)
        measured = _rounds(ways, seconds)
    figures["rounds"] = len(next(iter(measured.values())))
    for name, times in measured.items():
        figures[f"{name}: ms"] = Measured(1e3 * one for one in times)
    for what, target in TARGETS.items():
        fast, _, slow = what.partition(" over ")
        slow = f"batch 1, {slow}" if fast.startswith("batch 1") else slow
        if fast in measured and slow in measured:
            pairs = zip(measured[fast], measured[slow], strict=True)
            figures[f"{what} (target {target})"] = Measured(b / a for a, b in pairs)
    return figures | {f"skipped: {name}": reason for name, reason in skipped.items()}


def stir(student: MobileClipText) -> None:
    """Gives random RepMixer blocks a part in the features; at their initial scale of 1e-5 they have none."""
    for name, value in student.state_dict().items():
        if name.endswith(".scale"):
            value.fill_(0.5)


def _ways(
    student: MobileClipText,
    teacher: Sam3TextEncoder,
    rows: Sequence[list[int]],
    singles: Sequence[list[int]],
    folder: Path,
) -> tuple[dict[str, _Way], dict[str, str]]:
    def padded(chosen: Sequence[list[int]], length: int, full: bool) -> tuple[Tensor, Tensor]:
        ids, lengths = pad(chosen, length)
        return ids, torch.full_like(lengths, length) if full else lengths

    def ones(length: int | None = None) -> list[tuple[Tensor, Tensor]]:
        return [padded([row], length or max(2, len(row)), length is not None) for row in singles]

    longest, context = teacher.context_length, student.context_length
    whole: list[tuple[Tensor, Tensor]] = [pad(rows)]
    few = padded(spread(sorted(rows, key=len), min(_TEACHER_PROMPTS, len(rows))), longest, True)
    fp32, int8 = FastStudent(student), FastStudent(student, "int8")
    ways = {
        "teacher": _Way(teacher, [few]),
        "unpadded teacher": _Way(teacher, whole),
        "transformers": _Way(transformers_model(student), [padded(rows, context, False)]),
        "fp32": _Way(fp32, 3 * whole),
        "int8": _Way(int8, 3 * whole),
        "batch 1, teacher": _Way(teacher, ones(longest)[::3]),
        "batch 1, fp32": _Way(fp32, ones()),
        "batch 1, int8": _Way(int8, ones()),
    }
    skipped = {}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported() and torch.cpu._is_avx512_bf16_supported():
        ways["bf16"] = _Way(FastStudent(student, "bfloat16"), 3 * whole)
    else:
        skipped["bf16"] = "this processor has no bfloat16 dot products"
    if reason := missing("onnx", "cpu"):
        skipped["batch 1, ONNX int8"] = reason
    else:
        run = open_onnx(export_onnx(student, folder, "int8"), torch.get_num_threads())
        full = context if student.padding == "reference" else None
        ways["batch 1, ONNX int8"] = _Way(run, [padded([row], full or max(2, len(row)), False) for row in singles])
    if not torch.cpu._is_vnni_supported():
        skipped["8-bit dot products"] = "this processor has none (VNNI), so int8 gains less"
    return ways, skipped


def transformers_model(student: MobileClipText) -> Encode:
    """Transformers' `Sam3LiteTextTextModel` of a student's size with random weights, padded prompts masked."""
    from transformers import Sam3LiteTextTextConfig, Sam3LiteTextTextModel

    size = student.config
    config = Sam3LiteTextTextConfig(
        vocab_size=size["vocab_size"],
        hidden_size=size["embed_width"],
        intermediate_size=4 * size["embed_width"],
        projection_dim=size["embed_width"],
        num_hidden_layers=size["layers"] + 2 * size["repmixer"],
        num_attention_heads=size["heads"],
        use_repmixer_blocks=bool(size["repmixer"]),
        repmixer_kernel_size=size["kernel_size"],
        max_position_embeddings=size["context_length"],
    )
    model, projector = Sam3LiteTextTextModel(config).eval(), nn.Linear(size["embed_width"], student.width)

    def run(ids: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        return projector(model(input_ids=ids, attention_mask=mask.long()).last_hidden_state)

    return run


def _sizes(
    student: MobileClipText,
    teacher: Sam3TextEncoder,
    rows: Sequence[list[int]],
    kept: int,
    folder: Path,
    ids: Tensor,
    lengths: Tensor,
) -> dict[str, Any]:
    """Bytes of the compact students in memory, and what they cost."""
    counts = np.bincount(np.concatenate([np.asarray(row) for row in rows]), minlength=VOCAB_SIZE)
    teacher_bytes = 4 * count_parameters(teacher)
    measured = {tuple(row[:length]) for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)}
    calibration = [row for row in rows if tuple(row) not in measured]  # cosines are of prompts that it did not see
    figures: dict[str, Any] = {
        "teacher, fp32: MiB": teacher_bytes / 2**20,
        "student, fp32: MiB": 4 * count_parameters(student) / 2**20,
    }
    for name, (tokens, linears) in COMPACT.items():
        place = folder / name.replace(" ", "_")
        save_compact(student, place, kept_ids(counts, kept), tokens, linears, calibration)
        compact = load_text_encoder(place)
        figures[f"{name}, pruned vocabulary: MiB"] = resident_bytes(compact) / 2**20
        figures[f"{name}: teacher over it"] = teacher_bytes / resident_bytes(compact)
        figures[f"{name}: smallest pooled cosine"] = _cosine(student, compact, ids, lengths)
    return figures


@torch.no_grad()
def _cosine(student: MobileClipText, run: Encode, ids: Tensor, lengths: Tensor) -> float:
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    pooled = [pool(grid.float(), mask) for grid in (student(ids, lengths), run(ids, lengths))]
    return float(F.cosine_similarity(*pooled, dim=-1).min())


def _rounds(ways: dict[str, _Way], seconds: float) -> dict[str, list[float]]:
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():  # memory touched, kernels chosen
        ids, lengths = way.batches[0]
        way._replace(batches=[(ids[:1], lengths[:1])]).seconds()
    began, rounds = time.perf_counter(), 0
    while rounds < 3 or (rounds + 1) / rounds * (time.perf_counter() - began) < seconds:
        for name, way in ways.items():
            measured[name].append(way.seconds())
        rounds += 1
    return measured
