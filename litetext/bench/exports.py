"""Every export of a student, end to end: a table of its predictions beside the student's.

python -m litetext.bench.exports checkpoints/student-nouns/student.ckpt
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from litetext.data.prompts.corpora import read_prompts
from litetext.export.masks import MaskAgreement
from litetext.export.request import Dtype
from litetext.export.source import read_source
from litetext.export.targets import export
from litetext.models.text.destinations import obstacle

_ROWS: tuple[tuple[str, Dtype], ...] = (
    ("text", "fp32"),
    ("torch", "fp32"),
    ("onnx", "all"),
    ("compact", "fp32"),
    ("transformers", "fp32"),
    ("trimmed", "fp32"),
    ("efficientsam3", "fp32"),
)
_HEAD = "| `--to` | pairs | instances | presence differs | without partner | largest score difference | smallest IoU |"


def export_table(
    checkpoint: str, prompts: str = "nouns:200", keep: str = "nouns:2000", sam3: str | None = None, pairs: int = 160
) -> str:
    """Writes a student to every target, in folders that are removed again.

    Args:
        checkpoint: The student.
        prompts: Corpus for the gate of features.
        keep: Corpus whose tokens a trimmed folder keeps.
        sam3: The SAM3 of a transformers folder; None takes the student's teacher.
        pairs: Pairs of image and phrase.

    Returns:
        A Markdown table; a target that refuses the student says why.

    Raises:
        FileNotFoundError: If the checkpoint is not there.
    """
    lines = [_HEAD, "|---|---|---|---|---|---|---|"]
    read, kept = read_prompts("prompts", prompts).prompts, read_prompts("keep", keep).prompts
    with TemporaryDirectory() as scratch:
        for target, dtype in _ROWS:
            whole = sam3 if target in ("transformers", "trimmed") else None
            try:
                result = export(
                    checkpoint,
                    target,
                    str(Path(scratch) / target),
                    read,
                    whole,
                    dtype=dtype,
                    keep=kept if target == "trimmed" else None,
                    pairs=pairs,
                )
            except ValueError as error:
                why = obstacle(read_source(checkpoint).student.config, target) or str(error)
                lines.append(f"| `{target}` | refused: {why} | | | | | |")
                continue
            lines += [_row(f"{target}, {a.dtype}" if dtype == "all" else target, a) for a in result.agreements]
            if result.unmeasured:
                lines.append(f"| `{target}` | not measured: {result.unmeasured} | | | | | |")
    return "\n".join(lines)


def _row(name: str, found: MaskAgreement) -> str:
    iou = "" if found.iou is None else f"{found.iou:.3f}"
    values: Sequence[object] = (
        found.pairs,
        found.found,
        found.presence,
        f"{found.unmatched} ({found.edge} at the edge)" if found.edge else found.unmatched,
        f"{found.score:.1g}",
        iou,
    )
    return f"| `{name}` | {' | '.join(map(str, values))} |"


if __name__ == "__main__":
    from jsonargparse import auto_cli

    print(auto_cli(export_table))
