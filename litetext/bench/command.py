"""`litetext bench`: speed against a plain reference, both measured in turn in one run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal


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
        rounds: Rounds, ours and the reference in turn; the fastest of each counts.
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
        rounds: Rounds, both ways in turn; the fastest of each counts.
        threads: CPU threads; all by default.
    """
    from litetext.bench.train import bench_teacher

    return bench_teacher(prompts, count, rounds, threads)


def tokenize(prompts: str, rounds: int = 3) -> dict[str, Any]:
    """Tokenizing a corpus against a cached byte-pair encoding in plain Python.

    Args:
        prompts: Corpus to tokenize, any layout that the data sources take.
        rounds: Rounds, both ways in turn; the fastest of each counts.
    """
    from litetext.bench.tokenize import bench_tokenize
    from litetext.data.prompts import read_prompts

    return bench_tokenize(read_prompts("prompts", prompts).prompts, rounds)


def segment(images: int = 4, phrases: int = 4, rounds: int = 3, threads: int | None = None) -> dict[str, Any]:
    """A teacher and three students in one pass over the images, against separate runs.

    Args:
        images: Images, each drawn once.
        phrases: Phrases an image.
        rounds: Rounds, all ways in turn; the fastest of each counts.
        threads: CPU threads; all by default.
    """
    from litetext.bench.segment import bench_segment

    return bench_segment(images, phrases, rounds, threads=threads)


def metrics(datapoints: int = 2000, size: int = 256, annotators: int = 3) -> dict[str, Any]:
    """The SA-Co image metrics against a plain loop over annotators and thresholds.

    Args:
        datapoints: Generated pairs of image and phrase; 20000 for the case of the README.
        size: Height and width of the masks in pixels.
        annotators: Ground truths a pair.
    """
    from litetext.bench.metrics import bench_metrics

    return bench_metrics(datapoints, size, annotators)


def run(argv: Sequence[str]) -> int:
    """Runs one benchmark and prints what it measured.

    Args:
        argv: Arguments after `bench`; `--output FILE` also writes the figures as JSON.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext bench", description="Measures speed against a plain reference in one run.", exit_on_error=False
    )
    commands = parser.add_subcommands(dest="benchmark")
    functions = {f.__name__: f for f in (train, teacher, tokenize, metrics, segment)}
    for name, function in functions.items():
        sub = ArgumentParser(exit_on_error=False, description=(function.__doc__ or "").splitlines()[0])
        sub.add_function_arguments(function)
        sub.add_argument("--output", type=str, default=None, help="Also write the figures to this JSON file.")
        commands.add_subcommand(name, sub, help=(function.__doc__ or "").splitlines()[0])
    config = parser.parse_args(list(argv))
    options = config[config.benchmark].as_dict()
    output = options.pop("output")
    for name, value in options.items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"--{name} is {value}; it must be at least 1")
    measured = functions[config.benchmark](**options)
    width = max(map(len, measured))
    for key, value in measured.items():
        print(f"{key:<{width}}  {value:,.4g}" if isinstance(value, float) else f"{key:<{width}}  {value}")
    if output is not None:
        Path(output).write_text(json.dumps(measured, indent=1) + "\n")
    return 0
