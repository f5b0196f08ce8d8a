"""`litetext nouns`: writes what is drawn from the world of nouns: its benchmarks, its probes, pictures of it."""

from collections.abc import Sequence

_USUAL = {"images": 40, "videos": 24, "probes": 40, "pictures": 24}


def run(argv: Sequence[str]) -> int:
    """Writes it, unless it is there, and says what it holds.

    Args:
        argv: Arguments after `nouns`.

    Returns:
        The exit code 0; errors are raised.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog="litetext nouns",
        description="Writes held-out scenes of the world of nouns: images with phrases and the marks of three "
        "annotators in the layout of SA-Co Gold, videos in that of SA-Co VEval, language probes in that of SA-Co "
        "Silver, or pictures of the drawings and of some scenes. A benchmark that is there already is left alone.",
        exit_on_error=False,
    )
    parser.add_argument("out", type=str, metavar="OUT", help="Folder to write; its parent must be there.")
    parser.add_argument("--what", type=str, choices=list(_USUAL), default="images", help="What to write.")
    parser.add_argument(
        "--number",
        type=int,
        default=None,
        metavar="N",
        help="Images of each subset (40 by default), videos (24), pairs of each probe (40) or scenes (24).",
    )
    parser.add_argument("--seed", type=int, default=0, help="Seed of scenes, phrases and marks.")
    options = parser.parse_args(list(argv))
    number = _USUAL[options.what] if options.number is None else options.number
    _WRITERS[options.what](options.out, number, options.seed)  # they import what is slow, and --help needs none of it
    return 0


def _images(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.gold import SUBSETS, write_nouns

    made = write_nouns(out, number, seed)
    print(f"{_told(made.written)} {made.folder} (images {made.images}, seed {made.seed})")
    for name, subset in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} images {made.pairs[name]:>8,} pairs   {subset.about}")


def _videos(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.veval import NAME, PAIRS, write_video_nouns

    clips = write_video_nouns(out, number, seed)
    print(f"{_told(clips.written)} {clips.folder} (videos {clips.videos}, seed {clips.seed})")
    print(f"  {clips.videos:,} videos, {clips.pairs:,} pairs ({PAIRS} phrases a video): annotation/{NAME}")


def _probes(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.probes import SUBSETS, write_probes

    made = write_probes(out, number, seed)
    print(f"{_told(made.written)} {made.folder} (pairs {made.images}, seed {made.seed})")
    for name, probes in SUBSETS.items():
        print(f"  {name:<12}{made.images:>6,} pairs each   {', '.join(probes)}")


def _pictures(out: str, number: int, seed: int) -> None:
    from litetext.data.nouns.pictures import write_pictures

    for path in write_pictures(out, number, seed):
        print(f"wrote {path}")


def _told(written: bool) -> str:
    return "wrote" if written else "already there:"


_WRITERS = {"images": _images, "videos": _videos, "probes": _probes, "pictures": _pictures}
