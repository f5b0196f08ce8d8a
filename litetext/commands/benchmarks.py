"""The benchmarks that `litetext bench NAME` runs: ours against a plain reference, or one thing in its forms."""

from collections.abc import Callable
from typing import Any, Literal

from litetext.commands.parsing import Positive


def train(
    prompts: str,
    preset: Literal["s0", "s1", "l"] = "s0",
    batches: Positive = 4,
    rounds: Positive = 3,
    batch_size: Positive = 64,
    threads: Positive | None = None,
    precision: Literal["32-true", "bf16-mixed"] = "32-true",
) -> dict[str, Any]:
    """Training throughput of a student against a loop that does what the reference trainer does.

    Args:
        prompts: Corpus to draw from, any layout that the data sources take.
        preset: Student tower.
        batches: Batches a round; two make an optimizer step.
        rounds: Rounds, ours and the reference in turn; medians count.
        batch_size: Prompts a batch.
        threads: CPU threads; all by default.
        precision: Of both loops, as `trainer.precision` of fit; s0.yaml trains in bf16-mixed.
    """
    from litetext.bench.train import bench_train

    return bench_train(prompts, preset, batches, rounds, batch_size, threads, precision)


def teacher(
    prompts: str, count: Positive = 2000, rounds: Positive = 1, threads: Positive | None = None
) -> dict[str, Any]:
    """Encoding real prompts with a teacher of SAM3's size without padding, against padded to 32.

    Args:
        prompts: Corpus to draw from, any layout that the data sources take.
        count: Prompts to encode.
        rounds: Rounds, both ways in turn; medians count.
        threads: CPU threads; all by default.
    """
    from litetext.bench.train import bench_teacher

    return bench_teacher(prompts, count, rounds, threads)


def tokenize(prompts: str, rounds: Positive = 3) -> dict[str, Any]:
    """Tokenizing a corpus against a cached byte-pair encoding in plain Python.

    Args:
        prompts: Corpus to tokenize, any layout that the data sources take.
        rounds: Rounds, both ways in turn; medians count.
    """
    from litetext.bench.tokenize import bench_tokenize
    from litetext.data.prompts.corpora import read_prompts

    return bench_tokenize(read_prompts("prompts", prompts).prompts, rounds)


def segment(
    images: Positive = 4, phrases: Positive = 4, rounds: Positive = 3, threads: Positive | None = None
) -> dict[str, Any]:
    """A teacher and three students in one pass over the images, against separate runs.

    Args:
        images: Images, each drawn once.
        phrases: Phrases an image.
        rounds: Rounds, all ways in turn; medians count.
        threads: CPU threads; all by default.
    """
    from litetext.bench.segment import bench_segment

    return bench_segment(images, phrases, rounds, threads=threads)


def metrics(
    datapoints: Positive = 2000,
    size: Positive = 256,
    annotators: Positive = 3,
    rounds: Positive = 3,
    meta_evaluator: str | None = None,
) -> dict[str, Any]:
    """The SA-Co image metrics against a plain loop over annotators and thresholds, and against Meta's evaluator.

    Args:
        datapoints: Generated pairs of image and phrase.
        size: Height and width of the masks in pixels.
        annotators: Ground truths a pair.
        rounds: Rounds, both ways in turn; medians count.
        meta_evaluator: `sam3/eval/cgf1_eval.py` of facebookresearch/sam3, timed in turn with ours from the
            same files.
    """
    from litetext.bench.metrics import bench_metrics

    figures = bench_metrics(datapoints, size, annotators, rounds=rounds)
    if meta_evaluator is None:
        return figures
    from litetext.bench.meta_evaluator import bench_meta_evaluator

    return figures | bench_meta_evaluator(meta_evaluator, datapoints, size, annotators, rounds=rounds)


def audit(prompts: str, count: Positive = 400_000) -> dict[str, Any]:
    """The audit of a large corpus against a byte-pair pass in plain Python.

    Args:
        prompts: Corpus that is repeated with distinct suffixes, any layout that the data sources take.
        count: Prompts of the corpus made from it.
    """
    from litetext.bench.audit import bench_audit

    return bench_audit(prompts, count)


