"""`litetext audit`: the anatomy of a text encoder on prompt corpora, and the prescription that follows."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from litetext.commands.parsing import ConfigFiles, Positive, renamed
from litetext.commands.startup import importing
from litetext.files import refuse_existing, write_text

if TYPE_CHECKING:
    from litetext.audit.report.page import Table

_WRITTEN = ("audit.json", "report.html", "prescription.yaml", "tensorboard")


@renamed(encoder="text_encoder")
def audit(
    *,
    config: ConfigFiles = [],  # noqa: B006 - the parser's words are a list too
    prompts: dict[str, str],
    output: str,
    overwrite: bool = False,
    text_encoder: str | None = None,
    sam3: str | None = None,
    student: tuple[str, ...] = (),
    images: str | None = None,
    context_lengths: tuple[Positive, ...] = (8, 16, 32),
    noise: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 0.97),
    sample: Positive = 5000,
    budget: float = 0.025,
    seed: int = 0,
) -> None:
    """Says what prompts ask of a text encoder, what an encoder does with them, and which student follows from that.

    That is context and vocabulary of a corpus; spectra, dimension, order and robustness of an encoder. Without
    --text_encoder the parts run that need no weights. Parts that fail are named and the others delivered. Writes
    audit.json, report.html, prescription.yaml and TensorBoard's files.

    Args:
        config: YAML of these options, by path or shipped name.
        prompts: Corpora by name, one or several, in any layout that the data sources of fit take; nouns:N needs no
            file. In YAML a mapping.
        output: Folder of the results.
        overwrite: Replace the results of an earlier audit there.
        text_encoder: SAM3 in any layout, a student, or a CLIP, SigLIP, BERT-like or Grounding DINO folder or hub id.
        sam3: SAM3 for the robustness part, by default the text encoder's where that is a whole SAM3.
        student: Students whose errors are followed through the SAM3, beside noise.
        images: Folder of images for that part; drawn scenes by default.
        context_lengths: Contexts to compare, in tokens.
        noise: Levels of noise for the robustness part, in units of the features' root mean square.
        sample: Prompts that are encoded.
        budget: Share of tokens that a context may lose.
        seed: Seed of samples, bootstraps and noise.

    Raises:
        FileNotFoundError: If a corpus, model or folder does not exist.
        ValueError: If an option is out of its range, or --output holds results already.
    """
    folder = Path(output)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output {output} is a file; give a folder, which is made where there is none")
    refuse_existing((folder / name for name in _WRITTEN), f"--output {output}", overwrite)

    with importing():  # slow to import, and --help needs none of it
        from litetext.audit.audit import audit as run_audit
        from litetext.audit.options import AuditOptions
        from litetext.audit.report.report import write_report
        from litetext.audit.report.tables import all_tables

    options = AuditOptions(prompts, text_encoder, student, sam3, images, noise, context_lengths, sample, budget, seed)
    with _bar() as progress:
        results = run_audit(options, progress)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # two audits would be drawn into each other
    write_text(folder / "audit.json", json.dumps(results, indent=1, allow_nan=False) + "\n")
    written = write_report(results, folder)
    _print(all_tables(results))
    for part, why in results["failed"].items():
        print(f"failed: {part}: {why}")
    for line in written:
        print(line)


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
            side = "left" if n == 0 or n in table.text_columns else "right"
            printed.add_column(column, justify=side, overflow="fold")  # an option that is cut short cannot be typed
        for row in table.rows:
            printed.add_row(*row)
        console.print(printed)
