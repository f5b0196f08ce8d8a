"""`litetext shapes`: writes an embedded benchmark, held-out shapes in the layout of SA-Co Gold or VEval."""

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
        "marks of three annotators, in the layout of SA-Co Gold; with --video, shapes that move, in that of SA-Co "
        "VEval. A folder that already holds it is left alone.",
        exit_on_error=False,
    )
    parser.add_argument("out", type=str, metavar="OUT", help="Folder to write; its parent must be there.")
    parser.add_argument("--video", action="store_true", help="Write the video benchmark instead.")
    parser.add_argument("--images", type=int, default=None, metavar="N", help="Images of each subset; 80 by default.")
    parser.add_argument("--videos", type=int, default=None, metavar="N", help="With --video, videos; 24 by default.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of scenes, phrases and marks.")
    options = parser.parse_args(list(argv))
    odd = "images" if options.video else "videos"
    if options[odd] is not None:
        raise ValueError(f"--{odd} {options[odd]} {'does not go with' if options.video else 'needs'} --video")
    if options.video:
        from litetext.data.shapes.veval import NAME, PAIRS, write_video_shapes

        clips = write_video_shapes(options.out, 24 if options.videos is None else options.videos, options.seed)
        told = "wrote" if clips.written else "already there:"
        print(f"{told} {clips.folder} (videos {clips.videos}, seed {clips.seed})")
        print(f"  {clips.videos:,} videos, {clips.pairs:,} pairs ({PAIRS} phrases a video): annotation/{NAME}")
        return 0

    from litetext.data.shapes.gold import SUBSETS, write_shapes  # slow to import, and --help needs none of it

    made = write_shapes(options.out, 80 if options.images is None else options.images, options.seed)
    print(f"{'wrote' if made.written else 'already there:'} {made.folder} (images {made.images}, seed {made.seed})")
    for name, about in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} images {made.pairs[name]:>8,} pairs   {about}")
    return 0