def corpus(counts: tuple[int, ...] = (10_000, 100_000, 1_000_000)) -> dict[str, Any]:
    """Setting up corpora of several sizes: time, and memory in each process.

    Args:
        counts: Prompts of each corpus, which are made up from words.
    """
    from litetext.bench.corpus import bench_corpus

    return bench_corpus(counts)


def estimators(
    points: Positive = 5000,
    ambient: Positive = 256,
    manifold: Literal["gaussian", "uniform", "sphere", "curved"] = "gaussian",
) -> dict[str, Any]:
    """Errors of the dimension estimators on manifolds of known dimension.

    Args:
        points: Points on each manifold.
        ambient: Dimensions of the space that the manifolds lie in.
        manifold: What they are.
    """
    from litetext.bench.estimators import bench_estimators

    return bench_estimators(points, ambient, manifold)


def student(
    prompts: str = "nouns:2000",
    student: str = "s0",
    teacher: str = "teacher",
    batch_size: Positive = 64,
    kept: Positive = 10_000,
    seconds: float = 120.0,
    threads: Positive = 1,
) -> dict[str, Any]:
    """A student at full speed and in little memory, against teachers and transformers.

    Args:
        prompts: Corpus to draw from; nouns:N needs no file.
        student: A checkpoint, or s0, s1, l, nano with random weights.
        teacher: A checkpoint, or teacher for one of SAM3's size with random weights.
        batch_size: Prompts a batch.
        kept: Token rows that the compact student keeps in memory, at most.
        seconds: For all measurements.
        threads: CPU threads.
    """
    from litetext.bench.student import bench_student

    return bench_student(prompts, student, teacher, batch_size, kept, seconds, threads)


def operators(
    prompts: str = "nouns:2000",
    student: str = "s0",
    batch_size: Positive = 64,
    rounds: Positive = 9,
    threads: Positive = 1,
) -> dict[str, Any]:
    """Where a student's time goes by kind of operator, in float32, bfloat16 and int8, and what bounds it.

    Args:
        prompts: Corpus to draw from; nouns:N needs no file.
        student: A checkpoint, or s0, s1, l, nano with random weights.
        batch_size: Prompts a batch.
        rounds: Passes in each precision; medians count.
        threads: CPU threads.
    """
    from litetext.bench.operators import bench_operators

    return bench_operators(prompts, student, batch_size, rounds, threads)


def forms(
    student: str,
    sam3: str = "checkpoints/sam3-nouns",
    data: str = "nouns:40",
    keep: str = "nouns:20000",
    subsets: tuple[str, ...] = (),
    threads: Positive = 1,
) -> dict[str, Any]:
    """Bytes, features and CG_F1 of every form of a student: backends, ONNX files, compact folders.

    Args:
        student: Checkpoint of a student of that SAM3.
        sam3: The segmenter, whose text encoder is the teacher.
        data: The embedded benchmark, nouns:N or shapes:N with N images a subset.
        keep: Corpus whose tokens compact forms keep in memory.
        subsets: Of the benchmark; all by default.
        threads: CPU threads.
    """
    import torch

    from litetext.bench.forms import bench_forms

    torch.set_num_threads(threads)
    return bench_forms(student, sam3, data, keep, subsets)


def video(
    sam3: str = "checkpoints/sam3-tiny",
    frames: tuple[Positive, ...] = (50, 100, 200),
    phrases: tuple[Positive, ...] = (1, 8, 32),
    chunk: Positive = 8,
) -> dict[str, Any]:
    """Memory of tracking over numbers of frames and phrases.

    Args:
        sam3: The segmenter: its own tracker where it has one, linked detections elsewhere.
        frames: Frames of the video.
        phrases: Query phrases.
        chunk: Phrases at once.
    """
    from litetext.bench.video import bench_video

    return bench_video(sam3, frames, phrases, chunk)


def drawing(scenes: Positive = 200, rounds: Positive = 5) -> dict[str, Any]:
    """Scenes a second of the drawn worlds: drawn, rendered with their masks, described.

    Args:
        scenes: Scenes a round.
        rounds: Rounds, all in turn; medians count.
    """
    from litetext.bench.drawing import bench_drawing

    return bench_drawing(scenes, rounds)


BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f
    for f in (
        train,
        teacher,
        tokenize,
        metrics,
        segment,
        audit,
        corpus,
        estimators,
        student,
        operators,
        forms,
        video,
        drawing,
    )
}
