"""Pages that are written while the site is built: options of every command, shipped configs, notebooks."""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

import jupytext
import mkdocs_gen_files

sys.argv[0] = "litetext"  # the name in each usage line
os.environ.setdefault("COLUMNS", "90")  # argparse wraps to the terminal; a page has a width of its own

from litetext.bench.compare import RELEASED
from litetext.bench.machine import describe
from litetext.bench.record import read_record, with_spread
from litetext.cli import LIGHTNING_COMMANDS, PLAIN_COMMANDS, main
from litetext.commands.benchmarks import BENCHMARKS
from litetext.shipped import config_names, config_path

CLASSES = {
    "fit": [
        ("--model.help", "litetext.modules.DistillModule"),
        ("--data.help", "litetext.data.PromptDataModule"),
        ("--model.help", "litetext.modules.TaskDistillModule"),
        ("--data.help", "litetext.data.TaskDataModule"),
    ],
    "test": [
        ("--model.help", "litetext.modules.SegEvalModule"),
        ("--data.help", "litetext.data.SegDataModule"),
        ("--model.help", "litetext.modules.VideoEvalModule"),
        ("--data.help", "litetext.data.VideoDataModule"),
    ],
    "predict": [("--model.help", "litetext.modules.PromptBankModule")],
}


def printed(*argv: str) -> str:
    """What a command prints; raises if it fails."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(argv)
    if code != 0:
        raise RuntimeError(f"litetext {' '.join(argv)} ended with exit code {code}")
    return out.getvalue().replace(os.getcwd() + os.sep, "").rstrip()


def head(name: str) -> str:
    """The comment at the head of a shipped config, its first sentence."""
    lines = config_path(name).read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.lstrip("# ") for line in lines[: next(i for i, x in enumerate(lines) if x[:1] != "#")])
    return re.split(r"(?<=[.:]) |   |  litetext ", comment)[0].rstrip(":")


with mkdocs_gen_files.open("reference/commands.md", "w") as page:
    page.write("# Commands\n\nPrinted by the commands themselves while these pages were built.\n\n")
    page.write(f"```text\n{printed('--help')}\n```\n")
    for command in (*LIGHTNING_COMMANDS, *PLAIN_COMMANDS):
        page.write(f"\n## litetext {command}\n\n")
        for option, name in CLASSES.get(command, []):
            kind = name.rpartition(".")[2]
            page.write(f"### {kind}\n\n`litetext {command} {option} {name}`\n\n")
            page.write(f"```text\n{printed(command, option, name)}\n```\n\n")
        if command in PLAIN_COMMANDS:
            page.write(f"```text\n{printed(command, '--help')}\n```\n")
            for name in BENCHMARKS if command == "bench" else ():
                page.write(f"\n### litetext bench {name}\n\n```text\n{printed(command, name, '--help')}\n```\n")
        elif command not in CLASSES:
            page.write("Takes the modules and the options of `litetext fit`.\n")
    page.write("\n## Shipped configs\n\n| config | what it does |\n|---|---|\n")
    for name in config_names():
        page.write(f"| `{name}` | {head(name)} |\n")

for path in sorted((Path(__file__).parent / "notebooks").glob("*.py")):
    cells = jupytext.read(path).cells
    parts = [
        c.source if c.cell_type == "markdown" else f"```python\n{c.source}\n```" for c in cells if c.source.strip()
    ]
    with mkdocs_gen_files.open(f"notebooks/{path.name}", "w") as source:
        source.write(path.read_text(encoding="utf-8"))
    with mkdocs_gen_files.open(f"notebooks/{path.stem}.md", "w") as page:
        page.write(
            "\n\n".join(
                [parts[0], f"[As a script]({path.name}) that `jupytext --to ipynb` makes a notebook.", *parts[1:]]
            )
        )

with mkdocs_gen_files.open("results/measured.md", "w") as page:
    page.write("# Figures of this release\n\n")
    page.write(
        "Written while these pages were built, from files of `litetext bench --output` that ship with the package; "
        "`litetext bench compare FILE` compares yours with them. Medians of rounds, in brackets the smallest and the "
        "largest; a ratio is taken within a round.\n"
    )
    for path in sorted(RELEASED.glob("*.json")):
        record = read_record(path)
        options = " ".join(f"--{name} {value}" for name, value in record["options"].items() if value is not None)
        page.write(f"\n## {record['benchmark']}, {record['machine']['kind']}\n\n")
        page.write(f"{describe(record['machine'])}, {record['machine']['date']}.\n\n")
        page.write(f"```bash\nlitetext bench {record['benchmark']} {options}\n```\n\n| figure | value |\n|---|---|\n")
        for name, value in record["figures"].items():
            told = with_spread(value, record["spread"].get(name)) if isinstance(value, float) else value
            page.write(f"| {name} | {told} |\n")
