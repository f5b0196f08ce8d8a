"""`litetext bench`: what text encoders cost; and, by name, ours against a plain reference in one run."""

from collections.abc import Sequence
from typing import Any, Literal

from litetext.bench.record import read_record, with_spread, write_record
from litetext.commands.benchmarks import BENCHMARKS
from litetext.commands.parsing import Positive, call, parse, renamed
from litetext.files import check_output


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
