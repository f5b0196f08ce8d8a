"""`litetext bench`: what text encoders cost; and, by name, ours against a plain reference in one run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from litetext.bench.record import read_record, with_spread, write_record
from litetext.files import refuse_existing


def train(
    prompts: str,
    preset: Literal["s0", "s1", "l"] = "s0",
    batches: int = 4,
    rounds: int = 3,
    batch_size: int = 64,
    threads: int | None = None,
) -> dict[str, Any]:
    """Training throughput of a student against a loop that does what the reference trainer does.

    Args:
        prompts: Corpus to draw from, any layout that the data sources take.
        preset: Student tower.
        batches: Batches a round; two make an optimizer step.
        rounds: Rounds, ours and the reference in turn; medians count.
        batch_size: Prompts a batch.
        threads: CPU threads; all by default.
    """
    from litetext.bench.train import bench_train

    return bench_train(prompts, preset, batches, rounds, batch_size, threads)


def teacher(prompts: str, count: int = 2000, rounds: int = 1, threads: int | None = None) -> dict[str, Any]:
    """Encoding real prompts with a teacher of SAM3's size without padding, against padded to 32.

    Args:
        prompts: Corpus to draw from, any layout that the data sources take.
        count: Prompts to encode.
        rounds: Rounds, both ways in turn; medians count.
        threads: CPU threads; all by default.
    """
    from litetext.bench.train import bench_teacher

    return bench_teacher(prompts, count, rounds, threads)


def tokenize(prompts: str, rounds: int = 3) -> dict[str, Any]:
    """Tokenizing a corpus against a cached byte-pair encoding in plain Python.

    Args:
        prompts: Corpus to tokenize, any layout that the data sources take.
        rounds: Rounds, both ways in turn; medians count.
    """
    from litetext.bench.tokenize import bench_tokenize
    from litetext.data.prompts.corpora import read_prompts

    return bench_tokenize(read_prompts("prompts", prompts).prompts, rounds)


def segment(images: int = 4, phrases: int = 4, rounds: int = 3, threads: int | None = None) -> dict[str, Any]:
    """A teacher and three students in one pass over the images, against separate runs.

    Args:
        images: Images, each drawn once.
        phrases: Phrases an image.
        rounds: Rounds, all ways in turn; medians count.
        threads: CPU threads; all by default.
    """
    from litetext.bench.segment import bench_segment

    return bench_segment(images, phrases, rounds, threads=threads)


def metrics(datapoints: int = 2000, size: int = 256, annotators: int = 3, rounds: int = 3) -> dict[str, Any]:
    """The SA-Co image metrics against a plain loop over annotators and thresholds.

    Args:
        datapoints: Generated pairs of image and phrase; 20000 for the case of the README.
        size: Height and width of the masks in pixels.
        annotators: Ground truths a pair.
        rounds: Rounds, both ways in turn; medians count.
    """
    from litetext.bench.metrics import bench_metrics

    return bench_metrics(datapoints, size, annotators, rounds=rounds)


def audit(prompts: str, count: int = 400_000) -> dict[str, Any]:
    """The audit of a large corpus against a byte-pair pass in plain Python.

    Args:
        prompts: Corpus that is repeated with distinct suffixes, any layout that the data sources take.
        count: Prompts of the corpus made from it.
    """
    from litetext.bench.audit import bench_audit

    return bench_audit(prompts, count)


def estimators(
    points: int = 5000, ambient: int = 256, manifold: Literal["gaussian", "uniform", "sphere", "curved"] = "gaussian"
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
    prompts: str | None = None,
    student: str = "s0",
    teacher: str = "teacher",
    batch_size: int = 64,
    kept: int = 10_000,
    seconds: float = 120.0,
    threads: int = 1,
) -> dict[str, Any]:
    """A student at full speed and in little memory, against teachers and transformers.

    Args:
        prompts: Corpus to draw from; by default phrases about drawn shapes.
        student: A checkpoint, or s0, s1, l, nano with random weights.
        teacher: A checkpoint, or teacher for one of SAM3's size with random weights.
        batch_size: Prompts a batch.
        kept: Token rows that the compact student keeps in memory, at most.
        seconds: For all measurements.
        threads: CPU threads.
    """
    from litetext.bench.student import bench_student

    return bench_student(prompts, student, teacher, batch_size, kept, seconds, threads)


def video(
    sam3: str = "checkpoints/sam3-tiny",
    frames: tuple[int, ...] = (50, 100, 200),
    phrases: tuple[int, ...] = (1, 8, 32),
    chunk: int = 8,
) -> dict[str, Any]:
    """Memory of tracking over numbers of frames and phrases.

    Args:
        sam3: The segmenter: its own tracker where it has one, linked detections elsewhere.
        frames: Frames of the video.
        phrases: Phrases asked of it.
        chunk: Phrases at once.
    """
    from litetext.bench.video import bench_video

    return bench_video(sam3, frames, phrases, chunk)


_BENCHMARKS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f for f in (train, teacher, tokenize, metrics, segment, audit, estimators, student, video)
}


def run(argv: Sequence[str]) -> int:
    """Runs one benchmark, the comparison of text encoders, or that of two files, and prints what it found.

    Args:
        argv: Arguments after `bench`; `--output FILE` also writes the figures as JSON, with their spread and the
            machine; `compare` takes two such files.

    Returns:
        The exit code 0; errors are raised.
    """
    parser = _parser()
    config = parser.parse_args(list(argv)).as_dict()
    name = config.pop("benchmark")
    if name is None:
        return _efficiency({key: value for key, value in config.items() if key not in (*_BENCHMARKS, "compare")})
    if name == "compare":
        return _compare(**config[name])
    options = config[name]
    output = options.pop("output")
    _check_output(output, options.pop("overwrite"))
    for key, value in options.items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"--{key} is {value}; it must be at least 1")
    facts = _facts(options.get("threads"))
    measured = _BENCHMARKS[name](**options)
    width = max(map(len, measured))
    for key, value in measured.items():
        print(f"{key:<{width}}  {_figure(value)}")
    if output is not None:
        write_record(output, name, options, facts, measured)
    return 0


def _figure(value: Any) -> str:
    return with_spread(value, getattr(value, "spread", None)) if isinstance(value, float) else str(value)


def _facts(threads: int | None) -> dict[str, Any]:
    """The machine before anything is measured, printed as one line."""
    from litetext.bench.machine import describe, machine

    facts = machine(threads)
    print(describe(facts))
    return facts


def _efficiency(options: dict[str, Any]) -> int:
    output = options.pop("output")
    _check_output(output, options.pop("overwrite"))
    from litetext.bench.efficiency.run import bench_efficiency, figures
    from litetext.bench.efficiency.table import show

    facts = _facts(options["threads"])
    report = bench_efficiency(**options)
    show(report)
    if output is not None:
        write_record(output, "encoders", options, facts, figures(report), report)
    return 0


def _compare(before: str, after: str | None) -> int:
    from litetext.bench.compare import compare_records, released, show

    if after is None:  # one file: against the last release
        record = read_record(before)
        path = released(record["benchmark"], record["machine"]["kind"])
        print(f"before: {path.name} of the last release; after: {before}")
        show(compare_records(read_record(path), record))
    else:
        show(compare_records(read_record(before), read_record(after)))
    return 0


def _check_output(output: str | None, overwrite: bool) -> None:
    """Refuses a file that could not be written, or is there already, before minutes of measuring."""
    if output is None:
        return
    folder = Path(output).absolute().parent
    if not folder.is_dir():
        what = "is a file, no folder" if folder.exists() else "is not there; make it first"
        raise FileNotFoundError(f"--output {output}: the folder {Path(output).parent} {what}")
    refuse_existing([output], f"--output {output}", overwrite)


def _parser() -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext bench",
        description=(
            "Without a benchmark's name: parameters, memory, operations and speed of text encoders side by side, and "
            "what a whole SAM3 saves with each. With one: ours against a plain reference, measured in turn in one run."
        ),
        exit_on_error=False,
    )
    _add_options(parser)
    commands = parser.add_subcommands(dest="benchmark", required=False)
    for name, function in _BENCHMARKS.items():
        about = (function.__doc__ or "").splitlines()[0]
        sub = ArgumentParser(exit_on_error=False, description=about)
        sub.add_function_arguments(function)
        sub.add_argument("--output", type=str, default=None, help="Also write the figures to this JSON file.")
        sub.add_argument("--overwrite", action="store_true", help="Replace that file if it is there.")
        commands.add_subcommand(name, sub, help=about)
    about = "What differs between two files of --output beyond their spread."
    sub = ArgumentParser(exit_on_error=False, description=about)
    sub.add_argument("before", type=str, help="The file to compare with.")
    sub.add_argument(
        "after", type=str, nargs="?", default=None, help="The other; without it the first is compared with the release."
    )
    commands.add_subcommand("compare", sub, help=about)
    return parser


def _add_options(parser: Any) -> None:
    def several(name: str, default: list[Any], text: str, **options: Any) -> None:
        parser.add_argument(f"--{name}", nargs="+", default=default, help=text, **options)

    several(
        "encoders",
        ["teacher", "s0", "s1", "l"],
        "NAME=PATH for any text encoder's checkpoint, folder or hub id; or teacher, s0, s1, l, nano: real sizes with "
        "random weights.",
        type=str,
    )
    several("context_lengths", [16, 32], "Context lengths in tokens.", type=int)
    both = ["masked", "reference"]
    several("padding", both, "masked computes no padding, reference fills every prompt to the context.", choices=both)
    several(
        "backends",
        ["eager"],
        "What runs the encoders; those that are not installed are skipped with a line.",
        choices=["eager", "compiled", "onnx", "int8"],
    )
    several("batch_sizes", [1, 64], "Prompts at once.", type=int)
    several("dtypes", ["float32"], "What eager and compiled compute in.", choices=["float32", "bfloat16", "float16"])
    parser.add_argument(
        "--prompts", type=str, default=None, help="Corpus to draw prompts from; by default phrases about drawn shapes."
    )
    parser.add_argument("--device", type=str, default="cpu", help="cpu, cuda, cuda:1, mps.")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; where cores are shared, several wait for each other."
    )
    parser.add_argument(
        "--seconds", type=float, default=80.0, help="For all measurements; starting the encoders comes on top."
    )
    parser.add_argument(
        "--sam3",
        type=str,
        default=None,
        help="A SAM3 whose text encoder is the teacher, whose sizes are the whole, and which is timed; by default the "
        "sizes of facebook/sam3.",
    )
    parser.add_argument("--output", type=str, default=None, help="Also write the figures to this JSON file.")
    parser.add_argument("--overwrite", action="store_true", help="Replace that file if it is there.")
