"""`litetext bench`: what text encoders cost; and, by name, ours against a plain reference in one run."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from litetext.bench.record import read_record, with_spread, write_record
from litetext.commands.parsing import Positive, call, parse, renamed
from litetext.files import check_output


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


@renamed(encoders="text_encoders")
def bench(
    *,
    text_encoders: tuple[str, ...] = ("teacher", "s0", "s1", "l"),
    context_lengths: tuple[Positive, ...] = (16, 32),
    padding: tuple[Literal["masked", "transformers", "reference"], ...] = ("masked", "transformers", "reference"),
    backends: tuple[Literal["eager", "compiled", "onnx", "int8"], ...] = ("eager",),
    batch_sizes: tuple[Positive, ...] = (1, 64),
    dtypes: tuple[Literal["float32", "bfloat16", "float16"], ...] = ("float32",),
    prompts: str = "nouns:2000",
    device: str = "cpu",
    threads: Positive = 1,
    seconds: float = 80.0,
    sam3: str | None = None,
) -> dict[str, Any]:
    """Parameters, memory, operations and speed of text encoders side by side, and what a whole SAM3 saves with each.

    With a benchmark's name: ours against a plain reference, measured in turn in one run.

    Args:
        text_encoders: NAME=PATH for any text encoder's checkpoint, folder or hub id; or teacher, s0, s1, l, nano: real
            sizes with random weights.
        context_lengths: Context lengths in tokens.
        padding: masked computes no padding, transformers fills every prompt to the 32 tokens of the stock processor,
            reference to the context. An encoder that was trained to see padding runs as it was trained.
        backends: What runs the encoders; those that are not installed are skipped with a line.
        batch_sizes: Prompts at once.
        dtypes: What eager and compiled compute in.
        prompts: Corpus to draw prompts from; nouns:N needs no file.
        device: cpu, cuda, cuda:1, mps.
        threads: CPU threads; where cores are shared, several wait for each other.
        seconds: For all measurements; starting the encoders comes on top.
        sam3: A SAM3 whose text encoder is the teacher, whose sizes are the whole, and which is timed; by default the
            sizes of facebook/sam3.
    """
    from litetext.bench.efficiency.run import bench_efficiency
    from litetext.bench.efficiency.table import show

    report = bench_efficiency(
        text_encoders, context_lengths, padding, backends, batch_sizes, dtypes, prompts, device, threads, seconds, sam3
    )
    show(report)
    return report


def output_file(*, output: str | None = None, overwrite: bool = False) -> str | None:
    """Checks the file that the figures of every benchmark go to, before minutes of measuring.

    Args:
        output: Also write the figures to this JSON file.
        overwrite: Replace that file if it is there.

    Returns:
        The file.

    Raises:
        FileNotFoundError: If its folder does not exist.
        ValueError: If it is there already.
    """
    if output is not None:
        check_output(output, overwrite)
    return output


def compare(before: str, after: str | None = None, /) -> None:
    """What differs between two files of --output beyond their spread.

    Args:
        before: The file to compare with.
        after: The other; without it the first is compared with the release.

    Raises:
        FileNotFoundError: If a file does not exist, or none of the release is of such a machine.
        ValueError: If one holds no figures.
    """
    from litetext.bench.compare import compare_records, released, show

    if after is None:
        record = read_record(before)
        path = released(record["benchmark"], record["machine"]["kind"])
        print(f"before: {path.name} of the last release; after: {before}")
        show(compare_records(read_record(path), record))
    else:
        show(compare_records(read_record(before), read_record(after)))


def run(argv: Sequence[str]) -> None:
    """Runs one benchmark, the comparison of text encoders, or that of two files, and prints its figures.

    Args:
        argv: Arguments after `bench`: the name of a benchmark, `compare` or neither, and its options.

    Raises:
        ValueError: If there is no such benchmark, or the options do not fit.
    """
    name = argv[0] if argv and not argv[0].startswith("-") else None
    if name == "compare":
        call(compare, argv[1:], "litetext bench compare")
        return
    if name is not None and name not in BENCHMARKS:
        raise ValueError(f"there is no benchmark {name!r}; choose from {', '.join([*BENCHMARKS, 'compare'])}")
    if name is None:
        options = parse(bench, argv, "litetext bench", output_file, epilog=_listed())
    else:
        options = parse(BENCHMARKS[name], argv[1:], f"litetext bench {name}", output_file)
    output = output_file(output=options.pop("output"), overwrite=options.pop("overwrite"))
    facts = _facts(options.get("threads"))
    if name is None:
        from litetext.bench.efficiency.run import figures

        report = bench(**options)
        if output is not None:
            write_record(output, "encoders", options, facts, figures(report), report)
        return
    measured = BENCHMARKS[name](**options)
    width = max(map(len, measured))
    for key, value in measured.items():
        print(f"{key:<{width}}  {_figure(value)}")
    if output is not None:
        write_record(output, name, options, facts, measured)


def _figure(value: Any) -> str:
    return with_spread(value, getattr(value, "spread", None)) if isinstance(value, float) else str(value)


def _facts(threads: int | None) -> dict[str, Any]:
    """The machine before anything is measured, printed as one line."""
    from litetext.bench.machine import describe, machine

    facts = machine(threads)
    print(describe(facts))
    return facts


def _listed() -> str:
    functions = {**BENCHMARKS, "compare": compare}
    rows = (f"  {name:<12}{(function.__doc__ or '').splitlines()[0]}" for name, function in functions.items())
    return "benchmarks, each with options of its own (litetext bench NAME --help):\n" + "\n".join(rows)
