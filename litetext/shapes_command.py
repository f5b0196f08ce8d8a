"""`litetext shapes`: writes the embedded benchmark, held-out shapes in the SA-Co Gold layout."""

from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """Writes the benchmark, unless it is there, and says what it holds.

    Args:
        argv: Arguments after `shapes`.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext shapes",
        description="Writes the embedded benchmark: images of shapes that no training saw, phrases about them, and the "
        "marks of three annotators, in the layout of SA-Co Gold. A folder that already holds it is left alone.",
        exit_on_error=False,
    )
    parser.add_argument("out", type=str, metavar="OUT", help="Folder to write; its parent must be there.")
    parser.add_argument("--images", type=int, default=80, metavar="N", help="Images of each subset.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of scenes, phrases and marks.")
    options = parser.parse_args(list(argv))

    from litetext.data.shapes_saco import SUBSETS, write_shapes  # slow to import, and --help needs none of it

    made = write_shapes(options.out, options.images, options.seed)
    print(f"{'wrote' if made.written else 'already there:'} {made.folder} (images {made.images}, seed {made.seed})")
    for name, about in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} images {made.pairs[name]:>8,} pairs   {about}")
    return 0
