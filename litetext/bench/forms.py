"""Every form that a student runs in or is stored in: its bytes, its features, and a SAM3's predictions with it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer
from torch import Tensor

from litetext.bench.efficiency.backends import missing
from litetext.data.images.datamodule import SegDataModule
from litetext.data.prompts.corpora import read_prompts
from litetext.export.graphs import OnnxType, export_onnx, open_onnx
from litetext.metrics.agreement import neighbour_agreement
from litetext.models.text.bank import make_bank, save_bank
from litetext.models.text.compact import save_compact
from litetext.models.text.encoder import TextEncoder
from litetext.models.text.fast import FastStudent
from litetext.models.text.fastest import Precision
from litetext.models.text.loading import load_text_encoder
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.pruned_vocabulary import kept_ids
from litetext.models.text.quantized import Bits, resident_bytes
from litetext.models.text.student import Student
from litetext.modules.evaluation import TEACHER
from litetext.modules.seg_eval import SegEvalModule
from litetext.shipped import shipped
from litetext.tokenizer import UNLIMITED

_AS_TRAINED = "fp32"
_SHARE = "share of the student's CG_F1"
_LEAST_KEPT = 0.995
"""Share of the student's CG_F1 that a form must keep to be taken for it."""
STORED: tuple[tuple[Bits, Bits], ...] = ((8, 8), (6, 6), (4, 6), (5, 5), (4, 5), (8, 4), (4, 4))
"""Bits of the token table and of linear layers in the compact forms."""


class Form(NamedTuple):
    """A form of a student.

    Attributes:
        name: For people.
        encoder: What computes its features.
        held: Bytes of all its numbers in memory; of an ONNX file, its size.
        mapped: Bytes of token rows in a file that is read where a prompt needs it.
    """

    name: str
    encoder: TextEncoder
    held: int
    mapped: int = 0


