"""`litetext export`: a student into a folder that other programs open, compared before it gets its name."""

from collections.abc import Sequence

TARGETS = {
    "transformers": "a folder of Sam3LiteTextModel with its processor",
    "efficientsam3": "a .pt in efficientsam3's names",
    "text": "litetext's own small folder",
    "compact": "the same in 8 bits, and with --keep few token rows in memory",
    "onnx": "a file for ONNX Runtime and others, see --dtype and --batch",
    "torch": "an ExportedProgram of PyTorch, see --batch",
}
"""The names of `litetext.export.targets.TARGETS`, here for --help without their imports."""


def run(argv: Sequence[str]) -> int:
    """Exports, and prints how equal the export is.

    Args:
        argv: Arguments after `export`.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveInt

    told = "; ".join(f"{name}: {what}" for name, what in TARGETS.items())
    parser = ArgumentParser(
        prog="litetext export",
        description="Writes a student in the layout of another program, compares its features there with ours on real "
        "prompts, and adds a model card. A larger difference than the tolerance fails, and nothing is left behind.",
        exit_on_error=False,
    )
    parser.add_argument("checkpoint", type=str, metavar="CKPT", help="The student: a .ckpt of fit, or any layout.")
    parser.add_argument("--to", choices=list(TARGETS), required=True, help=told + ".")
    parser.add_argument("--output", type=str, required=True, metavar="DIR", help="A new folder.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier export of that name.")
    parser.add_argument(
        "--sam3",
        type=str,
        default=None,
        metavar="PATH",
        help="The SAM3 that gives all but the text encoder: for transformers a folder in its layout or Meta's sam3.pt "
        "(default: the student's teacher), for efficientsam3 Meta's sam3.pt (default: the text encoder alone).",
    )
    parser.add_argument(
        "--context_length",
        type=PositiveInt,
        default=None,
        metavar="N",
        help="Positions in the export; the student's own by default. Another number needs --positions.",
    )
    parser.add_argument(
        "--positions",
        choices=["keep", "slice", "interpolate"],
        default="keep",
        help="How N positions are made of the student's: the first N, or resampled, which is another student.",
    )
    parser.add_argument(
        "--prompts",
        type=str,
        default="shapes:200",
        metavar="PATH",
        help="Real prompts to compare on: any corpus that the data sources of fit take; shapes:N needs no file.",
    )
    parser.add_argument(
        "--tolerance",
        type=NonNegativeFloat,
        default=None,
        help="Largest absolute error of a feature; 1e-4 by default, and in fp16, int8 and compact a pooled cosine of "
        "0.9999, 0.99 and 0.999 instead.",
    )
    parser.add_argument(
        "--dtype",
        choices=["fp32", "fp16", "int8"],
        default="fp32",
        help="What an ONNX file stores weights in; int8: the matrices of linear layers only.",
    )
    parser.add_argument(
        "--batch",
        type=PositiveInt,
        default=None,
        metavar="N",
        help="Prompts at once of onnx and torch; any number by default.",
    )
    parser.add_argument(
        "--keep",
        type=str,
        default=None,
        metavar="PATH",
        help="With compact, a corpus whose tokens stay in memory; others are read from the folder when they are met.",
    )
    parser.add_argument(
        "--pairs",
        type=NonNegativeInt,
        default=None,
        metavar="N",
        help="Pairs of image and phrase in which what is found is compared; 160 by default, 8 in a SAM3 of full size.",
    )
    options = parser.parse_args(list(argv))

    from litetext.data.prompts.corpora import read_prompts  # slow to import, and --help needs none of it
    from litetext.export.place import check_place
    from litetext.export.targets import export

    inputs = [options.checkpoint, options.sam3, options.prompts, options.keep]
    check_place(options.output, options.overwrite, [path for path in inputs if path is not None])
    made = export(
        options.checkpoint,
        options.to,
        options.output,
        read_prompts("prompts", options.prompts).prompts,
        options.sam3,
        options.context_length,
        options.positions,
        options.tolerance,
        options.dtype,
        options.batch,
        None if options.keep is None else read_prompts("keep", options.keep).prompts,
        options.pairs,
        options.overwrite,
    )
    for what, parity in made.parities.items():
        print(parity.line(what))
    for agreement in made.agreements:
        print(agreement.line())
    if made.unmeasured:
        print(f"not compared in images: {made.unmeasured}")
    print(f"wrote {options.output}; its README.md says how it is opened")
    return 0
