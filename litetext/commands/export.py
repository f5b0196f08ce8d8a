"""`litetext export`: a student into a folder that other programs open, compared before it gets its name."""

import sys
from typing import Annotated, Literal

from litetext.commands.parsing import AtLeast, Positive
from litetext.commands.startup import importing


def export(
    checkpoint: str,
    /,
    *,
    to: Literal["transformers", "trimmed", "efficientsam3", "text", "compact", "onnx", "torch"],
    output: str,
    overwrite: bool = False,
    sam3: str | None = None,
    context_length: Positive | None = None,
    positions: Literal["keep", "slice", "interpolate"] = "keep",
    prompts: str | None = None,
    tolerance: Annotated[float, AtLeast(0)] | None = None,
    dtype: Literal["fp32", "fp16", "int8", "all"] = "fp32",
    batch: Positive | None = None,
    keep: str | None = None,
    pairs: Annotated[int, AtLeast(0)] | None = None,
    length: Positive | None = None,
    bits: Literal[8, 6, 5, 4] | None = None,
    rows: Positive | None = None,
    push: str | None = None,
    results: str | None = None,
    results_of: str | None = None,
) -> None:
    """Writes a student in the layout of another program.

    Compares its features there with ours on real prompts, and adds a model card. A larger difference than the tolerance
    fails, and nothing is left behind.

    Args:
        checkpoint: The student: a .ckpt of fit, or any layout.
        to: transformers: a folder of Sam3LiteTextModel with its processor; trimmed: the same with the tokens of --keep
            and a tokenizer that knows no others; efficientsam3: a .pt in efficientsam3's
            names; text: litetext's own small folder; compact: the same in few bits, and with --keep few token rows
            in memory; onnx: a file and a tokenizer for ONNX Runtime and others, see --dtype, --batch and --length;
            torch: an ExportedProgram of PyTorch, see --batch and --length.
        output: A new folder.
        overwrite: Replace an earlier export of that name.
        sam3: The SAM3 that gives all but the text encoder: for transformers a folder in its layout or Meta's sam3.pt
            (default: the student's teacher), for efficientsam3 Meta's sam3.pt (default: the text encoder alone).
        context_length: Positions in the export; the student's own by default. Another number needs --positions.
        positions: How N positions are made of the student's: the first N, or resampled, which is another student.
        prompts: Real prompts to compare on: any corpus that the data sources of fit take; by default 200 phrases about
            nouns, or about shapes for a student of the shapes' SAM3.
        tolerance: Largest absolute error of a feature; 1e-4 by default, and in fp16, int8 and compact a pooled cosine
            of 0.9999, 0.99 and 0.999 instead, and 0.99, 0.98 or 0.97 where numbers have 6, 5 or 4 bits.
        dtype: What an ONNX file stores weights in; int8: the matrices of linear layers only; all: a file of each.
        batch: Prompts at once of onnx and torch; any number by default.
        keep: With compact, a corpus whose tokens stay in memory; others are read from the folder when they are met.
            With trimmed, the corpus whose tokens stay at all.
        pairs: Pairs of image and phrase whose predictions are compared; 160 by default, 8 in a SAM3 of full size.
        length: Tokens of every prompt of onnx and torch, padding included, to which longer ones are cut; any number
            up to the context by default.
        bits: What compact stores weights in; fewer are smaller and further from the student. By default 6, the smallest
            form that kept 99.5% of a student's CG_F1 on the embedded benchmark; 8 if those are too few for the gate.
        rows: With compact and --keep, token rows in memory at most, the most frequent ones; others are read from the
            folder when they are met.
        results: The results.json of a litetext test, for the card; of SA-Co also as .eval_results/*.yaml, which the hub
            reads.
        results_of: The student's name in it, where it holds several.
        push: Upload the folder to this repository of the Hugging Face hub too (owner/name); needs `hf auth login`.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the student cannot go there, or differs there by more than the tolerance.
    """
    with importing():  # slow to import, and --help needs none of it
        from litetext.data.prompts.corpora import read_prompts
        from litetext.export import push as hub
        from litetext.export import targets
        from litetext.export.evaluation import read_evaluation
        from litetext.export.place import check_place, left_behind

    if results_of is not None and results is None:
        raise ValueError("--results_of names a text encoder in the --results file; give both")
    evaluated = None if results is None else read_evaluation(results, results_of)
    check_place(output, overwrite, [path for path in (checkpoint, sam3, prompts, keep) if path is not None])
    for draft in left_behind(output):
        print(
            f"litetext: {draft} is of an export that was killed, or that still runs: a draft, or what it was about to "
            "replace; look into it before you remove it",
            file=sys.stderr,
        )
    if push is not None:
        hub.ready_to_push(push)
    result = targets.export(
        checkpoint,
        to,
        output,
        None if prompts is None else read_prompts("prompts", prompts).prompts,
        sam3,
        context_length,
        positions,
        tolerance,
        dtype,
        batch,
        None if keep is None else read_prompts("keep", keep).prompts,
        pairs,
        overwrite,
        length,
        bits,
        rows,
        evaluated,
    )
    for what, parity in result.parities.items():
        print(parity.line(what))
    for agreement in result.agreements:
        print(agreement.line())
    if result.unmeasured:
        print(f"not compared in images: {result.unmeasured}")
    print(f"wrote {output}; its README.md says how it is opened")
    if push is not None:
        print(f"uploaded: {hub.push(output, push)}")