class _Ran(TextEncoder):
    """A student that something else computes."""

    def __init__(self, student: Student, run: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.config, self.context_length, self.width = student.config, student.context_length, student.width
        self.reads, self._run = student.reads, run

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Token ids (B, L), lengths (B,) -> features (B, L, width)."""
        return self._run(ids, lengths)


def _onnx(student: Student, file: Path) -> _Ran:
    session = open_onnx(file, torch.get_num_threads())

    def run(ids: Tensor, lengths: Tensor) -> Tensor:
        length = ids.shape[1]
        if student.padding == "reference":  # the file takes whole contexts alone
            ids = F.pad(ids, (0, student.context_length - length))
        return session(ids, lengths)[0][:, :length]

    return _Ran(student, run)


def bench_forms(
    student: str,
    sam3: str = "checkpoints/sam3-nouns",
    data: str = "nouns:40",
    keep: str = "nouns:20000",
    subsets: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores every form of a student in one pass of the embedded benchmark; prints a Markdown table.

    Cosines are of pooled features to the student as it was trained, the smallest of all phrases of the benchmark;
    agreement is the share of these phrases whose nearest neighbour is the teacher's.

    Args:
        student: Checkpoint of a student of that SAM3.
        sam3: The segmenter, whose text encoder is the teacher.
        data: `nouns:N` or `shapes:N`, the embedded benchmark with N images a subset.
        keep: Corpus whose tokens compact forms keep in memory.
        subsets: Of the benchmark; all by default.

    Returns:
        Figures by form: bytes, cosine, agreement, CG_F1, and its share of the CG_F1 of the student as it was trained.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If the checkpoint holds no student, or an option is out of its range.
    """
    as_trained = load_text_encoder(student)
    if not isinstance(as_trained, Student):
        raise ValueError(f"--student {student} is SAM3's own text encoder; give a student that `litetext fit` wrote")
    as_trained.eval().requires_grad_(False)
    corpus = read_prompts("keep", keep).prompts
    images = SegDataModule(root=data, subsets=list(subsets) or "all")
    images.prepare_data()
    images.setup("test")
    phrases = list(dict.fromkeys(pair.phrase for image in images.images for pair in image.pairs))
    teacher = load_text_encoder(shipped(sam3))
    held = {TEACHER: (resident_bytes(teacher), 0)}
    pooled = {TEACHER: _pooled(teacher, phrases)}
    with TemporaryDirectory() as scratch:
        folder, banks, skipped = Path(scratch), {}, {}
        for form in _forms(as_trained, corpus, folder, skipped):
            banks[form.name] = str(folder / f"{len(banks)}.safetensors")
            save_bank(make_bank(form.encoder, form.name, phrases), banks[form.name])
            held[form.name] = form.held, form.mapped
            pooled[form.name] = _pooled(form.encoder, phrases)
        scores = _scores(shipped(sam3), banks, images, folder / "run")
    shares = _shares(scores, student)
    figures: dict[str, Any] = {"phrases": len(phrases), "pairs": images.pairs}
    rows: dict[str, dict[str, float]] = {}
    for name in held:
        cosine = F.cosine_similarity(pooled[name], pooled[_AS_TRAINED], dim=-1).min()
        rows[name] = {
            "bytes": held[name][0],
            "bytes mapped": held[name][1],
            "smallest pooled cosine": float(cosine),
            "agreement": float(neighbour_agreement(pooled[name], pooled[TEACHER])),
            "CG_F1": scores[name],
            _SHARE: shares[name],
        }
        figures |= {f"{name}: {what}": value for what, value in rows[name].items()}
    del figures[f"{TEACHER}: smallest pooled cosine"], figures[f"{TEACHER}: agreement"]  # to a student, to itself
    print(_table(rows), end="\n\n")
    enough = [name for name in rows if name != TEACHER and rows[name][_SHARE] >= _LEAST_KEPT]
    figures[f"smallest with {_LEAST_KEPT:.1%} of the student's CG_F1"] = min(enough, key=lambda n: rows[n]["bytes"])
    return figures | {f"skipped: {name}": why for name, why in skipped.items()}


def _forms(student: Student, corpus: Sequence[str], folder: Path, skipped: dict[str, str]) -> Iterator[Form]:
    """The forms, the student as it was trained first; what cannot run here gets its reason."""
    yield Form(_AS_TRAINED, student, resident_bytes(student))
    ways: tuple[tuple[str, Precision], ...] = (
        ("fast fp32", "float32"),
        ("fast bf16", "bfloat16"),
        ("fast int8", "int8"),
    )
    for name, precision in ways:
        if not isinstance(student, MobileClipText):
            skipped[name] = f"FastStudent takes MobileCLIP students, and this is a {type(student).__name__}"
            continue
        fast = FastStudent(student, precision)
        yield Form(name, fast, resident_bytes(fast))
    types: tuple[OnnxType, ...] = ("fp32", "fp16", "int8")
    for dtype in types:
        if reason := missing("onnx", "cpu"):
            skipped[f"ONNX {dtype}"] = reason
            continue
        file = export_onnx(student, folder, dtype, name=f"{dtype}.onnx")
        yield Form(f"ONNX {dtype}", _onnx(student, file), file.stat().st_size)
    tokenizer, calibration = student.tokenizer, student.tokenizer.encode(corpus)
    ids = tokenizer.cut_to(UNLIMITED).rows(corpus).ids
    size = student.config["vocab_size"]
    kept = kept_ids(np.bincount(ids, minlength=size), size, tokenizer.special)
    for tokens, linears in STORED:
        place = folder / f"{tokens}-{linears}"
        save_compact(student, place, kept, tokens, linears, calibration)
        compact = load_text_encoder(place)
        whole = resident_bytes(compact)
        others = sum(file.stat().st_size for file in place.glob("other_tokens*"))
        yield Form(f"compact, tokens {tokens} bits, layers {linears}", compact, whole, others)


def _pooled(encoder: TextEncoder, phrases: list[str]) -> Tensor:
    heard = encoder.encode(phrases)
    return torch.stack([heard[phrase].mean(0) for phrase in phrases])


def _scores(sam3: str, banks: dict[str, str], images: SegDataModule, folder: Path) -> dict[str, float]:
    """CG_F1 through each bank and the teacher, averaged over the subsets as `litetext test` does."""
    module = SegEvalModule(sam3, banks, pictures=0)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.test(module, images, verbose=False)
    averages = {name: entry["average"]["CG_F1"] for name, entry in module.results["encoders"].items()}
    if lost := [name for name, value in averages.items() if value is None]:
        raise ValueError(f"the benchmark has no CG_F1 of {lost[0]}; ask for more images")
    return averages


def _shares(scores: dict[str, float], student: str) -> dict[str, float]:
    """CG_F1 of each form over that of the student as it was trained."""
    if not scores[_AS_TRAINED]:
        raise ValueError(f"--student {student} has a CG_F1 of 0 as it was trained, of which no form keeps a share")
    return {name: score / scores[_AS_TRAINED] for name, score in scores.items()}


def _table(rows: dict[str, dict[str, float]]) -> str:
    head = "| form | bytes | of them as trained | in a file | pooled cosine | agreement | CG_F1 | kept |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    whole = rows[_AS_TRAINED]["bytes"]
    for name, row in rows.items():
        own = name == TEACHER
        cells = (
            name,
            f"{row['bytes']:,}",
            f"{whole / row['bytes']:.2f}x smaller" if not own else "",
            f"{row['bytes mapped']:,}" if row["bytes mapped"] else "",
            "" if own else f"{row['smallest pooled cosine']:.4f}",
            "" if own else f"{row['agreement']:.4f}",
            f"{row['CG_F1']:.2f}",
            f"{row[_SHARE]:.2%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
