"""The `litetext` command. Only the standard library is imported here, so that `--help` answers at once."""

import importlib
import os
import sys
import time
from collections.abc import Sequence

LIGHTNING_COMMANDS = {
    "fit": "train: distil a student, or train the tiny SAM3 (LightningCLI)",
    "validate": "score a checkpoint on the held-out prompts (LightningCLI)",
    "test": "segment SA-Co Gold with the teacher's and other text encoders, and score (LightningCLI)",
    "predict": "encode ahead of time, for example the teacher features that fit reads (LightningCLI)",
}
PLAIN_COMMANDS = {
    "segment": ("litetext.commands.segment", "segment your own images and videos for phrases of your own"),
    "demo": ("litetext.commands.demo", "a page on this machine: teacher and student side by side on your images"),
    "score": ("litetext.commands.score", "score a predictions file of any system in the official SA-Co layout"),
    "shapes": ("litetext.commands.shapes", "write the embedded benchmark: held-out shapes in the SA-Co Gold layout"),
    "nouns": ("litetext.commands.nouns", "write benchmarks, language probes and pictures of the world of nouns"),
    "ablate": (
        "litetext.commands.ablate",
        "train variants of a fit over several seeds, score all in one pass, tabulate",
    ),
    "audit": ("litetext.commands.audit", "what prompts ask of a text encoder, what it does, which student follows"),
    "export": ("litetext.commands.export", "write a student for other programs, compared with ours before it is there"),
    "rehearse": ("litetext.commands.rehearse", "walk through all of it with a full-size SAM3 of random weights"),
    "bench": ("litetext.commands.bench", "measure speed against a plain reference in one run"),
}
# By name, not by class: importing the classes would cost seconds.
_USER_ERRORS = {
    *("ValueError", "ArgumentError", "MisconfigurationException", "FileNotFoundError", "OSError"),
    *("ProcessLost", "OutOfMemory", "DeviceError", "NotMet"),
}
_ALIKE = 10.0
"""Seconds in which processes of a run meet the same error."""


def _help() -> str:
    rows = {**LIGHTNING_COMMANDS, **{name: text for name, (_, text) in PLAIN_COMMANDS.items()}}
    lines = "\n".join(f"  {name:<10}{text}" for name, text in rows.items())
    return (
        "usage: litetext COMMAND [--config NAME_OR_PATH ...] [options]\n\n"
        "Make the text side of promptable segmentation small, measured and shippable.\n\n"
        f"commands:\n{lines}\n\n"
        "`litetext COMMAND --help` lists the options of a command. Start with:\n"
        "  litetext fit --config quickstart.yaml\n"
        "Errors are one line; LITETEXT_DEBUG=1 shows the traceback."
    )


def _dispatch(argv: Sequence[str]) -> int:
    command, rest = argv[0], list(argv[1:])
    if command in PLAIN_COMMANDS:
        module = importlib.import_module(PLAIN_COMMANDS[command][0])
        if hasattr(module, "run"):  # it has commands of its own
            return module.run(rest) or 0
        parsing = importlib.import_module("litetext.commands.parsing")
        return parsing.call(getattr(module, command), rest, f"litetext {command}") or 0
    if command in LIGHTNING_COMMANDS:

        def run() -> int:
            with importlib.import_module("litetext.commands.startup").importing():
                lightning = importlib.import_module("litetext.commands.lightning")
            return lightning.run(command, rest) or 0

        if rest in (["--help"], ["-h"]):
            return importlib.import_module("litetext.commands.stored_help").show_help(command, run)
        return run()
    known = ", ".join([*LIGHTNING_COMMANDS, *PLAIN_COMMANDS])
    raise ValueError(f"unknown command {command!r}; choose from {known}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        The exit code: 0, 2 after an error of the user's, which is printed as one line, 130 after Ctrl-C, or 1 when the
        reader of the output (`litetext --help | head`) has gone.
    """
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Python would flush what is left on its way out, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        if os.environ.get("LITETEXT_DEBUG") == "1":
            raise
        print("litetext: interrupted", file=sys.stderr)
        return 130  # as shells tell it


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0 if argv else 2
    argv = list(map(_at_home, argv))
    if argv[0] == "--version":
        print(importlib.import_module("importlib.metadata").version("litetext"))
        return 0
    try:
        importlib.import_module("litetext.commands.startup").put_off_torchmetrics()
        importlib.import_module("litetext.commands.late_compiler").put_off_compiler()
        try:
            return _dispatch(argv)
        except (RuntimeError, MemoryError) as error:
            lines = importlib.import_module("litetext.commands.error_lines")
            of_device = lines.out_of_memory(error, argv[0]) or lines.missing_operator(error, argv[0])
            told = of_device or lines.not_met(error)
            if told is None:
                raise
            raise told from error
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception as error:
        names = {kind.__name__ for kind in type(error).__mro__}
        if isinstance(error, BrokenPipeError):
            raise
        if os.environ.get("LITETEXT_DEBUG") == "1" or not names & _USER_ERRORS:
            raise
        rank, line = os.environ.get("LOCAL_RANK", "0"), " ".join(str(error).split())
        if rank == "0":  # one line a run, not one a process
            print(f"litetext: error: {line}", file=sys.stderr)
        elif _fails_alone():
            print(f"litetext: error: process {rank}: {line}", file=sys.stderr)
        return 2


def _at_home(word: str) -> str:
    """A word with `~/` as a shell would have expanded it: in `--output=~/x` and `mine=~/x` none does."""
    head, mark, path = word.rpartition("=")
    return head + mark + os.path.expanduser(path) if path.startswith("~/") else word


def _fails_alone() -> bool:
    """Whether the process that started this one goes on for some seconds: its error is another one, or none."""
    parent, end = os.getppid(), time.monotonic() + _ALIKE
    while time.monotonic() < end:
        if os.getppid() != parent:
            return False
        time.sleep(0.05)
    return True


if __name__ == "__main__":
    sys.exit(main())
