"""Training and teacher throughput, against loops that work as the reference trainer does."""

import random
import resource
from typing import Any, Literal

import torch
from torch import Tensor

from litetext.bench.timing import Timings
from litetext.data.prompts.corpora import read_prompts
from litetext.data.prompts.datamodule import PromptBatch, PromptDataModule, PromptDataset
from litetext.losses import consistency, masked_cosine, masked_mse, pool
from litetext.models.text.mobileclip import MobileClipText
from litetext.models.text.teacher import Sam3TextEncoder
from litetext.modules.distill import DistillModule
from litetext.tokenizer import Tokenizer

CONTEXT = 16


class _Reference:
    """The reference step: tokenize strings, pad to the context, one pass for prompts, one for shuffled prompts."""

    def __init__(self, preset: Literal["s0", "s1", "l"], prompts: list[str], features: Tensor) -> None:
        self.student = MobileClipText(preset, CONTEXT, padding="reference")
        self.tokenizer = Tokenizer(CONTEXT)
        self.prompts, self.features = prompts, features
        self.optimizer = _adamw(self.student, fused=False)
        self.rng = random.Random(0)

    def _words(self, prompt: str) -> str:
        words = prompt.split()
        self.rng.shuffle(words)
        return " ".join(words)

    def loss(self, start: int, size: int) -> Tensor:
        chosen = self.prompts[start : start + size]
        tokens = self.tokenizer(chosen, CONTEXT)
        features = self.student(*tokens)
        target = self.features[start : start + size]
        loss = masked_mse(features, target, tokens.mask).mean()
        loss = loss + 2.0 * masked_cosine(features, target, tokens.mask).mean()
        shuffled = self.student(*self.tokenizer([self._words(p) for p in chosen], CONTEXT))
        loss = loss + 0.1 * consistency(pool(features), pool(shuffled)).mean()
        return loss / 2


def _adamw(student: torch.nn.Module, fused: bool) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        [p for p in student.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.05, fused=fused
    )


def _step(student: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def bench_train(
    prompts: str,
    preset: Literal["s0", "s1", "l"],
    batches: int,
    rounds: int,
    batch_size: int,
    threads: int | None,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> dict[str, Any]:
    """Prompts a second of training with consistency, ours and the reference loop's in turn.

    Both make an optimizer step (clipping, AdamW, ours fused) every two batches; teacher features are random and at
    hand in both, read as they would be: ours by valid token in half precision, the reference's padded.

    Args:
        prompts: Corpus.
        preset: Student tower.
        batches: Batches a round.
        rounds: Rounds; medians count.
        batch_size: Prompts a batch.
        threads: CPU threads, or None for torch's own choice.
        precision: Of both loops: float32, or bfloat16 where autocast takes it, weights and losses in float32.

    Returns:
        Figures by name.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    data = PromptDataModule({"prompts": prompts}, CONTEXT, batch_size=batch_size)
    data.setup("fit")
    need = batches * batch_size
    if len(data.train) < need:
        raise ValueError(f"--prompts {prompts} gives {len(data.train)} training prompts; {need} are needed")
    module = DistillModule(MobileClipText(preset, CONTEXT), teacher="random:0")
    optimizer = _adamw(module.student, fused=True)
    loader = data.train_dataloader()
    drawn = [data.prompts[i] for i in random.Random(1).sample(data.train.tolist(), need)]
    features = torch.randn(need, CONTEXT, module.student.width)
    reference = _Reference(preset, drawn, features)
    dataset = loader.dataset
    if not isinstance(dataset, PromptDataset):
        raise ValueError("the training loader does not read prompts")

    order = [batch for batch in loader.batch_sampler or [] if len(batch) == batch_size][:batches]

    computed = sum(_tokens(dataset.__getitems__(positions)) for positions in order)

    def ours() -> None:
        for number, positions in enumerate(order, 1):
            batch = _with_features(dataset.__getitems__(positions), module.student.width)
            with autocast():
                loss = module.total(module.losses(batch)).mean() / 2
            loss.backward()
            if number % 2 == 0:
                _step(module.student, optimizer)

    def theirs() -> None:
        for number in range(batches):
            with autocast():
                loss = reference.loss(number * batch_size, batch_size)
            loss.backward()
            if number % 2 == 1:
                _step(reference.student, reference.optimizer)

    def autocast() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed")

    timings = Timings()
    for _ in range(rounds):
        timings.run("ours", ours)
        timings.run("reference", theirs)
    return {
        "student": preset,
        "threads": torch.get_num_threads(),
        "precision": precision,
        "mean tokens": float(data.rows.lengths[data.train].mean()),
        "tokens a batch": computed / len(order),
        "reference tokens a batch": 2 * batch_size * CONTEXT,
        "prompts/s": timings.rate("ours", need),
        "reference prompts/s": timings.rate("reference", need),
        "ratio": timings.ratio("reference", "ours"),
        "peak memory MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _tokens(batch: PromptBatch) -> int:
    """Tokens that a step on a batch computes: the valid ones of its prompts and of their permutations."""
    return int(batch.tokens.lengths.sum() + batch.permuted.lengths.sum())


def _with_features(batch: PromptBatch, width: int) -> PromptBatch:
    return batch._replace(features=torch.randn(*batch.tokens.ids.shape, width).half())


def bench_teacher(prompts: str, count: int, rounds: int, threads: int | None) -> dict[str, Any]:
    """Prompts a second through a teacher of SAM3's size with random weights, unpadded against padded to 32.

    Args:
        prompts: Corpus.
        count: Prompts to encode.
        rounds: Rounds; medians count.
        threads: CPU threads, or None for torch's own choice.

    Returns:
        Figures by name, with the largest difference of a feature.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    teacher = Sam3TextEncoder.random(0)
    tokenizer = Tokenizer(teacher.context_length)
    found = read_prompts("prompts", prompts).prompts
    drawn = random.Random(0).sample(found, min(count, len(found)))
    rows = tokenizer.encode(drawn)
    timings = Timings()
    worst = 0.0
    for _ in range(rounds):
        unpadded = timings.run("unpadded", lambda: teacher.encode_tokens(rows))
        padded = timings.run(
            "padded", lambda: [_padded(teacher, tokenizer, drawn[i : i + 64]) for i in range(0, len(drawn), 64)]
        )
        flat = [feature for batch in padded for feature in batch]
        pairs = zip(unpadded, flat, strict=True)
        worst = max(worst, *(float((a - b[: len(a)]).abs().max()) for a, b in pairs))
    return {
        "prompts": len(drawn),
        "mean tokens": sum(map(len, rows)) / len(rows),
        "unpadded prompts/s": timings.rate("unpadded", len(drawn)),
        "padded prompts/s": timings.rate("padded", len(drawn)),
        "ratio": timings.ratio("padded", "unpadded"),
        "largest difference": worst,
    }


def _padded(teacher: Sam3TextEncoder, tokenizer: Tokenizer, prompts: list[str]) -> Tensor:
    # Every position is computed, as SAM3 does: the lengths say that none is padding.
    tokens = tokenizer(prompts, teacher.context_length)
    return teacher(tokens.ids, torch.full_like(tokens.lengths, teacher.context_length))
