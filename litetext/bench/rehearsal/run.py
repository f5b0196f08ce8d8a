"""Runs the steps of a rehearsal, each in a process of its own, and measures them."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from litetext.bench.rehearsal.steps import Step, interpreter

_LOGS = "logs"
_RSS = 1 if sys.platform == "darwin" else 1024
"""Bytes of the unit in which the system tells the largest resident set."""


# A process begins with the memory of the one that starts it, so a small one starts the step and waits for it.
_LAUNCH = (
    "import json, os, subprocess, sys; child = subprocess.Popen(sys.argv[2:]); "
    "_, status, used = os.wait4(child.pid, 0); "
    "json.dump([os.waitstatus_to_exitcode(status), used.ru_maxrss, used.ru_utime + used.ru_stime], "
    "open(sys.argv[1], 'w'))"
)


class StepResult(NamedTuple):
    """What a step took.

    Attributes:
        name: The step.
        seconds: Wall-clock time; None if it did not run.
        processor: Processor time, all threads together.
        peak: Largest resident memory in bytes, pages of mapped files included.
        flops: What its models compute.
        error: Why it failed, in one line; empty if it did not.
    """

    name: str
    seconds: float | None
    processor: float | None
    peak: int | None
    flops: float
    error: str


def run(steps: Sequence[Step], folder: Path, most: float, tell: Callable[[StepResult], None]) -> list[StepResult]:
    """Runs steps in order; one that fails does not keep those from running that do not need it.

    Args:
        steps: The steps.
        folder: The working folder; what a step says goes into `logs/`.
        most: Bytes of memory that no step may exceed; one that does has failed.
        tell: Called with each outcome as it comes.
    """
    (folder / _LOGS).mkdir(exist_ok=True)
    found: dict[str, StepResult] = {}
    for number, step in enumerate(steps):
        lacking = [name for name in step.needs if found[name].error]
        if lacking:
            outcome = StepResult(step.name, None, None, None, step.flops, f"not run: '{lacking[0]}' failed")
        else:
            outcome = _measured(step, folder, folder / _LOGS / f"{number:02}_{step.name.replace(' ', '_')}.txt", most)
        found[step.name] = outcome
        for name in step.gone:
            shutil.rmtree(folder / name, ignore_errors=True)
        tell(outcome)
    return list(found.values())


def _measured(step: Step, folder: Path, log: Path, most: float) -> StepResult:
    began, usage = time.perf_counter(), log.with_suffix(".json")
    with log.open("wb") as file:
        launcher = [sys.executable, "-S", "-c", _LAUNCH, str(usage.absolute()), *interpreter(step)]
        subprocess.run(launcher, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    seconds = time.perf_counter() - began
    code, resident, processor = json.loads(usage.read_text(encoding="utf-8"))
    peak, error = resident * _RSS, ""
    if code:
        error = _reason(log, code)
    elif peak > most:
        error = f"it took {peak / 1e9:.1f} GB of memory, more than {most / 1e9:g} GB"
    return StepResult(step.name, seconds, processor, peak, step.flops, error)


def _reason(log: Path, code: int) -> str:
    """The line of a log that says why a command ended."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("litetext: error: ")]
    why = errors[-1].removeprefix("litetext: error: ") if errors else lines[-1] if lines else "it printed nothing"
    return f"{why} (exit code {code}; {log})"


def table(found: Sequence[StepResult], rates: dict[str, float]) -> str:
    """The outcomes as a table in Markdown.

    Args:
        found: Them.
        rates: Operations a second of accelerators, by name.
    """
    head = ["step", "wall, s", "processor, s", "peak, GB", "TFLOP", *(f"{name}, s" for name in rates)]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for outcome in found:
        measured = ["-" if value is None else f"{value:,.1f}" for value in (outcome.seconds, outcome.processor)] + [
            "-" if outcome.peak is None else f"{outcome.peak / 1e9:.1f}"
        ]
        work = outcome.flops / 1e12
        expected = [f"{outcome.flops / rate:.3g}" if work else "" for rate in rates.values()]
        name = f"**{outcome.name}: failed**" if outcome.error else outcome.name
        rows.append([name, *measured, f"{work:.3g}" if work else "", *expected])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
