"""`litetext audit`: the anatomy of a text encoder on prompt corpora, and the prescription that follows."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litetext.files import refuse_existing, write_text

if TYPE_CHECKING:
    from litetext.audit.report.page import Table

_WRITTEN = ("audit.json", "report.html", "prescription.yaml", "tensorboard")


def run(argv: Sequence[str]) -> int:
    """Audits corpora, and an encoder if one is given; writes audit.json, report.html, prescription.yaml, TensorBoard.

    Args:
        argv: Arguments after `audit`.

    Returns:
        The exit code 0, also when parts failed, which are named; errors are raised.
    """
    options = _parser().parse_args(_arranged(argv)).as_dict()
    del options["config"]
    output = Path(options.pop("output"))
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder, which is made where there is none")
    refuse_existing((output / name for name in _WRITTEN), f"--output {output}", options.pop("overwrite"))

    from litetext.audit.audit import AuditOptions, audit  # slow to import, and --help needs none of it
    from litetext.audit.report.report import write_report
    from litetext.audit.report.tables import all_tables

    asked = AuditOptions(**options)
    if asked.encoder or asked.sam3:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of loading weights, inside of ours
    with _bar() as tell:
        found = audit(asked, tell)
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "tensorboard", ignore_errors=True)  # two audits would be drawn into each other
    write_text(output / "audit.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    written = write_report(found, output)
    _print(all_tables(found))
    for part, why in found["failed"].items():
        print(f"failed: {part}: {why}")
    for line in written:
        print(line)
    return 0


def _parser() -> Any:
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import PositiveInt

    parser = ArgumentParser(
        prog="litetext audit",
        description="Says what a prompt corpus asks of a text encoder (context, vocabulary), what an encoder does with "
        "it (spectra, dimension, order, robustness), and which student follows from that. Without --encoder the parts "
        "run that need no weights. Parts that fail are named and the others delivered.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML of these options, by path or shipped name.")
    parser.add_argument(
        "--prompts",
        type=dict[str, str],
        required=True,
        metavar="NAME=PATH",
        help="Corpora by name, one or several, in any layout that the data sources of fit take; shapes:N needs no "
        "file. In YAML a mapping.",
    )
    parser.add_argument(
        "--encoder",
        type=str,
        default=None,
        metavar="PATH_OR_ID",
        help="SAM3 in any layout, a student, or a CLIP, SigLIP, BERT-like or Grounding DINO folder or hub id.",
    )
    parser.add_argument("--output", type=str, required=True, metavar="DIR", help="Folder of the results.")
    parser.add_argument("--overwrite", action="store_true", help="Replace the results of an earlier audit there.")
    parser.add_argument(
        "--context_lengths", nargs="+", type=PositiveInt, default=[8, 16, 32], metavar="L", help="Contexts to compare."
    )
    parser.add_argument(
        "--student",
        nargs="+",
        type=str,
        default=[],
        metavar="PATH",
        help="Students whose errors are followed through the SAM3, beside noise.",
    )
    parser.add_argument(
        "--sam3",
        type=str,
        default=None,
        metavar="PATH",
        help="SAM3 for the robustness part, by default the encoder where it is a whole SAM3.",
    )
    parser.add_argument(
        "--images", type=str, default=None, metavar="FOLDER", help="Images for it; drawn shapes by default."
    )
    parser.add_argument(
        "--noise",
        nargs="+",
        type=float,
        default=[0.01, 0.03, 0.1, 0.3, 0.97],
        metavar="LEVEL",
        help="Levels of noise for it, in units of the features' root mean square.",
    )
    parser.add_argument("--sample", type=PositiveInt, default=5000, metavar="N", help="Prompts that are encoded.")
    parser.add_argument("--budget", type=float, default=0.025, help="Share of tokens that a context may lose.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of samples, bootstraps and noise.")
    return parser


def _arranged(argv: Sequence[str]) -> list[str]:
    """Configs first, so that options win over them; all `--prompts NAME=PATH` as one mapping."""
    from litetext.shipped import config_path

    configs: list[str] = []
    rest: list[str] = []
    prompts: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        option, mark, value = word.partition("=")
        if option == "--config":
            if not mark and not words:
                raise ValueError("--config needs the name or path of a YAML file")
            configs += ["--config", str(config_path(value if mark else words.pop(0)))]
        elif option == "--prompts":
            given = [value] if mark else []
            while words and not words[0].startswith("--"):
                given.append(words.pop(0))
            if not given:
                raise ValueError("--prompts needs at least one NAME=PATH")
            for pair in given:
                _add(prompts, pair)
        else:
            rest.append(word)
    return [*configs, *rest, *(["--prompts", json.dumps(prompts)] if prompts else [])]


def _add(prompts: dict[str, str], pair: str) -> None:
    name, mark, path = pair.partition("=")
    if not (mark and name and path):
        raise ValueError(f"--prompts {pair} is no NAME=PATH; write {Path(pair).stem or 'mine'}={path or pair}")
    if name in prompts:
        raise ValueError(f"--prompts names {name!r} twice; give each corpus a name of its own")
    prompts[name] = path


@contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    """A progress bar on stderr, and what moves it: the part at hand and the share of the audit that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<34}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda part, done: bar.update(task, description=part, completed=done)
        bar.update(task, description="done", completed=1.0)


def _print(tables: Sequence["Table"]) -> None:
    from rich.console import Console
    from rich.table import Table as Printed

    # In a pipe or a file the tables keep their width; names may hold what rich would read as markup.
    console = Console(width=None if Console().is_terminal else 140, markup=False, highlight=False)
    for table in tables:
        printed = Printed(title=table.title, title_justify="left", caption=table.note or None, caption_justify="left")
        for n, column in enumerate(table.columns):
            printed.add_column(column, justify="left" if n == 0 or n in table.text_columns else "right")
        for row in table.rows:
            printed.add_row(*row)
        console.print(printed)
