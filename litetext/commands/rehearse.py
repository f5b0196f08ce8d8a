"""`litetext rehearse`: everything that is done with a SAM3, once, on random weights in the public layouts."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from litetext.commands.parsing import AtLeast
from litetext.files import check_output, write_text

DEVICES = {"A100": 312e12, "H100": 989e12}
"""Operations a second of dense bfloat16 products, as their makers give them."""


def rehearse(
    *,
    size: Literal["full", "small"] = "full",
    layouts: tuple[Literal["meta", "transformers", "sam31"], ...] = ("meta", "transformers", "sam31"),
    folder: str | None = None,
    memory_gb: Annotated[float, AtLeast(0)] = 12.0,
    efficiency: Annotated[float, AtLeast(0)] = 0.4,
    output: str | None = None,
    overwrite: bool = False,
) -> int:
    """Walks through fit, predict, test, segment and every export with a SAM3 of random weights in each public layout.

    Checks an installation and a machine before the real weights are there. Each step is a command in a process of its
    own. Prints its time, its peak memory, what its models compute, and how long that takes an accelerator, read and
    decode left aside.

    Args:
        size: Of the SAM3 and its student: full is facebook/sam3 with MobileCLIP-S0, small the shipped tiny ones.
        layouts: meta is Meta's sam3.pt, transformers a folder in shards, sam31 Meta's SAM 3.1.
        folder: Where it works, a new folder that stays; by default a temporary one. Full size takes 11 GB of disk.
        memory_gb: No step may take more; one that does has failed.
        efficiency: Part of an accelerator's arithmetic that is taken to be reached.
        output: Write the table to this Markdown file too.
        overwrite: Replace that file if it is there.

    Returns:
        The exit code: 0, or 1 if a step failed; it is named with its error.

    Raises:
        ValueError: If the folder or the file is there already, or an option is out of its range.
        FileNotFoundError: If the file's folder does not exist.
    """
    if output is not None:
        check_output(output, overwrite)
    if folder is not None and Path(folder).exists():
        raise ValueError(f"--folder {folder} is there already; name a new one")
    if not 0 < efficiency <= 1:
        raise ValueError(f"--efficiency is {efficiency}; choose a part, above 0 and up to 1")
    if not layouts:
        raise ValueError("--layouts is empty; name at least one")

    from litetext.bench.machine import describe, machine  # slow to import, and --help needs none of it
    from litetext.bench.rehearsal.run import StepResult, run, table
    from litetext.bench.rehearsal.steps import plan, prepare

    def tell(outcome: StepResult) -> None:
        took = "" if outcome.seconds is None else f"{outcome.seconds:,.1f} s"
        print(f"{outcome.name:<40}{took:>12}  {outcome.error}", flush=True)

    lines, failed = [f"size {size}; {describe(machine())}"], []
    rates = {name: rate * efficiency for name, rate in DEVICES.items()}
    lines.append(
        "expected at "
        + ", ".join(f"{rate / 1e12:,.0f} TFLOP/s ({name})" for name, rate in rates.items())
        + f", {efficiency:.0%} of the bfloat16 arithmetic"
    )
    print("\n".join(lines))
    with tempfile.TemporaryDirectory(prefix="litetext-rehearsal-") as made:
        place = Path(folder or made)
        for layout in dict.fromkeys(layouts):
            work = place / layout
            work.mkdir(parents=True)
            prepare(work)
            print(f"\n{layout}")
            found = run(plan(layout, size), work, memory_gb * 1e9, tell)
            failed += [f"{layout}: {outcome.name}: {outcome.error}" for outcome in found if outcome.error]
            lines.append(f"\n{layout}\n\n{table(found, rates)}")
            print(f"\n{table(found, rates)}")
    for line in failed:
        print(f"failed: {line}")
    if output is not None:
        write_text(output, "\n".join([*lines, *(f"failed: {line}" for line in failed)]) + "\n")
        print(f"wrote {output}")
    return 1 if failed else 0
